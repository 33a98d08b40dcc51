"""Train a linear controller on Gymnasium's LunarLander, alone or over MPI; started again, it goes on where it stopped.

Run it: python lander.py [GENERATIONS], or on ranks: wm-mpi launch -np 3 python lander.py
"""

import sys

import wm_mpi

champion = wm_mpi.train("LunarLander-v3", out="runs/lander", popsize=32, episodes=2, eval_every=5, eval_episodes=16,
                        generations=int(sys.argv[1]) if len(sys.argv) > 1 else 40)
if champion is not None:  # on rank 0
    print(champion, *(champion.play(seed) for seed in range(3)), sep="\n")
