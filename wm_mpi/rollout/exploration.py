"""Policies for data. Without a world yet they must leave the start and see curves, speed and grass; a champion explores."""

import math
from typing import Protocol

import numpy as np
import numpy.typing as npt

from wm_mpi.core.controller import Control
from wm_mpi.core.seeding import generator
from wm_mpi.envs import Game
from wm_mpi.envs.frame import Cut
from wm_mpi.world.policy import Policy

PROJECTION_SEED = 2018
EXPLORATION_SEED = 2019
FEATURES = 32


DECAY = 1 - 1 / 25
"""Share of a random walk's deviation left after a frame: a correlation time of 25 frames (0.5 s)."""


LONGEST_HELD_FRAMES = 10
"""As the paper's authors held actions."""
FASTEST_FRAMES, SLOWEST_FRAMES = 10, 250
"""Shortest and longest correlation time of a champion's straying (frames)."""


class WalkPolicy(Policy):
    """A smooth random walk over actions (an Ornstein-Uhlenbeck process), with a temperament drawn an episode.

    Steering wanders around 0 with a correlation time of 0.5 s; throttle wanders around a level drawn once an episode, and
    what falls below zero brakes. The car leaves the start in every episode and sees road, grass and all speeds.
    """

    parameters = 0

    def __init__(self, width: int) -> None:
        """For ``width`` slots."""
        self._generators: list[np.random.Generator] = [generator(0)] * width
        self._level = np.zeros((width, 2))
        self._spread = np.zeros((width, 2))
        self._state = np.zeros((width, 2))

    def assign(self, slot: int, parameters: npt.NDArray[np.float64], noise: int) -> None:
        """Begin an episode in ``slot``: a new temperament from ``noise``."""
        rng = self._generators[slot] = generator(noise)
        self._level[slot] = rng.normal(0, 0.1), rng.uniform(0.0, 0.3)
        self._spread[slot] = rng.uniform(0.1, 0.6), rng.uniform(0.05, 0.3)
        self._state[slot] = 0

    def act(self, observations: npt.NDArray) -> npt.NDArray[np.float64]:
        """Actions, shape (width, 3), whatever is seen."""
        noise = np.stack([rng.standard_normal(2) for rng in self._generators])
        self._state = DECAY * self._state + np.sqrt(1 - DECAY**2) * noise
        steer, throttle = (self._level + self._spread * self._state).T
        return np.stack([np.clip(steer, -1, 1), np.clip(throttle, 0, 1), np.clip(-throttle, 0, 1)], axis=1)


class HeldPolicy(Policy):
    """Random actions, each held for 1 to 10 frames, as the paper's authors played Doom; or longer.

    Uniform within the outputs' range; one of the choices, or each switch on or off, where C has these. Where ``longest`` is
    more than 10, each episode draws its own longest hold between the two, log-uniform: who always turns back soon never
    comes to a wall, and M does not learn what it is like to stand there.
    """

    parameters = 0

    def __init__(self, width: int, control: Control, longest: int = LONGEST_HELD_FRAMES) -> None:
        """For ``width`` slots; ``longest`` is how long actions are held at most (frames)."""
        self._control, self._most = control, longest
        self._longest = np.full(width, longest)
        self._generators: list[np.random.Generator] = [generator(0)] * width
        self._left = np.zeros(width, np.int64)
        self._held = np.zeros((width, control.actions))

    def assign(self, slot: int, parameters: npt.NDArray[np.float64], noise: int) -> None:
        """Begin an episode in ``slot`` with a generator of its own."""
        self._generators[slot], self._left[slot] = generator(noise), 0
        if self._most > LONGEST_HELD_FRAMES:
            drawn = generator(noise, EXPLORATION_SEED).uniform(math.log(LONGEST_HELD_FRAMES), math.log(self._most))
            self._longest[slot] = round(math.exp(drawn))

    def act(self, observations: npt.NDArray) -> npt.NDArray[np.float64]:
        """Actions, shape (width, A), whatever is seen."""
        for slot in np.flatnonzero(self._left == 0):
            rng = self._generators[slot]
            self._held[slot] = self._draw(rng)
            self._left[slot] = rng.integers(1, self._longest[slot] + 1)
        self._left -= 1
        return self._held.copy()

    def _draw(self, rng: np.random.Generator) -> npt.NDArray[np.float64]:
        if self._control.kind == "choice":
            return np.eye(self._control.actions)[rng.integers(self._control.actions)]
        drawn = rng.uniform(-1, 1, self._control.actions)
        if self._control.kind == "switches":
            return (drawn > 0).astype(np.float64)
        scale, offset, lowest = np.array(self._control.outputs).T
        return np.maximum(scale * drawn + offset, lowest)


