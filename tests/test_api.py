"""``import wm_mpi``: what it gives is what the commands give, to the digit."""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from conftest import ENVIRONMENT, ROOT, metrics, same, succeed
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv

import wm_mpi
from wm_mpi.core.progress import log
from wm_mpi.core.seeding import track_seed
from wm_mpi.core.shipped import found
from wm_mpi.evolution.champion import load_trained
from wm_mpi.pool import Listed, SerialPool
from wm_mpi.rollout.worker import Task, make_rollout

FEW = {"popsize": 4, "episodes": 1, "generations": 2, "eval_every": 2, "eval_episodes": 2, "max_frames": 40}


@pytest.fixture(scope="module")
def champion() -> wm_mpi.Champion:
    return wm_mpi.load("carracing")


@pytest.fixture(scope="module")
def episode(champion: wm_mpi.Champion) -> wm_mpi.Episode:
    return champion.play(seed=3)


def carts(count: int) -> VectorEnv:
    return SyncVectorEnv([lambda: gymnasium.make("CartPole-v1")] * count, autoreset_mode=AutoresetMode.DISABLED)


def test_an_episode_is_the_one_that_evaluate_plays(episode: wm_mpi.Episode) -> None:
    trained = load_trained(found("carracing"), env=None, world=None, max_frames=None, lap_complete_percent=None,
                           deterministic=None)
    rollout = make_rollout(trained.spec, trained.world, trained.settings["width"], trained.deterministic)
    (_, played), = rollout.run(trained.parameters[None], Listed([(0, Task(0, track_seed(trained.settings["seed"], 3)))]))
    assert (episode.total, len(episode), episode.lap) == played
    assert episode.observations.shape == (len(episode), 64, 64, 3) and episode.actions.shape == (len(episode), 3)


def test_another_environment_of_the_same_game(episode: wm_mpi.Episode) -> None:
    env = wm_mpi.load("carracing", env="gymnasium").env
    frame, _ = env.reset(seed=3)
    assert abs(frame.astype(int) - episode.observations[0]).mean() < 0.5  # how like it is exactly: test_engine_render.py
    assert "gymnasium" in str(type(env.vector.envs[0].unwrapped))  # type: ignore[attr-defined]


def test_a_game_by_hand(champion: wm_mpi.Champion, episode: wm_mpi.Episode) -> None:
    frame, _ = champion.env.reset(seed=3)
    champion.reset(seed=3)
    for number in range(50):
        action = champion.act(frame)
        np.testing.assert_array_equal((frame, action)[1], episode.actions[number])
        np.testing.assert_array_equal(frame, episode.observations[number])
        frame, reward, *_ = champion.env.step(action)
        assert reward == episode.rewards[number]
    assert champion.env.render().shape == (400, 600, 3)
    with pytest.raises(ValueError, match="begins with reset"):
        wm_mpi.load("carracing").act(frame)


def test_what_v_keeps_of_frames(champion: wm_mpi.Champion, episode: wm_mpi.Episode) -> None:
    assert champion.world is not None
    frames = episode.observations[100::50]
    mu, logvar = champion.world.encode(frames)
    assert mu.shape == logvar.shape == (len(frames), champion.world.latents) and mu.dtype == np.float32
    kept, real = champion.world.decode(mu).astype(float), frames.astype(float)
    assert ((kept - real) ** 2).mean() < ((real.mean(axis=0) - real) ** 2).mean() / 2
    with pytest.raises(ValueError, match=r"frames are float64 \[2, 64, 64, 3\], but must be uint8"):
        champion.world.encode(frames[:2].astype(float))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"z is \[32\], but must be \[N, 32\]"):
        champion.world.decode(mu[0])


def test_a_dream(champion: wm_mpi.Champion, episode: wm_mpi.Episode) -> None:
    assert champion.world is not None
    dream = champion.world.dream(seed=3, max_frames=80)
    first, second = (champion.play(seed=3, env=dream) for _ in range(2))
    np.testing.assert_array_equal(first.observations, second.observations)
    begun, _ = champion.world.dream(seed=3).reset()
    np.testing.assert_array_equal(begun, first.observations[0])
    hotter = champion.play(seed=3, env=champion.world.dream(temperature=2.0, max_frames=80))
    np.testing.assert_array_equal(hotter.observations[0], begun)
    assert (hotter.observations[40] != first.observations[40]).any()
    np.testing.assert_array_equal(dream.render(), dream.vector.render()[0])  # type: ignore[attr-defined]


def test_train_is_es(tmp_path: Path) -> None:
    trained = wm_mpi.train("toy", out=tmp_path / "here", **FEW)
    assert trained is not None and trained.world is None
    flags = [text for name, value in FEW.items() for text in (f"--{name.replace('_', '-')}", value)]
    succeed("es", "--env", "toy", *flags, "--out", tmp_path / "there")
    same(tmp_path / "here", tmp_path / "there")
    farther = wm_mpi.train("toy", out=tmp_path / "here", **{**FEW, "generations": 4}, quiet=True)
    assert farther is not None and [row["generation"] for row in metrics(tmp_path / "here")] == [1, 2, 3, 4]
    assert np.isfinite(farther.play(seed=1).total)


