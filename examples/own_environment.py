"""Train in environments of your own: any function that makes a vector of them.

Run it: python own_environment.py
"""

import gymnasium
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import wm_mpi


def cart_poles(count: int) -> SyncVectorEnv:
    """So many carts, each with a pole that must not fall."""
    return SyncVectorEnv([lambda: gymnasium.make("CartPole-v1")] * count, autoreset_mode=AutoresetMode.DISABLED)


champion = wm_mpi.train(cart_poles, out="runs/cart", popsize=16, episodes=4, generations=10, eval_episodes=8, max_frames=500)
if champion is not None:
    print(champion.play(seed=1))
