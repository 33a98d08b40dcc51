"""Jobs that tests strike: started through jobs/mpirun.bash in a session of their own, their ranks found in /proc."""

import os
import signal
import subprocess
import time
from pathlib import Path

from conftest import ENVIRONMENT, ROOT, command, own_session


def heed() -> None:
    """Heed signals that are ignored where the tests run under nohup, or in the background."""
    for number in (signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)


class Job:
    """A running command. As a context manager it leaves nothing behind."""

    def __init__(self, *arguments: object, ranks: int, launcher: tuple[str, ...] = ("bash", "jobs/mpirun.bash"),
                 env: dict[str, str] | None = None) -> None:
        """Start it on ``ranks`` ranks; 0 for one process without a launcher."""
        line = command(*arguments)
        session = own_session() if launcher[0] == "mpirun" else []
        line = [*launcher, *session, "-np", str(ranks), *line] if ranks else line
        self.process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT,
                                        env={**ENVIRONMENT, **(env or {})}, start_new_session=True, preexec_fn=heed)

    def ranks(self) -> dict[int, int]:
        """Process ids by rank."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if os.getsid(int(folder.name)) == self.process.pid:
                    variables = (folder / "environ").read_bytes().split(b"\0")
                    found.update({int(each.partition(b"=")[2]): int(folder.name) for each in variables
                                  if each.startswith(b"OMPI_COMM_WORLD_RANK=")})
            except OSError:  # it has ended meanwhile
                continue
        return found

    def strike(self, *ranks: int, with_signal: signal.Signals = signal.SIGKILL) -> None:
        """Signal ranks; all must be there."""
        pids = self.ranks()
        for rank in ranks:
            os.kill(pids[rank], with_signal)

    def wait_for(self, path: Path, lines: int) -> None:
        """Until a file has so many lines."""
        while not path.exists() or path.read_bytes().count(b"\n") < lines:
            assert self.process.poll() is None, f"it ended too early:\n{self.end()[1]}"
            time.sleep(0.002)

    def end(self, timeout: float = 120) -> tuple[int, str]:
        """(exit status, what it said)."""
        said, _ = self.process.communicate(timeout=timeout)
        return self.process.returncode, said

    def __enter__(self) -> "Job":
        return self

    def __exit__(self, *_: object) -> None:
        """Kill whatever is left of the session."""
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if os.getsid(int(folder.name)) == self.process.pid:
                    os.kill(int(folder.name), signal.SIGKILL)
            except OSError:
                continue
        self.process.wait()
