"""M alone: how it goes on from a moment of an episode, told of the same actions, or of others."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from wm_mpi.core.controller import Control
from wm_mpi.core.seeding import generator
from wm_mpi.envs import Look
from wm_mpi.world.inference import Inference

SECONDS, MOMENTS = 1.0, 5
"""How far ahead branches are imagined (seconds), and how many pictures there are of each."""


class Moment(NamedTuple):
    """What M has to go on from."""

    insight: Inference
    z: npt.NDArray[np.float32]
    """What is seen, shape (1, L)."""
    h: npt.NDArray[np.float32]
    c: npt.NDArray[np.float32]
    """M's state before it, shape (1, H)."""


class Imagined:
    """A dream that began at a moment, beside what really came."""

    def __init__(self, moment: Moment, temperature: float, rng: np.random.Generator) -> None:
        self._insight, self.z, self._h, self._c = moment
        self._temperature, self._rng = temperature, rng
        self.frames = 0

    def step(self, action: npt.NDArray[np.float64]) -> None:
        """Dream on by a frame in which ``action``, shape (A,), is done."""
        said, self.z = self._insight.dream(self.z, action[None], self._h, self._c, self._temperature, [self._rng])
        self._h, self._c = said.h, said.c
        self.frames += 1


class Branch(NamedTuple):
    """What might be done from here."""

    label: str
    action: tuple[float, ...]


def branches(control: Control, look: Look, now: tuple[float, ...]) -> list[Branch]:
    """Three ways to hold the first output, the others as they are ``now``; each choice where C chooses, none elsewhere."""
    if control.kind == "choice":
        names = look.named(control.actions)
        return [Branch(name, tuple(np.eye(control.actions)[index])) for index, name in enumerate(names[:4])]
    low, high = (bound[0] for bound in control.bounds)
    if control.kind != "squash" or not low < 0 < high:
        return []
    values, name = (low, 0.0, high), look.named(control.actions)[0]
    plain = ("left", "straight on", "right") if look.verb == "drive" else [f"{name} {each:+g}" for each in values]
    words = look.meanings or plain
    return [Branch(word, (value, *now[1:])) for word, value in zip(words, values, strict=True)]


def what_if(moment: Moment, actions: npt.NDArray[np.float64], temperature: float, frames: int,
            noise: int) -> npt.NDArray[np.uint8]:
    """How M goes on if each of these actions [B, A] is held: ``MOMENTS`` frames uint8 [B, MOMENTS, 64, 64, 3].

    All branches have the same draws, so that what differs is the actions' doing.
    """
    insight, count = moment.insight, len(actions)
    z, h, c = (np.repeat(each, count, axis=0) for each in moment[1:])
    generators = [generator(noise) for _ in range(count)]
    kept = {round(frames * (number + 1) / MOMENTS) for number in range(MOMENTS)}
    pictures = []
    for frame in range(1, frames + 1):
        said, z = insight.dream(z, actions, h, c, temperature, generators)
        h, c = said.h, said.c
        if frame in kept:
            pictures.append(insight.decode(z))
    return np.stack(pictures, axis=1)
