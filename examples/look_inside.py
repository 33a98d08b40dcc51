"""What V keeps of a picture, and what M makes of the road: real frames above, decoded ones in the middle, a dream below.

Run it: python look_inside.py
"""

import numpy as np
from PIL import Image

import wm_mpi

champion = wm_mpi.load("carracing")
world = wm_mpi.load_world("carracing")
real = champion.play(seed=3).observations[::150]

mu, logvar = world.encode(real)
print(f"{len(real)} frames of 64 x 64 x 3 became {world.latents} numbers each, sigma {np.exp(logvar / 2).mean():.2f}")
decoded = world.decode(mu)
dreamt = champion.play(seed=3, env=world.dream(temperature=1.0)).observations[::150][:len(real)]

rows = [np.concatenate(list(frames), axis=1) for frames in (real, decoded, dreamt)]
width = min(row.shape[1] for row in rows)
Image.fromarray(np.concatenate([row[:, :width] for row in rows])).save("look_inside.png")
