"""What a run remembers: metrics, the journal of episodes, checkpoints and the champion, in step with one another."""

import dataclasses
import hashlib
import json
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wm_mpi.datasets import save_arrays
from wm_mpi.errors import UserError
from wm_mpi.rollout import Played
from wm_mpi.rundir import RunDir, append_jsonl, iterate_jsonl, read_jsonl, write_text
from wm_mpi.strategy import Strategy


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
    seconds: float
    frames_per_second: float
    busy_share: float
    eval_mean: float | None = None
    eval_std: float | None = None

    @classmethod
    def of(cls, generation: int, played: Sequence[Played], returns: npt.NDArray[np.float64],
           validation: npt.NDArray[np.float64] | None, sigma: float, busy_share: float, seconds: float,
           frames_per_second: float, frames_before: int) -> "Generation":
        """Sum up a generation; ``returns`` has shape (popsize, episodes), its row means are the candidates' fitness.

        ``seconds`` is all of the generation's time, ``frames_per_second`` the rate while training episodes were played.
        """
        fitness = returns.mean(axis=1)
        frames = sum(each.frames for each in played)
        return cls(generation=generation, frames=frames, episodes=len(played), frames_total=frames_before + frames,
                   return_mean=float(fitness.mean()), return_best=float(fitness.max()), return_min=float(fitness.min()),
                   return_std=float(fitness.std()), sigma=sigma, seconds=round(seconds, 3),
                   frames_per_second=round(frames_per_second, 1), busy_share=round(busy_share, 3),
                   eval_mean=None if validation is None else float(validation.mean()),
                   eval_std=None if validation is None else float(validation.std()))

    def row(self) -> dict[str, Any]:
        """The JSON object; validation fields only where there was a validation."""
        return {name: value for name, value in dataclasses.asdict(self).items() if value is not None}

    def describe(self, generations: int) -> str:
        """The line that people read."""
        text = (f"generation {self.generation}/{generations}  mean {self.return_mean:8.2f}  best {self.return_best:8.2f}  "
                f"min {self.return_min:8.2f}  sigma {self.sigma:.4f}  {self.frames_per_second:7.0f} frames/s  "
                f"busy {self.busy_share:4.0%}  {self.seconds:6.1f} s")
        return text if self.eval_mean is None else f"{text}  validation {self.eval_mean:.2f} ± {self.eval_std:.2f}"


@dataclasses.dataclass
class _State:
    """What a checkpoint holds beside the strategy."""

    row: dict[str, Any] | None = None
    episodes_total: int = 0
    champion: npt.NDArray[np.float64] | None = None
    champion_generation: int = 0
    best_validation: float = -np.inf
    best_candidate: npt.NDArray[np.float64] | None = None
    best_return: float = -np.inf


