"""What a run remembers: metrics, the journal of episodes, checkpoints and the champion, in step with one another."""

import dataclasses
import datetime
import hashlib
import json
import pickle
import re
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from wm_mpi.core import schema
from wm_mpi.core.errors import UserError
from wm_mpi.core.files import append_jsonl, iterate_jsonl, read_jsonl, whole_lines, write_text
from wm_mpi.core.progress import log
from wm_mpi.core.rundir import RunDir
from wm_mpi.data.arrays import save_arrays
from wm_mpi.evolution.means import keep_mean
from wm_mpi.evolution.strategies.base import Strategy
from wm_mpi.evolution.strategies.cma import read_pickle
from wm_mpi.pool import Outcome
from wm_mpi.rollout.worker import Played

OPERATION = frozenset({"seconds", "frames_per_second", "busy_share", "workers", "core_hours", "slowest", "lost",
                       "unlike"})
"""Fields of ``metrics.jsonl`` that say how a generation was played; all others are the same wherever it is played."""
SLOW, IDLE = 1.5, 0.9
"""A generation's line names a rank that takes so many times the mean, and a busy share below this."""
DURABLE_SECONDS = 2.0
"""Shortest time between waits of the journal for the disk: what a power cut can cost (seconds)."""


def finished(generation: int, best_validation: float, generations: int, stop_at: float | None) -> bool:
    """Whether a run has its ``generations``, or its best validation mean has reached ``stop_at`` (points)."""
    return generation >= generations or stop_at is not None and best_validation >= stop_at


def lived(run: RunDir) -> list[schema.Generation]:
    """All generations that a run rests on: those of the runs that it began with (--init), then its own.

    ``generation``, ``frames_total`` and ``core_hours`` count on from run to run.
    """
    rows = list(whole_lines(run.earlier, schema.Generation))
    before = rows[-1] if rows else None
    for row in whole_lines(run.metrics, schema.Generation):
        if before is not None:
            row["generation"] += before["generation"]
            row["frames_total"] += before["frames_total"]
            row["core_hours"] = round(row["core_hours"] + before["core_hours"], 6)
        rows.append(row)
    return rows


class PlayedEpisodes(NamedTuple):
    """Played episodes in task order."""

    played: list[Played]
    outcome: Outcome
    """How the ranks did; its results are only those episodes that were not in the journal."""
    frames_per_second: float
    """Rate of the frames that were really played now."""


class Totals(NamedTuple):
    """What the generations so far have taken."""

    frames: int
    core_hours: float


@dataclasses.dataclass(frozen=True)
class Generation:
    """A line of ``metrics.jsonl``. Returns in points, times in seconds; frames and episodes are this generation's."""

    generation: int
    frames: int
    episodes: int
    frames_total: int
    return_mean: float
    return_best: float
    return_min: float
    return_std: float
    sigma: float
    condition: float | None
    """The condition number of the covariance; None, and not in the file, for strategies without one."""
    seconds: float
    frames_per_second: float
    busy_share: float
    workers: int
    core_hours: float
    """Worker ranks x hours, since the run's first generation."""
    slowest: str
    lost: tuple[str, ...]
    unlike: tuple[str, ...] | None = None
    """What ranks computed on, where not all computed alike: the last digits then depend on who played what."""
    eval_mean: float | None = None
    eval_std: float | None = None

    @classmethod
    def of(cls, generation: int, batch: PlayedEpisodes, returns: npt.NDArray[np.float64],
           validation: npt.NDArray[np.float64] | None, strategy: Strategy, seconds: float,
           before: "Totals") -> "Generation":
        """Sum up a generation; ``returns`` has shape (popsize, episodes), its row means are the candidates' fitness.

        ``seconds`` is all of the generation's time, ``frames_per_second`` the rate while training episodes were played.
        """
        fitness = returns.mean(axis=1)
        frames = sum(each.frames for each in batch.played)
        return cls(generation=generation, frames=frames, episodes=len(batch.played), frames_total=before.frames + frames,
                   return_mean=float(fitness.mean()), return_best=float(fitness.max()), return_min=float(fitness.min()),
                   return_std=float(fitness.std()), sigma=strategy.sigma, condition=strategy.condition,
                   seconds=round(seconds, 3),
                   frames_per_second=round(batch.frames_per_second, 1), busy_share=round(batch.outcome.busy_share, 3),
                   workers=batch.outcome.workers,
                   core_hours=round(before.core_hours + batch.outcome.workers * seconds / 3600, 6),
                   slowest=batch.outcome.slowest, lost=batch.outcome.lost, unlike=batch.outcome.unlike or None,
                   eval_mean=None if validation is None else float(validation.mean()),
                   eval_std=None if validation is None else float(validation.std()))

    def row(self) -> dict[str, Any]:
        """The JSON object; validation fields only where there was a validation."""
        return {name: value for name, value in dataclasses.asdict(self).items() if value is not None}

    def describe(self, generations: int, left: float) -> str:
        """The line that people read; ``left`` is the time that the run will still take (seconds)."""
        parts = [f"generation {self.generation}/{generations}", f"mean {self.return_mean:6.1f}",
                 f"best {self.return_best:6.1f}", f"sigma {self.sigma:.2g}"]
        if self.eval_mean is not None:
            parts.append(f"validation {self.eval_mean:.1f} ± {self.eval_std:.1f}")
        parts.append(f"{self.frames_per_second:,.0f} frames/s")
        if self.busy_share < IDLE:
            parts.append(f"busy {self.busy_share:.0%}")
        parts.append(f"{datetime.timedelta(seconds=round(left))} left")
        if (times := re.search(r"\(([\d.]+)x", self.slowest)) and float(times[1]) >= SLOW:
            parts.append(f"slowest {self.slowest}")
        if self.lost:
            parts.append(f"lost {len(self.lost)}: {', '.join(self.lost)}")
        return "  ".join(parts)


