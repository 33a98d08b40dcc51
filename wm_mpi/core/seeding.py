"""Randomness belongs to someone: every episode's track and noise is a function of (run seed, stream, generation, episode).

Nothing depends on ranks, clocks, arrival order or batch neighbours, so the same command gives the same numbers on any
number of ranks, straight through or resumed.
"""

from enum import IntEnum
from typing import NamedTuple

import numpy as np


class Stream(IntEnum):
    """What an episode is played for. Streams never share tracks except by chance (1 in 2**31)."""

    TRAINING = 0
    VALIDATION = 1
    TEST = 2
    COLLECTION = 3


class EpisodeSeed(NamedTuple):
    """The two numbers that decide an episode: ``reset(seed=track)`` and the policy's noise."""

    track: int
    noise: int


def episode_seed(run_seed: int, stream: Stream, generation: int, episode: int) -> EpisodeSeed:
    """The seeds of one episode; all candidates of a generation share them (common random numbers)."""
    state = np.random.SeedSequence([run_seed, stream, generation, episode]).generate_state(2, np.uint64)
    return EpisodeSeed(track=int(state[0] >> np.uint64(33)), noise=int(state[1]))


def track_seed(run_seed: int, track: int) -> EpisodeSeed:
    """The seeds of an episode on a track chosen by number: exactly ``reset(seed=track)``."""
    state = np.random.SeedSequence([run_seed, Stream.TEST, 0, 0, track]).generate_state(1, np.uint64)
    return EpisodeSeed(track=track, noise=int(state[0]))


def generator(*entropy: int) -> np.random.Generator:
    """A generator owned by whoever calls, seeded by the given non-negative integers."""
    return np.random.default_rng(np.random.SeedSequence(entropy))
