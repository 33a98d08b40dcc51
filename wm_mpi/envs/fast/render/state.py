"""The arrays that the renderer reads and the scratch it works in."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .colour import PALETTE
from .compose import SPARE
from .raster import cover_buffer


class RenderState(NamedTuple):
    """State of ``W`` cars, in world units, radians and seconds.

    ``M`` is the room for tiles.  The names after the dash are Gymnasium's.
    """

    hull_xy: np.ndarray  # float32 [W, 2] - car.hull.position
    hull_angle: np.ndarray  # float32 [W] - car.hull.angle
    hull_velocity: np.ndarray  # float32 [W, 2] - car.hull.linearVelocity
    hull_angular_velocity: np.ndarray  # float32 [W] - car.hull.angularVelocity
    wheel_xy: np.ndarray  # float32 [W, 4, 2] - wheel.position
    wheel_angle: np.ndarray  # float32 [W, 4] - wheel.angle
    wheel_omega: np.ndarray  # float64 [W, 4] - wheel.omega
    wheel_phase: np.ndarray  # float64 [W, 4] - wheel.phase
    joint_angle0: np.ndarray  # float32 [W] - car.wheels[0].joint.angle
    time: np.ndarray  # float64 [W] - env.t
    total_reward: np.ndarray  # float64 [W] - env.reward at the time of drawing
    tile_xy: np.ndarray  # float64 [W, M, 4, 2] - road_l, road_r, road2_r, road2_l
    tile_count: np.ndarray  # int64 [W] - tiles in use
    tile_touched: np.ndarray  # bool [W, M] - tile has the plain road colour
    kerb_xy: np.ndarray  # float64 [W, M, 4, 2] - b1_l, b1_r, b2_r, b2_l
    kerb: np.ndarray  # int8 [W, M] - 0 none, 1 white, 2 red
    road_color: np.ndarray  # float64 [W, 3], 0..255
    bg_color: np.ndarray  # float64 [W, 3]
    grass_color: np.ndarray  # float64 [W, 3]


class Scratch(NamedTuple):
    """Work space; one serves any number of cars in turn, threads need one each."""

    cover: np.ndarray  # int64, see ``cover_buffer``, all zero between calls
    pixels: np.ndarray  # uint32 [height * width + SPARE], a picture in the making
    runs: tuple[np.ndarray, np.ndarray, np.ndarray]  # [height * width + 1]: int64 words, int32 places, uint32 colours
    line: np.ndarray  # uint16 [384], a row being averaged
    palette: np.ndarray  # int32 [15]
    text: np.ndarray  # int64 [8], glyph numbers of the score
    left: np.ndarray  # int64 [8], their left edges


def make_scratch(height: int = 96, width: int = 96) -> Scratch:
    """Scratch for pictures up to ``height`` x ``width`` (96 x 96 for both the
    observation and the policy frame).
    """
    most = height * width + 1
    return Scratch(
        cover_buffer(height, width),
        np.zeros(height * width + SPARE, np.uint32),
        (np.zeros(most, np.int64), np.zeros(most, np.int32), np.zeros(most, np.uint32)),
        np.zeros(384, np.uint16),
        np.zeros(PALETTE, np.int32),
        np.zeros(8, np.int64),
        np.zeros(8, np.int64),
    )
