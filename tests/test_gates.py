"""The gates' measures against known distributions, broken models at the gate that names them, and freeze's answer."""

import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import here, refuse, refuse_here

from wm_mpi import freeze
from wm_mpi.core.config import FreezeConfig
from wm_mpi.core.errors import UserError
from wm_mpi.data.arrays import load_arrays, save_arrays
from wm_mpi.data.batches import split_episodes
from wm_mpi.data.datasets import Dataset, open_frames, open_latents, write_index
from wm_mpi.models.checkpoints import load_weights, split_by_sight, trained_on
from wm_mpi.models.rnn import mixture_nll as trained_nll
from wm_mpi.models.vae import Vae
from wm_mpi.world.gates.gates import Gate, judge_dreams, judge_memory, judge_sight, objection, table
from wm_mpi.world.gates.metrics import (
    cross_entropy,
    distance_from_uniform,
    error_share,
    huber,
    huber_centre,
    inside,
    mixture_cdf,
    mixture_nll,
    order,
    regions,
    repeat_nll,
)
from wm_mpi.world.gates.probes import Baseline, Dreams, Forecasts, held_out, watch_drives
from wm_mpi.world.latents import latent_kl

RNG = np.random.default_rng(0)
ROWS, LATENTS = 4000, 8
KL = np.array([2.0] * 8 + [0.0] * 24)
ALL = np.ones(LATENTS, np.bool_)


def draw(logmix: np.ndarray, mean: np.ndarray, logstd: np.ndarray) -> np.ndarray:
    """One z [N, L] from each mixture [N, L, K]."""
    chosen = (RNG.random((*logmix.shape[:2], 1)) > np.exp(logmix).cumsum(axis=-1)).sum(axis=-1)[..., None]
    mean, logstd = (np.take_along_axis(each, chosen, axis=-1)[..., 0] for each in (mean, logstd))
    return mean + np.exp(logstd) * RNG.standard_normal(mean.shape)


def mixtures(rows: int = ROWS) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    logmix, mean, logstd = RNG.normal(0, 1, (3, rows, LATENTS, 5))
    return logmix - np.log(np.exp(logmix).sum(axis=-1, keepdims=True)), mean, 0.5 * logstd


def failed(gates: list[Gate]) -> set[str]:
    return {gate.name for gate in gates if not gate.passed}


def test_kl_of_known_latents() -> None:
    mu = RNG.normal(0, 2, (100_000, 3))
    mu[:, 0] = 0
    logvar = np.broadcast_to(np.log([1.0, 1.0, 0.25]), mu.shape)
    np.testing.assert_allclose(latent_kl(mu, logvar), [0, 2, 2 + 0.5 * (0.25 - math.log(0.25) - 1)], atol=0.03)


def test_kl_is_the_one_that_v_is_trained_with() -> None:
    mu, logvar = RNG.normal(0, 1, (2, 20, 32)).astype(np.float32)
    vae, nothing = Vae(), np.zeros((20, 64, 64, 3), np.float32)
    vae.compute_loss({"frames": nothing}, y_pred={"reconstruction": nothing, "mu": mu, "logvar": logvar})
    assert float(vae.kl_tracker.result()) == pytest.approx(latent_kl(mu, logvar).sum(), rel=1e-5)


def test_mixture_likelihood_is_the_one_that_m_is_trained_with() -> None:
    logmix, mean, logstd = mixtures(50)
    z = RNG.normal(0, 2, (50, LATENTS))
    density = np.concatenate([logmix, mean, logstd], axis=-1).astype(np.float32)
    np.testing.assert_allclose(mixture_nll(logmix, mean, logstd, z), np.asarray(trained_nll(density, z.astype(np.float32))),
                               atol=1e-4)


def test_draws_from_a_mixture_lie_uniformly_in_it() -> None:
    logmix, mean, logstd = mixtures()
    z = draw(logmix, mean, logstd)
    below = mixture_cdf(logmix, mean, logstd, z)
    assert distance_from_uniform(below).max() < 1.95 / math.sqrt(ROWS)  # exceeded once in a thousand
    assert inside(below, 0.5) == pytest.approx(0.5, abs=0.01) and inside(below, 0.9) == pytest.approx(0.9, abs=0.01)
    narrow = mixture_cdf(logmix, 0 * mean, 0 * logstd + math.log(0.5), 2 * RNG.standard_normal(z.shape))
    assert inside(narrow, 0.9) == pytest.approx(math.erf(1.645 * 0.25 / math.sqrt(2)), abs=0.01)


