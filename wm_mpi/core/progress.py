"""What a command says on its way: lines, and for long work a bar with rate and ETA. Results and errors are printed as ever.

``log`` is the logger of all lines: INFO unless --quiet, DEBUG with --verbose. Used as a library, the package says nothing.
"""

import contextlib
import datetime
import logging
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from wm_mpi.core.files import explained
from wm_mpi.core.terminal import SPELT

LINE_SECONDS = 30.0
"""Shortest time between lines without a terminal; the first comes after a third of it (seconds)."""

log = logging.getLogger("wm_mpi")


def speak(level: int) -> None:
    """Say lines of this level and above; DEBUG puts the time before each. Warnings go to stderr, all others to stdout."""
    lines = _Lines()
    lines.setFormatter(logging.Formatter("%(asctime)s  %(message)s" if level <= logging.DEBUG else "%(message)s",
                                         "%Y-%m-%d %H:%M:%S"))
    log.handlers[:] = [lines]
    log.setLevel(level)
    log.propagate = False


@contextlib.contextmanager
def speaking(level: int) -> Iterator[None]:
    """``speak`` for a while."""
    before = log.handlers[:], log.level, log.propagate
    speak(level)
    try:
        yield
    finally:
        log.handlers[:], log.propagate = before[0], before[2]
        log.setLevel(before[1])


class _Lines(logging.Handler):
    """Prints lines, above whatever bar there is."""

    def emit(self, record: logging.LogRecord) -> None:
        stream = sys.stderr if record.levelno >= logging.WARNING else sys.stdout
        with tqdm.external_write_mode(file=stream):
            print(self.format(record), file=stream, flush=True)


class Progress:
    """A bar over ``total`` units; ``line`` says a line above it and appends it to a file. Use it as a context manager."""

    def __init__(self, file: Path | None, total: int, done: int = 0, unit: str = "episode", name: str = "") -> None:
        """Begin at ``done`` of ``total``; without a terminal there are lines instead of a bar."""
        self._file = file
        self._began = time.monotonic()
        self._due = self._began + LINE_SECONDS / 3
        self._total, self._unit, self._name = total, unit, name
        self._done, self._new = done, 0
        hidden = None if log.isEnabledFor(logging.INFO) else True  # None: where there is no terminal
        self._bar = tqdm(total=total, initial=done, unit=unit, desc=name or None, file=sys.stderr, disable=hidden,
                         dynamic_ncols=True, mininterval=0.5, smoothing=0.05)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def advance(self, units: int = 1, note: str = "") -> None:
        """So many units more are done; ``note`` stands at the end of the bar."""
        if note:
            self._bar.set_postfix_str(note, refresh=False)
        self._bar.update(units)
        self._new += units
        now = time.monotonic()
        if self._bar.disable and now > self._due and self._new:
            self._due, each = now + LINE_SECONDS, (now - self._began) / self._new
            left = datetime.timedelta(seconds=round((self._total - self._done - self._new) * each))
            rate = f"{1 / each:.1f}/s" if each < 1 else f"{each:.1f} s each"
            log.info(f"{self._name}{': ' if self._name else ''}{self._done + self._new:,} of {self._total:,} {self._unit}s, "
                     f"{rate}, {left} left{', ' if note else ''}{note}")

    def line(self, text: str, level: int = logging.INFO) -> None:
        """Say a line, and write it to the file with the time, also where nobody hears it."""
        self._due = time.monotonic() + LINE_SECONDS
        log.log(level, text)
        if self._file is not None:
            stamp = datetime.datetime.now().isoformat(sep=" ", timespec="seconds")
            with explained(self._file, "written"), open(self._file, "a", encoding="utf-8", errors=SPELT) as file:
                file.write(f"{stamp}  {text}\n")

    def warn(self, text: str) -> None:
        """A line that is said with --quiet, too."""
        self.line(text, logging.WARNING)
