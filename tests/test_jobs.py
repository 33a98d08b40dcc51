"""The job files: usage, a launcher on a cloud that is a folder, its VM for real, and both machines' jobs, tiny."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from conftest import ENVIRONMENT, ROOT, succeed
from skips import NO_SHELLCHECK

SCRIPTS = ("gce_launch.bash", "gce_train.bash", "gce_vm.bash", "gpu_jobs.bash")
TOY = ("--", "--env", "toy", "--preset", "smoke")


def job(script: str, *arguments: object, env: dict[str, str] | None = None,
        timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """Run a job file to its end."""
    return subprocess.run(["bash", ROOT / "jobs" / script, *map(str, arguments)], capture_output=True, text=True,
                          env={**ENVIRONMENT, **(env or {})}, timeout=timeout, check=False)


@dataclasses.dataclass
class Cloud:
    """A cloud that is a folder, see programs/cloud.py, and the launcher on it."""

    folder: Path
    env: dict[str, str]

    def plan(self, **plan: object) -> None:
        (self.folder / "plan.json").write_text(json.dumps(plan))

    def command(self, *arguments: object) -> list[str]:
        return ["bash", str(ROOT / "jobs" / "gce_launch.bash"), "--name", "cars", "--bucket", "garage", "--hours", "2",
                *(map(str, arguments) if arguments else TOY)]

    def launch(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """The launcher, to its end."""
        return subprocess.run(self.command(*arguments), capture_output=True, text=True, env=self.env, timeout=120,
                              check=False)

    def calls(self, *words: str) -> list[list[str]]:
        """gcloud's calls of the launcher that begin with ``words``."""
        path = self.folder / "calls.jsonl"
        rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return [row["call"] for row in rows if row["by"] is None and row["call"][:len(words)] == list(words)]

    def created(self) -> list[str]:
        return [call[3] for call in self.calls("compute", "instances", "create")]

    def deleted(self) -> list[str]:
        return [call[3] for call in self.calls("compute", "instances", "delete")]

    def vms(self) -> list[str]:
        path = self.folder / "vms.json"
        return list(json.loads(path.read_text())) if path.exists() else []

    def file(self, name: str) -> Path:
        return self.folder / "bucket" / "garage" / "wm_mpi" / "cars" / name

    def status(self) -> dict[str, str]:
        return dict(word.split("=") for word in self.file("status").read_text().split())


