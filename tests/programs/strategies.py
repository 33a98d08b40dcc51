"""Train with every strategy, one after another: ``strategies.py OUT``, under mpirun."""

import sys
from pathlib import Path

from wm_mpi import es
from wm_mpi.core.config import EsConfig
from wm_mpi.evolution.strategies import STRATEGIES

if __name__ == "__main__":
    for name in STRATEGIES:
        es.main(EsConfig(env="toy", out=str(Path(sys.argv[1]) / name), strategy=name, popsize=8, episodes=2, eval_every=2,
                         eval_episodes=2, seed=11, quiet=True, world=None, generations=3))
