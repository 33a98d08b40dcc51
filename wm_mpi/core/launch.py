"""``wm-mpi launch``: mpirun with the flags that each MPI needs, signals that shut it down cleanly, and rank 0's exit status.

Standard library only: it starts at once, and also where the packages of the ranks are missing.
"""

import contextlib
import difflib
import fnmatch
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from wm_mpi.core.errors import EXIT_INTERRUPTED, EXIT_STOPPED, UserError, account
from wm_mpi.core.machine import whole_cores

HELP = """\
wm-mpi launch [-np N] [FLAGS OF MPIRUN] COMMAND ...      a command on N ranks

  wm-mpi launch -np 3 es --world WORLD --out RUN          rank 0 hands out, two ranks play
  wm-mpi launch es --world WORLD --out RUN                a rank for each core of this machine, and rank 0, which only waits
  wm-mpi launch --hostfile FILE -np 129 es ...            several machines with ssh; under SLURM mpirun knows them by itself
  wm-mpi launch -np 3 python my_program.py                any other program

It is mpirun with what people forget. It adds for
  Open MPI      more ranks than cores; no binding; PATH and settings to all hosts; from 5.0.11 on ULFM, so that ranks may
                be lost (before, a lost rank ends the job, and running the same command again continues)
  MPICH, Intel  no binding; the rest is their default
and one thread a rank everywhere. Your own flags come last and win.

SIGTERM, SIGUSR1, Ctrl-C and a closed terminal shut the command down cleanly: finished work is kept, and the same command
continues. Under nohup it lives on when the terminal is closed. Exit status: rank 0's, whatever mpirun makes of it: 0 done,
2 bad input, 69 no worker left, 75 stopped, 130 interrupted (the last three: run it again).

  WM_MPIRUN     the launcher (default: mpirun)
  WM_MPI_FLAGS  more flags for it, split at blanks
"""
STATUS_FILE = "WM_MPI_STATUS_FILE"
"""The variable that names a file in which rank 0 and its launcher tell each other how it ends."""
SESSIONS = "PRTE_MCA_prte_local_tmpdir_base"
"""Where Open MPI 5 keeps what it needs of a job. By default that is /tmp/ompi.PID: where one that was killed has left it,
the next mpirun that happens to get that process id does not start."""
PLAYING = "playing"
"""What it says once rank 0 has begun. A signal's name: the launcher passes that on. A number: rank 0's exit status."""
UNBEGUN_SECONDS = 5
"""How long ranks that have not begun to play have after a stop before they are killed: they may not listen (seconds)."""
TELLING = 5, 0, 11
"""The first Open MPI whose ranks hear of another's death. 5.0.8 to 5.0.10 promise it too, and wait forever."""
EXPORTED = ("PATH", "PYTHONPATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "*_NUM_THREADS", "WM_*", "KERAS_BACKEND")
HOSTS = {"hostfile", "machinefile", "f", "host", "H", "hosts"}
ALLOCATIONS = ("SLURM_JOB_ID", "PBS_NODEFILE", "LSB_HOSTS", "LSB_DJOB_HOSTFILE", "PE_HOSTFILE", "COBALT_NODEFILE")
COUNTS = {"np", "n", "c", "N", "ppn", "perhost", "npernode", "pernode", "npersocket", "map-by"}
"""Flags that say how many ranks there are."""
VALUES = dict.fromkeys(
    "wdir wd path prefix x output output-filename stdin rank-by ranks-per-node bind-to display personality with-ft timeout "
    "app configfile rankfile rf tune am report-uri dvm-uri ppr envlist bootstrap launcher iface".split(), 1) | dict.fromkeys(
    (HOSTS | COUNTS) - {"pernode"}, 1) | dict.fromkeys("mca gmca prtemca pmixmca env genv".split(), 2)
"""How many values a flag of a launcher takes; without the leading dashes."""


def launch(arguments: Sequence[str], commands: Mapping[str, bool]) -> int:
    """Start a program on many ranks, pass signals on, and give rank 0's exit status.

    ``commands`` are the names that stand for ``python -m wm_mpi.NAME``, and whether the command takes ranks.
    """
    if not arguments or arguments[0] in ("-h", "--help"):
        print(HELP, end="")
        return 0
    environment = {"OMP_NUM_THREADS": "1", **os.environ}
    try:
        with _own_folder() as folder:
            environment[STATUS_FILE] = str(folder / "status")
            environment.setdefault(SESSIONS, str(folder))
            return _run(command_line(arguments, commands, environment), environment)
    except (UserError, KeyboardInterrupt) as error:
        text, status = account(error)
        _say(text)
        return status


@contextlib.contextmanager
def _own_folder() -> Iterator[Path]:
    """A folder for the status file and for what Open MPI keeps of a job.

    Raises:
        UserError: there is no place for one.
    """
    try:
        folder = tempfile.TemporaryDirectory(prefix="wm_mpi-", ignore_cleanup_errors=True)
    except OSError as error:
        raise UserError(f"no temporary file can be made ({error.strerror}): name a directory for it with TMPDIR") from None
    with folder as name:
        yield Path(name)


def command_line(arguments: Sequence[str], commands: Mapping[str, bool], environment: dict[str, str]) -> list[str]:
    """What to start, for the MPI that is there; adds to ``environment`` what that MPI reads there.

    Raises:
        UserError: there is no mpirun, or nothing that it could start.
    """
    launcher = environment.get("WM_MPIRUN") or "mpirun"
    found = shutil.which(launcher) or shutil.which(launcher, path=os.path.dirname(sys.executable))
    if found is None:
        raise UserError(f"no {launcher} on the PATH: pip install 'wm_mpi[mpi]', or load your cluster's MPI module")
    own, program = _split(arguments, commands)
    own, program = list(own), list(program)
    names = {flag.lstrip("-").partition("=")[0] for flag in own if flag.startswith("-")}
    spread = bool(names & HOSTS) or any(name in environment for name in ALLOCATIONS)
    if program and not commands.get(program[0], True):
        raise UserError(f"{program[0]} runs in one process: wm-mpi {program[0]} ...")
    if not spread and not names & (COUNTS | {"app", "configfile"}):
        cores = whole_cores()
        own[:0] = ["-np", str(cores + 1)]
        _say(f"{cores + 1} ranks: one for each core that this process may use, and rank 0, which only waits (-np N for N)")
    if program and program[0] in commands:
        program[:1] = [_python(spread), "-m", f"wm_mpi.{program[0]}"]
    version = subprocess.run([found, "--version"], capture_output=True, encoding="utf-8", errors="replace",
                             check=False)
    more = environment.get("WM_MPI_FLAGS", "").split()
    return [found, *_flags(version.stdout + version.stderr, environment), *more, *own, *program]


def _split(arguments: Sequence[str], commands: Mapping[str, bool]) -> tuple[Sequence[str], Sequence[str]]:
    """The launcher's flags, and the program with its own.

    Raises:
        UserError: nothing there is a program.
    """
    position, strangers = 0, []
    while position < len(arguments):
        word = arguments[position]
        if word.startswith("-"):
            position += 1 + VALUES.get(word.lstrip("-"), 0)
            continue
        if word in commands or "/" in word or shutil.which(word):
            return arguments[:position], arguments[position:]
        strangers.append(word)  # or the value of a flag that is not known here
        position += 1
    if {"app", "configfile"} & {word.lstrip("-") for word in arguments}:
        return arguments, ()
    if not strangers:
        raise UserError("nothing to start: wm-mpi launch -np N es ... (wm-mpi lists all commands)")
    raise UserError(unknown(strangers[0], commands, "a command of wm-mpi nor a program on the PATH"))


def unknown(word: str, commands: Mapping[str, bool] | Sequence[str], what: str = "a command") -> str:
    """The sentence on a name that nobody knows."""
    close = difflib.get_close_matches(word, commands, 1)
    negation = "is neither" if " nor " in what else "is not"
    return f"{word} {negation} {what}: " + (f"did you mean {close[0]}?" if close else "wm-mpi lists all")


def _python(spread: bool) -> str:
    """This interpreter; on other hosts, where it may lie elsewhere, the one that the PATH names there."""
    here, named = sys.executable, shutil.which("python")
    return "python" if spread and named and os.path.dirname(named) == os.path.dirname(here) else here


def _flags(version: str, environment: dict[str, str]) -> list[str]:
    """What the launcher of this ``--version`` needs."""
    if re.search(r"Open MPI|OpenRTE|PRRTE|prte", version):
        # Oversubscription alone maps by core and fills the first host; without binding, slots are filled in host order.
        flags = ["--oversubscribe", "--bind-to", "none"]
        for name in environment:
            if any(fnmatch.fnmatchcase(name, pattern) for pattern in EXPORTED):
                flags += ["-x", name]
        named = re.search(r"(?:Open MPI|OpenRTE)\) (\S+)", version)
        if _notices(named.group(1) if named else ""):
            # A host that falls silent must not end the job after PRRTE's eight minutes.
            flags += ["--with-ft", "ulfm", "--prtemca", "oob_tcp_keepalive_time", "0"]
        if os.geteuid() == 0:
            environment |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
        return flags
    if re.search(r"HYDRA|MPICH", version):
        return ["-bind-to", "none"]
    if "Intel" in version:
        environment.setdefault("I_MPI_PIN", "off")
    return []


def _run(line: list[str], environment: dict[str, str]) -> int:
    """Start it and stay to its end.

    mpirun passes SIGUSR1 on to rank 0, which shuts down cleanly; SIGTERM and SIGINT it would answer by killing all ranks.
    So every signal goes on as SIGUSR1, and mpirun is in a process group of its own, out of reach of the terminal's Ctrl-C.
    """
    job: subprocess.Popen[bytes] | None = None
    stopped = 0
    blows = [signal.SIGTERM, signal.SIGKILL]  # MPICH passes the first one on, and waits

    def stop(number: int, _: object) -> None:
        nonlocal stopped
        if not stopped:
            stopped = EXIT_INTERRUPTED if number == signal.SIGINT else EXIT_STOPPED
            said = _read(environment)
            if said in ("", PLAYING):
                _write(environment, signal.Signals(number).name)
            if not said:
                signal.alarm(UNBEGUN_SECONDS)
        if job is not None:
            job.send_signal(signal.SIGUSR1)

    def kill(*_: object) -> None:
        if job is not None:
            job.send_signal(blows.pop(0))
            signal.alarm(UNBEGUN_SECONDS if blows else 0)

    def pause(*_: object) -> None:  # Ctrl-Z, until the shell says fg or bg
        if job is not None:
            job.send_signal(signal.SIGTSTP)
            os.kill(os.getpid(), signal.SIGSTOP)
            job.send_signal(signal.SIGCONT)

    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # as under nohup
            signal.signal(number, stop)
    signal.signal(signal.SIGALRM, kill)
    signal.signal(signal.SIGTSTP, pause)
    # In the background, mpirun may not read from the terminal, and some would be stopped for trying.
    job = subprocess.Popen(line, env=environment, process_group=0,
                           stdin=subprocess.DEVNULL if os.isatty(0) else None)
    if stopped:  # it came while mpirun was being started
        job.send_signal(signal.SIGUSR1)
    status = job.wait()
    signal.alarm(0)
    return _verdict(_read(environment), 128 - status if status < 0 else status, stopped)


def _verdict(said: str, status: int, stopped: int) -> int:
    """The exit status, from rank 0's last word, mpirun's status and the one of the signal that came (0: none)."""
    if said.isdigit():
        return stopped if int(said) == EXIT_STOPPED and stopped else int(said)
    if stopped:  # before rank 0 listened; what mpirun says then differs
        _say(f"{'interrupted' if stopped == EXIT_INTERRUPTED else 'stopped'}: run the same command again to continue")
        return stopped
    if said == PLAYING:
        _say(f"rank 0 ended before its work did (mpirun: {status}): run the same command again to continue")
        return EXIT_STOPPED
    if status == 128 + signal.SIGALRM:
        _say("the ranks did not come together in MPI within 5 minutes: one has ended or hangs before, see above")
    return status  # the command ended before it began to play


def survives() -> bool:
    """Whether the launcher has promised that a rank's death does not end the job, and its version keeps the promise."""
    promised = os.environ.get("OMPI_MCA_mpi_ft_enable", "0").lower() in ("1", "true", "yes")
    return promised and _notices(os.environ.get("OMPI_VERSION", ""))


def _notices(version: str) -> bool:
    """Whether ranks of this Open MPI are told when another one dies; one that does not say what it is gets the benefit."""
    numbers = re.search(r"(\d+)\.(\d+)\.(\d+)", version)
    return numbers is None or tuple(map(int, numbers.groups())) >= TELLING


def leave_status(text: str) -> None:
    """Tell the launcher how rank 0 ends: mpirun's own status is another one when ranks were lost."""
    if os.environ.get(STATUS_FILE):
        _write(os.environ, text)


def passed_on() -> str:
    """The name of the signal that the launcher passes on as SIGUSR1; empty if it does not say."""
    said = _read(os.environ)
    return said if said in signal.Signals.__members__ else ""


def _read(environment: Mapping[str, str]) -> str:
    with contextlib.suppress(OSError):
        return Path(environment.get(STATUS_FILE, "")).read_text(encoding="utf-8").strip()
    return ""


def _write(environment: Mapping[str, str], text: str) -> None:
    with contextlib.suppress(OSError):
        Path(environment[STATUS_FILE]).write_text(text, encoding="utf-8")


def _say(text: str) -> None:
    with contextlib.suppress(OSError):  # the terminal may be closed
        print(text, file=sys.stderr, flush=True)