@dataclasses.dataclass
class _Saved:
    """What a checkpoint holds beside the strategy."""

    row: dict[str, Any] | None = None
    episodes_total: int = 0
    champion: npt.NDArray[np.float64] | None = None
    champion_generation: int = 0
    best_validation: float = -np.inf
    best_candidate: npt.NDArray[np.float64] | None = None
    best_return: float = -np.inf


class RunState:
    """Saves a generation in an order that survives a kill at any moment.

    Journal lines come as episodes finish; the checkpoint makes a generation final; then the champion and the metrics line
    follow, and are made good on resume if the kill came between.
    """

    def __init__(self, run: RunDir, saved: _Saved, about: dict[str, Any]) -> None:
        self._run, self._saved, self._about = run, saved, about
        self._journal: dict[tuple[int, str], dict[int, Played]] = {}
        self._durable = time.monotonic()
        self._seconds: deque[float] = deque(maxlen=10)

    @classmethod
    def resume(cls, run: RunDir, new: Callable[[], Strategy], load: Callable[[bytes], Strategy],
               about: dict[str, Any]) -> tuple["RunState", Strategy]:
        """Take up the newest whole checkpoint with ``load``, or begin with ``new()``; says what it does.

        ``about`` (environment, rules) is recorded with the champion.
        """
        for path in reversed(run.checkpoint_files()):
            data = path.read_bytes()
            if hashlib.sha256(data[32:]).digest() != data[:32]:
                log.warning(f"{path} is damaged, its hash does not match: falling back to the checkpoint before")
                path.unlink()
                continue
            saved, strategy = _unpack(path, data, load)
            state = cls(run, saved, about)
            log.info(f"resuming {run.path} after generation {strategy.generation}")
            break
        else:
            if run.checkpoint_files() or len(read_jsonl(run.metrics, schema.Generation)):
                raise UserError(f"{run.checkpoints} has no whole checkpoint, but {run.metrics} has lines: restore a "
                                "checkpoint, or give another --out to begin anew")
            strategy = new()
            state = cls(run, _Saved(), about)
        state._make_good(strategy)
        return state, strategy

    @property
    def totals(self) -> Totals:
        """What the run has taken so far."""
        row = self._saved.row or {}
        return Totals(row.get("frames_total", 0), row.get("core_hours", 0.0))

    def left(self, generations: int) -> float:
        """Time for this many more generations, judging by the latest ones of this start (seconds)."""
        return generations * sum(self._seconds) / max(1, len(self._seconds))

    @property
    def episodes_total(self) -> int:
        """Training episodes so far."""
        return self._saved.episodes_total

    @property
    def best_validation(self) -> float:
        """The best validation mean so far, -inf before the first."""
        return self._saved.best_validation

    def journal(self, generation: int, stream: str) -> dict[int, Played]:
        """Episodes of the unfinished generation that are already played, by task index."""
        return dict(self._journal.get((generation, stream), {}))

    def note(self, generation: int, stream: str, index: int, played: Played) -> None:
        """Journal a finished episode."""
        durable = time.monotonic() - self._durable > DURABLE_SECONDS
        if durable:
            self._durable = time.monotonic()
        append_jsonl(self._run.episodes, {"generation": generation, "stream": stream, "task": index, "return": played.total,
                                          "frames": played.frames, "lap": played.lap}, durable)

    def save(self, generation: Generation, strategy: Strategy, candidates: npt.NDArray[np.float64],
             fitness: npt.NDArray[np.float64]) -> None:
        """Make a generation final: checkpoint, champion, metrics.

        Args:
            generation: its summary.
            strategy: after ``tell``.
            candidates: shape (popsize, parameters).
            fitness: their mean returns, shape (popsize,).
        """
        saved = self._saved
        saved.row = generation.row()
        self._seconds.append(generation.seconds)
        saved.episodes_total += generation.episodes
        if fitness.max() > saved.best_return:
            saved.best_return, saved.best_candidate = float(fitness.max()), candidates[fitness.argmax()].copy()
        if generation.eval_mean is not None and generation.eval_mean > saved.best_validation:
            saved.best_validation = generation.eval_mean
            saved.champion, saved.champion_generation = strategy.mean, generation.generation
        self._run.save_checkpoint(generation.generation, _pack(saved, strategy))
        self._write_champion(strategy)
        keep_mean(self._run, generation.generation, strategy.mean, {
            **self._about, "generation": generation.generation, "validation_mean": generation.eval_mean})
        append_jsonl(self._run.metrics, saved.row)
        self._journal.clear()

    def _write_champion(self, strategy: Strategy) -> None:
        """The mean of the best validation so far; before the first validation, the latest mean."""
        saved = self._saved
        validated = saved.champion is not None
        assert saved.best_candidate is not None
        about = {**self._about, "kind": "champion",
                 "generation": saved.champion_generation if validated else strategy.generation,
                 "validation_mean": saved.best_validation if validated else None, "best_return": saved.best_return}
        save_arrays(self._run.champion, {
            "parameters": strategy.mean if saved.champion is None else saved.champion,
            "latest_mean": strategy.mean, "best_candidate": saved.best_candidate}, about)

    def _make_good(self, strategy: Strategy) -> None:
        """Bring metrics, champion and journal in step with the checkpoint."""
        rows: list[Any] = read_jsonl(self._run.metrics, schema.Generation)
        kept = [row for row in rows if row["generation"] <= strategy.generation]
        if self._saved.row is not None and (not kept or kept[-1]["generation"] < strategy.generation):
            kept.append(self._saved.row)
        if kept != rows:
            write_text(self._run.metrics, "".join(f"{json.dumps(row)}\n" for row in kept))
        if self._saved.row is not None:
            self._write_champion(strategy)
        for row in iterate_jsonl(self._run.episodes, schema.Journalled):
            if row["generation"] > strategy.generation:
                self._journal.setdefault((row["generation"], row["stream"]), {})[row["task"]] = Played(
                    row["return"], row["frames"], row["lap"])


def _pack(saved: _Saved, strategy: Strategy) -> bytes:
    payload = pickle.dumps((dataclasses.asdict(saved), strategy.dumps()))
    return hashlib.sha256(payload).digest() + payload


def _unpack(path: Path, data: bytes, load: Callable[[bytes], Strategy]) -> tuple[_Saved, Strategy]:
    try:
        saved, strategy = read_pickle(data[32:])
        return _Saved(**saved), load(strategy)
    except (pickle.UnpicklingError, AttributeError, ImportError, TypeError, ValueError) as error:
        raise UserError(f"{path} is whole, but these versions of the packages cannot read it ({error}): go on with the "
                        "versions that environment.json of the run names, if you trust who made it") from None
