"""A function of your own over MPI, with the pool that es plays with: a rank that dies takes nothing with it.

Run it: wm-mpi launch -np 4 python own_function.py
"""

import os
import random
import signal
from pathlib import Path

import wm_mpi


def darts(throws: int, seed: int) -> int:
    """How many of so many darts hit a quarter of a disc. Whoever is given the board of seed 5 first is shot."""
    if seed == 5 and not Path("shot").exists():
        Path("shot").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    rng = random.Random(seed)
    return sum(rng.random() ** 2 + rng.random() ** 2 < 1 for _ in range(throws))


with wm_mpi.open_pool(lambda: wm_mpi.Calls(darts)) as pool:
    if pool is not None:  # on rank 0
        outcome = pool.run(20_000, range(50))
        pi, lost = 4 * sum(outcome.results) / 1e6, ", ".join(outcome.lost)
        print(f"pi is about {pi:.4f}, by {outcome.workers} ranks; lost: {lost}")
