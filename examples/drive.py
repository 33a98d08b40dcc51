"""Let the champion that comes with the package drive a track, and keep a picture of where it got to.

Run it: python drive.py [TRACK]
"""

import sys

from PIL import Image

import wm_mpi

champion = wm_mpi.load("carracing")
episode = champion.play(seed=int(sys.argv[1]) if len(sys.argv) > 1 else 3)
print(episode)
print(f"steer, gas, brake on average: {episode.actions.mean(axis=0).round(3)}")
Image.fromarray(champion.env.render()).save("drive.png")
