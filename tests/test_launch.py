"""wm-mpi and wm-mpi launch: names, flags for each MPI, signals, terminals and exit statuses."""

import contextlib
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ENVIRONMENT, ROOT, metrics, wm
from striking import Job, heed

from wm_mpi.__main__ import RANKED
from wm_mpi.core.errors import UserError
from wm_mpi.core.launch import command_line, survives

WM = (sys.executable, "-m", "wm_mpi")
ENDLESS = ("--env", "toy", "--preset", "smoke", "--popsize", 16, "--generations", 1_000_000)
OPEN_MPI_5, OPEN_MPI_4, MPICH = "mpirun (Open MPI) 5.0.11", "mpirun (Open MPI) 4.1.4", "HYDRA build details: MPICH"
CORES = len(os.sched_getaffinity(0))


def mpirun_of(version: str, folder: Path, action: str = 'printf "%s\\n" "$@"') -> Path:
    """A launcher that says this version, and otherwise does ``action``, by default show its arguments."""
    program = folder / "mpirun"
    program.write_text(f'#!/bin/bash\n[ "$1" != --version ] || exec echo "{version}"\n{action}\n')
    program.chmod(0o755)
    return program


def line(version: str, folder: Path, *arguments: str, **environment: str) -> list[str]:
    """What is started, without the launcher's own name."""
    environment |= {"WM_MPIRUN": str(mpirun_of(version, folder)), "OMP_NUM_THREADS": "1", "PATH": ENVIRONMENT["PATH"]}
    return command_line(arguments, RANKED, environment)[1:]


def launched(*arguments: str, env: dict[str, str] | None = None, program: tuple[str, ...] = (*WM, "launch"),
             ) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*program, *arguments], capture_output=True, text=True, env={**ENVIRONMENT, **(env or {})},
                          cwd=ROOT, check=False, timeout=60)


@pytest.mark.parametrize("version,expected", [
    (OPEN_MPI_5, ["--oversubscribe", "--bind-to", "none", "-x", "OMP_NUM_THREADS", "-x", "PATH", "--with-ft", "ulfm",
                  "--prtemca", "oob_tcp_keepalive_time", "0"]),
    (OPEN_MPI_4, ["--oversubscribe", "--bind-to", "none", "-x", "OMP_NUM_THREADS", "-x", "PATH"]),
    ("mpirun (Open MPI) 5.0.10", ["--oversubscribe", "--bind-to", "none", "-x", "OMP_NUM_THREADS", "-x", "PATH"]),
    (MPICH, ["-bind-to", "none"]), ("Intel(R) MPI Library", []), ("slurm 23.02", [])])
def test_flags_of_each_mpi(version: str, expected: list[str], tmp_path: Path) -> None:
    started = line(version, tmp_path, "-np", "3", "es", "--out", "x", WM_MPI_FLAGS="--mca a b")
    flags = list(expected)
    if "-x" in flags:
        flags[3:3] = ["-x", "WM_MPI_FLAGS", "-x", "WM_MPIRUN"]
    assert started == [*flags, "--mca", "a", "b", "-np", "3", sys.executable, "-m", "wm_mpi.es", "--out", "x"]


def test_settings_are_exported_and_root_may(tmp_path: Path) -> None:
    environment = {"WM_MPIRUN": str(mpirun_of(OPEN_MPI_5, tmp_path)), "KERAS_BACKEND": "jax", "MKL_NUM_THREADS": "1",
                   "HOME": "x"}
    started = command_line(["-np", "3", "es"], RANKED, environment)
    exported = {after for before, after in zip(started, started[1:], strict=False) if before == "-x"}
    assert exported == {"WM_MPIRUN", "KERAS_BACKEND", "MKL_NUM_THREADS"}
    assert (environment.get("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM") == "1") is (os.geteuid() == 0)


@pytest.mark.parametrize("arguments,program", [
    (("-np", "3", "es", "--out", "es"), [sys.executable, "-m", "wm_mpi.es", "--out", "es"]),
    (("--hostfile", "collect", "-np", "3", "evaluate"), ["python", "-m", "wm_mpi.evaluate"]),
    (("--mca", "es", "watch", "-np", "3", "collect"), [sys.executable, "-m", "wm_mpi.collect"]),
    (("--unheard-of", "value", "-np", "3", "doctor"), [sys.executable, "-m", "wm_mpi.doctor"]),
    (("-np", "3", "python", "-m", "wm_mpi.es"), ["python", "-m", "wm_mpi.es"]),
    (("-np", "3", "./mine", "es"), ["./mine", "es"])], ids=str)
