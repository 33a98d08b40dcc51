"""Progress of long work: a bar with rate and ETA on a terminal, plain lines elsewhere and in a log file."""

import datetime
import sys
from pathlib import Path

from tqdm import tqdm


class Progress:
    """A bar over ``total`` units; ``line`` prints above it and appends to ``log``. Use it as a context manager."""

    def __init__(self, log: Path | None, total: int, done: int = 0, unit: str = "episode") -> None:
        """Begin at ``done`` of ``total``; without a terminal there is no bar."""
        self._log = log
        self._bar = tqdm(total=total, initial=done, unit=unit, file=sys.stderr, disable=None, dynamic_ncols=True,
                         mininterval=0.5, smoothing=0.05)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def advance(self, units: int = 1) -> None:
        """So many units more are done."""
        self._bar.update(units)

    def line(self, text: str) -> None:
        """Say a line, on the terminal and in the log with the time."""
        with self._bar.external_write_mode(file=sys.stdout):
            print(text, flush=True)
        if self._log is not None:
            stamp = datetime.datetime.now().isoformat(sep=" ", timespec="seconds")
            with open(self._log, "a") as file:
                file.write(f"{stamp}  {text}\n")
