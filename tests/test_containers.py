"""Containers as text: the Dockerfile, compose.yaml and the Kubernetes manifests. tests/docker/run.bash runs the image."""

import ast
import os
import re
import runpy
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from conftest import ROOT

from wm_mpi.core import config
from wm_mpi.core.cli import parse
from wm_mpi.core.errors import UserError

KUBERNETES = ROOT / "jobs" / "kubernetes"
MANIFESTS = sorted(KUBERNETES.glob("*.yaml"))
CRD = ROOT.parent / "shared" / "reference" / "mpi-operator" / "kubeflow.org_mpijobs.yaml"
LAUNCHERS = (["bash", "jobs/mpirun.bash", "-np"], ["bash", "jobs/kubernetes/launch.bash"])
INPUTS = ("data", "vae", "rnn", "world", "run")
dockerfile = runpy.run_path(str(ROOT / "tests" / "docker" / "dockerfile.py"))


# --- commands in them ---

@dataclass(frozen=True)
class Step:
    """A command of ours as some file runs it."""

    where: str
    module: str
    options: config.Command | None
    """None for a command that is planned."""

    def inputs(self) -> set[str]:
        return {value for name in INPUTS if (value := getattr(self.options, name, None))}


def config_class(module: str) -> type[config.Command] | None:
    """What ``python -m wm_mpi.module`` parses its flags with; None if it is planned and not there yet."""
    source = ROOT / "wm_mpi" / f"{module}.py"
    if not source.exists():
        design = (ROOT / "docs" / "design.md").read_text()
        assert re.search(rf"^ +python -m wm_mpi\.{module} .*planned$", design, re.MULTILINE), \
            f"there is no command wm_mpi.{module}, nor is one planned"
        return None
    calls = (node for node in ast.walk(ast.parse(source.read_text())) if isinstance(node, ast.Call))
    name = next(call.args[1].id for call in calls  # type: ignore[attr-defined]
                if isinstance(call.func, ast.Name) and call.func.id == "run_command")
    return getattr(config, name)


def step(where: str, argv: list[str]) -> Step:
    """Read a container's command as the command itself would: a flag that it does not know ends the test."""
    assert all(isinstance(word, str) for word in argv), f"{where}: {argv}"
    at = argv.index("python")
    before = argv[:at]
    launcher = next((each for each in LAUNCHERS if before[:len(each)] == each), None)
    assert not before or launcher, f"{where}: {before} is no way to start a command"
    if launcher:
        assert launcher[1] in in_image(), f"{where}: the image has no {launcher[1]}"
        assert all(word.isdigit() for word in before[len(launcher):]), f"{where}: {before}"
    assert argv[at + 1] == "-m" and argv[at + 2].startswith("wm_mpi."), f"{where}: {argv}"
    module = argv[at + 2].removeprefix("wm_mpi.")
    parser = config_class(module)
    return Step(where, module, None if parser is None else parse(parser, module, argv[at + 3:]))


def check_chain(steps: list[Step], below: str) -> None:
    """Each step reads what an earlier one has written, and all of it lies in the volume."""
    made: set[str] = set()
    for each in steps:
        if each.options is None:
            continue
        assert each.inputs() <= made, f"{each.where} reads {each.inputs() - made}, which nothing has made"
        made |= {getattr(each.options, "out", None) or ""} - {""}  # report writes beside its run unless told
    assert made and all(path.startswith(f"{below}/") for path in made)


def test_a_wrong_flag_is_caught() -> None:
    with pytest.raises(UserError, match="unrecognized options: --genrations, 3"):
        step("here", ["python", "-m", "wm_mpi.es", "--out", "/runs/x", "--genrations", "3"])
    with pytest.raises(AssertionError, match="no way to start"):
        step("here", ["mpirun", "python", "-m", "wm_mpi.es", "--out", "/runs/x"])
    with pytest.raises(AssertionError, match="no command wm_mpi.ess"):
        step("here", ["python", "-m", "wm_mpi.ess", "--out", "/runs/x"])