def test_environments_of_one_s_own(tmp_path: Path) -> None:
    champion = wm_mpi.train(carts, out=tmp_path / "run", **FEW)
    assert champion is not None
    assert json.loads((tmp_path / "run" / "config.json").read_text())["env"] == "test_api:carts"
    episode = champion.play(seed=3)
    assert 0 < episode.total == len(episode) <= 500 and episode.actions.shape == (len(episode), 2)
    np.testing.assert_array_equal(wm_mpi.load(tmp_path / "run", env=carts).play(seed=3).actions, episode.actions)


def test_a_function_defined_anew_is_a_new_game(tmp_path: Path) -> None:
    def game(count: int) -> VectorEnv:
        return carts(count)

    first = wm_mpi.train(game, out=tmp_path / "carts", **FEW)

    def game(count: int) -> VectorEnv:  # noqa: F811
        return SyncVectorEnv([lambda: gymnasium.make("MountainCar-v0")] * count, autoreset_mode=AutoresetMode.DISABLED)

    second = wm_mpi.train(game, out=tmp_path / "cars", **FEW)
    assert first is not None and second is not None
    assert (len(first.parameters), len(second.parameters)) == (2 * 5, 3 * 3)


@pytest.mark.parametrize("make,sentence", [
    (lambda count: SyncVectorEnv([lambda: gymnasium.make("CartPole-v1")] * count), "autoreset mode is .*DISABLED"),
    (lambda count: SyncVectorEnv([lambda: gymnasium.make("FrozenLake-v1")] * count,
                                 autoreset_mode=AutoresetMode.DISABLED), "show Discrete.16., but must make such as show")])
def test_environments_that_cannot_be_played(make: Callable[[int], VectorEnv], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(wm_mpi.UserError, match=sentence):
        wm_mpi.train(make, out=tmp_path / "run", **FEW)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("options,sentence", [
    ({"popsiz": 4}, "train has no option popsiz, perhaps you meant popsize"), ({"popsize": 1}, "must be at least 3"),
    ({"env": "no-such-game-v0"}, "no-such-game-v0 cannot be used here"), ({"verbose": True}, "no option verbose")])
def test_bad_options_are_one_sentence(options: dict, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(wm_mpi.UserError, match=sentence):
        wm_mpi.train(**{"env": "toy", "out": tmp_path / "run", **options})
    assert not (tmp_path / "run").exists()


def test_a_function_in_a_pool() -> None:
    pool = SerialPool(wm_mpi.Calls(lambda shared, task: shared * task))
    assert pool.run(3, [1, 2, 5]).results == [3, 6, 15]
    with pytest.raises(ZeroDivisionError):
        SerialPool(wm_mpi.Calls(lambda shared, task: shared / task)).run(3, [1, 0])


def test_a_call_may_be_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rank says meanwhile that it lives."""
    import time

    from wm_mpi.pool import calls
    monkeypatch.setattr(calls, "LOOK_SECONDS", 0.01)
    looked = []

    class Watched(Listed):
        def wanted(self) -> bool:
            looked.append(1)
            return True

    worker = wm_mpi.Calls(lambda _, task: time.sleep(task))
    assert [index for index, _ in worker.run(None, Watched([(0, 0.2), (1, 0.0)]))] == [0, 1]
    assert len(looked) >= 5


def test_importing_is_light() -> None:
    code = ("import sys, wm_mpi; heavy = {'tensorflow', 'keras', 'matplotlib', 'onnxruntime', 'numba', 'mpi4py', 'cma'}; "
            "assert set(wm_mpi.__all__) <= set(dir(wm_mpi)); print(sorted(heavy & set(sys.modules)))")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=ENVIRONMENT, check=False)
    assert done.stdout == "[]\n", done.stderr
    assert all(getattr(wm_mpi, name) for name in wm_mpi.__all__)
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        wm_mpi.lod  # noqa: B018


def test_the_reference_is_of_today() -> None:
    pytest.importorskip("griffe2md", reason="griffe2md is not installed: pip install -c constraints.txt griffe2md")
    spec = importlib.util.spec_from_file_location("reference", ROOT / "docs" / "reference.py")
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    written = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    assert made.page(written) == written, "run python docs/reference.py"
    assert all(f"### `{name}`" in written for name in wm_mpi.__all__ if name not in ("UserError", "__version__"))


def test_a_program_s_own_log_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = log.handlers[:], log.level, log.propagate
    wm_mpi.train("toy", out=tmp_path / "loud", **FEW)
    assert "generation 2/2" in capsys.readouterr().out
    wm_mpi.train("toy", out=tmp_path / "quiet", quiet=True, **FEW)
    assert "generation 2/2" not in capsys.readouterr().out
    assert (log.handlers[:], log.level, log.propagate) == before