def test_distance_from_uniform_of_known_values() -> None:
    even = (np.arange(100)[:, None] + 0.5) / 100
    np.testing.assert_allclose(distance_from_uniform(np.concatenate([even, even / 2, np.full_like(even, 0.3)], axis=1)),
                               [0.005, 0.5025, 0.7], atol=1e-9)


def test_repeating_z_is_a_gaussian_of_the_steps_width() -> None:
    z, step = RNG.normal(0, 1, (100_000, 2)), np.array([0.1, 3.0])
    nll = repeat_nll(z, z + step * RNG.standard_normal(z.shape), step).mean(axis=0)
    np.testing.assert_allclose(nll, 0.5 * np.log(2 * math.pi * math.e * step**2), atol=0.01)


def test_losses_of_the_heads() -> None:
    rewards = RNG.choice([-0.1, 3.2], 10_000, p=[0.9, 0.1])
    assert huber_centre(rewards) == pytest.approx(rewards.mean(), abs=1e-6)  # of tiles the mean, not the likeliest
    rewards = RNG.choice([-0.1, 32], 10_000, p=[0.9, 0.1])
    best = huber_centre(rewards)
    assert best == pytest.approx(-0.1 + 5 * 0.1 / 0.9, abs=0.05)  # the pull of a far value is 5, of a near one its distance
    assert huber(best - rewards) < min(huber(best - 0.05 - rewards), huber(best + 0.05 - rewards))
    assert huber(np.array([0.5, -30])) == pytest.approx((0.025 + 27.5) / 2)
    scores = RNG.standard_normal(100_000)
    late = RNG.random(len(scores)) < 0.3
    assert order(scores + 1.0 * late, late) == pytest.approx(0.5 * math.erfc(-0.5), abs=0.01)  # normals 1 apart
    assert order(np.zeros(10), np.arange(10) < 3) == 0.5 and math.isnan(order(np.zeros(3), np.zeros(3, np.bool_)))
    happened = np.array([True, False, False, False])
    assert cross_entropy(np.full(4, math.log(1 / 3)), happened) == pytest.approx(
        -(math.log(0.25) + 3 * math.log(0.75)) / 4)


def road(count: int = 40) -> np.ndarray:
    """Frames with a road 16 pixels wide anywhere on grass, and the car."""
    frames = np.empty((count, 64, 64, 3), np.uint8)
    frames[:] = (102, 204, 102)
    for frame, left in zip(frames, RNG.integers(0, 48, count), strict=True):
        frame[:, left:left + 16] = 102
        frame[51:58, 31:33] = (165, 36, 18)
        frame[55, 31:33] = (113, 76, 37)
    return frames


def test_regions_are_where_they_are() -> None:
    frames = np.empty((1, 64, 64, 3), np.uint8)
    frames[:] = (102, 204, 102)
    frames[:, :, 40:50] = 102
    frames[:, 51:58, 31:33] = (165, 36, 18)
    frames[:, 10:12, 40] = (255, 0, 0)  # a kerb
    edge, car, grass = regions(frames)
    assert car.sum() == 14 and car[0, 51:58, 31:33].all()
    assert np.flatnonzero(edge[0, 30]).tolist() == [39, 40, 49, 50]
    assert grass[0, :, 52:].all() and not grass[0, :, 38:52].all() and not (grass & (edge | car)).any()
    mixed = frames.copy()
    mixed[:, :, 40] = (102, 150, 102)  # a pixel that both share
    assert np.flatnonzero(regions(mixed)[0][0, 30]).tolist() == [39, 40, 41, 49, 50] or regions(mixed)[0][0, 30, 40]


def test_a_v_that_paints_the_mean_picture_gains_nothing() -> None:
    frames = road()
    usual = np.broadcast_to(frames.mean(axis=0), frames.shape)
    edge = regions(frames)[0]
    assert error_share(frames, usual.astype(np.uint8), usual, edge) == pytest.approx(1, abs=0.02)
    assert error_share(frames, frames, usual, edge) == 0
    assert math.isnan(error_share(frames, frames, usual, np.zeros_like(edge)))


