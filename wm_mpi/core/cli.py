"""From a command line to a configuration (through tyro), and from what happens to an exit status."""

import contextlib
import dataclasses
import importlib
import io
import logging
import os
import platform
import re
import resource
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, NoReturn, TextIO, TypeVar, cast, get_args, get_origin, get_type_hints

import tyro

from wm_mpi import __version__
from wm_mpi.core.errors import EXIT_BAD_INPUT, Stopped, UserError, account
from wm_mpi.core.launch import leave_status, passed_on, survives
from wm_mpi.core.launched import LOCAL_RANK, launched_rank
from wm_mpi.core.options import PATHS, SHIPPABLE, Command
from wm_mpi.core.progress import log, speak
from wm_mpi.core.ranges import check
from wm_mpi.core.shipped import called
from wm_mpi.core.terminal import spell_streams

GRACE_SECONDS = 10.0
"""How long further signals are ignored after the first: the way out is not to be cut short (seconds)."""
LAST_WORD_SECONDS = 30.0
"""How long a failing rank waits for rank 0 to say the same: mpirun kills all when the first ends badly (seconds)."""
LEAVE_SECONDS = 2.0
"""How long after SIGTERM a rank exits, if rank 0, which launchers signal too, has not dismissed all (seconds)."""

Config = TypeVar("Config", bound=Command)


def parse(config_class: type[Config], command: str, arguments: Sequence[str]) -> Config:
    """Parse a command line; the preset named on it gives the defaults.

    Raises:
        SystemExit: after ``--help`` and ``--version`` (0).
        UserError: an unknown flag, or a value that is no value of its flag or out of its range.
    """
    if "--version" in arguments:
        if launched_rank() == 0:
            print(f"wm_mpi {__version__}")
        raise SystemExit(0)
    arguments = _completed(arguments, config_class.bare)
    default = _defaults(config_class, _preset_in(arguments, config_class().preset))
    helps = bool({"--help", "-h"} & set(arguments))
    if helps:
        default = _flowing(default)
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), _wide(not helps):
            config = tyro.cli(type(default), prog=f"python -m wm_mpi.{command}", args=list(arguments), default=default,
                              console_outputs=launched_rank() == 0)
    except SystemExit as ended:
        if ended.code != EXIT_BAD_INPUT:
            raise
        raise UserError(f"{_sentence(said.getvalue())}: python -m wm_mpi.{command} --help shows all flags") from None
    check(config)
    return config


def _completed(arguments: Sequence[str], bare: Mapping[str, str]) -> list[str]:
    """Arguments in which each flag has a value; ``bare`` has those of flags that may stand alone."""
    completed = []
    for argument, following in zip(arguments, [*arguments, "--"][1:], strict=True):
        completed.append(argument)
        if argument in bare and following.startswith("-") and not following[1:].isdecimal():
            completed.append(bare[argument])
    return completed


@contextlib.contextmanager
def _wide(wanted: bool) -> Iterator[None]:
    """Have tyro break no lines: what it says of an error is read again, see ``_sentence``."""
    before = os.environ.copy()
    if wanted:
        os.environ["COLUMNS"] = "1000"
    try:
        yield
    finally:
        os.environ.pop("COLUMNS", None)
        os.environ.update(before)


def _flowing(default: Config) -> Config:
    """The same options, of a class that --help prints well: texts for the terminal to break, and defaults in place of None.

    tyro takes lines of a docstring that are indented for paragraphs, which under a field all but the first are.
    """
    import docstring_parser  # takes 30 ms

    kind, hints, values = type(default), get_type_hints(type(default), include_extras=True), {}
    texts = {told.arg_name: " ".join((told.description or "").split())
             for each in reversed(kind.__mro__[:-1]) for told in docstring_parser.parse_from_object(each).params}
    fields = []
    for name in (field.name for field in dataclasses.fields(kind)):
        values[name], text, hint = getattr(default, name), texts.get(name), None
        if text and values[name] is None:
            text, hint = _default_apart(text)
        elif name in SHIPPABLE and isinstance(values[name], str):
            hint = f"(default: {called(values[name])})"  # which lies wherever the package does
        about = tyro.conf.arg(help=text, metavar=_value(name, hints[name]), help_behavior_hint=hint)
        fields.append((name, Annotated[hints[name], about]))
    flowing = dataclasses.make_dataclass(kind.__name__, fields, bases=(kind,), frozen=True, kw_only=True)
    flowing.__doc__ = kind.__doc__
    return cast(Config, flowing(**values))


def _default_apart(text: str) -> tuple[str, str]:
    """A help text, and what stands last in it on the default: "Longest (frames; default: its own)." in two."""
    told = re.fullmatch(r"(.*?)(?:; | ?\()default: (.*)\)\.", text)
    if not told:
        return text, "(optional)"
    closed = ")" * (told[1].count("(") - told[1].count(")"))
    return f"{told[1]}{closed}.", f"(default: {told[2]})"


def _value(name: str, hint: Any) -> str | None:
    """What --help calls the value of an option that may be left out; None for tyro's own word for any other."""
    if type(None) not in get_args(hint):
        return None
    given = next(each for each in get_args(hint) if each is not type(None))
    if get_origin(given) is Literal:
        return f"{{{','.join(get_args(given))}}}"
    if get_origin(given) is tuple:
        return "INT [INT ...]"
    return {bool: "{True,False}", str: "PATH" if name in PATHS else "STR"}.get(given, given.__name__.upper())


