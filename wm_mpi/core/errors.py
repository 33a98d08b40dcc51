"""What ends a command, and the exit status that says so; the statuses beyond 2 are those of BSD's sysexits.h."""

import errno
import traceback

EXIT_BUG = 1
EXIT_BAD_INPUT = 2
EXIT_NO_WORKERS = 69
"""EX_UNAVAILABLE: no worker rank is left."""
EXIT_STOPPED = 75
"""EX_TEMPFAIL: stopped by a signal, the same command continues."""
EXIT_INTERRUPTED = 130


class UserError(Exception):
    """Something outside the program is wrong: one sentence naming the file, the value and the fix.

    Commands print the sentence and exit with ``status``; a traceback would only hide it.
    """

    status = EXIT_BAD_INPUT


class NoWorkersLeft(UserError):
    """Every worker rank has died, failed or fallen silent."""

    status = EXIT_NO_WORKERS


class FaultyTask(UserError):
    """A task that ends every rank that plays it."""

    status = EXIT_BUG


INSTALLED_WITH = {
    **dict.fromkeys(("keras", "tensorflow", "scipy"), "'wm_mpi[train]'"),
    **dict.fromkeys(("matplotlib", "av"), "'wm_mpi[watch]'"),
    "vizdoom": "'wm_mpi[doom]'", "ale_py": "'wm_mpi[atari]'", "pygame": "pygame-ce", "websockets": "websockets",
    **{backend: f"{backend}, or set KERAS_BACKEND=tensorflow" for backend in ("torch", "jax")}}
"""Packages that not every installation has, by module, and what pip is to install."""


class Stopped(BaseException):
    """SIGTERM or SIGUSR1 arrived; its argument is the signal's name. Like KeyboardInterrupt, nothing may swallow it."""


def account(error: BaseException, where: str = "") -> tuple[str, int]:
    """What to print about whatever ended a command, and its exit status; ``where`` goes before what is no sentence."""
    match error:
        case UserError():
            return f"error: {error}", error.status
        case ModuleNotFoundError() if error.name in INSTALLED_WITH:
            return (f"error: this command needs the package {error.name}, which is not installed: "
                    f"pip install {INSTALLED_WITH[error.name]}"), EXIT_BAD_INPUT
        case Stopped():
            return f"stopped by {error}: run the same command again to continue", EXIT_STOPPED
        case KeyboardInterrupt():
            return "interrupted: run the same command again to continue", EXIT_INTERRUPTED
        case _:
            return where + "".join(traceback.format_exception(error)).rstrip(), EXIT_BUG


def is_disk_full(error: BaseException) -> bool:
    """Whether an I/O error means that the disk is full or a quota is reached.

    HDF5 reports both through its own message, so the error number alone does not tell.
    """
    number = getattr(error, "errno", None)
    if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return True
    text = str(error)
    return any(f"errno = {code}," in text for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