def test_an_input_that_nothing_made_is_caught() -> None:
    steps = [step("one", ["python", "-m", "wm_mpi.collect", "--out", "/runs/frames"]),
             step("two", ["python", "-m", "wm_mpi.train_vae", "--data", "/runs/farmes", "--out", "/runs/vae"])]
    with pytest.raises(AssertionError, match="farmes"):
        check_chain(steps, "/runs")


# --- Dockerfile ---

def in_image() -> set[str]:
    """The context's files that the Dockerfile copies."""
    files = [str(path) for path in dockerfile["kept"](ROOT)]
    sources = [source for each in dockerfile["parse"]((ROOT / "Dockerfile").read_text()) if each.name == "COPY"
               for source in each.argument.split()[:-1]]
    for source in sources:
        assert any(path == source or path.startswith(f"{source}/") for path in files), f"COPY {source} finds nothing"
    return {path for path in files if any(path == source or path.startswith(f"{source}/") for source in sources)}


@pytest.mark.slow
def test_the_image_has_the_package_and_the_jobs_and_no_litter() -> None:
    files = in_image()
    assert {"setup.py", "constraints.txt", "wm_mpi/es.py", "jobs/mpirun.bash", "jobs/kubernetes/launch.bash"} <= files
    assert not [path for path in files if "__pycache__" in path or path.startswith(("runs", ".git", "tests", ".venv"))]


def test_the_dockerfile_ends_as_an_ordinary_user() -> None:
    steps = dockerfile["parse"]((ROOT / "Dockerfile").read_text())
    assert [each.argument for each in steps if each.name == "USER"] == ["mpiuser"]
    assert any(each.name == "RUN" and "--uid 1000" in each.argument and "mpiuser" in each.argument for each in steps)
    assert {each.argument.split("=")[0] for each in steps if each.name == "ARG"} == {"EXTRAS", "GPU", "CPU"}


@pytest.mark.parametrize("text,expected", [
    ("$A-${A}", "1-1"), ("${NONE:-x}${A:-x}", "x1"), ("${A:+yes}${NONE:+yes}", "yes"), ("a$NONE.b", "a.b")])
def test_the_interpreter_expands_as_docker_does(text: str, expected: str) -> None:
    assert dockerfile["expand"](text, {"A": "1"}) == expected


