"""Play episodes: (parameters, seed) tasks in, returns out, ``width`` episodes at a time with one policy call per tick."""

import bisect
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from gymnasium.vector import VectorEnv

from wm_mpi.core.errors import UserError
from wm_mpi.core.options import WIDTH
from wm_mpi.core.progress import log
from wm_mpi.core.provenance import cpu_model
from wm_mpi.core.seeding import EpisodeSeed, generator
from wm_mpi.envs import DREAM, EnvSpec, family, make_env
from wm_mpi.pool import Arithmetic, Tasks
from wm_mpi.world.latent_dream import LatentDream
from wm_mpi.world.manifest import played_in
from wm_mpi.world.policy import GraphPolicy, Policy, VectorPolicy, WorldPolicy

NEVER = 2**62
"""Frames after which an episode without a limit is stuck."""
SAMPLE_FRAMES, SAMPLE_ROWS = 4, 8
"""Frames and rows in which a rank shows what it computes, whatever its width."""
OTHER_WIDTHS, CLEARLY_FASTER, RATE_SECONDS = (8, 32), 1.03, 0.05
"""What may take the place of ``WIDTH``, if it is that many times as fast in the best of three windows of so many seconds."""


@dataclass(frozen=True, slots=True)
class Task:
    """One episode to play."""

    candidate: int
    """Who plays it: the number of what the run shares, unless ``parameters`` are here."""
    seed: EpisodeSeed
    stuck_frames: int = 0
    """End it after this many frames without a gain (0: never)."""
    parameters: npt.NDArray[np.float64] | None = field(default=None, repr=False, compare=False)
    """The candidate itself, shape (P,): a rank is sent those that it plays, and in one message each of them once."""

    def __reduce__(self) -> tuple[Any, ...]:
        """By position: rank 0 sends thousands per second."""
        return Task, (self.candidate, self.seed, self.stuck_frames, self.parameters)

    def its_parameters(self, shared: "Candidates | None") -> npt.NDArray[np.float64]:
        """The candidate's, shape (P,)."""
        if self.parameters is not None:
            return self.parameters
        assert shared is not None
        return shared[self.candidate]


class Played(NamedTuple):
    """What became of an episode."""

    total: float
    """Return: the undiscounted sum of rewards (points)."""
    frames: int
    lap: bool
    """Whether a lap was completed."""


def require_finite(task: Task, played: Played) -> None:
    """Refuse a return that is no number.

    Raises:
        UserError: names the candidate and the track.
    """
    if not math.isfinite(played.total):
        raise UserError(f"candidate {task.candidate} has the return {played.total} on track {task.seed.track}: the "
                        "environment or the world gives numbers that are not finite; check them, then run the same command "
                        "again")


class Candidates(Protocol):
    """Parameters by number: an array (candidates, P), or what makes them."""

    def __getitem__(self, number: int) -> npt.NDArray[np.float64]:
        """Those of one candidate, shape (P,)."""


class Recorder(Protocol):
    """Keeps what an episode showed, for collect."""

    def begin(self, slot: int) -> None:
        """A new episode; one that ran in this slot and never finished is not wanted any more."""

    def step(self, slot: int, frame: npt.NDArray, action: npt.NDArray, reward: float, terminated: bool) -> None:
        """One step: the frame seen, the action taken on it, the reward that came after."""

    def finish(self, slot: int, index: int, task: Task) -> None:
        """The episode has ended."""


