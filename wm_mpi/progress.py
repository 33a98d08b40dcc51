"""Progress of long work: a bar with rate and ETA on a terminal, plain lines elsewhere and in a log file."""

import datetime
import sys
import time
from pathlib import Path

from tqdm import tqdm

from wm_mpi.rundir import explained

SILENCE = 30.0
"""Without a terminal, a line at most so often (seconds)."""


class Progress:
    """A bar over ``total`` units; ``line`` prints above it and appends to ``log``. Use it as a context manager."""

    def __init__(self, log: Path | None, total: int, done: int = 0, unit: str = "episode") -> None:
        """Begin at ``done`` of ``total``; without a terminal there is no bar."""
        self._log = log
        self._said = time.monotonic()
        self._began, self._total, self._unit = self._said, total, unit
        self._done, self._new = done, 0
        self._bar = tqdm(total=total, initial=done, unit=unit, file=sys.stderr, disable=None, dynamic_ncols=True,
                         mininterval=0.5, smoothing=0.05)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def advance(self, units: int = 1) -> None:
        """So many units more are done."""
        self._bar.update(units)
        self._new += units
        now = time.monotonic()
        if self._bar.disable and now - self._said > SILENCE:
            self._said, rate = now, self._new / (now - self._began)
            left = self._total - self._done - self._new
            print(f"{self._done + self._new:,} of {self._total:,} {self._unit}s, {rate:.1f}/s, "
                  f"{left / max(rate, 1e-9) / 60:.0f} min left", flush=True)

    def line(self, text: str) -> None:
        """Say a line, on the terminal and in the log with the time."""
        with self._bar.external_write_mode(file=sys.stdout):
            print(text, flush=True)
        if self._log is not None:
            stamp = datetime.datetime.now().isoformat(sep=" ", timespec="seconds")
            with explained(self._log, "written"), open(self._log, "a") as file:
                file.write(f"{stamp}  {text}\n")
