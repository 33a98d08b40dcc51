"""Searching C in the principal components of what it sees (--components): what they are, and every strategy within them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from conftest import DREAMT, FEW, refuse, same, succeed

from wm_mpi.core.config import EsConfig
from wm_mpi.core.controller import Control
from wm_mpi.core.errors import UserError
from wm_mpi.data.arrays import load_arrays
from wm_mpi.envs import game_of
from wm_mpi.evolution.strategies import STRATEGIES, begin_strategy, load_strategy
from wm_mpi.evolution.strategies.subspace import Subspace
from wm_mpi.rollout import components
from wm_mpi.rollout.components import second_moments, whitened_components
from wm_mpi.world.latent_dream import LatentDream

RNG = np.random.default_rng(18)
SEEN = 12
CONTROLS = {"car": Control(), "doom": game_of("doom").control}


def subspace(control: Control, count: int = 3) -> Subspace:
    return Subspace(RNG.normal(size=(SEEN, count)), control.actions, control.bias)


@pytest.mark.parametrize("name", CONTROLS)
def test_sums_are_of_components(name: str) -> None:
    """What C makes of an observation x is b + U (D' x)."""
    control = CONTROLS[name]
    space = subspace(control)
    assert space.dimensions == control.actions * (3 + control.bias)
    found = RNG.normal(size=(5, space.dimensions))
    controllers = space.controllers(found)
    assert controllers.shape == (5, control.size(SEEN))
    (bias, rows), = control.layers(control.whole(controllers), SEEN)
    x = RNG.normal(size=SEEN)
    own = found[:, control.actions * control.bias:].reshape(5, control.actions, 3)
    wanted = own @ (space.directions.T @ x) + (found[:, :control.actions] if control.bias else 0)
    np.testing.assert_allclose(rows @ x + bias, wanted, atol=1e-12)
    np.testing.assert_array_equal(space.controllers(found[2]), controllers[2])


def test_components_are_white_and_the_largest(doom: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the dreams that they were found in each component of what C sees has a mean square of 1, and no two go together."""
    monkeypatch.setattr(components, "STEPS", 96)
    world, game = str(doom / "world"), game_of("doom")
    directions = whitened_components(world, game, 10, 4)
    dream = LatentDream.of(world, components.WIDTH, 1.0, game.max_frames)
    moments = second_moments(dream, game, 4)
    assert directions.shape == (dream.features, 10) == (64 + 512 + 512, 10)
    np.testing.assert_allclose(directions.T @ moments @ directions, np.eye(10), atol=1e-6)
    shares = 1 / np.sum(directions**2, axis=0)
    assert (np.diff(shares) <= 1e-9).all()
    rest = np.linalg.eigvalsh(moments)[:-10]
    assert rest[-1] <= shares[-1] * (1 + 1e-9) and shares.sum() + rest.sum() == pytest.approx(np.trace(moments))
    np.testing.assert_array_equal(whitened_components(world, game, 10, 4), directions)
    np.testing.assert_array_equal(whitened_components(world, game, 4, 4), directions[:, :4])
    assert not np.array_equal(whitened_components(world, game, 10, 5), directions)


def test_the_observations_are_those_of_random_play(doom: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dreams end and begin anew in all places; what is summed up is what ``reset`` and ``step`` showed."""
    monkeypatch.setattr(components, "STEPS", 300)
    monkeypatch.setattr(components, "WIDTH", 4)
    game, begun, shown = game_of("doom"), 0, []
    dream = LatentDream.of(str(doom / "world"), 4, 1.0, 120)
    reset, step = dream.reset, dream.step

    def counted(**options: Any) -> Any:
        nonlocal begun
        begun += int(options["options"]["reset_mask"].sum())
        seen, about = reset(**options)
        shown[-1:] = [seen.copy()]  # in place of what is no longer looked at
        return seen, about

    def watched(actions: npt.NDArray) -> Any:
        outcome = step(actions)
        assert (np.abs(actions) <= 1).all()
        shown.append(outcome[0].copy())
        return outcome

    monkeypatch.setattr(dream, "reset", counted)
    monkeypatch.setattr(dream, "step", watched)
    moments = second_moments(dream, game, 1)
    assert begun >= 4 * 3 and len(shown) == 301
    x = np.concatenate(shown[:-1]).astype(np.float64)
    np.testing.assert_allclose(moments, x.T @ x / len(x), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_search_in_components_goes_on_from_its_state(name: str) -> None:
    """It stays in the subspace around its start, and resumed it is the same to the last bit."""
    config = EsConfig(strategy=name, popsize=8, components=3, world=None)
    space, start = subspace(Control(), 3), RNG.normal(size=Control().size(SEEN))
    strategy, again = (begin_strategy(config, start, space) for _ in range(2))
    np.testing.assert_allclose(strategy.mean, start)
    for _ in range(6):
        candidates = strategy.ask()
        np.testing.assert_array_equal(again.ask(), candidates)
        (_, rows), = Control().layers(candidates - start, SEEN)
        left = rows - rows @ space.directions @ np.linalg.pinv(space.directions)
        assert candidates.shape == (8, len(start)) and np.abs(left).max() < 1e-9 and np.ptp(candidates, axis=0).min() > 0
        for each in (strategy, again):
            each.tell(-np.sum(candidates**2, axis=1))
        assert (again.sigma, again.condition, again.generation) == (strategy.sigma, strategy.condition, strategy.generation)
        again = load_strategy(config, again.dumps())
    np.testing.assert_array_equal(again.mean, strategy.mean)
    assert strategy.generation == 6 and strategy.recipe() is None and not np.array_equal(strategy.mean, start)
    with pytest.raises(ValueError):
        load_strategy(config, b"nothing")


def test_what_varies_little_is_found_as_soon() -> None:
    """300 numbers that are sums of 5 very unlike ones, and the smallest is wanted: 25 generations do in components."""
    hidden = np.random.default_rng(3).normal(size=(400, 5)) * [100, 30, 10, 3, 1]
    x = hidden @ RNG.normal(size=(5, 300)) / np.sqrt(300) + RNG.normal(size=(400, 300)) * 1e-3
    values, vectors = np.linalg.eigh(x.T @ x / len(x))
    space = Subspace(vectors[:, -5:] / np.sqrt(values[-5:]), 1, False)
    wanted = hidden[:, 4]

    def error(each: Subspace | None) -> float:
        strategy = begin_strategy(EsConfig(popsize=16, world=None), np.zeros(300), each)
        for _ in range(25):
            strategy.tell(-np.mean((strategy.ask() @ x.T - wanted) ** 2, axis=1))
        return float(np.mean((x @ strategy.mean - wanted) ** 2) / np.mean(wanted**2))

    assert error(space) < 0.1 < 0.5 < error(None)


def test_es_is_the_same_on_any_ranks_and_resumed(doom: Path, tmp_path: Path) -> None:
    line = ("es", *DREAMT, "--world", doom / "world", "--components", 6)
    succeed(*line, "--generations", 4, "--out", tmp_path / "one")
    succeed(*line, "--generations", 4, "--out", tmp_path / "ranks", ranks=3)
    succeed(*line, "--generations", 2, "--out", tmp_path / "resumed")
    succeed(*line, "--generations", 4, "--out", tmp_path / "resumed", ranks=2)
    for other in ("ranks", "resumed"):
        same(tmp_path / "one", tmp_path / other)
    assert len(load_arrays(tmp_path / "one" / "champion.h5", "")[0]["parameters"]) == 1088
    assert "mean" in succeed("evaluate", "--run", tmp_path / "one", "--episodes", 1, "--max-frames", 40)
    succeed("export", "--run", tmp_path / "one", "--out", tmp_path / "card")
    assert "CMA-ES in 6 principal components" in (tmp_path / "card" / "README.md").read_text()
    said = refuse("es", *DREAMT, "--world", doom / "world", "--components", 7, "--out", tmp_path / "one")
    assert "components: 6 there, 7 now" in said


def test_a_world_of_cars_finds_components_too(pipeline: Path, tmp_path: Path) -> None:
    """C has a bias there, and the game is not a dream; other strategies' candidates travel as they are."""
    line = ("es", "--preset", "smoke", "--world", pipeline / "world", "--components", 5, "--strategy", "openes",
            "--max-frames", 40)
    succeed(*line, "--out", tmp_path / "one")
    succeed(*line, "--out", tmp_path / "three", ranks=3)
    same(tmp_path / "one", tmp_path / "three")
    assert load_arrays(tmp_path / "one" / "champion.h5", "")[0]["parameters"][:3].any()


def test_temperatures_take_them(doom: Path, tmp_path: Path) -> None:
    succeed("temperatures", "--preset", "smoke", "--world", doom / "world", "--temperatures", 1.3, "--components", 6, *FEW,
            "--out", tmp_path / "table")
    assert json.loads((tmp_path / "table" / "1.3" / "config.json").read_text())["components"] == 6


@pytest.mark.parametrize("flags,said", [
    (("--components", 0), "--components is 0, but must be at least 1"),
    (("--components", 4, "--hidden", 8), "--components is for a linear C: give it or --hidden, not both"),
    (("--components", 289), "--components is 289, but C sees 288 numbers: give at most so many"),
    (("--components", 2, "--env", "LunarLander-v3"), "--components is for games with a world")])
def test_what_cannot_be_is_one_sentence(flags: tuple, said: str, pipeline: Path, tmp_path: Path) -> None:
    world = () if "--env" in flags else ("--world", pipeline / "world")
    assert said in refuse("es", "--preset", "smoke", *world, "--out", tmp_path / "run", *flags)
    assert not (tmp_path / "run" / "config.json").exists()


def test_directions_of_which_there_are_none(doom: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flat(dream: LatentDream, *_: object) -> npt.NDArray[np.float64]:
        return np.diag([3.0, 2.0, *np.zeros(dream.features - 2)])

    monkeypatch.setattr(components, "second_moments", flat)
    game = game_of("doom")
    assert whitened_components(str(doom / "world"), game, 2, 0).shape == (1088, 2)
    with pytest.raises(UserError, match="varies in 2 directions only"):
        whitened_components(str(doom / "world"), game, 3, 0)