class Rollout:
    """A rank's worker: a vector environment, a policy, and the slots in which episodes run.

    An episode's outcome depends on its task alone: not on the slot, on its neighbours or on how many there are.
    """

    def __init__(self, env: VectorEnv, policy: Policy, recorder: Recorder | None = None) -> None:
        """Play with ``env`` and ``policy``, and show a ``recorder`` what is seen.

        Raises:
            UserError: the policy's actions are not finite.
        """
        self.capacity = env.num_envs
        self._env, self._policy, self._recorder = env, policy, recorder
        self._playing: list[tuple[int, Task] | None] = [None] * self.capacity
        self._free = list(range(self.capacity))  # slots in which nobody plays, in order
        self._totals, self._limits = np.zeros(self.capacity), np.zeros(self.capacity, np.int64)
        self._ages, self._gained = np.zeros((2, self.capacity), np.int64)  # frames; and when the return last grew
        self._retire: Callable[[int], None] = getattr(env, "retire", lambda slot: None)
        self._frames: npt.NDArray = np.empty(0)
        self._ended = np.ones(self.capacity, np.bool_)  # sub-environments that must be reset before their next step
        parts = cpu_model(), env.metadata.get("compiled"), f"ONNX Runtime {metadata.version('onnxruntime')}"
        self.arithmetic = Arithmetic(", ".join(filter(None, parts)), self._try_out())

    def _try_out(self) -> tuple[float, ...]:
        """All actions on some frames of an episode, by ``width`` controllers drawn at random; the first one acts."""
        seeds: Any = list(range(self.capacity))  # VectorEnv's own type hint forgets lists
        wanted = np.arange(self.capacity) < (1 if self._env.metadata.get("skips_ended", False) else self.capacity)
        frames, _ = self._env.reset(seed=seeds, options={"reset_mask": wanted})
        for slot in range(self.capacity):
            self._policy.assign(slot, generator(22, slot).normal(0, 0.1, self._policy.parameters), slot)
        said: list[float] = []
        for _ in range(SAMPLE_FRAMES):
            actions = self._policy.act(np.repeat(frames[:1], self.capacity, axis=0))
            said += actions[:SAMPLE_ROWS].ravel().tolist()
            frames, _, terminated, truncated, _ = self._env.step(actions)
            if (terminated | truncated)[wanted].any():  # which may not be stepped again
                break
        self._clear()
        return tuple(said)

    @property
    def plays_alike(self) -> bool:
        """Whether an episode's numbers are known to be the same, to the last bit, at any width up to this one."""
        return isinstance(self._policy, GraphPolicy) and self._policy.rounds_alike

    def rate(self) -> float:
        """Frames per second, as measured on frames that nobody counts; for a rollout that has no tasks."""
        frames, _ = self._env.reset(seed=list(range(self.capacity)))  # type: ignore[arg-type]  # its hint forgets lists
        for slot in range(self.capacity):
            self._policy.assign(slot, np.zeros(self._policy.parameters), slot)
        began, ticks = time.perf_counter(), 0
        while (taken := time.perf_counter() - began) < RATE_SECONDS:
            frames, *_ = self._env.step(self._policy.act(frames))
            ticks += 1
        self._clear()
        return self.capacity * ticks / taken

    def run(self, shared: "Candidates | None", tasks: Tasks) -> Iterator[tuple[int, Played]]:
        """Play tasks until there are no more, or what is left is not wanted any more.

        ``shared`` has the candidates of tasks that come without.
        """
        while tasks.wanted():
            self._fill(shared, tasks)
            if len(self._free) == self.capacity:
                return
            yield from self._tick()
        for slot, playing in enumerate(self._playing):
            if playing is not None:
                self._release(slot)

    def _fill(self, shared: "Candidates | None", tasks: Tasks) -> None:
        """Give free slots their next episodes.

        A vector environment steps all its parts, and an ended one may not be stepped: slots without a task restart on a
        track that nobody counts, unless the environment says in its metadata that it skips ended parts.
        """
        if not self._free:
            return
        seeds: Any = [0] * self.capacity  # VectorEnv's own type hint forgets lists
        fresh = np.zeros(self.capacity, np.bool_)
        while self._free and (indexed := tasks.take(wait=len(self._free) == self.capacity)) is not None:
            slot, task = self._free.pop(0), indexed[1]
            self._playing[slot] = indexed
            self._totals[slot] = self._ages[slot] = self._gained[slot] = 0
            self._limits[slot] = task.stuck_frames or NEVER
            self._policy.assign(slot, task.its_parameters(shared), task.seed.noise)
            if self._recorder:
                self._recorder.begin(slot)
            seeds[slot], fresh[slot] = task.seed.track, True
        if len(self._free) == self.capacity:
            return
        if not self._env.metadata.get("skips_ended", False):
            fresh |= self._ended
        if fresh.any():
            self._frames, _ = self._env.reset(seed=seeds, options={"reset_mask": fresh})
            self._ended &= ~fresh

    def _tick(self) -> Iterator[tuple[int, Played]]:
        """One frame of every running episode; yields those that ended."""
        frames = self._frames
        actions = self._policy.act(frames)
        self._frames, rewards, terminated, truncated, infos = self._env.step(actions)
        self._ended |= terminated | truncated
        self._totals += rewards
        self._ages += 1
        np.copyto(self._gained, self._ages, where=rewards > 0)
        if self._recorder:
            self._record(self._recorder, frames, actions, rewards, terminated)
        for slot in np.flatnonzero(self._ended | (self._ages - self._gained >= self._limits)).tolist():
            playing = self._playing[slot]
            if playing is None:
                continue
            index, task = playing
            lap = bool(terminated[slot] and "lap_finished" in infos and infos["lap_finished"][slot])
            if self._recorder:
                self._recorder.finish(slot, index, task)
            self._release(slot)
            yield index, Played(float(self._totals[slot]), int(self._ages[slot]), lap)

    def _record(self, recorder: Recorder, frames: npt.NDArray, actions: npt.NDArray, rewards: npt.NDArray,
                terminated: npt.NDArray) -> None:
        for slot, playing in enumerate(self._playing):
            if playing is not None:
                recorder.step(slot, frames[slot], actions[slot], float(rewards[slot]), bool(terminated[slot]))

    def _release(self, slot: int) -> None:
        """Nobody plays in ``slot`` any more."""
        self._playing[slot] = None
        bisect.insort(self._free, slot)
        self._clear([slot])

    def _clear(self, slots: Iterable[int] | None = None) -> None:
        """Let neither the policy nor the environment work for slots (all) in which nobody plays."""
        for slot in range(self.capacity) if slots is None else slots:
            self._policy.release(slot)
            self._retire(slot)


