"""The engine behind Gymnasium's interfaces, and in rollouts."""

import warnings
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from conftest import wm
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

import wm_mpi  # noqa: F401  registers the environment
from wm_mpi.core.controller import Control
from wm_mpi.core.seeding import EpisodeSeed
from wm_mpi.envs import EnvSpec, make_env
from wm_mpi.envs.fast import CarRacing, CarRacingVector
from wm_mpi.pool import Listed
from wm_mpi.rollout.worker import Rollout, Task
from wm_mpi.world.policy import VectorPolicy

ID = "wm_mpi/CarRacing-v3"


def test_gymnasiums_checker_is_content() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # as of Gymnasium's own CarRacing: the action space is not symmetric, and no spec for an instance built by hand
        for known in (".*not a symmetric and normalized.*", ".*spec is None.*", ".*Not able to test alternative render.*"):
            warnings.filterwarnings("ignore", message=known)
        for continuous in (True, False):
            check_env(CarRacing(render_mode="rgb_array", continuous=continuous))


def test_stable_baselines3s_checker_is_content() -> None:
    checker = pytest.importorskip("stable_baselines3.common.env_checker",
                                  reason="stable-baselines3 is not installed: pip install stable-baselines3")
    checker.check_env(gymnasium.make(ID).unwrapped)


def test_make_and_make_vec() -> None:
    env = gymnasium.make(ID, render_mode="rgb_array")
    seen, _ = env.reset(seed=3)
    assert seen.shape == (96, 96, 3) and env.render().shape == (400, 600, 3)
    vector = gymnasium.make_vec(ID, num_envs=3)
    assert isinstance(vector.unwrapped, CarRacingVector) and vector.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    frames, _ = vector.reset(seed=3)
    np.testing.assert_array_equal(frames[0], seen)
    for _ in range(1000):
        *_, terminated, truncated, _ = env.step(np.array([0.0, 0.0, 1.0]))
        assert not terminated
    assert truncated


def test_it_is_gymnasiums_carracing() -> None:
    """Rewards equal to the bit, pictures within a level in the mean, the same endings."""
    theirs, ours = gymnasium.make("CarRacing-v3"), gymnasium.make(ID)
    for seed in (11, 12):
        expected, seen = theirs.reset(seed=seed)[0], ours.reset(seed=seed)[0]
        for step in range(150):
            assert np.abs(expected.astype(int) - seen).mean() < 1.0
            action = np.array([np.sin(step / 15), 0.6, 0.0], np.float32)
            expected, reward, terminated, truncated, info = theirs.step(action)
            seen, *rest = ours.step(action)
            assert rest == [reward, terminated, truncated, info]


def test_discrete_actions_and_colours_are_gymnasiums() -> None:
    arguments = {"continuous": False, "domain_randomize": True}
    theirs, ours = gymnasium.make("CarRacing-v3", **arguments), gymnasium.make(ID, **arguments)
    expected, seen = theirs.reset(seed=5)[0], ours.reset(seed=5)[0]
    for step in range(60):
        assert np.abs(expected.astype(int) - seen).mean() < 1.5
        expected, reward, *_ = theirs.step([3, 3, 1, 3, 2, 3, 4, 0][step % 8])
        seen, ours_reward, *_ = ours.step([3, 3, 1, 3, 2, 3, 4, 0][step % 8])
        assert reward == ours_reward
    with pytest.raises(gymnasium.error.InvalidAction):
        ours.unwrapped.step(7)
    first = ours.reset()[0]
    kept = ours.reset(options={"randomize": False})[0]
    assert np.abs(first.mean((0, 1)) - kept.mean((0, 1))).max() < 30


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_autoreset_modes_are_gymnasiums(mode: AutoresetMode) -> None:
    """Ours against Gymnasium's SyncVectorEnv around our single environment."""
    def single() -> gymnasium.Env:
        return gymnasium.wrappers.TimeLimit(CarRacing(), 3)

    theirs = gymnasium.vector.SyncVectorEnv([single] * 2, autoreset_mode=mode)
    ours = CarRacingVector(2, max_episode_steps=3, autoreset_mode=mode)
    np.testing.assert_array_equal(theirs.reset(seed=[1, 2])[0], ours.reset(seed=[1, 2])[0])
    for step in range(8):
        actions = np.array([[0.1, 0.5, 0], [0, 1, 0]])
        expected, got = theirs.step(actions), ours.step(actions)
        for left, right in zip(expected[:4], got[:4], strict=True):
            np.testing.assert_array_equal(left, right)
        assert expected[4].keys() == got[4].keys() or mode is AutoresetMode.SAME_STEP
        if mode is AutoresetMode.SAME_STEP and "final_obs" in expected[4]:
            np.testing.assert_array_equal(np.stack(expected[4]["final_obs"]), np.stack(got[4]["final_obs"]))
        if mode is AutoresetMode.DISABLED and step % 3 == 2:
            mask = np.array([True, True])
            np.testing.assert_array_equal(theirs.reset(seed=[3, 4], options={"reset_mask": mask})[0],
                                          ours.reset(seed=[3, 4], options={"reset_mask": mask})[0])