def test_the_name_of_a_command_is_replaced(arguments: tuple[str, ...], program: list[str], tmp_path: Path,
                                           monkeypatch: pytest.MonkeyPatch) -> None:
    """On other hosts it is the python that the exported PATH names."""
    monkeypatch.setenv("PATH", ENVIRONMENT["PATH"])
    assert line(MPICH, tmp_path, *arguments)[-len(program):] == program


@pytest.mark.parametrize("arguments,env,expected", [
    (("es",), {}, True), (("-np", "2", "es"), {}, False), (("-n", "2", "es"), {}, False), (("es", "-np", "2"), {}, True),
    (("--hostfile", "f", "es"), {}, False), (("es",), {"SLURM_JOB_ID": "1"}, False),
    (("--map-by", "ppr:2:node", "es"), {}, False)])
def test_a_rank_for_each_core_and_rank_0(arguments: tuple[str, ...], env: dict[str, str], expected: bool, tmp_path: Path,
                                         capsys: pytest.CaptureFixture[str]) -> None:
    started = line(MPICH, tmp_path, *arguments, **env)
    assert (started[2:4] == ["-np", str(CORES + 1)]) is expected
    assert (f"{CORES + 1} ranks: " in capsys.readouterr().err) is expected


@pytest.mark.parametrize("arguments,text", [
    (("-np", "3", "evaluat", "--run", "x"), "did you mean evaluate?"), (("-np", "3"), "nothing to start"),
    (("-np", "3", "watch", "--run", "x"), "watch runs in one process: wm-mpi watch")])
def test_what_cannot_be_started_is_one_sentence(arguments: tuple[str, ...], text: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=text.replace("?", r"\?")):
        line(MPICH, tmp_path, *arguments)
    done = launched(*arguments)
    assert done.returncode == 2 and text in done.stderr and len(done.stderr.splitlines()) == 1


def test_without_an_mpi() -> None:
    done = launched("-np", "2", "es", env={"WM_MPIRUN": "no-such-mpirun"})
    assert done.returncode == 2 and done.stderr.startswith("error: no no-such-mpirun on the PATH: pip install")


@pytest.mark.parametrize("program", [(*WM, "launch"), ("bash", "jobs/mpirun.bash")], ids=["wm-mpi", "clone"])
def test_help_and_other_programs(program: tuple[str, ...]) -> None:
    assert "rank 0, which only waits" in launched("--help", program=program).stdout
    done = launched("-np", "2", "sh", "-c", "echo $OMPI_COMM_WORLD_SIZE", program=program)
    assert done.returncode == 0 and done.stdout.split() == ["2", "2"], done.stderr


@pytest.mark.parametrize("version,promised,kept", [
    ("5.0.11", "1", True), ("5.0.11rc1", "1", True), ("5.1.0", "true", True), ("6.0.0a1", "1", True), ("", "1", True),
    ("5.0.10", "1", False), ("5.0.8", "1", False), ("4.1.4", "1", False), ("5.0.11", "0", False), ("5.0.11", "", False)])
