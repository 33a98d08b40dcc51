"""Runs as they grow: what the page of learning curves is told.

Files are read on from where they ended before, once for all visitors. Nothing is written, and no visitor names a path: there
are only the runs that were found.
"""

import contextlib
import json
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from wm_mpi.core.errors import UserError
from wm_mpi.core.rundir import RunDir, in_use
from wm_mpi.core.schema import Settings
from wm_mpi.core.shipped import PRETRAINED
from wm_mpi.core.terminal import shown
from wm_mpi.envs import DREAM, family
from wm_mpi.evolution.champion import open_run
from wm_mpi.evolution.means import kept_generations
from wm_mpi.evolution.published import published
from wm_mpi.evolution.run_list import run_directories
from wm_mpi.evolution.run_state import finished

COLUMNS = ("generation", "frames_total", "hours", "return_mean", "return_best", "eval_mean", "sigma", "condition",
           "frames_per_second", "busy_share")
"""What a page is told of each generation: fields of metrics.jsonl, and the ``hours`` that all so far took."""
COUNTED_ON = ("generation", "frames_total", "core_hours")
"""Columns that count on from the runs that a run began with."""
READ = tuple({*COLUMNS, *COUNTED_ON, "seconds"} - {"hours"})
"""The fields of metrics.jsonl that all this takes."""
FRESH_SECONDS = 0.5
"""How old an answer may be that several visitors share (seconds)."""
SEARCH_SECONDS, SEARCH_SHARE = 2.0, 0.01
"""Shortest time between searches for new runs (seconds), and the largest share of the time that they may take."""
JOURNAL_BYTES = 2**18
"""Of a journal only so much of its end is read at first: more than a generation of the paper's size."""
LATEST = 10
"""Generations by which the time left is judged."""


class Lines:
    """The whole lines that a growing JSONL file has gained since it was last asked."""

    def __init__(self, path: Path, most: int | None = None) -> None:
        """Of ``path``; of what is there already only the last ``most`` bytes."""
        self._path, self._most = path, most
        self._file: tuple[int, int] | None = None
        self._offset = 0

    def read(self) -> tuple[bool, list[dict[str, Any]]]:
        """Whether the file is another one than before, and its new lines; what is no object is passed over."""
        try:
            status = self._path.stat()
        except OSError:
            again, self._file, self._offset = self._file is not None, None, 0
            return again, []
        here = status.st_dev, status.st_ino
        again = self._file is not None and (here != self._file or status.st_size < self._offset)
        if again or self._file is None:
            self._file, self._offset = here, max(0, status.st_size - self._most) if self._most else 0
        if status.st_size <= self._offset:
            return again, []
        try:
            with open(self._path, "rb") as file:
                file.seek(self._offset)
                data = file.read()
        except OSError:
            return again, []
        whole = data[:data.rfind(b"\n") + 1]
        self._offset += len(whole)
        return again, [row for line in whole.splitlines() if isinstance(row := _parsed(line), dict)]


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


class Followed:
    """One run: its generations so far, and how it stands."""

    def __init__(self, run: RunDir, settings: Settings) -> None:
        self.run, self._settings = run, settings
        self.rows: list[list[float | None]] = []
        """``COLUMNS`` of each generation."""
        self.edition = 0
        """Changes when earlier generations have: a run that resumes from an older checkpoint writes its metrics anew."""
        self._metrics, self._journal = Lines(run.metrics), Lines(run.episodes, JOURNAL_BYTES)
        self._last: Mapping[str, Any] = {}
        self._before: dict[str, float] = {}
        self._begin()

    def _begin(self) -> None:
        self.rows, self._last, self._before = [], {}, {}
        self._hours, self._own, self._best = 0.0, 0, -math.inf
        self._seconds: deque[float] = deque(maxlen=LATEST)
        self._playing = (0, 0)
        for row in Lines(self.run.earlier).read()[1]:
            self._add(row)
        self._before = {name: _number(self._last.get(name)) or 0.0 for name in COUNTED_ON}
        self._best, self._own = -math.inf, 0

    def update(self) -> None:
        """Read what is new."""
        again, lines = self._metrics.read()
        if again:
            self.edition += 1
            self._metrics = Lines(self.run.metrics)
            self._begin()
            lines = self._metrics.read()[1]
        for row in lines:
            self._add(row)
        for row in self._journal.read()[1]:
            generation, stream = row.get("generation"), row.get("stream")
            if isinstance(generation, int) and stream == "training":
                self._playing = generation, (self._playing[1] if generation == self._playing[0] else 0) + 1

    def _add(self, row: Mapping[str, Any]) -> None:
        numbers = {name: _number(row.get(name)) for name in READ}
        seconds = numbers["seconds"] or 0.0
        self._hours += seconds / 3600
        self._seconds.append(seconds)
        self._last, self._own = row, self._own + 1
        if (validation := numbers["eval_mean"]) is not None:
            self._best = max(self._best, validation)
        numbers["hours"] = round(self._hours, 6)
        for name, before in self._before.items():
            numbers[name] = (numbers[name] or 0.0) + before
        self.rows.append([numbers[name] for name in COLUMNS])

    def summary(self) -> dict[str, Any]:
        """How it stands, as JSON values."""
        settings, last = self._settings, self._last if self._own else {}
        generation, generations = int(_number(last.get("generation")) or 0), settings["generations"]
        done = finished(generation, self._best, generations, settings.get("stop_at"))
        busy = in_use(self.run.path)
        left = (generations - generation) * sum(self._seconds) / max(1, len(self._seconds))
        playing, played = self._playing
        return {
            "state": "training" if busy and not done else "finished" if done else "stopped",
            "generation": generation, "generations": generations,
            "playing": {"episodes": played, "of": self._episodes(last)}
            if busy and not done and playing == generation + 1 else None,
            "mean": _number(last.get("return_mean")), "validation": self._best if math.isfinite(self._best) else None,
            "frames": (_number(last.get("frames_total")) or 0.0) + self._before["frames_total"],
            "frames_per_second": _number(last.get("frames_per_second")), "busy": _number(last.get("busy_share")),
            "ranks": _number(last.get("workers")), "slowest": _words(last.get("slowest")),
            "lost": [_words(each) for each in last.get("lost") or []], "unlike": len(last.get("unlike") or []),
            "core_hours": (_number(last.get("core_hours")) or 0.0) + self._before["core_hours"],
            "left": round(left) if busy and not done and self._own else None,
            "game": settings["env"], "world": _words(settings["world"] and Path(settings["world"]).name),
            "temperature": settings.get("temperature"), "seed": settings["seed"],
            "kept": len(kept_generations(self.run)), "changed": self._changed()}

    def _episodes(self, last: Mapping[str, Any]) -> int:
        """How many a generation has, judging by the last one: a search that has begun again has more candidates."""
        return max(self._settings["popsize"] * self._settings["episodes"], int(_number(last.get("episodes")) or 0))

    @property
    def compared(self) -> bool:
        """Whether the published learning curve is of the same game."""
        return self._settings["env"] != DREAM and family(self._settings["env"]) == "carracing"

    def _changed(self) -> float:
        with contextlib.suppress(OSError):
            return round(self.run.metrics.stat().st_mtime, 1)
        return 0.0