def make_policy(spec: EnvSpec, world: str | None, width: int, deterministic: bool,
                hidden: int | Sequence[int] | None = None) -> Policy:
    """The policy for an environment: a world's, or for vectors C alone, with ``hidden`` layers of so many units.

    Raises:
        UserError: no world given, not a world, damaged, or another game's.
    """
    if not spec.pictures:
        return VectorPolicy(spec.game.observations, width, spec.game.control.with_hidden(hidden))
    if world is None:
        raise UserError(f"--env {spec.name} needs --world: a directory that freeze wrote, or a name that ships")
    policy = WorldPolicy(world, width, deterministic, hidden)
    made_for, wanted = family(played_in(policy.manifest)), family(spec.name)
    if made_for != wanted:
        raise UserError(f"{world} is a world of {made_for}, not of {wanted}: give --env {made_for}, or one that freeze "
                        f"made of {wanted} with --world")
    return policy


def make_rollout(spec: EnvSpec, world: str | None, width: int | None, deterministic: bool,
                 hidden: int | Sequence[int] | None = None) -> Rollout:
    """A rank's worker for trained policies, in a game or in M's dream of it.

    ``width``: episodes in lock-step; None for as many as are fastest, where that is known to change no number.

    Raises:
        UserError: see ``make_policy`` and ``envs.make_env``.
    """
    if width is None and spec.name == "fast":
        return fastest(lambda width: make_rollout(spec, world, width, deterministic, hidden))
    width = width or WIDTH
    if spec.name == DREAM:
        if world is None:
            raise UserError("--env dream needs --world: a directory that freeze wrote, or a name that ships")
        dream = LatentDream.of(world, width, spec.temperature or 1.0, spec.max_frames)
        return Rollout(dream, VectorPolicy(dream.features, width, dream.control.with_hidden(hidden)))
    policy = make_policy(spec, world, width, deterministic, hidden)
    return Rollout(make_env(spec, width), policy)


def fastest(make: Callable[[int], Rollout]) -> Rollout:
    """The usual rollout, or one of another width that plays clearly faster on this host, beside whoever else is at work.

    Caches decide, and they differ: how much of V stays in one between two frames, and how many cars.
    """
    rollouts = [make(width) for width in (WIDTH, *OTHER_WIDTHS)]
    if not all(each.plays_alike for each in rollouts):
        return rollouts[0]
    rates = [max(rounds) for rounds in zip(*([each.rate() for each in rollouts] for _ in range(3)), strict=True)]
    log.debug("frames per second by width: " + ", ".join(
        f"{rate:,.0f} at {each.capacity}" for each, rate in zip(rollouts, rates, strict=True)))
    best = max(range(len(rates)), key=rates.__getitem__)
    return rollouts[best if rates[best] > CLEARLY_FASTER * rates[0] else 0]
