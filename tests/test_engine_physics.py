"""Cars against Gymnasium's CarRacing and Box2D, to the bit."""

import Box2D
import numpy as np
import pytest
from gymnasium.envs.box2d.car_dynamics import Car
from physics_oracle import POLICIES, Driver, Reference, differences

from wm_mpi.envs.fast.physics import car
from wm_mpi.envs.fast.physics.batch import CarBatch
from wm_mpi.envs.fast.physics.contacts import overlaps
from wm_mpi.envs.fast.physics.gjk import gjk_overlap
from wm_mpi.envs.fast.physics.track import create_track


def test_masses_are_box2ds():
    reference = Car(Box2D.b2World((0, 0)), 0.0, 0.0, 0.0)
    bodies = (
        (reference.hull, car.HULL_SHAPES, 1.0),
        (reference.wheels[0], [car.WHEEL_SHAPE], 0.1),
    )
    for body, shapes, density in bodies:
        inv_mass, inv_inertia, centre = car.body_mass(shapes, np.float32(density))
        assert inv_mass == np.float32(1) / np.float32(body.mass)
        assert tuple(body.localCenter) == tuple(centre)
        inertia = 1 / inv_inertia + np.float32(body.mass) * (centre @ centre)
        assert inertia == pytest.approx(body.inertia, rel=3e-7)
        for fixture, shape in zip(body.fixtures, shapes, strict=True):
            assert np.array_equal(fixture.shape.vertices, shape)


@pytest.mark.parametrize(
    ("policy", "seed", "frames"), [(p, 60 + i, 700) for i, p in enumerate(POLICIES)]
)
def test_trajectory_equals_gymnasiums(policy, seed, frames):
    env, batch, driver = Reference(), CarBatch(1), Driver(policy, seed)
    env.reset(seed=seed)
    batch.reset(0, seed)
    assert differences(env, batch, 0) == []
    for frame in range(frames):
        action = driver(env)
        _, reward, terminated, _, info = env.step(action)
        got, ended, finished = batch.step(action[None])
        assert differences(env, batch, 0) == [], frame
        assert (reward, terminated) == (got[0], ended[0]), frame
        assert info.get("lap_finished", False) == finished[0]
        if terminated:
            break


def test_finished_lap_and_left_field():
    ends = set()
    for policy, seed in (("follow", 8), ("leave", 36)):
        env, batch, driver = Reference(), CarBatch(1), Driver(policy, seed)
        env.reset(seed=seed)
        batch.reset(0, seed)
        for _ in range(1000):
            action = driver(env)
            _, reward, terminated, _, info = env.step(action)
            got, ended, finished = batch.step(action[None])
            assert (reward, terminated) == (got[0], ended[0])
            if terminated:
                assert finished[0] == info["lap_finished"]
                ends.add((policy, bool(finished[0])))
                break
    assert ends == {("follow", True), ("leave", False)}


@pytest.mark.parametrize("lap_complete_percent", [0.0, 0.005, 0.95])
def test_new_lap_follows_the_order_of_contacts(lap_complete_percent):
    batch = CarBatch(1, lap_complete_percent)
    for seed in range(4):
        env = Reference(lap_complete_percent=lap_complete_percent)
        env.reset(seed=seed)
        batch.reset(0, seed)
        assert env.step(np.zeros(3))[2] == batch.step(np.zeros((1, 3)))[1][0]


def test_one_reset_after_another():
    env, batch = Reference(), CarBatch(1)
    for seed in range(80, 84):
        env.reset(seed=seed)
        batch.reset(0, seed)
        driver = Driver("gas", seed)
        for _ in range(60):
            action = driver(env)
            assert env.step(action)[1] == batch.step(action[None])[0][0]
            assert differences(env, batch, 0) == []


def test_overlap_is_box2ds():
    rng = np.random.default_rng(0)
    batch = CarBatch(1)
    batch.reset(0, 3)
    tile_xy = batch.tracks[0].tile_xy
    vertices, sizes, edges = batch._vertices[0], batch._sizes[0], batch._edges[0]
    scratch = (np.empty((3, 7), np.float32), np.zeros((3, 2), np.int64))
    wheel = Box2D.b2PolygonShape(vertices=[tuple(map(float, v)) for v in car.WHEEL_SHAPE])
    still, pose = Box2D.b2Transform(), Box2D.b2Transform()
    still.SetIdentity()
    for _ in range(2000):
        tile = int(rng.integers(len(tile_xy)))
        shape = Box2D.b2PolygonShape(vertices=[tuple(map(float, v)) for v in tile_xy[tile]])
        assert np.array_equal(shape.vertices, vertices[tile, : sizes[tile]])
        x, y = (vertices[tile].mean(axis=0) + rng.uniform(-8, 8, 2)).astype(np.float32)
        pose.position, pose.angle = (float(x), float(y)), float(rng.uniform(-4, 4))
        sin, cos = np.float32(pose.q.s), np.float32(pose.q.c)
        result = Box2D.b2Distance(
            shapeA=shape,
            idxA=0,
            shapeB=wheel,
            idxB=0,
            transformA=still,
            transformB=pose,
            useRadii=True,
        )
        touches = result[2] < 10 * np.finfo(np.float32).eps
        tiles = (vertices, sizes, edges)
        assert overlaps(tiles, tile, 4, x, y, sin, cos, *scratch) == touches
        exact = gjk_overlap(
            vertices[tile], sizes[tile], car.WHEEL_SHAPE, 4, x, y, sin, cos, *scratch
        )
        assert exact == touches


def _state(batch: CarBatch, car_index: int) -> list[np.ndarray]:
    return [
        array[car_index].copy()
        for array in (
            batch._f32,
            batch._f64,
            batch.tile_touched,
            batch.tile_visited,
            batch.wheel_xy,
        )
    ]


def test_a_car_is_the_same_alone_and_in_company():
    width = 21  # one full block of lanes and a part of another
    policies = [p for p in POLICIES if p != "follow"]
    batch, alone = CarBatch(width), [CarBatch(1) for _ in range(width)]
    drivers = [Driver(policies[i % len(policies)], i) for i in range(width)]
    for i in range(width):
        track = create_track(i)
        batch.reset(i, track)
        alone[i].reset(0, track)
    rng = np.random.default_rng(0)
    for _ in range(150):
        actions = np.array([driver(None) for driver in drivers])
        active = rng.random(width) < 0.9
        before = {i: _state(batch, i) for i in np.flatnonzero(~active)}
        reward, terminated, _ = batch.step(actions, active)
        for i in range(width):
            if active[i]:
                got, ended, _ = alone[i].step(actions[i : i + 1])
                assert (got[0], ended[0]) == (reward[i], terminated[i])
            else:
                assert reward[i] == 0 and not terminated[i]
                assert all(map(np.array_equal, before[i], _state(batch, i)))
            assert all(map(np.array_equal, _state(batch, i), _state(alone[i], 0)))


def test_a_reset_leaves_the_other_cars_alone():
    batch = CarBatch(3)
    for i in range(3):
        batch.reset(i, i)
    batch.step(np.ones((3, 3)) * (0.1, 1, 0))
    before = [_state(batch, i) for i in (0, 2)]
    batch.reset(1, 9)
    assert all(
        all(map(np.array_equal, a, _state(batch, i))) for a, i in zip(before, (0, 2), strict=True)
    )


def test_wrong_actions_are_refused():
    batch = CarBatch(2)
    with pytest.raises(ValueError, match="expected"):
        batch.step(np.zeros((3, 3)))
