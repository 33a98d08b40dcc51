"""What whoever watches a car is told beside its picture: tiles, whether it is off its road, where another car is in it."""

import math
from typing import NamedTuple

import numpy as np

from wm_mpi.envs.fast.physics.batch import CarBatch
from wm_mpi.envs.fast.render.scene import WINDOW_H, WINDOW_W, camera

OFF = 9.0
"""Further than this from the centre line (m; the road's edge is at 6.7) a car is not on its road."""


class Pose(NamedTuple):
    """Where a car is (metres, metres, radians)."""

    x: float
    y: float
    angle: float


class Place(NamedTuple):
    """Where something is in a picture of whatever size."""

    x: float
    """Share of the width, from the left."""
    y: float
    """Share of the height, from the top."""
    turned: float
    """Clockwise (radians)."""
    metre: float
    """The share of the width that a metre takes."""


class Onlooker:
    """Watches the first car of an engine."""

    def __init__(self, cars: CarBatch) -> None:
        self._cars = cars

    @property
    def tiles(self) -> tuple[int, int]:
        """How many tiles it has touched, and how many there are."""
        return int(self._cars.tile_visited_count[0]), int(self._cars.tile_count[0])

    @property
    def off_road(self) -> bool:
        """Whether it is beside its road."""
        track = self._cars.tracks[0]
        assert track is not None
        away = track.points[:, 2:4] - self._cars.hull_xy[0].astype(np.float64)
        return bool((away**2).sum(axis=1).min() > OFF**2)

    @property
    def pose(self) -> Pose:
        """Where it is."""
        x, y = self._cars.hull_xy[0]
        return Pose(float(x), float(y), float(self._cars.hull_angle[0]))

    def place(self, other: Pose) -> Place:
        """Where another car of the same track is in this one's picture."""
        here = self.pose
        c, s, tx, ty, _, _, zoom = camera.py_func(*here, float(self._cars.time[0]), 1.0, 1.0)
        x, y = c * other.x - s * other.y + tx, s * other.x + c * other.y + ty
        turned = math.remainder(here.angle - other.angle, math.tau)
        return Place(x / WINDOW_W, 1 - y / WINDOW_H, turned, zoom / WINDOW_W)
