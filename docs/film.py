"""Write docs/pictures/drive.webp, README's film: the champion on the road beside what V sees and keeps and what M expects.

Run it: python docs/film.py
"""

from pathlib import Path

import numpy as np
from PIL import Image

from wm_mpi.core.seeding import track_seed
from wm_mpi.core.shipped import found
from wm_mpi.evolution.champion import load_trained
from wm_mpi.viewer.session import Part, open_session

TRACK, FIRST, LAST, EVERY = 3, 60, 460, 3
"""Which frames of which track; 50 are a second."""
ROAD, VIEW, GAP = (240, 360), 78, 3

trained = load_trained(found("carracing"), env=None, world=None, max_frames=None, lap_complete_percent=None,
                       deterministic=None)
session = open_session(Part.of(trained), size=ROAD)
session.reset(track_seed(0, TRACK))
pictures = []
for frame in range(LAST):
    session.advance()
    if frame < FIRST or frame % EVERY:
        continue
    sight = session.sight()
    picture = np.full((ROAD[0], ROAD[1] + GAP + VIEW, 3), 255, np.uint8)
    picture[:, :ROAD[1]] = sight.road
    for number, view in enumerate((sight.seen, sight.reconstructed, sight.predicted)):
        top = number * (VIEW + GAP)
        picture[top:top + VIEW, -VIEW:] = np.asarray(Image.fromarray(view).resize((VIEW, VIEW), Image.Resampling.BICUBIC))
    pictures.append(Image.fromarray(picture))
path = Path(__file__).parent / "pictures" / "drive.webp"
pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=20 * EVERY, loop=0, quality=60, method=6)
print(f"{path}: {len(pictures)} pictures, {path.stat().st_size / 1e3:.0f} kB")
