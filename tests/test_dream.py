"""M's dream behind the vector interface: the paper's draws, deterministic by seed, playable like any environment."""

from pathlib import Path

import numpy as np
import pytest

from wm_mpi.core.seeding import Stream, episode_seed, generator
from wm_mpi.envs import EnvSpec, game_of, make_env
from wm_mpi.rollout.worker import Rollout, Task
from wm_mpi.world.dream import DreamVector
from wm_mpi.world.inference import Forecast, Inference
from wm_mpi.world.policy import WorldPolicy

STRAIGHT = np.array([0.0, 0.5, 0.0])

SAFE_FRAMES = game_of("fast").dream_safe_frames


def film(dream: DreamVector, steps: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Frames [steps, width, 64, 64, 3] and rewards [steps, width] of driving straight on."""
    played = [dream.step(np.tile(STRAIGHT, (dream.num_envs, 1))) for _ in range(steps)]
    return np.stack([each[0] for each in played]), np.stack([each[1] for each in played])


def mixture(logmix: list[float], mean: list[float], logstd: list[float], rows: int = 32) -> Forecast:
    parts = (np.tile(np.float32(each), (1, rows, 1)) for each in (logmix, mean, logstd))
    return Forecast(np.zeros((1, 256)), np.zeros((1, 256)), *parts, np.zeros(1), np.zeros(1))


@pytest.mark.parametrize("temperature", [0.3, 1.0, 1.5])
def test_draws_follow_the_tempered_mixture(temperature: float) -> None:
    weights, mean, std = np.array([0.7, 0.2, 0.1]), np.array([-10.0, 0.0, 10.0]), np.array([0.5, 1.0, 0.1])
    forecast = mixture(np.log(weights).tolist(), mean.tolist(), np.log(std).tolist(), 4000)
    values = forecast.sample(0, temperature, generator(1))
    component = np.abs(values[:, None] - mean).argmin(axis=1)
    tempered = weights ** (1 / temperature) / (weights ** (1 / temperature)).sum()
    np.testing.assert_allclose(np.bincount(component, minlength=3) / 4000, tempered, atol=0.03)
    spread = [(values[component == each] - mean[each]).std() for each in range(2)]
    np.testing.assert_allclose(spread, std[:2] * np.sqrt(temperature), rtol=0.15)


def test_a_dream_is_its_seed_and_nothing_else(pipeline: Path) -> None:
    """The same alone, beside others, and after another dream; other seeds and temperatures dream otherwise."""
    world = str(pipeline / "world")
    alone, three = DreamVector(world, 3), DreamVector(world, 3)
    alone.reset(seed=[7, 1, 2])
    frames, rewards = film(alone)
    three.reset(seed=[5, 5, 5])
    film(three, 3)
    start, _ = three.reset(seed=[0, 0, 7], options={"reset_mask": np.array([False, False, True])})
    again, gained = film(three)
    np.testing.assert_array_equal(again[:, 2], frames[:, 0])
    np.testing.assert_array_equal(gained[:, 2], rewards[:, 0])
    assert (frames[:, 0] != frames[:, 1]).any() and (rewards[:, 0] != rewards[:, 1]).all()
    three.temperature = 0.1
    three.reset(seed=[7, 7, 7])
    assert (film(three)[0][:, 0] != frames[:, 0]).any()
    assert start.dtype == np.uint8 and start.shape == (3, 64, 64, 3)


def test_a_dream_begins_with_the_real_first_frame(pipeline: Path) -> None:
    world = str(pipeline / "world")
    real, _ = make_env(EnvSpec("fast"), 2).reset(seed=[11, 12])
    _, z = WorldPolicy(world, 2, deterministic=True).look(real)
    first, infos = DreamVector(world, 2).reset(seed=11)
    np.testing.assert_array_equal(first, Inference.of(world).decode(z))
    assert infos == {}


def test_endings(pipeline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """M's termination head and the frame limit end dreams; what has ended stands still until it is reset."""
    dream = DreamVector(str(pipeline / "world"), 2, max_frames=SAFE_FRAMES + 3)
    dream.reset(seed=1)
    expect = dream._insight.expect

    def fatal(*arguments: np.ndarray) -> Forecast:
        return expect(*arguments)._replace(termination=np.float32([2.0, -2.0]), reward=np.float32([-100, 1]))

    monkeypatch.setattr(dream._insight, "expect", fatal)
    actions = np.tile(STRAIGHT, (2, 1))
    for _ in range(SAFE_FRAMES):
        *_, terminated, truncated, _ = dream.step(actions)
        assert not terminated.any() and not truncated.any()
    last, rewards, terminated, truncated, _ = dream.step(actions)
    assert rewards.tolist() == [-100, 1] and terminated.tolist() == [True, False] and not truncated.any()
    frames, rewards, terminated, truncated, _ = dream.step(actions)
    assert rewards.tolist() == [0, 1] and not terminated.any() and not truncated.any()
    np.testing.assert_array_equal(frames[0], last[0])
    *_, terminated, truncated, _ = dream.step(actions)
    assert truncated.tolist() == [False, True] and not terminated.any()


def test_rollouts_play_in_dreams(pipeline: Path) -> None:
    """The same interface as the road: rollout cannot tell, and a task's outcome is the same in any slot."""
    class Listed:
        def __init__(self, tasks: list[Task]) -> None:
            self.left = list(enumerate(tasks))

        def take(self, wait: bool) -> tuple[int, Task] | None:
            return self.left.pop(0) if self.left else None

        def wanted(self) -> bool:
            return True

    world = str(pipeline / "world")
    tasks = [Task(0, episode_seed(0, Stream.TEST, 0, number)) for number in range(5)]
    candidates = np.random.default_rng(0).normal(0, 0.1, (1, 867))
    played = []
    for order in (tasks, tasks[::-1]):
        rollout = Rollout(DreamVector(world, 2, max_frames=20), WorldPolicy(world, 2))
        played.append([result for _, result in sorted(rollout.run(candidates, Listed(order)))])
    assert played[0] == played[1][::-1]
    assert max(each.frames for each in played[0]) == 20 and not any(each.lap for each in played[0])
    assert len({each.total for each in played[0]}) == 5


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_temperatures_without_a_meaning(temperature: float, pipeline: Path) -> None:
    with pytest.raises(ValueError, match="must be above 0 and finite"):
        DreamVector(str(pipeline / "world"), 1, temperature)