def test_the_interpreter_keeps_what_dockerignore_keeps(tmp_path: Path) -> None:
    for name in ("a.py", "b.txt", "pkg/c.py", "pkg/__pycache__/c.pyc", "runs/x", "pkg/runs/y"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for rules, expected in (("*\n!pkg\n**/__pycache__\n", {"pkg/c.py", "pkg/runs/y"}),
                            ("# all but\nruns\n*.txt\n", {"a.py", "pkg/c.py", "pkg/__pycache__/c.pyc", "pkg/runs/y"})):
        (tmp_path / ".dockerignore").write_text(rules)
        assert {str(path) for path in dockerfile["kept"](tmp_path)} - {".dockerignore"} == expected


@pytest.mark.parametrize("text", ["RUN x\n", "FROM a\nADD x y\n", "FROM a\nRUN <<END\nls\nEND\n", "FROM a\nFROM b\n"])
def test_the_interpreter_refuses_what_it_does_not_know(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        dockerfile["parse"](text)
    assert refused.value.code == 2 and capsys.readouterr().err.startswith("error: ")


def test_the_interpreter_joins_lines() -> None:
    steps = dockerfile["parse"]("# c\nFROM a\nRUN one \\\n# between\n  && two\n\nCMD [\"x\"]\n")
    assert [(each.line, each.name, " ".join(each.argument.split())) for each in steps] == [
        (2, "FROM", "a"), (3, "RUN", "one && two"), (7, "CMD", '["x"]')]


# --- Kubernetes ---

def strict(schema: Any) -> Any:
    """An OpenAPI v3 schema of a CRD as a JSON schema that refuses what an API server would silently drop."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    known = {name: ({each: strict(value) for each, value in inner.items()} if name == "properties" else strict(inner))
             for name, inner in schema.items() if not name.startswith("x-kubernetes-")}
    if schema.get("x-kubernetes-int-or-string"):
        known["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    if "properties" in known and not schema.get("x-kubernetes-preserve-unknown-fields"):
        known.setdefault("additionalProperties", False)
    return known


@pytest.fixture(scope="module")
def crd() -> Any:
    if not CRD.exists():
        pytest.skip(f"no schema of the MPI operator: put its kubeflow.org_mpijobs.yaml at {CRD}")
    versions = yaml.safe_load(CRD.read_text())["spec"]["versions"]
    return strict(next(each for each in versions if each["name"] == "v2beta1")["schema"]["openAPIV3Schema"])


def documents() -> Iterator[tuple[str, Any]]:
    for path in MANIFESTS:
        for document in yaml.safe_load_all(path.read_text()):
            yield f"{path.name}: {document['kind']}", document


def of_kind(kind: str) -> Any:
    found = [document for _, document in documents() if document["kind"] == kind]
    assert len(found) == 1
    return found[0]


def pods(document: Any) -> dict[str, Any]:
    """Pod specifications by role."""
    if document["kind"] == "MPIJob":
        return {role: each["template"]["spec"] for role, each in document["spec"]["mpiReplicaSpecs"].items()}
    return {"Job": document["spec"]["template"]["spec"]} if document["kind"] == "Job" else {}


def all_pods() -> list[tuple[str, Any]]:
    return [(f"{where} {role}", pod) for where, document in documents() for role, pod in pods(document).items()]


def containers(pod: Any) -> list[Any]:
    return [*pod.get("initContainers", []), *pod["containers"]]


def test_the_manifests_are_these() -> None:
    assert sorted(document["kind"] for _, document in documents()) == ["Job", "MPIJob", "PersistentVolumeClaim"]


def test_the_mpijob_is_what_the_operator_knows(crd: Any) -> None:
    jsonschema.validate(of_kind("MPIJob"), crd)


@pytest.mark.parametrize("path,value,complaint", [
    ("spec/slotsPerWorkers", 8, "slotsPerWorkers"),
    ("spec/slotsPerWorker", "8", "'8' is not of type 'integer'"),
    ("spec/mpiImplementation", "OpenMpi", "is not one of"),
    ("spec/runPolicy/podFailurePolicy", {}, "podFailurePolicy"),
    ("spec/mpiReplicaSpecs/Worker/template/spec/terminationGracePeriod", 3, "terminationGracePeriod"),
    ("spec/mpiReplicaSpecs/Worker/template/spec/containers/0/resources/limits/memory", "5 gigabytes", "does not match"),
    ("spec/mpiReplicaSpecs/Worker/template/spec/containers/0/securityContext/capabilities/dropped", ["ALL"], "dropped"),
])
def test_a_slip_in_the_mpijob_is_caught(crd: Any, path: str, value: Any, complaint: str) -> None:
    document = yaml.safe_load(yaml.safe_dump(of_kind("MPIJob")))  # without what its anchors share
    *folders, name = path.split("/")
    place = document
    for folder in folders:
        place = place[int(folder) if folder.isdigit() else folder]
    place[name] = value
    with pytest.raises(jsonschema.ValidationError, match=re.escape(complaint)):
        jsonschema.validate(document, crd)


def test_the_pod_of_the_job_is_what_kubernetes_knows(crd: Any) -> None:
    replicas = crd["properties"]["spec"]["properties"]["mpiReplicaSpecs"]["additionalProperties"]
    jsonschema.validate(of_kind("Job")["spec"]["template"], replicas["properties"]["template"])
    assert set(of_kind("Job")["spec"]) == {"backoffLimit", "podFailurePolicy", "podReplacementPolicy", "template"}


@pytest.mark.parametrize("where,pod", all_pods(), ids=lambda value: value if isinstance(value, str) else "")
def test_pods_keep_to_the_restricted_policy(where: str, pod: Any) -> None:
    context = pod["securityContext"]
    assert context["runAsNonRoot"] is True and context["runAsUser"] == context["runAsGroup"] == context["fsGroup"] == 1000
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False and not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    for each in containers(pod):
        assert each["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


@pytest.mark.parametrize("where,pod", all_pods(), ids=lambda value: value if isinstance(value, str) else "")
def test_pods_say_what_they_take_and_name_what_there_is(where: str, pod: Any) -> None:
    claims = {document["metadata"]["name"] for _, document in documents() if document["kind"] == "PersistentVolumeClaim"}
    volumes = {each["name"]: each for each in pod["volumes"]}
    assert volumes["runs"]["persistentVolumeClaim"]["claimName"] in claims
    runs = {"name": "runs", "mountPath": "/runs"} | ({"readOnly": True} if where.endswith("Worker") else {})
    for each in containers(pod):
        assert runs in each["volumeMounts"] and {mount["name"] for mount in each["volumeMounts"]} <= set(volumes)
        requests, limits = each["resources"]["requests"], each["resources"]["limits"]
        assert requests["cpu"] and requests["memory"] == limits["memory"]
        assert requests.get("nvidia.com/gpu") == limits.get("nvidia.com/gpu")
        assert each["image"] == "registry.example.com/wm_mpi:" + ("gpu" if where.startswith("train.yaml") else "latest")


@pytest.mark.slow
def test_the_job_makes_a_world_and_the_mpijob_a_champion_in_it() -> None:
    inside = containers(pods(of_kind("Job"))["Job"])
    training = [step(each["name"], each["command"]) for each in inside]
    launcher = pods(of_kind("MPIJob"))["Launcher"]["containers"][0]
    check_chain([*training, step("launcher", launcher["command"])], "/runs")
    assert [each.module for each in training] == ["collect", "train_vae", "encode", "train_rnn", "freeze"]
    with_gpu = [each["name"] for each in inside if "nvidia.com/gpu" in each["resources"]["limits"]]
    assert with_gpu == ["train-vae", "encode", "train-rnn"]


@pytest.mark.parametrize("status,action", [(2, "FailJob"), (69, "Ignore"), (75, "Ignore"), (1, "Count"), (137, "Count")])
def test_what_the_job_makes_of_an_exit_status(status: int, action: str) -> None:
    job = of_kind("Job")["spec"]
    assert job["template"]["spec"]["restartPolicy"] == "Never"  # podFailurePolicy asks for it
    assert job["podReplacementPolicy"] == "Failed" and job["backoffLimit"] > 0
    rules = job["podFailurePolicy"]["rules"]
    assert rules[0] == {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}
    codes = (rule for rule in rules if "onExitCodes" in rule)
    assert next((rule["action"] for rule in codes if rule["onExitCodes"]["operator"] == "In"
                 and status in rule["onExitCodes"]["values"]), "Count") == action


def test_the_mpijob_goes_on_when_something_goes() -> None:
    spec = of_kind("MPIJob")["spec"]
    launcher, worker = spec["mpiReplicaSpecs"]["Launcher"], spec["mpiReplicaSpecs"]["Worker"]
    assert spec["runPolicy"]["backoffLimit"] > 0 and launcher["replicas"] == 1 < worker["replicas"]
    assert (launcher["restartPolicy"], worker["restartPolicy"]) == ("Never", "OnFailure")
    assert spec["launcherCreationPolicy"] == "WaitForWorkersReady" and spec["runLauncherAsWorker"] is False
    assert launcher["template"]["spec"]["terminationGracePeriodSeconds"] >= 30
    assert spec["slotsPerWorker"] == worker["template"]["spec"]["containers"][0]["resources"]["requests"]["cpu"]


def test_workers_run_the_images_sshd() -> None:
    spec = of_kind("MPIJob")["spec"]
    worker = pods(of_kind("MPIJob"))["Worker"]["containers"][0]
    assert worker["command"] == ["/usr/sbin/sshd", "-D", "-e", "-f", "/home/mpiuser/.sshd_config"]
    assert worker["ports"] == [{"name": "ssh", "containerPort": 2222}]
    assert worker["readinessProbe"]["tcpSocket"]["port"] == "ssh"
    text = (ROOT / "Dockerfile").read_text()
    for piece in (f'"HostKey {spec["sshAuthMountPath"]}/id_rsa"', '"Port 2222"', "> /home/mpiuser/.sshd_config"):
        assert piece in text


def test_the_readme_names_the_files() -> None:
    text = (KUBERNETES / "README.md").read_text()
    assert all(path.name in text for path in KUBERNETES.iterdir() if path.name != "README.md")


# --- the launcher pod's script; with real pods in tests/docker/run.bash ---

@pytest.fixture
def launcher(tmp_path: Path) -> Any:
    """Runs launch.bash with an ssh that reaches the pods named, and an mpirun that ends with these statuses in turn."""
    (tmp_path / "hostfile").write_text("worker-0.es slots=8\nworker-1.es slots=8\n")

    def launch(answer: str, *statuses: int, wait: int = 1) -> tuple[int, str, list[str]]:
        (tmp_path / "ssh").write_text(f'#!/bin/bash\n[[ " {answer} " == *" ${{*: -2:1}} "* ]]\n')
        (tmp_path / "statuses").write_text("".join(f"{status}\n" for status in statuses))
        (tmp_path / "mpirun").write_text(f"""#!/bin/bash
[ "$1" != --version ] || exec echo "mpirun (Open MPI) 5.0.11"
cd {tmp_path}
echo "$@" >>calls
while [ $# -gt 0 ]; do [ "$1" != --hostfile ] || cat "$2" >>hostfiles; shift; done
status="$(head -n 1 statuses)"
sed -i 1d statuses
exit "${{status:-0}}"
""")
        for name in ("ssh", "mpirun"):
            (tmp_path / name).chmod(0o755)
        env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "WM_HOSTFILE": str(tmp_path / "hostfile"),
               "WM_WAIT": str(wait)}
        done = subprocess.run(["bash", KUBERNETES / "launch.bash", "python", "-m", "wm_mpi.es", "--out", "x"], env=env,
                              capture_output=True, text=True, timeout=60, check=False)
        calls = tmp_path / "calls"
        return done.returncode, done.stderr, calls.read_text().splitlines() if calls.exists() else []

    launch.hostfiles = tmp_path / "hostfiles"  # type: ignore[attr-defined]
    return launch


def test_the_launcher_takes_all_worker_pods(launcher: Any) -> None:
    status, said, calls = launcher("worker-0.es worker-1.es", 0)
    assert status == 0 and "2 of 2 worker pods" in said and len(calls) == 1
    assert "-np 17 python -m wm_mpi.es --out x" in calls[0]
    assert launcher.hostfiles.read_text() == "localhost slots=1\nworker-0.es slots=8\nworker-1.es slots=8\n"


def test_the_launcher_goes_on_without_a_lost_pod(launcher: Any) -> None:
    status, said, calls = launcher("worker-1.es", 255, 75, 69, 0)
    assert status == 0 and "1 of 2 worker pods" in said and len(calls) == 4 and all("-np 9 " in call for call in calls)


@pytest.mark.parametrize("status", [0, 1, 2, 130])
def test_the_launcher_ends_with_what_no_other_start_would_change(launcher: Any, status: int) -> None:
    assert launcher("worker-0.es worker-1.es", status, 0)[0] == status


def test_the_launcher_gives_up_on_what_always_fails(launcher: Any) -> None:
    status, said, calls = launcher("worker-0.es worker-1.es", *[255] * 9)
    assert status == 255 and len(calls) == 5 and "five times running" in said


def test_the_launcher_gives_up_where_no_pod_answers(launcher: Any) -> None:
    status, said, calls = launcher("nobody", wait=0)
    assert status == 69 and not calls and "none of the 2 worker pods" in said


# --- compose.yaml ---

def interpolated(value: Any, variables: dict[str, str]) -> Any:
    """${NAME:-default} replaced, as Compose does before it reads the file."""
    if isinstance(value, dict):
        return {name: interpolated(each, variables) for name, each in value.items()}
    if isinstance(value, list):
        return [interpolated(each, variables) for each in value]
    return dockerfile["expand"](value, variables) if isinstance(value, str) else value


def compose(**variables: str) -> Any:
    return interpolated(yaml.safe_load((ROOT / "compose.yaml").read_text()), variables)


@pytest.mark.slow
@pytest.mark.parametrize("variables,preset,ranks", [
    ({}, "laptop", "3"), ({"PRESET": "smoke", "RANKS": "65"}, "smoke", "65")])
def test_compose_goes_from_frames_to_a_champion(variables: dict[str, str], preset: str, ranks: str) -> None:
    services = compose(**variables)["services"]
    steps = {name: step(name, service["command"]) for name, service in services.items()}
    check_chain(list(steps.values()), "/runs")
    assert {name: each.module for name, each in steps.items()} == {name: name for name in services}
    for name, each in steps.items():
        assert each.options is None or each.options.preset == preset
        assert services[name]["command"][:4] == ["bash", "jobs/mpirun.bash", "-np", ranks] or name not in ("collect", "es")
    order = ["collect", "train_vae", "encode", "train_rnn", "freeze", "es"]
    for before, after in zip(order, order[1:], strict=False):
        assert services[after]["depends_on"] == {before: {"condition": "service_completed_successfully"}}


def test_compose_services_are_ordinary_users_that_stop_in_order() -> None:
    document = compose()
    assert set(document["volumes"]) == {"runs"}
    for name, service in document["services"].items():
        assert service["user"] == "1000:1000" and service["init"] is True and service["cap_drop"] == ["ALL"], name
        assert service["volumes"] == ["runs:/runs"] and service["stop_grace_period"] == "1m" and service["shm_size"], name
        assert service["build"]["args"] == {"EXTRAS": "mpi,train", "GPU": "0"} and service["network_mode"] == "none", name
        assert re.fullmatch(r"on-failure:\d+", service["restart"]) or service["profiles"] == ["report"], name
    assert [name for name, service in document["services"].items() if "profiles" in service] == ["report"]


# --- the image itself ---

def test_the_image_test_says_why_it_cannot_run() -> None:
    """Without root; as root it would build the image."""
    script = ROOT / "tests" / "docker" / "run.bash"
    usage = subprocess.run(["bash", script, "--help"], capture_output=True, text=True, check=False)
    assert usage.returncode == 2 and "about" in usage.stdout
    nobody = ["setpriv", "--reuid=65534", "--clear-groups"] if os.getuid() == 0 else []
    with tempfile.TemporaryDirectory() as place:  # nobody may not read a clone in /root
        os.chmod(place, 0o755)
        copy = Path(place) / "tests" / "docker" / "run.bash"
        copy.parent.mkdir(parents=True)
        shutil.copyfile(script, copy)
        done = subprocess.run([*nobody, "bash", str(copy)], capture_output=True, text=True, check=False)
    assert done.returncode == 77 and done.stderr.startswith("skipped: not root"), done.stderr


def test_the_interpreter_shows_the_steps() -> None:
    done = subprocess.run([sys.executable, ROOT / "tests" / "docker" / "dockerfile.py", "show"], capture_output=True,
                          text=True, check=True)
    assert "FROM     python:3.11-slim-bookworm" in done.stdout and done.stdout.splitlines()[-1].split()[1] == "CMD"