class History:
    """Saves a generation in an order that survives a kill at any moment.

    Journal lines come as episodes finish; the checkpoint makes a generation final; then the champion and the metrics line
    follow, and are made good on resume if the kill came between.
    """

    def __init__(self, run: RunDir, state: _State, about: dict[str, Any]) -> None:
        self._run, self._state, self._about = run, state, about
        self._journal: dict[tuple[int, str], dict[int, Played]] = {}

    @classmethod
    def resume(cls, run: RunDir, new: Callable[[], Strategy], about: dict[str, Any]) -> tuple["History", Strategy]:
        """Take up the newest whole checkpoint, or begin with ``new()``; says what it does.

        ``about`` (environment, rules) is recorded with the champion.
        """
        for path in reversed(run.checkpoint_files()):
            data = path.read_bytes()
            if hashlib.sha256(data[32:]).digest() != data[:32]:
                print(f"{path} is damaged, its hash does not match: falling back to the checkpoint before")
                path.unlink()
                continue
            state, strategy = _unpack(path, data)
            history = cls(run, state, about)
            print(f"resuming {run.path} after generation {strategy.generation}")
            break
        else:
            if run.checkpoint_files() or (run.metrics.exists() and read_jsonl(run.metrics)):
                raise UserError(f"{run.checkpoints} has no whole checkpoint, but {run.metrics} has lines: restore a "
                                "checkpoint, or give another --out to begin anew")
            strategy = new()
            history = cls(run, _State(), about)
        history._make_good(strategy)
        return history, strategy

    @property
    def frames_total(self) -> int:
        """Training frames so far."""
        return 0 if self._state.row is None else int(self._state.row["frames_total"])

    @property
    def episodes_total(self) -> int:
        """Training episodes so far."""
        return self._state.episodes_total

    @property
    def best_validation(self) -> float:
        """The best validation mean so far, -inf before the first."""
        return self._state.best_validation

    def journal(self, generation: int, stream: str) -> dict[int, Played]:
        """Episodes of the unfinished generation that are already played, by task index."""
        return dict(self._journal.get((generation, stream), {}))

    def note(self, generation: int, stream: str, index: int, played: Played) -> None:
        """Journal a finished episode."""
        append_jsonl(self._run.episodes, {"generation": generation, "stream": stream, "task": index, "return": played.total,
                                          "frames": played.frames, "lap": played.lap}, durable=False)

    def save(self, generation: Generation, strategy: Strategy, candidates: npt.NDArray[np.float64],
             fitness: npt.NDArray[np.float64]) -> None:
        """Make a generation final: checkpoint, champion, metrics.

        Args:
            generation: its summary.
            strategy: after ``tell``.
            candidates: shape (popsize, parameters).
            fitness: their mean returns, shape (popsize,).
        """
        state = self._state
        state.row = generation.row()
        state.episodes_total += generation.episodes
        if fitness.max() > state.best_return:
            state.best_return, state.best_candidate = float(fitness.max()), candidates[fitness.argmax()]
        if generation.eval_mean is not None and generation.eval_mean > state.best_validation:
            state.best_validation = generation.eval_mean
            state.champion, state.champion_generation = strategy.mean, generation.generation
        self._run.save_checkpoint(generation.generation, _pack(state, strategy))
        self._write_champion(strategy)
        append_jsonl(self._run.metrics, state.row)
        self._journal.clear()

    def _write_champion(self, strategy: Strategy) -> None:
        """The mean of the best validation so far; before the first validation, the latest mean."""
        state = self._state
        validated = state.champion is not None
        assert state.best_candidate is not None
        about = {**self._about, "kind": "champion",
                 "generation": state.champion_generation if validated else strategy.generation,
                 "validation_mean": state.best_validation if validated else None, "best_return": state.best_return}
        save_arrays(self._run.champion, {
            "parameters": strategy.mean if state.champion is None else state.champion,
            "latest_mean": strategy.mean, "best_candidate": state.best_candidate}, about)

    def _make_good(self, strategy: Strategy) -> None:
        """Bring metrics, champion and journal in step with the checkpoint."""
        rows = read_jsonl(self._run.metrics)
        kept = [row for row in rows if row["generation"] <= strategy.generation]
        if self._state.row is not None and (not kept or kept[-1]["generation"] < strategy.generation):
            kept.append(self._state.row)
        if kept != rows:
            write_text(self._run.metrics, "".join(f"{json.dumps(row)}\n" for row in kept))
        if self._state.row is not None:
            self._write_champion(strategy)
        for row in iterate_jsonl(self._run.episodes):
            if row["generation"] > strategy.generation:
                self._journal.setdefault((row["generation"], row["stream"]), {})[row["task"]] = Played(
                    row["return"], row["frames"], row["lap"])


def _pack(state: _State, strategy: Strategy) -> bytes:
    payload = pickle.dumps((dataclasses.asdict(state), strategy.dumps()))
    return hashlib.sha256(payload).digest() + payload


def _unpack(path: Path, data: bytes) -> tuple[_State, Strategy]:
    try:
        state, strategy = pickle.loads(data[32:])
        return _State(**state), Strategy.loads(strategy)
    except (pickle.UnpicklingError, AttributeError, ImportError, TypeError, ValueError) as error:
        raise UserError(f"{path} is whole, but these versions of the packages cannot read it ({error}): go on with the "
                        "versions that environment.json of the run names") from None