def test_a_promise_of_ulfm_counts_from_the_version_that_keeps_it(version: str, promised: str, kept: bool,
                                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    """5.0.8 to 5.0.10 promise it, also in ompi_info: no rank hears of a death, and the end takes 10 seconds."""
    monkeypatch.setenv("OMPI_MCA_mpi_ft_enable", promised)
    monkeypatch.setenv("OMPI_VERSION", version)
    assert survives() is kept


def test_what_a_killed_mpirun_has_left_is_in_nobody_s_way(tmp_path: Path) -> None:
    """Open MPI 5 refuses to start where /tmp/ompi.PID, of the process id that it happens to get, is there already."""
    places = [launched("-np", "1", "sh", "-c", "echo $PMIX_SERVER_TMPDIR", env={"TMPDIR": str(tmp_path)}).stdout.strip()
              for _ in range(2)]
    first, second = (Path(place).parent for place in places)
    assert first != second and first.parent == second.parent == tmp_path
    assert not list(tmp_path.iterdir()), "it leaves nothing behind itself"


def test_nothing_heavy_is_loaded() -> None:
    """Also not through the package itself, whatever the console command's file is called with."""
    code = ("import sys; sys.argv = ['/somewhere/wm-mpi', 'launch', '--help']\n"
            "import contextlib\nfrom wm_mpi.__main__ import console\nwith contextlib.suppress(SystemExit): console()\n"
            "print(sorted({'numpy', 'gymnasium', 'tyro', 'mpi4py'} & set(sys.modules)))")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=ENVIRONMENT, cwd=ROOT,
                          check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("action,status,said", [
    ('echo 69 >"$WM_MPI_STATUS_FILE"; exit 1', 69, ""), ("exit 7", 7, ""), ("kill -9 $$", 137, ""),
    ('echo playing >"$WM_MPI_STATUS_FILE"; exit 0', 75, "rank 0 ended before its work did (mpirun: 0)"),
    ("exit 142", 142, "did not come together")])
def test_rank_0s_word_counts(action: str, status: int, said: str, tmp_path: Path) -> None:
    done = launched("-np", "2", "es", env={"WM_MPIRUN": str(mpirun_of(OPEN_MPI_5, tmp_path, action))})
    assert done.returncode == status and said in done.stderr


class Terminal:
    """A command in the foreground of a terminal of its own."""

    def __init__(self, *arguments: object) -> None:
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            heed()
            os.chdir(ROOT)
            os.execvpe(str(arguments[0]), list(map(str, arguments)), ENVIRONMENT)
        self.said = b""

    def wait_for(self, path: Path, lines: int) -> None:
        until = time.monotonic() + 90
        while not path.exists() or path.read_bytes().count(b"\n") < lines:
            assert time.monotonic() < until, self.said
            time.sleep(0.05)

    def end(self) -> tuple[int, str]:
        with contextlib.suppress(OSError):  # how a terminal ends
            while part := os.read(self.terminal, 65536):
                self.said += part
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1]), self.said.decode()


@pytest.fixture
def at_a_terminal(tmp_path: Path) -> Iterator[tuple[Terminal, Path]]:
    """An endless run under ``launch``; every process of its session is gone in the end."""
    terminal = Terminal(*WM, "launch", "-np", 3, "es", *ENDLESS, "--out", tmp_path / "run", "--quiet")
    terminal.wait_for(tmp_path / "run" / "metrics.jsonl", 3)
    yield terminal, tmp_path / "run"
    left = [folder.name for folder in Path("/proc").glob("[0-9]*") if session(int(folder.name)) == terminal.pid]
    for pid in left:
        os.kill(int(pid), signal.SIGKILL)
    assert not left


def session(pid: int) -> int:
    with contextlib.suppress(OSError):
        return os.getsid(pid)
    return 0


def test_ctrl_c_at_a_terminal(at_a_terminal: tuple[Terminal, Path]) -> None:
    terminal, run = at_a_terminal
    os.write(terminal.terminal, b"\x03")
    status, said = terminal.end()
    assert status == 130 and "interrupted: run the same command again to continue" in said
    assert "SIGUSR1" not in said and "MPI_ABORT" not in said
    done = len(metrics(run))
    again = wm("es", *ENDLESS, "--generations", done + 1, "--out", run).stdout
    # It is the checkpoint that makes a generation final: the blow may have come before its line in the metrics.
    assert f"after generation {done}" in again or f"after generation {done + 1}" in again, again


def test_a_closed_terminal(at_a_terminal: tuple[Terminal, Path]) -> None:
    terminal, run = at_a_terminal
    os.close(terminal.terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(terminal.pid, 0)[1]) == 75
    assert len(metrics(run)) >= 3


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_ctrl_z_and_fg(at_a_terminal: tuple[Terminal, Path]) -> None:
    """The ranks stand still with it, not only the launcher."""
    terminal, run = at_a_terminal
    os.kill(terminal.pid, signal.SIGTSTP)
    until = time.monotonic() + 10
    while state(terminal.pid) != "T" or size_changes(run / "episodes.jsonl"):
        assert time.monotonic() < until
    os.kill(terminal.pid, signal.SIGCONT)
    terminal.wait_for(run / "metrics.jsonl", len(metrics(run)) + 2)
    os.kill(terminal.pid, signal.SIGTERM)
    assert terminal.end()[0] == 75


