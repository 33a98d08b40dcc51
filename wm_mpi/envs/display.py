"""Headless by default; one Xvfb per node where a real X server is wanted."""

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from wm_mpi.core.errors import UserError
from wm_mpi.core.launched import local_rank

_PATIENCE = 30.0
"""How long the other ranks of a node wait for their node's Xvfb (seconds)."""


@contextlib.contextmanager
def display(kind: str) -> Iterator[None]:
    """Give SDL and OpenGL something to draw on while the block runs.

    Args:
        kind: 'none' lets SDL draw in memory, 'xvfb' starts one virtual X server per node (the node's first rank starts and
            reaps it, the others use it), 'screen' uses $DISPLAY.

    Raises:
        UserError: Xvfb is not installed or did not start, or $DISPLAY is not set.
    """
    if kind == "none":
        os.environ["SDL_VIDEODRIVER"] = "dummy"
        yield
    elif kind == "screen":
        if not os.environ.get("DISPLAY"):
            raise UserError("--display screen needs an X server, but $DISPLAY is not set: use --display xvfb or none")
        os.environ["SDL_VIDEODRIVER"] = "x11"
        yield
    else:
        os.environ["SDL_VIDEODRIVER"] = "x11"
        with _own_xvfb() if local_rank() == 0 else _shared_xvfb():
            yield


def _meeting_point() -> Path:
    """The file in which a node's first rank leaves $DISPLAY for the others of the same job."""
    names = ("PMIX_NAMESPACE", "PMI_JOBID", "SLURM_JOB_ID")
    job = next((os.environ[name] for name in names if os.environ.get(name)), str(os.getppid()))
    safe = "".join(character if character.isalnum() else "-" for character in job)
    return Path(tempfile.gettempdir()) / f"wm_mpi-{os.getuid()}-{safe}.display"


@contextlib.contextmanager
def _own_xvfb() -> Iterator[None]:
    if shutil.which("Xvfb") is None:
        raise UserError("--display xvfb needs Xvfb, which is not installed: apt-get install xvfb (Debian, Ubuntu)")
    from pyvirtualdisplay.xvfb import XvfbDisplay

    class Xvfb(XvfbDisplay):
        def _cmd(self) -> list[str]:
            # The kernel ends Xvfb with its parent, whatever ends that: SIGTERM and kill -9 run no Python code.
            return ["setpriv", "--pdeathsig", "TERM", *super()._cmd()] if shutil.which("setpriv") else super()._cmd()

    server = Xvfb(size=(1280, 1024))
    meeting_point = _meeting_point()
    try:
        server.start()
    except Exception as error:
        raise UserError(f"--display xvfb: Xvfb did not start ({error}): try `Xvfb :99` by hand to see why") from None
    try:
        partial = meeting_point.with_suffix(f".{os.getpid()}")
        partial.write_text(os.environ["DISPLAY"], encoding="utf-8")
        partial.replace(meeting_point)
        yield
    finally:
        meeting_point.unlink(missing_ok=True)
        server.stop()


@contextlib.contextmanager
def _shared_xvfb() -> Iterator[None]:
    meeting_point = _meeting_point()
    deadline = time.monotonic() + _PATIENCE
    while not meeting_point.exists():
        if time.monotonic() > deadline:
            raise UserError("--display xvfb: the first rank of this node started no Xvfb within "
                            f"{_PATIENCE:.0f} s: see its message, or use --display none")
        time.sleep(0.05)
    os.environ["DISPLAY"] = meeting_point.read_text(encoding="utf-8")
    yield
