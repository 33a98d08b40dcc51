"""The fast engine with Stable-Baselines3 (pip install stable-baselines3): it is a Gymnasium environment like any other.

Run it: python stable_baselines.py [STEPS]
"""

import sys

import gymnasium
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env

import wm_mpi  # its environments are known to Gymnasium from here on

envs = make_vec_env("wm_mpi/CarRacing-v3", n_envs=4)
model = PPO("CnnPolicy", envs, n_steps=64, batch_size=64, n_epochs=2, seed=0)
model.learn(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)

env = gymnasium.make("wm_mpi/CarRacing-v3", max_episode_steps=300)
observation, _ = env.reset(seed=7)
total, done = 0.0, False
while not done:
    action, _ = model.predict(observation, deterministic=True)
    observation, reward, terminated, truncated, _ = env.step(action)
    total, done = total + float(reward), terminated or truncated
print(f"{total:.1f} points in 300 frames, wm_mpi {wm_mpi.__version__}")