def links(folder: Path, **names: str) -> str:
    """A folder for the PATH: names, and the programs of tests/programs that stand in for them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, program in names.items():
        (folder / name).symlink_to(ROOT / "tests" / "programs" / program)
    return str(folder)


@pytest.fixture
def cloud(tmp_path: Path) -> Cloud:
    """With a clock that only sleeping moves on: hours take no time."""
    folder, temporary = tmp_path / "cloud", tmp_path / "tmp"
    temporary.mkdir()
    path = f"{links(folder / 'bin', gcloud='cloud.py', date='clock.bash', sleep='clock.bash')}:{ENVIRONMENT['PATH']}"
    return Cloud(folder, {**ENVIRONMENT, "PATH": path, "WM_CLOUD": str(folder), "TMPDIR": str(temporary)})


@pytest.fixture
def real_cloud(tmp_path: Path) -> Cloud:
    """Its VMs are processes that run their startup-script, in real time."""
    folder = tmp_path / "cloud"
    path = f"{links(folder / 'bin', gcloud='cloud.py')}:{ENVIRONMENT['PATH']}"
    links(folder / "vm_bin", curl="cloud.py", shutdown="cloud.py")
    made = Cloud(folder, {**ENVIRONMENT, "PATH": path, "WM_CLOUD": str(folder), "DOCTOR": "no"})
    made.plan(real=True)
    return made


# --- usage ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("script", SCRIPTS)
def test_usage(script: str) -> None:
    helped = job(script, "--help")
    assert helped.returncode == 0 and len(helped.stdout.splitlines()) >= 10 and not helped.stderr
    assert "set -euo" not in helped.stdout and "#" not in helped.stdout.splitlines()[0]


@pytest.mark.parametrize("script,flag", [
    ("gce_launch.bash", "--wings"), ("gce_launch.bash", "cars"), ("gce_vm.bash", "--wings"), ("gpu_jobs.bash", "--wings"),
    ("gce_train.bash", "--out=elsewhere"), ("gce_train.bash", "--world")])
def test_unknown_flags_are_refused(script: str, flag: str) -> None:
    refused = job(script, flag)
    assert refused.returncode == 2 and refused.stderr.splitlines()[-1].startswith("error: ")
    assert flag.split("=")[0] in refused.stderr


@pytest.mark.parametrize("arguments,sentence", [
    (("--name", "Cars", *TOY), "--name is 'Cars', but must be"),
    (("--name", "cars; rm -rf ~", *TOY), "--name is 'cars; rm -rf ~', but must be"),
    (("--name", "c" * 51, *TOY), "but must be 1 to 50"),
    (("--bucket", "a/b", *TOY), "--bucket is 'a/b'"),
    (("--hours", "long", *TOY), "--hours is 'long'"),
    (("--hours", "0", *TOY), "--hours is 0, but must be 0.25 to 2880"),
    (("--zone", "a b", *TOY), "--zone is 'a b'"),
    (("--container", "$(id)", *TOY), "--container is '$(id)'"),
    (("--sync", "0", *TOY), "--sync is '0'"),
    (("--poll",), "--poll needs a value"),
    (("--", "--popsize", "8"), "has no policy.onnx"),
    (("--world", "/nowhere", *TOY), "the toy environment needs none"),
    ((*TOY, "--out", "x"), "--out after -- is not yours to give"),
])
def test_bad_values(arguments: tuple, sentence: str, cloud: Cloud) -> None:
    refused = cloud.launch(*arguments)
    assert refused.returncode == 2 and sentence in refused.stderr
    assert refused.stderr.startswith("error: ") and len(refused.stderr.splitlines()) == 1
    assert not cloud.calls()


# --- the launcher, with VMs that a plan tells what to do --------------------------------------------------------------
RUNNING = {"tell": {"state": "running", "used_seconds": "900"}}
DONE = {"tell": {"state": "done", "used_seconds": "2000"}}
QUOTA = "Quota 'CPUS' exceeded. Limit: 8.0 in region test."
STOCKOUT = "The zone does not have enough resources available to fulfill the request (ZONE_RESOURCE_POOL_EXHAUSTED)."


def failing(match: str, say: str = "HTTPError 503", times: int = 1, **more: object) -> dict:
    return {"fail": [{"match": match, "say": say, "times": times, **more}]}


@pytest.mark.parametrize("plan,status,created,deleted,sentence", [
    pytest.param({"lives": [[RUNNING, {}, DONE]]}, 0, 1, 1, "done, with 0.56 h of VM", id="done"),
    pytest.param({"lives": [[RUNNING, {"tell": {"state": "done"}, "vm": None}]]}, 0, 1, 0, "nothing is running",
                 id="done, and the VM has deleted itself"),
    pytest.param({"lives": [[DONE | {"vm": "TERMINATED"}]]}, 0, 1, 1, "nothing is running", id="done, but it cannot delete"),
    pytest.param({"lives": [[RUNNING, {"tell": {"state": "failed", "exit": "69"}}]]}, 69, 1, 1,
                 "failed with status 69 on cars-1", id="the run fails"),
    pytest.param(failing("instances create", QUOTA), 1, 1, 0, QUOTA, id="create fails"),
    pytest.param(failing("instances create", STOCKOUT, 2) | {"lives": [[DONE]]}, 0, 3, 1, "trying again in 5 minutes",
                 id="no capacity, twice"),
    pytest.param(failing("instances create", "connection reset", apply=True) | {"lives": [[{}, DONE]]}, 0, 1, 1,
                 "nothing is running", id="create says it failed, but did not"),
    pytest.param(failing("buckets describe"), 2, 0, 0, "no bucket gs://garage", id="no bucket"),
    pytest.param(failing("storage cat"), 1, 0, 0, "could not look", id="the bucket cannot be read"),
    pytest.param(failing("source.tar.gz"), 1, 0, 0, "no VM was created", id="upload fails"),
    pytest.param(failing("/status gs://"), 1, 0, 0, "no VM was created", id="status cannot be written"),
    pytest.param({"lives": [[RUNNING, {"preempted": True, "vm": None}], [DONE]]}, 0, 2, 1, "cars-1 was preempted",
                 id="preempted without a word"),
    pytest.param({"lives": [[RUNNING, {"tell": {"state": "preempted"}, "vm": None}], [DONE]]}, 0, 2, 1,
                 "cars-1 was preempted", id="preempted"),
    pytest.param({"lives": [[RUNNING, {"tell": {"state": "preempted"}, "vm": "TERMINATED"}], [DONE]]}, 0, 2, 2,
                 "cars-1 was preempted", id="preempted, and left stopped"),
    pytest.param({"lives": [[RUNNING, {"tell": {"state": "stopped"}, "vm": None}]]}, 75, 1, 0, "someone stopped the VM",
                 id="stopped by hand"),
    pytest.param({"lives": [[RUNNING, {"vm": None}]]}, 1, 1, 0, "was not preempted", id="gone without a word"),
    pytest.param({"lives": [[RUNNING, {"tell": {"state": "limit", "used_seconds": "7000"}, "vm": None}]]}, 75, 1, 0,
                 "1.94 of 2 h are used", id="the VM keeps the cap"),
    pytest.param({"lives": [[RUNNING, {}, {}, {}, {}, {}, DONE]]}, 0, 1, 1, "cars-1 has not saved for a while",
                 id="it is silent for long"),
    pytest.param({"lives": [[{"tell": {"state": "preempted", "used_seconds": "6900"}, "vm": None}]]}, 75, 1, 0,
                 "1.92 of 2 h are used", id="preempted near the cap"),
    pytest.param({"lives": [[RUNNING, {"vm": "TERMINATED"}]]}, 1, 1, 0, "results on its disk that it could not save",
                 id="its last save failed"),
    pytest.param({"lives": [[{"vm": "TERMINATED"}]]}, 1, 1, 1, "wm_mpi: cannot write", id="it cannot write to the bucket"),
    pytest.param(failing("instances delete", times=2) | {"lives": [[DONE]]}, 0, 1, 3, "nothing is running",
                 id="delete fails twice"),
    pytest.param(failing("instances delete", times=99) | {"lives": [[DONE]]}, 1, 1, 3, "please do so by hand",
                 id="delete fails for good"),
])
def test_launching(plan: dict, status: int, created: int, deleted: int, sentence: str, cloud: Cloud, tmp_path: Path) -> None:
    cloud.plan(**({"lives": [[DONE]]} | plan))
    cloud.env["WM_HURRY"] = "500"
    done = cloud.launch()
    said = done.stdout + done.stderr
    assert (done.returncode, len(cloud.created()), len(cloud.deleted())) == (status, created, deleted), said
    assert sentence in said
    assert set(cloud.deleted()) <= set(cloud.created())
    if "on its disk" not in said and "by hand" not in said:
        assert not cloud.vms(), "something is left running"
    assert not list((tmp_path / "tmp").iterdir()), "temporary files are left"


def test_polling_outlives_a_network_that_does_not(cloud: Cloud) -> None:
    cloud.plan(lives=[[RUNNING, {}, {}, DONE]], fail=[{"match": "storage cat", "say": "timeout", "times": 0}])
    assert cloud.launch("--detach", *TOY).returncode == 0
    cloud.plan(fail=[{"match": "instances list", "say": "timeout", "times": 1}])
    assert cloud.launch().returncode == 1 and cloud.vms() == ["cars-1"], "the first look must succeed"
    process = subprocess.Popen(cloud.command(), stdout=subprocess.PIPE, text=True, env=cloud.env)
    assert process.stdout is not None
    while "attached to cars-1" not in process.stdout.readline():
        pass
    cloud.plan(fail=[{"match": "instances list", "say": "timeout", "times": 3}])
    assert "gcloud does not answer" in process.communicate(timeout=60)[0]
    assert process.returncode == 0 and cloud.deleted() == ["cars-1"]


def test_the_hours_of_all_attempts_add_up(cloud: Cloud) -> None:
    cloud.plan(lives=[[{"tell": {"state": "preempted", "used_seconds": "3000"}, "vm": None}], [DONE]])
    assert cloud.launch().returncode == 0
    limits = [next(word for word in call if word.startswith("--max-run-duration=")) for call in
              cloud.calls("compute", "instances", "create")]
    assert limits == ["--max-run-duration=7200s", "--max-run-duration=4200s"]


def test_more_hours_go_on_where_the_cap_ended(cloud: Cloud) -> None:
    cloud.plan(lives=[[{"tell": {"state": "limit", "used_seconds": "7000"}, "vm": None}], [DONE]])
    assert cloud.launch().returncode == 75
    assert cloud.launch().returncode == 75 and cloud.created() == ["cars-1"]
    assert cloud.launch("--hours", "3", *TOY).returncode == 0 and cloud.created() == ["cars-1", "cars-2"]


def test_a_finished_run_starts_no_vm_unless_there_is_more_to_do(cloud: Cloud) -> None:
    cloud.plan(lives=[[DONE], [DONE]])
    assert cloud.launch().returncode == 0
    again = cloud.launch()
    assert again.returncode == 0 and "done" in again.stdout and cloud.created() == ["cars-1"]
    assert cloud.launch(*TOY, "--generations", "9").returncode == 0 and cloud.created() == ["cars-1", "cars-2"]


def test_only_vms_of_this_run_are_ever_deleted(cloud: Cloud) -> None:
    """Someone else's VM has the name that this run would give: it is left alone, and so is another run's."""
    others = {"cars-1": "owner=someone", "bikes-1": "wm-mpi-run=bikes,wm-mpi-bucket=garage",
              "boats-1": "wm-mpi-run=cars,wm-mpi-bucket=harbour"}
    (cloud.folder / "vms.json").write_text(json.dumps({
        name: {"zone": "test-zone1-a", "state": "RUNNING", "labels": labels, "life": []}
        for name, labels in others.items()}))
    refused = cloud.launch()
    assert refused.returncode == 1 and "already exists" in refused.stderr
    assert cloud.launch("--delete").returncode == 0
    assert cloud.vms() == list(others) and not cloud.deleted()


def test_detach_attach_and_delete(cloud: Cloud) -> None:
    assert cloud.launch("--detach", *TOY).returncode == 0
    assert cloud.vms() == ["cars-1"] and not cloud.deleted()
    assert cloud.launch("--delete").returncode == 0
    assert not cloud.vms() and cloud.created() == cloud.deleted() == ["cars-1"]


@pytest.mark.alone
@pytest.mark.parametrize("number,status,left", [(signal.SIGINT, 130, []), (signal.SIGTERM, 75, []),
                                                (signal.SIGHUP, 129, ["cars-1"])])
def test_signals_to_the_launcher(number: signal.Signals, status: int, left: list[str], cloud: Cloud) -> None:
    cloud.plan(lives=[[RUNNING]])
    said, code = interrupted(cloud, "used", number)
    assert code == status and cloud.vms() == left, said
    cloud.plan(lives=[[], [DONE]])
    again = cloud.launch("--detach", *TOY)
    assert again.returncode == 0
    assert ("attached to cars-1" in again.stdout) == bool(left) and cloud.vms() == (left or ["cars-2"])


def interrupted(cloud: Cloud, when: str, number: signal.Signals) -> tuple[str, int]:
    """Signal the launcher when it has printed ``when``, as a terminal does: to all of its processes."""
    def heed() -> None:  # what ignores a signal (nohup, a background job) hands that on, and bash cannot trap it then
        signal.signal(number, signal.SIG_DFL)

    process = subprocess.Popen(cloud.command(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=cloud.env,
                               start_new_session=True, preexec_fn=heed)
    assert process.stdout is not None
    said = ""
    while when not in said:
        line = process.stdout.readline()
        assert line, said
        said += line
    os.killpg(process.pid, number)
    return said + process.communicate(timeout=60)[0], process.returncode


def test_ctrl_c_while_a_vm_is_being_created(cloud: Cloud) -> None:
    said, code = interrupted(cloud, "creating cars-1", signal.SIGINT)
    assert code == 130 and not cloud.vms(), said
    assert set(cloud.deleted()) <= {"cars-1"}


def test_flags_reach_es_as_they_were_typed(cloud: Cloud) -> None:
    odd = ["--stop-at", "1 2", "it's", "$(touch gone)", "a*", 'say "no"', "", "ü;&|"]
    cloud.plan(lives=[[DONE]])
    assert cloud.launch(*TOY, *odd).returncode == 0
    script = cloud.folder / "vm" / "cars-1" / "startup-script"
    header = script.read_text().split("# What a VM of")[0]
    shown = subprocess.run(["bash", "-c", header + 'printf "%s\\0" "${WM_FLAGS[@]}"'], capture_output=True, text=True,
                           check=True)
    assert shown.stdout.split("\0")[:-1] == [*TOY[1:], *odd]
    if not shutil.which("shellcheck"):
        pytest.skip(NO_SHELLCHECK)
    subprocess.run(["shellcheck", script], check=True)


# --- the VM, for real -------------------------------------------------------------------------------------------------
LONG = (*TOY, "--generations", "300", "--eval-every", "100")


@pytest.mark.slow
def test_a_vm_from_boot_to_its_deletion(real_cloud: Cloud, tmp_path: Path) -> None:
    """Preempted in the middle, created again, restored: the same numbers as in one go on this machine."""
    cloud = real_cloud
    cloud.plan(real=True, lives=[[{"until": "bucket/garage/wm_mpi/cars/run/checkpoint/*.ckpt"},
                                  {"preempted": True, "vm": None}]])
    done = cloud.launch("--sync", "1", "--poll", "1", *LONG)
    logs = "".join(path.read_text() for path in sorted(cloud.folder.glob("vm/*/home/log.txt")))
    assert done.returncode == 0, done.stdout + done.stderr + logs
    assert cloud.created() == ["cars-1", "cars-2"] and not cloud.vms()
    assert "cars-1 was preempted" in done.stdout and cloud.status()["state"] == "done"
    assert "resuming" in cloud.file("log/cars-2.txt").read_text()
    assert "laps" in json.loads(cloud.file("run/evaluation.json").read_text())
    succeed("es", *LONG[1:], "--out", tmp_path / "straight")
    assert cloud.file("run/champion.h5").read_bytes() == (tmp_path / "straight" / "champion.h5").read_bytes()
    rows = [json.loads(line)["generation"] for line in cloud.file("run/metrics.jsonl").read_text().splitlines()]
    assert rows == list(range(1, 301))


IMAGE = "europe-docker.pkg.dev/garage/images/wm_mpi:1"
DOCKER = """#!/usr/bin/env bash
echo "docker $*" >>"$WM_CLOUD/docker"
[ "$1" = run ] || exit 0
for word; do case "$word" in OUT=*) cd "${word#OUT=}" ;; esac; done
trap 'echo checkpointed >last_words; exit 75' TERM
mkdir -p checkpoint
echo one >checkpoint/000001.ckpt
[ -f metrics.jsonl ] || echo two >metrics.jsonl
. "$WM_CLOUD/job"
"""


def on_a_vm(cloud: Cloud, job: str, *arguments: str, clock: bool = True, **plan: object) -> dict[str, str]:
    """Let a VM go its way to its end, with ``job``, lines of bash, instead of the training; gives its last status.

    It is a container to the VM, so all the rest is real: its script, and its time unless ``clock``.
    """
    vm_bin = cloud.folder / "vm_bin"
    (vm_bin / "docker").write_text(DOCKER)
    (vm_bin / "docker").chmod(0o755)
    (vm_bin / "gcloud").write_text('#!/bin/sh\n[ "$1" = auth ] || exec "$WM_CLOUD/bin/gcloud" "$@"\n'
                                   'echo "gcloud $*" >>"$WM_CLOUD/docker"\n')
    (vm_bin / "gcloud").chmod(0o755)
    (vm_bin / "chown").symlink_to("/bin/true")  # tests need not be root
    if clock:
        links(vm_bin, sleep="clock.bash", date="clock.bash")
    (cloud.folder / "job").write_text(job)
    cloud.plan(real=True, **plan)
    launched = cloud.launch("--detach", "--container", IMAGE, *arguments, *TOY)
    assert launched.returncode == 0, launched.stderr
    pid = json.loads((cloud.folder / "vms.json").read_text())["cars-1"]["pid"]
    deadline = time.monotonic() + 60
    while Path(f"/proc/{pid}").exists() and "State:\tZ" not in Path(f"/proc/{pid}/status").read_text():
        assert time.monotonic() < deadline, (cloud.folder / "vm" / "cars-1" / "home" / "log.txt").read_text()
        time.sleep(0.05)
    return cloud.status()


def test_a_run_on_the_vm(real_cloud: Cloud) -> None:
    assert on_a_vm(real_cloud, "echo three >champion.h5")["state"] == "done" and not real_cloud.vms()
    assert {path.name for path in real_cloud.file("run").rglob("*")} == {"checkpoint", "000001.ckpt", "metrics.jsonl",
                                                                         "champion.h5"}
    home = real_cloud.folder / "vm" / "cars-1" / "home"
    lines = (real_cloud.folder / "docker").read_text().splitlines()
    assert lines[:2] == ["gcloud auth configure-docker europe-docker.pkg.dev --quiet", f"docker pull {IMAGE}"]
    assert f"--volume {home}/run:{home}/run" in lines[2]
    assert lines[2].endswith(f"{IMAGE} bash /opt/wm_mpi/jobs/gce_train.bash --env toy --preset smoke")
    assert not real_cloud.file("source.tar.gz").exists()


def test_a_run_that_fails_on_the_vm(real_cloud: Cloud) -> None:
    status = on_a_vm(real_cloud, "echo error: no road; exit 69")
    assert (status["state"], status["exit"]) == ("failed", "69") and not real_cloud.vms()
    assert "error: no road" in real_cloud.file("log/cars-1.txt").read_text()
    assert real_cloud.file("run/metrics.jsonl").exists()


@pytest.mark.slow
def test_a_vm_saves_as_it_goes_and_stops_before_its_time_is_over(real_cloud: Cloud) -> None:
    """Old checkpoints leave the bucket when new ones are there; files that are being written stay at home."""
    real_cloud.file("").mkdir(parents=True)
    real_cloud.file("status").write_text("state=preempted vm=cars-0 attempt=0 job=0 exit=75 used_seconds=6000\n")
    checkpoints = real_cloud.file("run/checkpoint")
    status = on_a_vm(real_cloud, f"""
        echo half >.wm_mpi-1.tmp; echo >lock
        until [ -f {checkpoints}/000001.ckpt ]; do /bin/sleep 0.1; done
        echo two >checkpoint/000002.ckpt; rm checkpoint/000001.ckpt
        until [ -f {checkpoints}/000002.ckpt ] && [ ! -f {checkpoints}/000001.ckpt ]; do /bin/sleep 0.1; done
        echo yes >seen
        while :; do /bin/sleep 0.1; done""", "--sync", "60", **failing("storage rsync", times=1))
    assert "training goes on" in real_cloud.file("log/cars-1.txt").read_text()
    assert status["state"] == "limit" and not real_cloud.vms()
    assert 7200 - 300 <= int(status["used_seconds"]) <= 7200
    assert {path.name for path in real_cloud.file("run").rglob("*.*")} == {"000002.ckpt", "metrics.jsonl"}
    assert real_cloud.file("run/seen").exists() and real_cloud.file("run/last_words").read_text() == "checkpointed\n"


@pytest.mark.parametrize("times,state,left", [(3, "done", []), (999, "running", ["cars-1"])])
def test_a_bucket_that_takes_no_results(times: int, state: str, left: list[str], real_cloud: Cloud) -> None:
    """For a while: saved all the same. For good: the VM is off, with its disk, and the launcher says so."""
    assert on_a_vm(real_cloud, "echo three >champion.h5", **failing("storage rsync", times=times))["state"] == state
    assert real_cloud.vms() == left and real_cloud.file("run/champion.h5").exists() == (not left)
    ended = real_cloud.launch("--container", IMAGE, *TOY)
    assert ended.returncode == (1 if left else 0) and ("results on its disk" in ended.stderr) == bool(left)
    assert real_cloud.vms() == left


def test_a_vm_that_may_not_write_does_not_train(real_cloud: Cloud) -> None:
    assert on_a_vm(real_cloud, "exit 1", **failing("storage cp status", "HTTPError 403", times=999))["state"] == "creating"
    assert not (real_cloud.folder / "docker").exists()
    ended = real_cloud.launch("--container", IMAGE, *TOY)
    assert ended.returncode == 1 and "HTTPError 403" in ended.stdout and not real_cloud.vms()
    assert "grant it roles/storage.objectUser" in ended.stderr


def test_a_vm_that_may_not_delete_itself_is_off_until_the_launcher_comes(real_cloud: Cloud) -> None:
    assert on_a_vm(real_cloud, "exit 0", **failing("instances delete", "permission denied"))["state"] == "done"
    assert real_cloud.vms() == ["cars-1"]
    assert real_cloud.launch("--container", IMAGE, *TOY).returncode == 0 and not real_cloud.vms()


def test_a_bucket_with_metrics_but_no_checkpoint(real_cloud: Cloud, tmp_path: Path) -> None:
    """What a VM leaves that went between its first two uploads: the journal alone is good to begin with."""
    succeed("es", *TOY[1:], "--out", tmp_path / "run")
    shutil.copytree(tmp_path / "run", real_cloud.file("run"), ignore=shutil.ignore_patterns("checkpoint"))
    restored = tmp_path / "restored"
    look = f"grep -x two metrics.jsonl && rm -r metrics.jsonl checkpoint && cp -r . {restored}"
    assert on_a_vm(real_cloud, look)["state"] == "done"
    succeed("es", *TOY[1:], "--out", restored)
    assert (restored / "champion.h5").read_bytes() == (tmp_path / "run" / "champion.h5").read_bytes()


# --- the jobs on the machines -----------------------------------------------------------------------------------------
@pytest.mark.slow
def test_training_on_one_machine(pipeline: Path, tmp_path: Path) -> None:
    """Real frames, V and M; started again it has nothing to do."""
    env = {"WORLD": str(pipeline / "world"), "OUT": str(tmp_path / "run"), "EVAL_EPISODES": "2", "RANKS": "2"}
    arguments = ("--preset", "smoke", "--max-frames", "20")
    done = job("gce_train.bash", *arguments, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.index("== 1/3 doctor") < done.stdout.index("== 2/3 train C") < done.stdout.index("== 3/3 evaluate")
    verdict = (tmp_path / "run" / "evaluation.json").read_text()
    assert len(json.loads(verdict)["returns"]) == 2
    again = job("gce_train.bash", *arguments, env=env | {"DOCTOR": "no"})
    assert again.returncode == 0 and "judged already" in again.stdout
    assert (tmp_path / "run" / "evaluation.json").read_text() == verdict


@pytest.mark.slow
def test_training_stops_when_asked_and_goes_on(tmp_path: Path) -> None:
    env = {**ENVIRONMENT, "OUT": str(tmp_path / "run"), "RANKS": "2", "DOCTOR": "no"}
    command = ["bash", str(ROOT / "jobs" / "gce_train.bash"), *LONG[1:]]
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.monotonic() + 60
    while not (tmp_path / "run" / "metrics.jsonl").exists():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    began = time.monotonic()
    os.kill(process.pid, signal.SIGTERM)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 75 and "run the same command again" in said, said
    assert time.monotonic() - began < 20 and not (tmp_path / "run" / "evaluation.json").exists()
    again = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert again.returncode == 0 and "resuming" in again.stdout, again.stdout + again.stderr
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 300


def test_a_stage_that_fails_ends_the_job(tmp_path: Path) -> None:
    failed = job("gce_train.bash", "--env", "toy", "--wings",
                 env={"OUT": str(tmp_path / "run"), "RANKS": "2", "DOCTOR": "no"})
    assert failed.returncode == 2 and "train C" in failed.stdout and "evaluate" not in failed.stdout


@pytest.mark.slow
def test_gpu_jobs(pipeline: Path, tmp_path: Path) -> None:
    """V is there already, and stays; latents, M and world are made; bad input is refused."""
    env = {"DATA": str(pipeline / "frames"), "OUT": str(tmp_path / "gpu"), "PRESET": "smoke", "CUDA_VISIBLE_DEVICES": ""}
    refused = job("gpu_jobs.bash", env=env | {"DATA": str(tmp_path)})
    assert refused.returncode == 2 and "has no frames.h5" in refused.stderr
    shutil.copytree(pipeline / "vae", tmp_path / "gpu" / "vae")
    done = job("gpu_jobs.bash", env=env, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "V and M train with tensorflow on cpu" in done.stdout and "warning: no GPU is seen" in done.stderr
    for name in ("vae/weights.h5", "latents/latents.h5", "rnn/weights.h5", "world/policy.onnx"):
        assert (tmp_path / "gpu" / name).read_bytes() == (pipeline / name).read_bytes(), f"{name} is not as by hand"