def test_the_policy_frame_is_the_shrunk_observation() -> None:
    from wm_mpi.envs import policy_frame
    large, small = (CarRacingVector(2, observation_size=size) for size in (96, 64))
    frames, direct = large.reset(seed=8)[0], small.reset(seed=8)[0]
    for step in range(120):
        difference = np.abs(policy_frame(frames).astype(int) - direct)
        assert difference.mean() < 1.0 and (difference > 16).mean() < 0.01
        actions = np.array([[np.sin(step / 9), 0.7, 0], [0.1, 0.4, 0.0]])
        frames, direct = large.step(actions)[0], small.step(actions)[0]


class Scripted(VectorPolicy):
    """Drives by parameters alone: steer and gas, whatever is seen."""

    def act(self, observations: np.ndarray) -> np.ndarray:
        return np.clip(self._layers[0][0], [-1, 0, 0], 1)


def test_fitness_does_not_depend_on_company_order_or_width() -> None:
    tasks = [Task(candidate, EpisodeSeed(100 + candidate % 4, candidate), stuck_frames=60) for candidate in range(12)]
    shared = np.zeros((12, 15))
    shared[:, 0], shared[:, 1] = np.linspace(-0.2, 0.2, 12), np.linspace(0.01, 1, 12)

    def play(width: int, order: list[int]) -> dict[int, tuple]:
        rollout = Rollout(make_env(EnvSpec("fast", max_frames=150), width), Scripted(4, width, Control()))
        return dict(rollout.run(shared, Listed([(index, tasks[index]) for index in order])))

    alone = play(1, list(range(12)))
    assert len({played.frames for played in alone.values()}) > 1, "lengths should differ, so that slots are refilled apart"
    for width, order in ((3, list(range(12))), (16, list(range(12))), (5, [7, 3, 11, 0, 1, 2, 10, 9, 8, 6, 5, 4])):
        assert play(width, order) == alone


def test_cars_that_nobody_looks_at_are_not_driven_on() -> None:
    """Those that were cut short, and all once a rank has no more tasks: their frames cost as much as others'."""
    env = make_env(EnvSpec("fast", max_frames=150), 4)
    rollout = Rollout(env, Scripted(4, 4, Control()))
    shared = np.zeros((2, 15))
    shared[:, 1] = 0.0, 1.0  # one stands still and is cut, one drives
    driven, step = [], env.step

    def counted(actions: np.ndarray) -> tuple:
        driven.append(int((~env._ended).sum()))
        return step(actions)

    env.step = counted
    tasks = [Task(candidate, EpisodeSeed(100, candidate), stuck_frames=60) for candidate in (0, 1, 0)]
    played = dict(rollout.run(shared, Listed(enumerate(tasks))))
    cut = played[0].frames
    assert played[2].frames == cut < played[1].frames
    assert driven == [3] * cut + [1] * (played[1].frames - cut)
    assert env._ended.all()


@pytest.mark.slow
def test_ranks_that_start_together_share_one_compilation(pipeline: Path, tmp_path: Path) -> None:
    arguments = ("es", "--preset", "smoke", "--world", pipeline / "world", "--max-frames", 5, "--generations", 1)
    env = {"WM_MPI_CACHE": str(tmp_path / "cache")}
    done = wm(*arguments, "--out", tmp_path / "cold", ranks=4, env=env)
    assert done.returncode == 0 and done.stderr.count("compiling the CarRacing engine") == 1, done.stderr
    done = wm(*arguments, "--out", tmp_path / "warm", ranks=4, env=env)
    assert done.returncode == 0 and "compiling" not in done.stderr


def test_memory_does_not_grow() -> None:
    """Over 2,000 episodes after the first 500; benchmarks/soak.py plays more."""
    rollout = Rollout(make_env(EnvSpec("fast", max_frames=3), 16), Scripted(4, 16, Control()))

    def resident(episodes: int) -> int:
        tasks = [(index, Task(0, EpisodeSeed(index, index))) for index in range(episodes)]
        assert len(list(rollout.run(np.zeros((1, 15)), Listed(tasks)))) == episodes
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    before = resident(500)
    assert resident(2000) - before < 3e6
