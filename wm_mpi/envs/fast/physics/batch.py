"""CarRacing's world in Numba: many cars, each bit for bit Gymnasium's and Box2D's.

``CarBatch`` holds the state of ``width`` cars and their tracks. ``reset`` is
``CarRacing.reset`` and ``step`` is ``CarRacing.step``, without the picture. A
car's numbers never depend on the other cars of the batch.
"""

from __future__ import annotations

import numpy as np

from ..copies import Copyable
from .contacts import prepare_tiles
from .frame import advance, place_car
from .layout import (
    ANGLE,
    CAR_COS,
    CAR_SIN,
    CENTRE_X,
    COLUMNS_F32,
    COLUMNS_F64,
    COLUMNS_INT,
    HULL_X,
    HULL_Y,
    JOINT_ANGLE0,
    OMEGA,
    PHASE,
    REWARD,
    ROWS,
    SPIN,
    TILES,
    TIME,
    VEL_X,
    VEL_Y,
    VISITED,
)
from .simd import LANES
from .track import MAX_TILES, Track, create_track


class CarBatch(Copyable):
    """The state of ``width`` cars, each on its own track.

    Lengths in metres, angles in radians, per second where it is a speed. The
    float32 arrays are views into one record per car and change with each step;
    they, and what else is [R], have a row more than cars where there is one car.

    hull_xy: float32 [R, 2], the hull's origin (``hull.position``).
    hull_angle, hull_angular_velocity: float32 [R].
    hull_velocity: float32 [R, 2], of the centre of mass (``hull.linearVelocity``).
    wheel_xy: float32 [R, 4, 2]; wheel_angle: float32 [R, 4].
    body_sin, body_cos: float32 [R, 5], of the b2Transforms: the hull, then the wheels.
    joint_angle0: float32 [R], ``wheels[0].joint.angle``.
    wheel_omega, wheel_phase: float64 [R, 4].
    time, total_reward: float64 [R], Gymnasium's ``t`` and ``reward``.
    tile_count: int32 [R]; tile_visited_count: int32 [R].
    tile_xy: float64 [W, MAX_TILES, 4, 2], road1_l, road1_r, road2_r, road2_l.
    tile_touched, tile_visited: bool [W, MAX_TILES]; a touched tile has taken the
        plain road colour.
    kerb: int8 [W, MAX_TILES], 0 none, 1 white, 2 red; kerb_xy: like ``tile_xy``.
    tracks: each car's ``Track``, or None before its first reset.
    reward: float64 [W]; terminated, lap_finished: bool [W]: of the last step.
    """

    def __init__(self, width: int, lap_complete_percent: float = 0.95) -> None:
        self.width = width
        self.lap_complete_percent = float(lap_complete_percent)
        self.tracks: list[Track | None] = [None] * width
        rows = max(width, 2)  # a single row's views are contiguous to Numba: a type of its own, to be compiled again
        self._f32 = np.zeros((rows, COLUMNS_F32), np.float32)
        self._f64 = np.zeros((rows, COLUMNS_F64))
        self._int = np.zeros((rows, COLUMNS_INT), np.int32)
        self._near = np.zeros((width, MAX_TILES), np.int32)
        self._boxes = np.zeros((width, MAX_TILES, 4), np.float32)
        self._region = np.zeros((width, 4), np.float32)
        self._vertices = np.zeros((width, MAX_TILES, 4, 2), np.float32)
        self._sizes = np.zeros((width, MAX_TILES), np.int8)
        self._edges = np.zeros((width, MAX_TILES, 4, 3), np.float32)
        self._rows = np.zeros((ROWS, LANES), np.float32)
        self.tile_xy = np.zeros((width, MAX_TILES, 4, 2))
        self.kerb_xy = np.zeros((width, MAX_TILES, 4, 2))
        self.kerb = np.zeros((width, MAX_TILES), np.int8)
        self.tile_touched = np.zeros((width, MAX_TILES), np.bool_)
        self.tile_visited = np.zeros((width, MAX_TILES), np.bool_)
        self.reward = np.zeros(width)
        self.terminated = np.zeros(width, np.bool_)
        self.lap_finished = np.zeros(width, np.bool_)
        self._no_actions = np.zeros((width, 3))
        self._connect()

    def _derive(self) -> None:
        f32, f64, ints = self._f32, self._f64, self._int
        centres = f32[:, CENTRE_X : CENTRE_X + 10].reshape(-1, 2, 5)
        self.hull_xy = f32[:, HULL_X : HULL_Y + 1]
        self.hull_angle = f32[:, ANGLE]
        self.hull_velocity = f32[:, VEL_X : VEL_Y + 1 : VEL_Y - VEL_X]
        self.hull_angular_velocity = f32[:, SPIN]
        self.wheel_xy = centres[:, :, 1:].transpose(0, 2, 1)
        self.wheel_angle = f32[:, ANGLE + 1 : ANGLE + 5]
        self.body_sin = f32[:, CAR_SIN : CAR_SIN + 5]
        self.body_cos = f32[:, CAR_COS : CAR_COS + 5]
        self.joint_angle0 = f32[:, JOINT_ANGLE0]
        self.wheel_omega = f64[:, OMEGA : OMEGA + 4]
        self.wheel_phase = f64[:, PHASE : PHASE + 4]
        self.time = f64[:, TIME]
        self.total_reward = f64[:, REWARD]
        self.tile_count = ints[:, TILES]
        self.tile_visited_count = ints[:, VISITED]

    def reset(self, car: int, track: Track | int | np.random.Generator) -> None:
        """Put car ``car`` at the start of a track: ``CarRacing.reset``.

        ``track`` is a finished track, or what ``create_track`` makes one of.
        """
        if not isinstance(track, Track):
            track = create_track(track)
        n = track.tile_count
        if n > MAX_TILES:
            raise ValueError(f"a track of {n} tiles exceeds MAX_TILES = {MAX_TILES}")
        self.tracks[car] = track
        self.tile_xy[car, :n] = track.tile_xy
        self.kerb_xy[car, :n] = track.kerb_xy
        self.kerb[car] = 0
        self.kerb[car, :n] = track.kerb
        self.tile_touched[car] = False
        self.tile_visited[car] = False
        prepare_tiles(
            track.tile_xy,
            self._vertices[car],
            self._sizes[car],
            self._edges[car],
            self._boxes[car],
        )
        self._f64[car] = 0.0
        self._int[car] = 0
        self._int[car, TILES] = n
        self._region[car] = (1, 1, -1, -1)  # holds nothing, so the near tiles are looked up
        place_car(self._f32[car], *track.start)
        only = np.zeros(self.width, np.bool_)
        only[car] = True
        self.coast(only)

    def step(
        self, actions: np.ndarray, active: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Advance the cars by one frame: ``CarRacing.step``.

        Args:
            actions: float64 [W, 3], steering (-1 to 1), gas and brake (0 to 1).
            active: bool [W], the cars to advance; all by default. The others
                keep their state and get reward 0 and both flags False.

        Returns:
            ``reward`` float64 [W], ``terminated`` bool [W] and ``lap_finished``
            bool [W] (True where the lap ended it, False where the field did);
            the same arrays each time.
        """
        actions = np.ascontiguousarray(actions, np.float64)
        if actions.shape != (self.width, 3):
            raise ValueError(f"actions of shape {actions.shape}, expected {(self.width, 3)}")
        if active is None:
            active = np.ones(self.width, np.bool_)
        self._advance(actions, np.ascontiguousarray(active, np.bool_), True)
        return self.reward, self.terminated, self.lap_finished

    def coast(self, active: np.ndarray) -> None:
        """Advance the cars in ``active`` (bool [W]) without acting or reward: ``CarRacing.step(None)``."""
        self._advance(self._no_actions, active, False)

    def _advance(self, actions: np.ndarray, active: np.ndarray, acting: bool) -> None:
        advance(
            (self._f32, self._f64, self._int),
            (self._vertices, self._sizes, self._edges),
            (self._near, self._region, self._boxes),
            (self.tile_visited, self.tile_touched),
            self._rows,
            actions,
            active,
            acting,
            self.lap_complete_percent,
            (self.reward, self.terminated, self.lap_finished),
        )
