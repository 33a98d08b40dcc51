"""The engine instead of Gymnasium's CarRacing-v3: odd actions, attributes, render modes, other processes."""

import copy
import math
from typing import Any

import Box2D
import gymnasium
import numpy as np
import pytest
from gymnasium.envs.box2d.car_racing import CarRacing as Gymnasiums
from gymnasium.error import InvalidAction, ResetNeeded
from physics_oracle import Reference

import wm_mpi  # noqa: F401  registers the environment
from wm_mpi.envs.fast import CarRacing, CarRacingVector

ID = "wm_mpi:wm_mpi/CarRacing-v3"


# --- actions ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("action", [
    np.array([3.0, 7.0, -2.0]), np.array([-9, 1, 5]), np.array([np.inf, np.inf, 0]), np.array([-np.inf, 0.5, np.inf]),
    np.array([0.1, -np.inf, -np.inf]), np.array([1, 0, 1], np.uint8), np.array([True, True, False]),
    np.array([0.5, 0.25, 0.0], np.float16), np.array([0.5, 0.25, 0.0, np.nan])], ids=str)
def test_odd_actions_do_what_they_do_in_gymnasium(action: np.ndarray) -> None:
    theirs, ours = Reference(), CarRacing()
    theirs.reset(seed=2)
    ours.reset(seed=2)
    for frame in range(25):
        given = action if frame < 15 else np.array([0.2, 0.3, 0.0])
        assert theirs.step(given)[1:] == ours.step(given)[1:]
        assert theirs.car.hull.position == ours.car.hull.position and theirs.car.hull.angle == ours.car.hull.angle


@pytest.mark.parametrize("action,said", [
    (np.array([0.1, np.nan, 0]), r"the action of car 0 is \[0\.1, nan, 0\.0\]: nan is no"),
    ([None, 0, 0], "nan is no steer, gas or brake"),
    (np.zeros(2), r"array\(\[0\., 0\.\]\)\] have shape \(1, 2\), but must be \(1, 3\)"), (np.zeros((1, 3)), r"\(1, 1, 3\)"),
    (0.5, r"\[0\.5\] have shape \(1,\)"), ("left", r"not \['left'\]"), ([0, [1], 2], "not "), ({"steer": 1}, "steer")],
    ids=str)
def test_what_is_no_action_is_refused_by_name(action: Any, said: str) -> None:
    env = CarRacing()
    env.reset(seed=2)
    before = copy.deepcopy(env)
    with pytest.raises(InvalidAction, match=said):
        env.step(action)
    still = np.array([0.0, 1.0, 0.0])
    np.testing.assert_array_equal(env.step(still)[0], before.step(still)[0], err_msg="something had moved")


@pytest.mark.parametrize("action", [1, True, np.int8(3), np.array(4), np.uint64(0), 2.0, np.float32(1), -1, 5, 7.5, math.nan,
                                    np.bool_(True), "gas", np.array([1]), [1], np.zeros(3)], ids=repr)
def test_discrete_actions_are_those_of_gymnasium(action: Any) -> None:
    theirs, ours = Reference(continuous=False), CarRacing(continuous=False)
    theirs.reset(seed=4)
    ours.reset(seed=4)
    try:
        expected = [theirs.step(action)[1:] for _ in range(5)]
    except InvalidAction:
        with pytest.raises(InvalidAction):
            ours.step(action)
    else:
        assert [ours.step(action)[1:] for _ in range(5)] == expected


def test_a_car_that_has_ended_may_be_given_anything() -> None:
    for continuous, good, bad in ((True, [0.0, 1.0, 0.0], [np.nan] * 3), (False, 3, 9)):
        cars = CarRacingVector(2, continuous=continuous, max_episode_steps=2, autoreset_mode="Disabled")
        cars.reset(seed=1)
        cars.step(np.array([good, good]))
        with pytest.raises(InvalidAction, match="the action of car 1 is"):
            cars.step(np.array([good, bad]))
        cars.step(np.array([good, good]))
        cars.reset(options={"reset_mask": np.array([True, False])})
        cars.step(np.array([good, bad]))


def test_a_step_needs_an_episode_and_goes_on_after_its_end() -> None:
    theirs, ours = Reference(lap_complete_percent=0.0), CarRacing(lap_complete_percent=0.0)
    with pytest.raises(ResetNeeded):
        ours.step(np.zeros(3))
    theirs.reset(seed=0)
    ours.reset(seed=0)
    ends = []
    for _ in range(10):
        expected, got = theirs.step(np.array([0.0, 1.0, 0.0])), ours.step(np.array([0.0, 1.0, 0.0]))
        assert expected[1:] == got[1:]
        ends.append(got[2])
    assert ends == [True] * 10 and ours.car.hull.linearVelocity[1] > 1


# --- attributes -------------------------------------------------------------------------------------------------------
BODY = ("position", "angle", "linearVelocity", "angularVelocity", "worldCenter")


