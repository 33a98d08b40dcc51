"""The principal components of what C sees: directions in which a search for C moves, found in the world's own dreams."""

import numpy as np
import numpy.typing as npt

from wm_mpi.core.errors import UserError
from wm_mpi.core.progress import log
from wm_mpi.core.seeding import generator
from wm_mpi.envs import Game
from wm_mpi.rollout.exploration import HeldPolicy, WalkPolicy
from wm_mpi.world.latent_dream import LatentDream

COMPONENTS = 2020
"""Sets these dreams apart from everything else that a run's seed decides."""
WIDTH = 64
"""Dreams in lock-step."""
STEPS = 512
"""Steps of each place; where a dream ends, another begins. Together 32,768 observations."""
LONGEST_HELD = 160
"""Random actions are held for up to so many frames, some for long: who never goes far does not see much (frames)."""


def whitened_components(world: str, game: Game, count: int, seed: int) -> npt.NDArray[np.float64]:
    """The first ``count`` directions, by second moment, of what C sees while random actions are played in M's dream.

    They are about zero, not about the mean, so that a C without a bias finds one among them. A weight of 1 on any of them
    adds numbers with a root mean square of 1 to C's sum: principal component analysis with whitening. (State normalisation,
    as in Mania, Guy and Recht 2018, arXiv:1803.07055, is its diagonal.)

    Returns:
        float64 [F, count], a column for each.

    Raises:
        UserError: there are not so many, or the world cannot dream.
    """
    dream = LatentDream.of(world, WIDTH, 1.0, game.max_frames)
    if count > dream.features:
        raise UserError(f"--components is {count}, but C sees {dream.features} numbers: give at most so many")
    moments = second_moments(dream, game, seed)
    values, vectors = np.linalg.eigh(moments)
    kept, directions = values[::-1][:count], vectors[:, ::-1][:, :count]
    if not kept[-1] > 1e-10 * kept[0]:  # so that NaN fails too
        there = int(np.sum(kept > 1e-10 * kept[0]))
        raise UserError(f"--components is {count}, but what C sees in the dreams of {world} varies in {there} directions "
                        "only: give at most so many")
    log.info(f"{count} components of the {dream.features} numbers that C sees: {kept.sum() / values.sum():.2%} of their "
             "sum of squares")
    directions = directions * np.where(directions[np.abs(directions).argmax(axis=0), np.arange(count)] < 0, -1, 1)
    return directions / np.sqrt(kept)


def second_moments(dream: LatentDream, game: Game, seed: int) -> npt.NDArray[np.float64]:
    """The mean of x x' over what C sees, float64 [F, F]."""
    rng = generator(seed, COMPONENTS)
    player = WalkPolicy(WIDTH) if game.smooth else HeldPolicy(WIDTH, game.control, LONGEST_HELD)
    total, ended = np.zeros((dream.features, dream.features)), np.ones(WIDTH, np.bool_)
    seen = np.zeros((WIDTH, dream.features), np.float32)
    for _ in range(STEPS):
        if ended.any():
            drawn = rng.integers(2**31, size=WIDTH).tolist()
            for slot in np.flatnonzero(ended):
                player.assign(int(slot), np.zeros(0), drawn[slot])
            seen, _ = dream.reset(seed=drawn, options={"reset_mask": ended})
        total += seen.T.astype(np.float64) @ seen
        seen, _, terminated, truncated, _ = dream.step(player.act(seen))
        ended = terminated | truncated
    return total / (WIDTH * STEPS)