def _sentence(box: str) -> str:
    """What tyro's box about a bad flag says, without the box, its colours and the help texts that it repeats.

    Its title, then a paragraph on the error, then perhaps one on similar flags, with a rule between paragraphs. Where the
    terminal has only ASCII, the title is a paragraph too.
    """
    paragraphs: list[list[str]] = [[]]
    for line in re.sub(r"\x1b\[[0-9;]*m", "", box).splitlines():
        text = line.strip("│| ")
        if re.match(r"[─-]{3}|[╭╰+][─-]", text):  # a rule, with or without a title
            paragraphs.append([])
        elif text:
            paragraphs[-1].append(text)
    told = [" ".join(lines) for lines in paragraphs if lines]
    said = told[0 if "╭" in box else 1] if len(told) > 1 else "the command line cannot be read"
    lines = [line for lines in paragraphs for line in lines]
    meant = re.search(r"Perhaps you meant:\s+(--[\w-]+)", " ".join(lines))
    said = re.sub(r"^Error parsing |\.? Expected 1 values\.?$", "", said)
    return said[0].lower() + said[1:].rstrip(".") + (f", perhaps you meant {meant.group(1)}" if meant else "")


def _preset_in(arguments: Sequence[str], preset: str) -> str:
    for position, argument in enumerate(arguments):  # the last one counts, as everywhere
        if argument == "--preset" and position + 1 < len(arguments):
            preset = arguments[position + 1]
        elif argument.startswith("--preset="):
            preset = argument.partition("=")[2]
    return preset


def _defaults(config_class: type[Config], preset: str) -> Config:
    """An instance with the preset's values, so that --help shows them."""
    known = config_class.presets.get(preset)  # an unknown preset is tyro's to refuse
    return config_class(**({} if known is None else {"preset": preset, **known}))


def run_command(command: str, config_class: type[Config], main: Callable[[Config], None] | None = None) -> NoReturn:
    """Parse ``sys.argv``, call ``main``, by default that of the module ``wm_mpi.<command>``, and exit with a status.

    The module is imported after the command line was parsed, since it and what it needs take a second or more, which ranks
    by the dozen have to share: a bad flag is said at once. So entry modules begin with this call, and what is below it
    is not run as ``__main__`` but as the module that the import makes.

    0 done, 1 a bug (with traceback), 2 bad input (one sentence), 69 no worker left, 75 stopped by SIGTERM or SIGUSR1 (all
    that was finished is kept, the same command continues), 130 interrupted.
    """
    _heed_signals()
    spell_streams()
    sys.stdout, sys.stderr = cast(TextIO, _Unbreakable(sys.stdout)), cast(TextIO, _Unbreakable(sys.stderr))
    speak(logging.INFO)
    rank, config = launched_rank(), None
    try:
        config = parse(config_class, command, sys.argv[1:])
        speak(logging.WARNING if config.quiet or rank > 0 else logging.DEBUG if config.verbose else logging.INFO)
        log.debug(f"{command} of wm_mpi {__version__}, Python {platform.python_version()}, process {os.getpid()} on "
                  f"{socket.gethostname()}: {config.values()}")
        if config_class.one_thread:
            from wm_mpi.core import single_thread as single_thread  # nothing has loaded NumPy yet
        (main or importlib.import_module(f"wm_mpi.{command}").main)(config)
        log.debug(f"{command} took {time.process_time():.1f} s of processor time and "
                  f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB at its peak")
        status = 0
    except SystemExit as end:  # --help, bad flags, doctor's verdict
        status = end.code if isinstance(end.code, int) else 0
    except (Exception, Stopped, KeyboardInterrupt) as error:
        if rank > 0 and isinstance(error, Stopped):
            _die_quietly()
        text, status = account(error)
        if log.isEnabledFor(logging.DEBUG) and isinstance(error, UserError):
            text = "".join(traceback.format_exception(error)) + text
        if rank == 0 or not isinstance(error, UserError):  # the ranks of a machine find the same; one voice is enough
            print(text, file=sys.stderr)
        elif os.environ.get(LOCAL_RANK[0]) == "0":
            print(f"rank {rank} on {socket.gethostname()}: {text}", file=sys.stderr)
    if rank == 0:
        leave_status(str(status))
    elif status and not survives():
        time.sleep(LAST_WORD_SECONDS)
    elif config is None:
        status = 0  # rank 0 finds the same; under ULFM mpirun would end it, as the job, before it has said so
    sys.exit(status)


class _Unbreakable:
    """A stream whose reader may go away (a closed terminal, a killed tee, a dying mpirun) without ending the run."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _heed_signals() -> None:
    """SIGTERM, SIGUSR1 and a closed terminal stop the command as Ctrl-C does."""
    if launched_rank() > 0:
        _heed_rank_0()
        return
    heeded = -GRACE_SECONDS

    def stop(number: int, _: object) -> None:
        nonlocal heeded
        if time.monotonic() - heeded > GRACE_SECONDS:
            heeded = time.monotonic()
            name = passed_on() or signal.Signals(number).name
            raise KeyboardInterrupt if name == "SIGINT" else Stopped(name)

    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # as SIGHUP is under nohup
            signal.signal(number, stop)


def _heed_rank_0() -> None:
    """Other ranks leave when rank 0 says so: launchers and terminals signal all of them."""

    def leave(*_: object) -> None:
        raise Stopped("SIGTERM")

    def wait(*_: object) -> None:
        signal.signal(signal.SIGALRM, leave)
        signal.setitimer(signal.ITIMER_REAL, LEAVE_SECONDS)

    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, wait)


def _die_quietly() -> None:
    """As SIGTERM would have done, now that what was open is closed: without MPI_Finalize, which waits for all ranks."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTERM)