def size_changes(path: Path) -> bool:
    before = path.stat().st_size
    time.sleep(0.5)
    return path.stat().st_size != before


def test_nohup_outlives_its_terminal(tmp_path: Path) -> None:
    terminal = Terminal("sh", "-c", 'exec nohup "$@" >"$0"', tmp_path / "said", *WM, "launch", "-np", 2, "es", *ENDLESS,
                        "--out", tmp_path / "run")
    terminal.wait_for(tmp_path / "run" / "metrics.jsonl", 3)
    os.close(terminal.terminal)
    terminal.wait_for(tmp_path / "run" / "metrics.jsonl", len(metrics(tmp_path / "run")) + 10)
    os.kill(terminal.pid, signal.SIGTERM)
    assert os.waitstatus_to_exitcode(os.waitpid(terminal.pid, 0)[1]) == 75


@pytest.mark.parametrize("blow,status,said", [(signal.SIGINT, 130, "interrupted: "), (signal.SIGTERM, 75, "stopped")])
def test_a_signal_before_the_ranks_listen(blow: signal.Signals, status: int, said: str, tmp_path: Path) -> None:
    with Job("es", *ENDLESS, "--out", tmp_path / "run", ranks=3, launcher=(*WM, "launch")) as job:
        while not job.ranks():
            time.sleep(0.01)
        job.process.send_signal(blow)
        ended, text = job.end(timeout=30)
    assert ended == status and said in text and "run the same command again" in text, text


@pytest.mark.parametrize("target,blow", [("launcher", signal.SIGUSR1), ("rank 0", signal.SIGTERM)])
def test_plain_mpirun_stops_in_order(target: str, blow: signal.Signals, tmp_path: Path) -> None:
    """No MPI_Abort, whose banner would be all that one sees; that a status is not 0 mpirun says in any case."""
    with Job("es", *ENDLESS, "--out", tmp_path / "run", ranks=3, launcher=("mpirun", "--oversubscribe")) as job:
        job.wait_for(tmp_path / "run" / "metrics.jsonl", 3)
        if target == "launcher":
            job.process.send_signal(blow)
        else:
            job.strike(0, with_signal=blow)
        status, said = job.end(timeout=15)
    assert status == 75 and f"stopped by {blow.name}" in said and "MPI_ABORT" not in said, said


@pytest.mark.parametrize("blow", [signal.SIGINT, signal.SIGTERM], ids=lambda blow: blow.name)
def test_plain_mpirun_killed_loses_nothing_that_was_finished(blow: signal.Signals, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with Job("es", *ENDLESS, "--out", run, ranks=3, launcher=("mpirun", "--oversubscribe")) as job:
        job.wait_for(run / "metrics.jsonl", 3)
        job.process.send_signal(blow)
        status, said = job.end(timeout=15)
    assert status != 0 and "MPI_ABORT" not in said, said
    done = len(metrics(run))
    assert done >= 3
    again = wm("es", *ENDLESS, "--generations", done + 1, "--out", run).stdout
    # It is the checkpoint that makes a generation final: the blow may have come before its line in the metrics.
    assert f"after generation {done}" in again or f"after generation {done + 1}" in again, again


@pytest.mark.parametrize("flags,text", [(("--popsize", 1), "--popsize is 1"), (("--popsiz", 8), "--popsiz")])
@pytest.mark.parametrize("launcher", [("mpirun", "--oversubscribe"), (*WM, "launch")], ids=["plain", "launch"])
def test_bad_flags_are_said_by_one_of_four(flags: tuple[object, ...], text: str, launcher: tuple[str, ...],
                                           tmp_path: Path) -> None:
    with Job("es", "--env", "toy", "--out", tmp_path / "run", *flags, ranks=4, launcher=launcher) as job:
        status, said = job.end(timeout=150)
    assert status == 2 and 0 < said.count(text) < 4 and "Traceback" not in said, said
    assert ("prterun detected" in said) is (launcher[0] == "mpirun"), "that paragraph is mpirun's"