def _number(value: Any) -> float | None:
    """A finite number, or None."""
    if value.__class__ is not float:
        if value.__class__ is not int:  # a bool is none
            return None
        value = float(value)
    return value if -math.inf < value < math.inf else None


def _words(value: Any) -> str:
    """Text of a file, fit to be shown."""
    return shown(str(value))[:200] if value else ""


class Runs:
    """All runs under a root, and the one that is watched, wherever that lies. Safe to use from many threads."""

    def __init__(self, root: Path | None, watched: RunDir, clock: Callable[[], float] = time.monotonic) -> None:
        self._root, self.watched, self._clock = root, watched.path.resolve(), clock
        self._lock = threading.Lock()
        self._followed: dict[str, Followed] = {}
        self._names: dict[Path, str] = {}
        self._summaries: dict[str, dict[str, Any]] = {}
        self._updated = self._next_search = -math.inf

    def path(self, name: str) -> Path | None:
        """The directory of a run that is listed under this name; None where there is none."""
        with self._lock:
            self._update()
            found = self._followed.get(name)
            return None if found is None else found.run.path

    def told(self, have: Mapping[str, tuple[int, int]]) -> dict[str, Any]:
        """How all runs stand, and the generations of some that a page does not have yet, as JSON values.

        Args:
            have: for each run that is shown the edition and the number of generations that the page has.
        """
        with self._lock:
            self._update()
            runs = [{"name": name, **summary} for name, summary in self._summaries.items()]
            curves = {}
            for name, (edition, count) in have.items():
                if (found := self._followed.get(name)) is not None:
                    first = count if edition == found.edition and 0 <= count <= len(found.rows) else 0
                    curves[name] = {"edition": found.edition, "from": first, "rows": found.rows[first:],
                                    "compared": found.compared}
        return {"runs": runs, "columns": COLUMNS, "curves": curves, "watched": self._names.get(self.watched),
                "root": None if self._root is None else shown(_near(self._root))}

    def _update(self) -> None:
        now = self._clock()
        if now >= self._next_search:
            self._search()
            took = self._clock() - now
            self._next_search = now + max(SEARCH_SECONDS, took / SEARCH_SHARE)
        if now - self._updated >= FRESH_SECONDS:
            for found in self._followed.values():
                found.update()
            self._summaries = {name: found.summary() for name, found in self._followed.items()}
            self._updated = now

    def _search(self) -> None:
        found = {path.resolve(): self._name(path) for path in run_directories(self._root)} if self._root is not None else {}
        if self.watched not in found:
            found[self.watched] = f"{self.watched.parent.name}/{self.watched.name}"
        if self.watched.parent == PRETRAINED.resolve():
            found[self.watched] = f"{self.watched.name} (comes with the package)"
        self._names = {path: shown(name) for path, name in found.items()}
        before, self._followed = self._followed, {}
        for path, name in self._names.items():
            if name in before and before[name].run.path == path:
                self._followed[name] = before[name]
            else:
                with contextlib.suppress(UserError):
                    self._followed[name] = Followed(*open_run(str(path)))
                    self._updated = -math.inf

    def _name(self, path: Path) -> str:
        assert self._root is not None
        return str(path.relative_to(self._root)) if path != self._root else path.name


def _near(path: Path) -> str:
    """A path as seen from here, where it lies below."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def published_curve() -> dict[str, list[float | None]]:
    """The learning curve of the paper's authors, as JSON values."""
    return {name: [None if np.isnan(value) else float(value) for value in column] for name, column in published().items()}
