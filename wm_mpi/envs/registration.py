"""The fast engine's name in Gymnasium: ``import wm_mpi; gymnasium.make("wm_mpi/CarRacing-v3")``."""

import gymnasium

ENV_ID = "wm_mpi/CarRacing-v3"

if ENV_ID not in gymnasium.registry:
    gymnasium.register(
        ENV_ID, entry_point="wm_mpi.envs.fast:CarRacing", vector_entry_point="wm_mpi.envs.fast:CarRacingVector",
        max_episode_steps=1000, reward_threshold=900)