def shown(env: Any) -> dict[str, Any]:
    """The attributes that both engines show, by name."""
    bodies = {"hull": env.car.hull, **{f"wheels[{number}]": wheel for number, wheel in enumerate(env.car.wheels)}}
    state = {f"{name}.{attribute}": getattr(body, attribute) for name, body in bodies.items() for attribute in BODY}
    for name, body in bodies.items():
        transform = body.transform
        state[f"{name}.transform"] = (*transform.position, transform.q.s, transform.q.c)
    for name, wheel in list(bodies.items())[1:]:
        for each in ("omega", "phase", "gas", "brake", "steer", "wheel_rad"):
            state[f"{name}.{each}"] = getattr(wheel, each)
        state |= {f"{name}.joint.{each}": getattr(wheel.joint, each) for each in ("angle", "speed")}
    for name in ("tile_visited_count", "reward", "prev_reward", "t", "new_lap", "track", "lap_complete_percent", "verbose",
                 "continuous", "domain_randomize", "road_color", "bg_color", "grass_color"):
        state[name] = getattr(env, name)
    state["road"] = [(tile.idx, tile.road_visited, tile.road_friction, tile.color.tolist()) for tile in env.road]
    return state


@pytest.mark.parametrize("options", [{}, {"domain_randomize": True}, {"continuous": False}], ids=str)
def test_attributes_are_those_of_gymnasium(options: dict[str, Any]) -> None:
    theirs, ours = Reference(**options), gymnasium.make(ID, **options).unwrapped
    assert ours.car is theirs.car is ours.road is theirs.road is None and ours.reward == theirs.reward
    for seed in (5, 6):
        theirs.reset(seed=seed)
        ours.reset(seed=seed)
        car = ours.car
        for step in range(60):
            action: Any = [3, 3, 1, 3, 2, 3, 4, 0][step % 8]
            if theirs.continuous:
                action = np.array([np.sin(step / 15), 0.6, 0.3 * (step % 9 == 0)])
            if step % 20 == 13:
                action = None
            assert theirs.step(action)[1:] == ours.step(action)[1:]
            if step % 6:
                continue
            for (name, expected), got in zip(shown(theirs).items(), shown(ours).values(), strict=True):
                assert isinstance(expected, type(got)), f"{name} is {type(got)}, but {type(expected)} in Gymnasium"
                assert np.array_equal(expected, got) if isinstance(got, np.ndarray) else expected == got, name
            assert car.hull.position == theirs.car.hull.position and isinstance(car.hull.position, Box2D.b2Vec2)


@pytest.mark.parametrize("path", ["world", "surf", "car.fuel_spent", "car.hull.mass", "car.hull.fixtures",
                                  "car.wheels[0].tiles", "car.wheels[0].joint.motorSpeed", "road[0].fixtures"])
def test_what_is_not_shown_is_said(path: str) -> None:
    env, reference = CarRacing(), Reference()
    env.reset(seed=1)
    reference.reset(seed=1)
    eval(f"env.{path}", {"env": reference})  # Gymnasium's has it
    with pytest.raises(AttributeError, match=f"has no '{path.rpartition('.')[2]}': docs/engine.md lists"):
        eval(f"env.{path}", {"env": env})


def test_what_is_shown_is_read_only() -> None:
    env = CarRacing()
    env.reset(seed=1)
    with pytest.raises(AttributeError, match="Body is read-only: position cannot be set"):
        env.car.hull.position = (0, 0)
    with pytest.raises(AttributeError):
        env.reward = 5.0


def test_verbose_tells_of_the_track(capsys: pytest.CaptureFixture[str]) -> None:
    said = []
    for env in (Reference(verbose=True), CarRacing(verbose=True), gymnasium.make_vec(ID, num_envs=1, verbose=True)):
        env.reset(seed=3)
        said.append(capsys.readouterr().out)
    assert said[0] == said[1] == said[2] and "-tiles track" in said[0]


# --- pictures ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("mode,shape,level", [("state_pixels", (96, 96, 3), 1.0), ("rgb_array", (400, 600, 3), 2.0)])
def test_render_is_gymnasiums(mode: str, shape: tuple, level: float) -> None:
    theirs, ours = Gymnasiums(render_mode=mode), CarRacing(render_mode=mode)
    for env in (theirs, ours):
        env.reset(seed=8)
    for step in range(60):
        action = np.array([0.1, 0.2 * (step > 40), 0.0])
        theirs.step(action)
        ours.step(action)
        if step % 10 == 4:  # the score changes between what is observed and what is rendered, at some of these
            expected, got = theirs.render(), ours.render()
            assert expected.shape == got.shape == shape and np.abs(expected.astype(int) - got).mean() < level
            corner = np.s_[shape[0] * 9 // 10:, : shape[1] // 8]
            assert np.abs(expected[corner].astype(int) - got[corner]).mean() < 3, "the score"


def test_a_window_is_made_by_gymnasium(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    with pytest.warns(UserWarning, match="HumanRendering"):
        env = gymnasium.make(ID, render_mode="human")
    env.reset(seed=1)
    env.step(np.zeros(3))
    env.close()
    for mode in ("human", "pixels"):
        with pytest.raises(ValueError, match=f"render_mode is '{mode}', but must be None, 'rgb_array' or 'state_pixels'"):
            CarRacing(render_mode=mode)


# --- other processes --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("context", ["spawn", "forkserver"])
def test_children_that_import_nothing_find_it(context: str) -> None:
    """Through the module in the id: a child that is not forked has registered nothing."""
    by_hand = gymnasium.vector.AsyncVectorEnv([lambda: gymnasium.make(ID)], context=context)
    made = gymnasium.make_vec(ID, num_envs=1, vectorization_mode="async", vector_kwargs={"context": context})
    expected = CarRacing().reset(seed=3)[0]
    for envs in (by_hand, made):
        np.testing.assert_array_equal(envs.reset(seed=3)[0][0], expected)
        envs.close()
