"""What Gymnasium's ``CarRacing`` calls its state, as read-only views of the engine's arrays that show it as it is now.

Names, types and values are Gymnasium's and Box2D's. docs/engine.md says what is left out.
"""

from typing import Any, NoReturn

import numpy.typing as npt

from wm_mpi.envs.fast.physics import layout
from wm_mpi.envs.fast.physics.batch import CarBatch
from wm_mpi.envs.fast.physics.car import WHEEL_RADIUS
from wm_mpi.envs.fast.physics.track import Track


class Shown:
    """Says in a sentence what is not there."""

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"the fast engine's {type(self).__name__} has no {name!r}: docs/engine.md lists what it shows; "
                             "gymnasium.make('CarRacing-v3') has everything")


class View(Shown):
    """A part of car 0 of ``cars``."""

    _cars: CarBatch
    _index: int

    def __init__(self, cars: CarBatch, index: int = 0) -> None:
        """Look at body, wheel or tile ``index``."""
        vars(self).update(_cars=cars, _index=index)

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(f"the fast engine's {type(self).__name__} is read-only: {name} cannot be set")


class Body(View):
    """A ``b2Body``: the hull (0) or a wheel (1 to 4)."""

    @property
    def position(self) -> Any:
        """Where its origin is (b2Vec2, metres)."""
        if self._index == 0:
            return _vector(*self._cars.hull_xy[0])
        return self.worldCenter  # a wheel's origin

    @property
    def worldCenter(self) -> Any:
        """Where its centre of mass is (b2Vec2, metres)."""
        return _vector(self._float32(layout.CENTRE_X), self._float32(layout.CENTRE_Y))

    @property
    def angle(self) -> float:
        """Its rotation (radians)."""
        return self._float32(layout.ANGLE)

    @property
    def linearVelocity(self) -> Any:
        """The velocity of its centre of mass (b2Vec2, metres per second)."""
        return _vector(self._float32(layout.VEL_X), self._float32(layout.VEL_Y))

    @property
    def angularVelocity(self) -> float:
        """Its spin (radians per second)."""
        return self._float32(layout.SPIN)

    @property
    def transform(self) -> Any:
        """Position and rotation (b2Transform)."""
        import Box2D

        transform = Box2D.b2Transform()
        transform.position = self.position
        transform.q.s, transform.q.c = self._float32(layout.CAR_SIN), self._float32(layout.CAR_COS)
        return transform

    def _float32(self, row: int) -> float:
        return float(self._cars._f32[0, row + self._index])


class Joint(View):
    """The ``b2RevoluteJoint`` between the hull and wheel ``index`` (1 to 4)."""

    @property
    def angle(self) -> float:
        """How far the wheel is turned (radians)."""
        return self._difference(layout.ANGLE)

    @property
    def speed(self) -> float:
        """How fast the wheel is turning (radians per second)."""
        return self._difference(layout.SPIN)

    def _difference(self, row: int) -> float:
        return float(self._cars._f32[0, row + self._index] - self._cars._f32[0, row])


class Wheel(Body):
    """A wheel, 1 to 4: front left, front right, rear left, rear right."""

    wheel_rad = WHEEL_RADIUS

    @property
    def joint(self) -> Joint:
        """What holds it at the hull."""
        return Joint(self._cars, self._index)

    @property
    def omega(self) -> float:
        """How fast it rolls (radians per second)."""
        return float(self._cars.wheel_omega[0, self._index - 1])

    @property
    def phase(self) -> float:
        """How far it has rolled (radians)."""
        return float(self._cars.wheel_phase[0, self._index - 1])

    @property
    def gas(self) -> float:
        """Gas, which only the rear wheels get (0 to 1)."""
        return self._control(layout.GAS) if self._index > 2 else 0.0

    @property
    def brake(self) -> float:
        """Brake (0 to 1)."""
        return self._control(layout.BRAKE)

    @property
    def steer(self) -> float:
        """Where it is to turn to, for the front wheels."""
        return self._control(layout.STEER) if self._index < 3 else 0.0

    def _control(self, column: int) -> float:
        return float(self._cars._f64[0, column])


class Car(View):
    """Gymnasium's ``Car``."""

    @property
    def hull(self) -> Body:
        """The car without its wheels."""
        return Body(self._cars)

    @property
    def wheels(self) -> list[Wheel]:
        """Front left, front right, rear left, rear right."""
        return [Wheel(self._cars, body) for body in range(1, 5)]


class Tile(View):
    """A tile of the road."""

    road_friction = 1.0

    @property
    def idx(self) -> int:
        """Its number along the track."""
        return self._index

    @property
    def road_visited(self) -> bool:
        """Whether a wheel has touched it."""
        return bool(self._cars.tile_visited[0, self._index])

    @property
    def color(self) -> npt.NDArray:
        """Its colour [3], 0 to 255."""
        track = self._cars.tracks[0]
        assert track is not None
        return track.colors.road.copy() if self._cars.tile_touched[0, self._index] else track.tile_color(self._index)


class ShownState(Shown):
    """The attributes of Gymnasium's ``CarRacing`` that tell its state, of car 0 of ``_cars``."""

    _cars: CarBatch

    @property
    def car(self) -> Car | None:
        """The car; None before the first reset."""
        return None if self._lap is None else Car(self._cars)

    @property
    def track(self) -> list[tuple[float, ...]] | None:
        """The lap's points (alpha, beta, x, y); None before the first reset."""
        return None if self._lap is None else [tuple(point) for point in self._lap.points.tolist()]

    @property
    def road(self) -> list[Tile] | None:
        """The lap's tiles; None before the first reset."""
        return None if self._lap is None else [Tile(self._cars, index) for index in range(self._lap.tile_count)]

    @property
    def tile_visited_count(self) -> int:
        """How many tiles a wheel has touched."""
        return int(self._cars.tile_visited_count[0])

    @property
    def reward(self) -> float:
        """The episode's points so far."""
        return float(self._cars.total_reward[0])

    @property
    def prev_reward(self) -> float:
        """``reward`` after the last step that acted."""
        return float(self._cars._f64[0, layout.PREV_REWARD])

    @property
    def t(self) -> float:
        """Seconds since the reset."""
        return float(self._cars.time[0])

    @property
    def new_lap(self) -> bool:
        """Whether the start line ended the lap."""
        return bool(self._cars._int[0, layout.NEW_LAP])

    @property
    def road_color(self) -> npt.NDArray | None:
        """The road's colour [3], 0 to 255; None before the first reset."""
        return None if self._lap is None else self._lap.colors.road.copy()

    @property
    def bg_color(self) -> npt.NDArray | None:
        """The field's colour [3], 0 to 255; None before the first reset."""
        return None if self._lap is None else self._lap.colors.background.copy()

    @property
    def grass_color(self) -> npt.NDArray | None:
        """The colour [3] of the squares on it, 0 to 255; None before the first reset."""
        return None if self._lap is None else self._lap.colors.grass.copy()

    @property
    def _lap(self) -> Track | None:
        return self._cars.tracks[0]


def _vector(x: float, y: float) -> Any:
    import Box2D  # only who looks needs it

    return Box2D.b2Vec2(float(x), float(y))