def test_v_at_its_gates() -> None:
    frames = road()
    assert not failed(judge_sight(KL, frames, frames))
    blurred = np.roll(frames, 2, axis=2)
    blurred[:, 51:58, 31:33] = frames[:, 51:58, 31:33]
    assert not failed(judge_sight(KL, frames, (frames.astype(int) // 2 + blurred // 2).astype(np.uint8)))
    gates = judge_sight(np.zeros(32), frames, np.broadcast_to(frames.mean(axis=0).astype(np.uint8), frames.shape))
    assert failed(gates) == {"active_latents", "kl", "road_edge_error"}  # the mean picture has the car
    said = str(objection(gates))
    assert said.startswith("active_latents is 0 (must be at least 6), kl is 0 (must be at least 6): V's KL collapsed")
    assert said.endswith("(failed as well, perhaps from that: road_edge_error)")
    no_car = frames.copy()
    no_car[:, 50:59, 30:34] = (102, 204, 102)
    assert failed(judge_sight(KL, frames, no_car)) == {"car_error"}
    assert {"road_edge_error", "car_error"} <= failed(judge_sight(KL, frames, np.full_like(frames, 127)))


def forecasts(spread: float = 1.0, order: np.ndarray | None = None, logit: float = -9.0,
              heard: float = 1.0) -> tuple[Forecasts, Baseline]:
    """M on a walk z' = z / 2 + 0.3 noise: it knows the walk, believes in ``spread`` times the noise, or sees z shuffled."""
    z = RNG.standard_normal((ROWS, LATENTS))
    then = 0.5 * z + 0.3 * RNG.standard_normal(z.shape)
    seen = z if order is None else z[order]
    mean = np.repeat(0.5 * seen[..., None], 5, axis=-1)
    came = RNG.choice([-0.1, 3.2], ROWS, p=[0.9, 0.1])
    said = Forecasts((np.full_like(mean, -math.log(5)), mean, np.full_like(mean, math.log(0.3 * spread))), z, then,
                     heard * came + (1 - heard) * came.mean(), came, np.full(ROWS, logit), np.zeros(ROWS, np.bool_))
    return said, Baseline(np.sqrt(((then - z) ** 2).mean(axis=0)), huber_centre(came), 1e-4)


@pytest.mark.parametrize("broken,gates", [
    ({}, set()),
    ({"order": RNG.permutation(ROWS)}, {"nll_gain", "calibration", "inside_50", "inside_90"}),
    ({"spread": 3.0}, {"nll_gain", "calibration", "inside_50", "inside_90"}),
    ({"heard": -1.0}, {"reward_gain", "reward_order"}), ({"heard": 0.0}, {"reward_order"}),
    ({"logit": 0.0}, {"termination_excess"})])
def test_m_at_its_gates(broken: dict, gates: set[str]) -> None:
    assert failed(judge_memory(*forecasts(**broken), ALL)) == gates


def test_how_far_pay_is_foreseen_is_a_bound_in_carracing_alone() -> None:
    deaf = forecasts(heard=0.0)
    assert failed(judge_memory(*deaf, ALL, "whole")) == {"reward_order"}
    gates = {gate.name: gate for gate in judge_memory(*deaf, ALL, "picture")}
    assert all(gate.passed for gate in gates.values())
    assert gates["reward_order"].value == 0.5 and gates["reward_order"].bound == "none"
    assert "reward told apart" in gates["reward_order"].meaning
    assert failed(judge_memory(*forecasts(heard=-1.0), ALL, "picture")) == {"reward_gain"}


@pytest.mark.parametrize("usual,rare", [(-0.1, 3.2), (0.0, -1.0), (-1.0, -5.0)])
def test_games_of_costs_alone_have_an_order_too(usual: float, rare: float) -> None:
    said, baseline = forecasts()
    came = np.where(RNG.random(ROWS) < 0.1, rare, usual)
    said = replace(said, reward=came, reward_then=came)
    gates = {gate.name: gate for gate in judge_memory(said, baseline, ALL, "picture")}
    assert gates["reward_order"].value == 1 and gates["reward_order"].passed


def dreams(size: float = 1.0, way: float = 1.0) -> Dreams:
    first, last = RNG.standard_normal((2, 40, LATENTS))
    return Dreams(first, first + way * (last - first), size * last, first, last, last)


@pytest.mark.parametrize("broken,gates", [
    ({}, set()), ({"size": 30}, {"dream_size"}), ({"size": 0.1}, {"dream_size"}), ({"way": 0.01}, {"dream_way"}),
    ({"way": 9}, {"dream_way"}), ({"size": math.nan}, {"dream_size"})])
def test_dreams_at_their_gates(broken: dict, gates: set[str]) -> None:
    assert failed(judge_dreams(dreams(**broken), np.ones(LATENTS), ALL)) == gates


def test_no_dreams_are_no_pass() -> None:
    nothing = np.zeros((0, LATENTS), np.float32)
    assert failed(judge_dreams(Dreams(*[nothing] * 6), np.ones(LATENTS), ALL)) == {"dream_size", "dream_way"}


def test_what_is_not_measured_is_null_and_fails() -> None:
    gate = Gate("depth", math.nan, 1, 2, "how deep", "no lead")
    assert not gate.passed and gate.describe()["value"] is None and gate.bound == "1 to 2"
    assert "FAIL" in table([gate]) and objection([gate]) == "depth is nan (must be 1 to 2): no lead"
    open_gate = Gate("breadth", 3, None, None, "how broad", "")
    assert open_gate.passed and open_gate.bound == "none" and objection([open_gate]) is None
    assert not Gate("x", math.inf, 1, None, "", "").passed
    assert Gate("x", 1, 1, None, "", "").passed and Gate("x", 1, None, 1, "", "").passed


def test_held_out_are_those_that_training_held_out(pipeline: Path) -> None:
    """V's split and M's are the trainers' own; an episode is the same one in any data set, of other episodes all are new."""
    _, vae = load_weights(pipeline / "vae", "vae")
    _, rnn = load_weights(pipeline / "rnn", "rnn")
    train, unseen = split_episodes(8, 0.1, 0)
    with open_frames(pipeline / "frames") as data:
        by_vae, by_rnn = split_by_sight(vae, data, "V"), split_by_sight(rnn, data, "M")
        assert np.flatnonzero(by_vae).tolist() == np.flatnonzero(by_rnn).tolist() == train.tolist()
        assert [each.tolist() for each in held_out(by_vae, by_rnn, data, False)] == [train.tolist(), unseen.tolist()]
        new = np.zeros(8, np.bool_)
        assert [each.tolist() for each in held_out(new, new, data, False)] == [list(range(8))] * 2
        with pytest.raises(UserError, match="seen every drive of .*collect with another --seed"):
            held_out(by_vae, ~by_vae, data, False)
        assert len(held_out(by_vae, ~by_vae, data, True)[1]) == 8
        for name in ("seed", "length", "return"):
            other = SimpleNamespace(table={**data.table, name: data.table[name] + 1}, lengths=data.lengths)
            other.identities = Dataset.identities.__get__(other)
            assert not split_by_sight(vae, other, "V").any()


def test_a_grown_data_set_is_not_new(pipeline: Path, tmp_path: Path) -> None:
    """Another fingerprint (more episodes, another mix, another version) hid that its drives were trained on."""
    write_index(tmp_path, sorted((pipeline / "frames" / "shards").iterdir()) * 2, {"policy": "another way to say it"})
    _, vae = load_weights(pipeline / "vae", "vae")
    with open_frames(tmp_path) as grown:
        assert grown.fingerprint() != vae["data"]
        seen = split_by_sight(vae, grown, "V")
        assert np.flatnonzero(seen[:8]).tolist() == split_episodes(8, 0.1, 0)[0].tolist() and (seen[:8] == seen[8:]).all()


def test_what_weights_began_with_counts(pipeline: Path) -> None:
    _, vae = load_weights(pipeline / "vae", "vae")
    unseen = split_episodes(8, 0.1, 0)[1]
    with open_frames(pipeline / "frames") as data:
        on = trained_on(data, unseen, vae)
        assert split_by_sight({"trained_on": on}, data, "V").all()
        assert split_by_sight({"trained_on": trained_on(data, unseen, None)}, data, "V").sum() == len(unseen)
        for older in ({"kind": "vae"}, {"kind": "vae", "trained_on": "A/B"}):  # which recorded nothing, or spoilt it
            unknown = trained_on(data, unseen, older)
            assert unknown == "unknown" and not split_by_sight({"trained_on": unknown}, data, "V").any()


def test_freeze_takes_v_and_m_of_a_world(pipeline: Path, tmp_path: Path) -> None:
    here("freeze", "--vae", pipeline / "world", "--rnn", pipeline / "world", "--data", pipeline / "frames",
         "--out", tmp_path / "world", "--precision", "fp32", "--force")
    for name in ("vae.h5", "rnn.h5"):
        assert (tmp_path / "world" / name).read_bytes() == (pipeline / "world" / name).read_bytes()


def test_a_freeze_that_fails_leaves_the_world_whole(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = copied / "world"
    before = {path.name: path.read_bytes() for path in world.iterdir()}
    (world / ".wm_mpi-torn.tmp").mkdir()  # of one that was killed

    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("wm_mpi.freeze.paint_samples", fail)
    said = refuse_here("freeze", "--vae", copied / "vae", "--rnn", copied / "rnn", "--data", copied / "frames",
                       "--out", world, "--precision", "fp32", "--force")
    assert f"{world} cannot be written: Input/output error" in said
    assert {path.name: path.read_bytes() for path in world.iterdir()} == before


@pytest.mark.parametrize("kind", ["vae", "rnn"])
def test_weights_that_are_not_finite_are_refused(kind: str, copied: Path) -> None:
    """Also with --force, which is for gates."""
    path = copied / kind / "weights.h5"
    arrays, about = load_arrays(path, "")
    name = sorted(arrays)[0]
    arrays[name].flat[0] = np.nan
    save_arrays(path, arrays, about)
    said = refuse_here("freeze", "--vae", copied / "vae", "--rnn", copied / "rnn", "--data", copied / "frames",
                       "--out", copied / "new", "--force")
    assert f"{path}: {name} has numbers that are not finite" in said and not (copied / "new").exists()


def test_drives_are_rows_of_the_data(pipeline: Path) -> None:
    weights, _ = load_arrays(pipeline / "vae" / "weights.h5", "")
    with open_frames(pipeline / "frames") as data, open_latents(pipeline / "latents") as latents:
        drives = watch_drives(weights, data, np.array([2, 5]))
        for slot, episode in enumerate((2, 5)):
            start, length = rows_of(data, episode)
            assert drives.real[:, slot].sum() == length  # shorter than a window: whole
            np.testing.assert_allclose(drives.mu[:length, slot], latents.read("mu", start, start + length), atol=2e-2)
            np.testing.assert_array_equal(drives.actions[:length, slot], data.read("actions", start, start + length))
            np.testing.assert_array_equal(drives.rewards[:length, slot], data.read("rewards", start, start + length))
    assert drives.frames.shape == drives.painted.shape


def rows_of(data: Dataset, episode: int) -> tuple[int, int]:
    return int(data.starts[episode]), int(data.lengths[episode])


@pytest.mark.parametrize("drives,told", [(8, False), (40, True)])
def test_freeze_tells_of_splits_that_left_too_few(drives: int, told: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings with seeds of their own hold out others each time, and in the end next to none together."""
    sight = np.arange(drives) > 0  # all but one
    monkeypatch.setattr(freeze, "split_by_sight", lambda *_: sight)
    monkeypatch.setattr(freeze, "watch_drives", lambda *_: None)
    monkeypatch.setattr(freeze, "fit_baseline", lambda *_: None)
    monkeypatch.setattr(freeze, "forecast_drives", lambda *_: (None, None))
    monkeypatch.setattr(freeze, "judge", lambda *_: ([Gate("depth", math.nan, 1, 2, "how deep", "no lead")], []))
    with pytest.raises(UserError, match="depth is nan") as refused:
        freeze.judge_world(FreezeConfig(), ({}, {}), ({}, {}), SimpleNamespace(lengths=np.ones(drives)))
    assert (f"every training held out 1 of {drives} drives" in str(refused.value)) == told


def test_freeze_stops_at_a_gate_unless_forced(pipeline: Path, tmp_path: Path) -> None:
    """V and M of a minute's training: refused in one sentence with nothing written; the forced world says so itself."""
    arguments = ("freeze", "--vae", pipeline / "vae", "--rnn", pipeline / "rnn", "--data", pipeline / "frames",
                 "--out", tmp_path / "world", "--precision", "fp32")
    said = refuse(*arguments)
    for word in ("active_latents is", "V is hardly trained", "road_edge_error", "or give --force"):
        assert word in said
    assert not (tmp_path / "world").exists()
    said = here(*arguments, "--force")
    assert "FAIL" in said and "frozen all the same, as --force says" in said
    manifest = json.loads((tmp_path / "world" / "manifest.json").read_text())
    gates = {gate["name"]: gate for gate in manifest["gates"]}
    assert not gates["road_edge_error"]["passed"] and gates["grass_error"]["passed"] and len(manifest["kl"]) == 32
    assert set(gates["kl"]) == {"name", "value", "bound", "passed", "meaning", "cause"}