class LinearBehaviour(Policy):
    """A random linear controller an episode, in the manner of the paper's authors (their extract.py).

    They drove with an untrained world model: features of the frame, then weights drawn from a Cauchy distribution of a
    random scale (up to 0.01 x 32 features here, as large in effect as theirs over 288). A fixed random projection of the
    frame stands for their untrained V.
    """

    parameters = 0

    def __init__(self, width: int, control: Control) -> None:
        """For ``width`` slots."""
        self._control = control
        rng = generator(PROJECTION_SEED)
        self._projection = rng.standard_normal((64 * 64 * 3, FEATURES)).astype(np.float32) / np.float32(16)
        self._weights = np.zeros((width, control.actions, FEATURES + 1))

    def assign(self, slot: int, parameters: npt.NDArray[np.float64], noise: int) -> None:
        """Begin an episode in ``slot``: new weights from ``noise``."""
        rng = generator(noise)
        self._weights[slot] = rng.standard_cauchy(self._weights.shape[1:]) * rng.uniform(0, 0.1)

    def act(self, observations: npt.NDArray) -> npt.NDArray[np.float64]:
        """Actions, shape (width, 3), of frames uint8 [width, 64, 64, 3]."""
        pixels = observations.reshape(len(observations), -1).astype(np.float32) / np.float32(255) - np.float32(0.5)
        features = np.concatenate([np.ones((len(pixels), 1), np.float32), pixels @ self._projection], axis=1)
        return self._control.act(np.einsum("bof,bf->bo", self._weights, features.astype(np.float64)))


def behaviour(name: str, game: Game, width: int, longest_held: int | None = None) -> Policy:
    """Who acts where no champion does: "random" or "linear"; of held actions the longest hold may be another (frames)."""
    if name == "linear":
        return LinearBehaviour(width, game.control)
    return WalkPolicy(width) if game.smooth else HeldPolicy(width, game.control, longest_held or LONGEST_HELD_FRAMES)


class ShrinkingPolicy(Policy):
    """A policy that is shown a game's own pictures, because what is recorded is not what it sees."""

    def __init__(self, policy: Policy, cut: Cut) -> None:
        """``policy`` sees what ``cut`` makes of them."""
        self.parameters = policy.parameters
        self._policy, self._cut = policy, cut

    def assign(self, slot: int, parameters: npt.NDArray[np.float64], noise: int) -> None:
        """Begin an episode."""
        self._policy.assign(slot, parameters, noise)

    def act(self, observations: npt.NDArray) -> npt.NDArray[np.float64]:
        """Actions of all slots, of pictures uint8 [width, H, W, 3]."""
        return self._policy.act(self._cut(observations))

    def release(self, slot: int) -> None:
        """Nobody plays there any more."""
        self._policy.release(slot)


class Biased(Protocol):
    """A policy whose controller can be pushed aside, such as ``policy.GraphPolicy``."""

    parameters: int
    push: npt.NDArray[np.float32]

    def assign(self, slot: int, parameters: npt.NDArray[np.float64], noise: int) -> None:
        """Begin an episode."""

    def act(self, observations: npt.NDArray) -> npt.NDArray[np.float64]:
        """Actions of all slots."""


class ExploringPolicy(Policy):
    """A champion that strays: smooth noise on its controller's bias, its strength and pace drawn per episode and output.

    Noise goes in before the squashing, so that actions stay in bounds and M remembers what was really done. The strengths
    are uniform between 0 and ``exploration``: some episodes go as the champion would, others leave the road and come back.
    Correlation times are log-uniform between 10 and 250 frames: quick noise on the wheel shows how a car swerves and
    recovers, slow noise on gas or brake makes whole stretches faster or slower than the champion goes by itself.
    """

    def __init__(self, policy: Biased, width: int, exploration: float) -> None:
        """For ``width`` slots of ``policy``."""
        self.parameters = policy.parameters
        self._policy, self._exploration = policy, exploration
        self._generators: list[np.random.Generator] = [generator(0)] * width
        self._spread, self._state, self._decay = np.zeros((3, *policy.push.shape))

    def assign(self, slot: int, parameters: npt.NDArray[np.float64], noise: int) -> None:
        """Begin an episode in ``slot``: the champion's with ``noise``; strengths and paces are of a generator beside it."""
        self._policy.assign(slot, parameters, noise)
        rng = self._generators[slot] = generator(noise, EXPLORATION_SEED)
        actions = self._spread.shape[1]
        self._spread[slot] = rng.uniform(0, self._exploration, actions)
        self._state[slot] = rng.standard_normal(actions)
        self._decay[slot] = 1 - 1 / np.exp(rng.uniform(math.log(FASTEST_FRAMES), math.log(SLOWEST_FRAMES), actions))

    def act(self, observations: npt.NDArray) -> npt.NDArray[np.float64]:
        """Actions, shape (width, 3)."""
        self._policy.push[:] = self._spread * self._state
        noise = np.stack([rng.standard_normal(self._state.shape[1]) for rng in self._generators])
        self._state = self._decay * self._state + np.sqrt(1 - self._decay**2) * noise
        return self._policy.act(observations)
