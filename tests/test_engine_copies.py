"""Copies and pickles of the engine's environments go on as their originals would, and share nothing with them."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

import wm_mpi  # noqa: F401  registers the environment
from wm_mpi.envs.fast import CarRacing, CarRacingVector
from wm_mpi.envs.fast.physics.batch import CarBatch

Env = gymnasium.Env | gymnasium.vector.VectorEnv
ID = "wm_mpi/CarRacing-v3"


def as_ray(env: Env) -> Env:
    """Through memory that cannot be written, as Ray's object store is."""
    buffers: list[pickle.PickleBuffer] = []
    data = pickle.dumps(env, protocol=5, buffer_callback=buffers.append)
    return pickle.loads(data, buffers=[bytes(buffer.raw()) for buffer in buffers])


def by_reference(env: Env) -> Env:
    """As ``as_ray`` within one process: the pickle's arrays are the original's."""
    buffers: list[pickle.PickleBuffer] = []
    data = pickle.dumps(env, protocol=5, buffer_callback=buffers.append)
    return pickle.loads(data, buffers=buffers)


WAYS: dict[str, Callable[[Env], Env]] = {
    "deepcopy": copy.deepcopy, "pickle": lambda env: pickle.loads(pickle.dumps(env)), "ray": as_ray,
    "reference": by_reference, "twice": lambda env: copy.deepcopy(as_ray(copy.deepcopy(env)))}
SINGLE: list[dict[str, Any]] = [{}, {"render_mode": "rgb_array"}, {"render_mode": "state_pixels", "observation_size": 64},
                                {"continuous": False, "domain_randomize": True}]
VECTOR: list[dict[str, Any]] = [
    *({"autoreset_mode": mode} for mode in AutoresetMode), {"observation_size": 64, "render_mode": "rgb_array"},
    {"continuous": False, "domain_randomize": True}, {"autoreset_mode": "SameStep", "observation_size": 64}]
MAKERS: dict[str, Callable[[], Env]] = {
    **{f"make {options}": lambda options=options: gymnasium.make(ID, max_episode_steps=4, **options) for options in SINGLE},
    **{f"make_vec {options}": lambda options=options: gymnasium.make_vec(ID, num_envs=2, max_episode_steps=4, **options)
       for options in VECTOR}}


def told(value: Any) -> list[np.ndarray]:
    """All numbers in what an environment answered."""
    if isinstance(value, dict):
        return [each for key in sorted(value) for each in told(value[key])]
    if isinstance(value, list | tuple):
        return [each for item in value for each in told(item)]
    if isinstance(value, np.ndarray) and value.dtype == object:
        return [each for item in value for each in told(item)]
    return [] if value is None else [np.array(value)]


def equal(left: Any, right: Any) -> None:
    for expected, got in zip(told(left), told(right), strict=True):
        np.testing.assert_array_equal(expected, got)


def drive(env: Env, frames: int) -> list[Any]:
    """What ``frames`` steps give, pictures included; episodes that end begin again."""
    said: list[Any] = []
    discrete = isinstance(env.unwrapped.action_space, gymnasium.spaces.Discrete | gymnasium.spaces.MultiDiscrete)
    wide = isinstance(env, gymnasium.vector.VectorEnv)
    for _ in range(frames):
        action = np.int64(3) if discrete else np.array([0.3, 0.9, 0.0])
        answer = env.step(np.stack([action] * 2) if wide else action)
        said += [answer, None if env.render_mode is None else env.render()]
        ended = np.atleast_1d(answer[2] | answer[3])
        if ended.all() and not wide:
            said.append(env.reset())
        elif ended.any() and wide and env.metadata["autoreset_mode"] is AutoresetMode.DISABLED:
            said.append(env.reset(options={"reset_mask": ended}))
    return said


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("maker", MAKERS)
def test_a_copy_goes_on_as_its_original(maker: str, way: str) -> None:
    original = MAKERS[maker]()
    unborn = WAYS[way](original)
    equal(original.reset(seed=7), unborn.reset(seed=7))
    fresh = WAYS[way](unborn)
    equal(drive(original, 3), drive(unborn, 3))
    driven = WAYS[way](original)
    if original.render_mode is not None:
        equal(original.render(), driven.render())
    before = drive(original, 3)  # past an episode's end, and on another track
    equal(before, drive(unborn, 3))
    equal(before, drive(driven, 3))
    drive(fresh, 3)
    equal(before, drive(fresh, 3))


@pytest.mark.parametrize("way", WAYS)
def test_a_copy_shares_nothing(way: str) -> None:
    def arrays(value: Any) -> list[np.ndarray]:
        """What may be written: a track is not."""
        if isinstance(value, np.ndarray):
            return [value]
        ours = isinstance(value, CarRacing | CarRacingVector | CarBatch)
        inside = vars(value).values() if ours else value if isinstance(value, tuple) else ()
        return [each for item in inside for each in arrays(item)]

    original = gymnasium.make(ID).unwrapped
    original.reset(seed=1)
    mine, its = arrays(original), arrays(WAYS[way](original))
    assert len(mine) == len(its) > 50
    assert not any(np.may_share_memory(left, right) for left in mine for right in its)


def test_a_shallow_copy_is_a_deep_one() -> None:
    original = CarRacingVector(2)
    other = copy.copy(original)
    equal(original.reset(seed=3), other.reset(seed=3))
    first = drive(original, 5)
    equal(first, drive(other, 5))
