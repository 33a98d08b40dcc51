"""A champion carried over to another world, and where es begins."""

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import here, refuse, refuse_here, succeed

from wm_mpi.core import controller
from wm_mpi.core.errors import UserError
from wm_mpi.data.arrays import load_arrays
from wm_mpi.data.datasets import open_frames
from wm_mpi.refit import split
from wm_mpi.world.controller_fit import Features, Sums, add_up, explained, fit, to_matrix, to_parameters

TINY = ("--preset", "smoke", "--max-frames", 40)


@pytest.fixture(scope="module")
def drives(pipeline: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run es/ whose policy draws nothing, and its champion's episodes frames/."""
    out = tmp_path_factory.mktemp("drives")
    succeed("es", *TINY, "--world", pipeline / "world", "--out", out / "es", "--deterministic", ranks=3)
    succeed("collect", "--policy", out / "es", "--episodes", 5, "--max-frames", 40, "--shard-episodes", 5,
            "--out", out / "frames")
    return out


def squash(said: np.ndarray) -> np.ndarray:
    steer, gas, brake = np.tanh(said).T
    return np.stack([steer, (gas + 1) / 2, np.maximum(brake, 0)], axis=1)


def test_the_controller_s_layout_and_squashing() -> None:
    sums = np.random.default_rng(4).normal(0, 2, (100, 3))
    np.testing.assert_array_equal(controller.squash(sums), squash(sums))
    vectors = np.arange(2 * controller.length(4)).reshape(2, -1)
    bias, weights = controller.unpack(vectors)
    assert bias[1].tolist() == [15, 16, 17] and weights[1, 2].tolist() == [26, 27, 28, 29]
    np.testing.assert_array_equal(controller.pack(bias[1], weights[1]), vectors[1])
    assert [each.shape for each in controller.unpack(np.zeros(10), actions=2)] == [(2,), (2, 4)]


def test_features_are_what_the_controller_looked_at(pipeline: Path, drives: Path) -> None:
    """Through them the champion's weights give the recorded actions again, to the last frame of every episode."""
    parameters = load_arrays(drives / "es" / "champion.h5", "")[0]["parameters"]
    assert (to_parameters(to_matrix(parameters)) == parameters).all()
    features = Features(str(pipeline / "world"), width=2)
    with open_frames(drives / "frames") as data:
        for episode in range(3):
            seen = np.concatenate(list(features.of(data, np.array([episode]))))
            start, length = int(data.starts[episode]), int(data.lengths[episode])
            recorded = data.read("actions", start, start + length)
            np.testing.assert_allclose(squash(seen @ to_matrix(parameters)), recorded, atol=2e-5)


def regression(count: int, noise: float, rng: np.random.Generator, truth: np.ndarray) -> Sums:
    features = np.concatenate([np.ones((count, 1)), rng.standard_normal((count, len(truth) - 1))], axis=1)
    said = features @ truth + noise * rng.standard_normal((count, 3))
    return add_up(iter([said]), iter([features]), np.eye(3), lambda _: None)


def test_the_fit_finds_weights_and_shrinks_them_only_where_that_helps() -> None:
    rng = np.random.default_rng(5)
    truth = rng.standard_normal((30, 3))
    exact = fit(*(regression(count, 0, rng, truth) for count in (200, 100, 100)))
    np.testing.assert_allclose(exact.weights, truth, atol=1e-6)
    assert (exact.explained > 1 - 1e-6).all()
    noisy = fit(*(regression(count, 8, rng, truth) for count in (35, 1000, 1000)))
    assert noisy.penalty >= 1e-2 and (noisy.explained < 0.9).all()


def test_what_chose_the_penalty_does_not_judge_it() -> None:
    """Other judges tell other shares of the same weights; no penalty does better on the frames that chose."""
    rng = np.random.default_rng(6)
    truth = rng.standard_normal((30, 3))
    train, choose, *judges = (regression(count, 8, rng, truth) for count in (35, 40, 40, 40))
    first, second = (fit(train, choose, judge) for judge in judges)
    np.testing.assert_array_equal(first.weights, second.weights)
    for found, judge in ((first, judges[0]), (second, judges[1])):
        np.testing.assert_array_equal(found.explained, explained(found.weights, judge))
    assert (first.explained != second.explained).all() and (first.explained != explained(first.weights, choose)).all()


@pytest.mark.parametrize("episodes", [3, 4, 5, 100])
def test_each_episode_fits_chooses_or_judges(episodes: int) -> None:
    parts = split(episodes, "frames")
    assert sorted(np.concatenate(parts)) == list(range(episodes)) and all(map(len, parts)) and len(parts[0]) >= episodes // 3
    with pytest.raises(UserError, match="frames has 2 episodes, but refit needs at least 3"):
        split(2, "frames")


def test_a_champion_goes_on_in_another_world(pipeline: Path, copied: Path, drives: Path, tmp_path: Path) -> None:
    here("train_vae", "--preset", "smoke", "--data", copied / "frames", "--init", copied / "vae", "--seed", 7,
         "--out", copied / "vae2")
    here("encode", "--data", copied / "frames", "--vae", copied / "vae2", "--out", copied / "latents2")
    here("train_rnn", "--preset", "smoke", "--data", copied / "latents2", "--init", copied / "rnn",
         "--out", copied / "rnn2")
    first, second = (json.loads((copied / name / "history.jsonl").read_text().splitlines()[0]) for name in ("vae", "vae2"))
    assert second["loss"] < first["loss"], "it begins with what was learnt before"
    here("freeze", "--vae", copied / "vae2", "--rnn", copied / "rnn2", "--data", copied / "frames",
         "--out", copied / "world2", "--force")
    said = succeed("refit", "--run", drives / "es", "--world", copied / "world2", "--data", drives / "frames",
                   "--out", tmp_path / "start.h5")
    arrays, about = load_arrays(tmp_path / "start.h5", "")
    assert f"steer {about['explained'][0]:.1%}" in said
    old = load_arrays(drives / "es" / "champion.h5", "")[0]["parameters"]
    assert arrays["parameters"].shape == (867,) and not np.allclose(arrays["parameters"], old)

    flags = ("es", *TINY, "--generations", 1, "--sigma", 1e-6, "--world", copied / "world2")
    succeed(*flags, "--init", tmp_path / "start.h5", "--out", tmp_path / "on")
    mean = load_arrays(tmp_path / "on" / "champion.h5", "")[0]["latest_mean"]
    np.testing.assert_allclose(mean, arrays["parameters"], atol=1e-4)
    succeed(*flags, "--init", tmp_path / "on", "--out", tmp_path / "again")
    assert "carry it over with python -m wm_mpi.refit" in refuse(*flags, "--init", drives / "es", "--out", tmp_path / "no")
    assert "does not exist" in refuse(*flags, "--init", tmp_path / "nothing.h5", "--out", tmp_path / "no")


def test_the_same_world_is_carried_over_exactly(pipeline: Path, drives: Path, tmp_path: Path) -> None:
    succeed("refit", "--run", drives / "es", "--world", pipeline / "world", "--data", drives / "frames",
            "--out", tmp_path / "start.h5")
    assert min(load_arrays(tmp_path / "start.h5", "")[1]["explained"]) > 0.999
    assert "holds a 'vae', not a 'rnn'" in refuse_here("train_rnn", "--preset", "smoke", "--data", pipeline / "latents",
                                                       "--init", pipeline / "vae", "--out", tmp_path / "rnn")
