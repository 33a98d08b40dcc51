"""The ES loop: the optimum, the same numbers on any number of ranks, resumed or killed, and what it refuses."""

import dataclasses
import json
import os
import pickle
import re
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import ENVIRONMENT, command, here, metrics, refuse, same, succeed, wm

from wm_mpi.core.cli import parse
from wm_mpi.core.config import EsConfig
from wm_mpi.core.errors import UserError
from wm_mpi.core.seeding import Stream, episode_seed, track_seed
from wm_mpi.data.arrays import load_arrays
from wm_mpi.envs import EnvSpec
from wm_mpi.envs.toy import Toy, optimum
from wm_mpi.evolution.run_state import OPERATION, Generation
from wm_mpi.evolution.strategies.cma import CmaEs
from wm_mpi.evolution.training import mixed
from wm_mpi.rollout.worker import Rollout, make_rollout

TOY = ("es", "--env", "toy", "--popsize", 8, "--episodes", 3, "--eval-every", 2, "--eval-episodes", 4, "--seed", 11)


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four generations, one process."""
    run = tmp_path_factory.mktemp("straight") / "run"
    succeed(*TOY, "--out", run, "--generations", 4)
    return run


@pytest.mark.parametrize(("candidates", "episodes"), [(1024, 16), (64, 16), (5, 2), (3, 8), (1, 4), (7, 1)])
def test_tasks_that_follow_one_another_are_of_many_candidates_and_tracks(candidates: int, episodes: int) -> None:
    """A rank is handed such a piece at once: pieces differ in length as little as can be."""
    order = np.array(mixed([number for number in range(candidates) for _ in range(episodes)])).reshape(candidates, episodes)
    assert sorted(order.ravel()) == list(range(candidates * episodes))
    for piece in order:
        assert len(set(piece // episodes)) == min(candidates, episodes) and set(piece % episodes) == set(range(episodes))


def test_the_fields_of_metrics(straight: Path) -> None:
    rows = [json.loads(line) for line in (straight / "metrics.jsonl").read_text().splitlines()]
    always = {"generation", "frames", "episodes", "frames_total", "return_mean", "return_best", "return_min", "return_std",
              "sigma", "condition", *OPERATION} - {"unlike"}  # that is there where ranks differ
    assert [set(row) for row in rows] == [always, always | {"eval_mean", "eval_std"}] * 2
    assert [row["frames_total"] for row in rows] == list(np.cumsum([row["frames"] for row in rows]))
    assert all(row["episodes"] == 24 and row["return_min"] <= row["return_mean"] <= row["return_best"] for row in rows)


@pytest.mark.parametrize("ranks", [2, 3, 5])
def test_any_number_of_ranks_gives_the_same(ranks: int, straight: Path, tmp_path: Path) -> None:
    succeed(*TOY, "--out", tmp_path / "run", "--generations", 4, ranks=ranks)
    same(straight, tmp_path / "run")


def test_resumed_equals_straight(straight: Path, tmp_path: Path) -> None:
    succeed(*TOY, "--out", tmp_path / "run", "--generations", 2, ranks=3)
    assert "resuming" in succeed(*TOY, "--out", tmp_path / "run", "--generations", 4)
    same(straight, tmp_path / "run")
    again = succeed(*TOY, "--out", tmp_path / "run", "--generations", 4)
    assert "finished: 4 generations" in again
    same(straight, tmp_path / "run")


def test_another_seed_gives_other_numbers(straight: Path, tmp_path: Path) -> None:
    succeed(*TOY[:-1], 12, "--out", tmp_path / "run", "--generations", 2)
    assert metrics(tmp_path / "run")[0]["return_mean"] != metrics(straight)[0]["return_mean"]


@pytest.mark.parametrize("ranks,strategy", [
    (0, "cma"), (3, "cma"), pytest.param(3, "pgpe", marks=pytest.mark.slow)])
def test_killed_at_random_moments_ends_with_the_same(ranks: int, strategy: str, tmp_path: Path) -> None:
    """kill -9 of all processes, five times at moments of a seeded generator, then to the end."""
    arguments = (*TOY, "--strategy", strategy, "--generations", 60)
    succeed(*arguments, "--out", tmp_path / "straight")
    rng = np.random.default_rng(ranks)
    journal = tmp_path / "run" / "episodes.jsonl"
    for delay in rng.uniform(0.0, 0.1, 5):
        before = journal.stat().st_size if journal.exists() else 0
        process = subprocess.Popen(command(*arguments, "--out", tmp_path / "run", ranks=ranks), env=ENVIRONMENT,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        while not journal.exists() or journal.stat().st_size <= before:  # playing has begun
            assert process.poll() is None, "the run ended before it could be killed"
            time.sleep(0.002)
        time.sleep(delay)
        for pid in subprocess.run(["pgrep", "-f", str(tmp_path / "run")], capture_output=True, text=True).stdout.split():
            try:
                os.kill(int(pid), signal.SIGKILL)
            except ProcessLookupError:
                pass
        process.wait()
    assert 0 < len(metrics(tmp_path / "run")) < 60
    assert "resuming" in succeed(*arguments, "--out", tmp_path / "run", ranks=ranks)
    same(tmp_path / "straight", tmp_path / "run")


def test_another_world_is_refused(copied: Path) -> None:
    """Frozen anew into the same directory: neither es nor evaluate mixes the two."""
    arguments = ("es", "--preset", "smoke", "--world", copied / "world", "--max-frames", 5, "--out", copied / "run")
    succeed(*arguments, "--generations", 1)
    here("freeze", "--vae", copied / "vae", "--rnn", copied / "rnn", "--data", copied / "frames", "--out",
         copied / "world", "--precision", "fp32", "--force")
    assert "world_sha256" in refuse(*arguments, "--generations", 2)
    assert "another world than the champion was trained in" in refuse("evaluate", "--run", copied / "run")


def test_checkpoints_survive_versions_that_cannot_read_them(tmp_path: Path) -> None:
    import hashlib
    succeed(*TOY, "--out", tmp_path / "run", "--generations", 1)
    checkpoint = tmp_path / "run" / "checkpoint" / "000001.ckpt"
    payload = b"cno_such_module\nthing\n."
    checkpoint.write_bytes(hashlib.sha256(payload).digest() + payload)
    assert "cannot read it" in refuse(*TOY, "--out", tmp_path / "run", "--generations", 2)
    assert checkpoint.exists()


@pytest.mark.parametrize("inside", [b"cos\nsystem\n(Vtouch stolen\ntR.", b"cbuiltins\neval\n(V1\ntR.",
                                    b"\x80\x04\x8c\x13cma.utilities.utils\x8c\tos.system\x93\x8c\x0ctouch stolen\x85R."])
@pytest.mark.parametrize("depth", [0, 1, 2])
def test_a_checkpoint_of_somebody_else_runs_nothing(inside: bytes, depth: int, tmp_path: Path) -> None:
    import hashlib
    succeed(*TOY, "--out", tmp_path / "run", "--generations", 1)
    checkpoint = tmp_path / "run" / "checkpoint" / "000001.ckpt"
    state, strategy = pickle.loads(checkpoint.read_bytes()[32:])
    version, pycma, _ = pickle.loads(strategy)
    payload = (inside, pickle.dumps((state, inside)), pickle.dumps((state, pickle.dumps((version, pycma, inside)))))[depth]
    checkpoint.write_bytes(hashlib.sha256(payload).digest() + payload)
    assert "which no checkpoint of this project needs" in refuse(
        *TOY, "--out", tmp_path / "run", "--generations", 2, cwd=tmp_path)
    assert not (tmp_path / "stolen").exists()


def test_a_checkpoint_s_options_are_not_evaluated(tmp_path: Path) -> None:
    strategy = CmaEs(np.zeros(5), 4, 0.1, 0)
    CmaEs.loads(strategy.dumps())
    strategy._es.opts["maxiter"] = "__import__('os').system('touch stolen')"
    with pytest.raises(pickle.UnpicklingError, match="maxiter is .*touch stolen"):
        CmaEs.loads(strategy.dumps())


def test_a_foreign_directory_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / ".mine.tmp").write_text("keep")
    (tmp_path / "config.json").write_text("[1, 2]")
    assert f"{tmp_path / 'config.json'} is of another version, or damaged" in refuse(*TOY, "--out", tmp_path)
    (tmp_path / "config.json").unlink()
    succeed(*TOY, "--out", tmp_path, "--generations", 1)
    succeed(*TOY, "--out", tmp_path, "--generations", 2)
    assert (tmp_path / ".mine.tmp").read_text() == "keep"


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "cannot be written" in refuse(*TOY, "--out", tmp_path / "file" / "run")
    assert "not the directory of an es run" in refuse("evaluate", "--run", tmp_path / "file")


def test_a_damaged_newest_checkpoint_falls_back(straight: Path, tmp_path: Path) -> None:
    succeed(*TOY, "--out", tmp_path / "run", "--generations", 3)
    newest = sorted((tmp_path / "run" / "checkpoint").iterdir())[-1]
    newest.write_bytes(newest.read_bytes()[:-100])
    done = wm(*TOY, "--out", tmp_path / "run", "--generations", 4)
    said = done.stdout + done.stderr
    assert f"{newest} is damaged" in done.stderr and "resuming" in said and "after generation 2" in said
    same(straight, tmp_path / "run")


def test_es_reaches_the_known_optimum(tmp_path: Path) -> None:
    """Each of the 15 parameters within 0.01 of the best controller's, validation return within 0.01 of the optimum, 0."""
    succeed("es", "--env", "toy", "--out", tmp_path / "run", "--popsize", 16, "--episodes", 4, "--sigma", 0.5,
            "--generations", 300, "--eval-every", 10, "--eval-episodes", 8, "--stop-at", -0.001, ranks=3)
    arrays, about = load_arrays(tmp_path / "run" / "champion.h5", "")
    np.testing.assert_allclose(arrays["parameters"], optimum(), atol=0.01)
    assert about["validation_mean"] >= -0.001
    assert len(metrics(tmp_path / "run")) < 300, "--stop-at should have ended it before"
    said = succeed("evaluate", "--run", tmp_path / "run", "--episodes", 20, "--json", tmp_path / "verdict.json", ranks=3)
    verdict = json.loads((tmp_path / "verdict.json").read_text())
    assert -0.01 < verdict["mean"] <= 0 and verdict["laps"] == 1 and "100% of laps" in said


def test_carracing_on_one_and_three_ranks(pipeline: Path, tmp_path: Path) -> None:
    """Real frames, V and M in the loop; also two slots a rank, where episodes are refilled in lock-step."""
    arguments = ("es", "--preset", "smoke", "--world", pipeline / "world", "--max-frames", 40, "--width", 2)
    succeed(*arguments, "--out", tmp_path / "one")
    succeed(*arguments, "--out", tmp_path / "three", ranks=3)
    same(tmp_path / "one", tmp_path / "three")
    said = succeed("evaluate", "--preset", "smoke", "--run", tmp_path / "one", "--json", tmp_path / "a.json", ranks=3)
    succeed("evaluate", "--preset", "smoke", "--run", tmp_path / "three", "--json", tmp_path / "b.json")
    results = [json.loads((tmp_path / name).read_text()) for name in ("a.json", "b.json")]
    assert results[0]["returns"] == results[1]["returns"] and results[0]["interval"] == results[1]["interval"]
    assert re.search(r"^-?\d+\.\d ± \d+\.\d over 4 test tracks", said)
    assert {"mean", "std", "interval", "returns", "frames", "laps", "env", "tracks"} <= results[0].keys()
    assert len((tmp_path / "one" / "evaluations.jsonl").read_text().splitlines()) == 1
    succeed("evaluate", "--preset", "smoke", "--run", tmp_path / "one", "--tracks", "5:7", "--json", tmp_path / "c.json")
    assert json.loads((tmp_path / "c.json").read_text())["tracks"] == [5, 6]


def test_any_width_gives_the_same(pipeline: Path, tmp_path: Path) -> None:
    """And may be changed on the way, since it changes no number."""
    line = ("es", "--preset", "smoke", "--world", pipeline / "world", "--popsize", 6, "--episodes", 2, "--max-frames", 60)
    succeed(*line, "--out", tmp_path / "sixteen")
    succeed(*line, "--width", 3, "--generations", 1, "--out", tmp_path / "changed")
    succeed(*line, "--width", 32, "--out", tmp_path / "changed", ranks=3)
    same(tmp_path / "sixteen", tmp_path / "changed")


def test_the_width_is_measured_unless_it_is_given(pipeline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec, world = EnvSpec("fast", 1000, 0.95, "road"), str(pipeline / "world")
    assert make_rollout(spec, world, 5, True).capacity == 5

    def measured(rates: dict[int, float], alike: bool = True) -> int:
        monkeypatch.setattr(Rollout, "rate", lambda self: rates[self.capacity])
        monkeypatch.setattr(Rollout, "plays_alike", alike)
        return make_rollout(spec, world, None, True).capacity

    assert measured({8: 1.0, 16: 1.0, 32: 1.02}) == 16
    assert measured({8: 1.0, 16: 1.0, 32: 1.2}) == 32
    assert measured({8: 1.3, 16: 1.0, 32: 1.2}) == 8
    assert measured({8: 1.0, 16: 1.0, 32: 1.2}, alike=False) == 16
    monkeypatch.undo()
    rollout = make_rollout(spec, world, 16, True)
    assert rollout.plays_alike and rollout.rate() > 100


def test_validation_is_never_cut(tmp_path: Path) -> None:
    succeed("es", "--preset", "smoke", "--max-frames", 60, "--stuck-frames", 5, "--eval-every", 1, "--out", tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "episodes.jsonl").read_text().splitlines()]
    frames = {stream: [row["frames"] for row in rows if row["stream"] == stream] for stream in ("training", "validation")}
    assert frames["validation"] == [60] * 4 and max(frames["training"]) < 60


def test_runs_and_their_candidates_on_the_same_tracks(pipeline: Path, copied: Path, tmp_path: Path) -> None:
    """Two runs in two worlds, the mean and the best candidate of each: alone and compared, the returns are the same."""
    flags = ("es", "--preset", "smoke", "--max-frames", 60, "--generations", 1)
    here("freeze", "--vae", copied / "vae", "--rnn", copied / "rnn", "--data", copied / "frames", "--out",
         copied / "world", "--precision", "fp32", "--force")
    runs = [tmp_path / "one", tmp_path / "two"]
    for run, place in zip(runs, (pipeline, copied), strict=True):
        succeed(*flags, "--world", place / "world", "--out", run, "--sigma", 0.1 if run == runs[0] else 2)
    judge = ("evaluate", "--episodes", 3, "--max-frames", 60)
    said = succeed(*judge, "--run", runs[0], "--compare", runs[1], "--controller", "both", "--json", tmp_path / "all.json",
                   ranks=3)
    verdict = json.loads((tmp_path / "all.json").read_text())
    everyone = [verdict, *verdict["others"]]
    assert [each["controller"] for each in everyone] == ["mean", "best", "mean", "best"]
    for run, kind, result in zip((*runs[:1] * 2, *runs[1:] * 2), ("mean", "best") * 2, everyone, strict=True):
        seeds = f"{result['tracks'][0]}:{result['tracks'][0] + 1}"
        succeed(*judge, "--run", run, "--controller", kind, "--json", tmp_path / "alone.json", "--tracks", seeds)
        alone = json.loads((tmp_path / "alone.json").read_text())
        assert alone["frames"] == result["frames"][:1]
    pair = verdict["pairs"][1]
    differences = np.subtract(everyone[0]["returns"], everyone[2]["returns"])
    assert pair["difference"] == pytest.approx(differences.mean()) and differences.any()
    assert pair["interval"] is None and "paired interval not given below 10 tracks" in said
    assert said.count("not solved") == 4
    assert [len((run / "evaluations.jsonl").read_text().splitlines()) for run in runs] == [4, 4]
    assert "is the run itself" in refuse(*judge, "--run", runs[0], "--compare", tmp_path / "." / "one")


def test_a_champion_collects(pipeline: Path, tmp_path: Path) -> None:
    succeed("es", "--preset", "smoke", "--world", pipeline / "world", "--max-frames", 10, "--generations", 1,
            "--out", tmp_path / "run")
    said = succeed("collect", "--preset", "smoke", "--policy", tmp_path / "run", "--episodes", 2, "--max-frames", 10,
                   "--out", tmp_path / "frames")
    assert "2 episodes, 20 frames" in said
    assert "neither 'random' nor 'linear'" in refuse("collect", "--policy", tmp_path, "--out", tmp_path / "f")


def test_streams_never_meet_and_depend_on_all_of_their_key() -> None:
    keys = [(seed, stream, generation, episode) for seed in (0, 1) for stream in Stream for generation in (0, 1, 2)
            for episode in (0, 1, 2)]
    seeds = [episode_seed(*key) for key in keys]
    assert len({seed.track for seed in seeds}) == len({seed.noise for seed in seeds}) == len(keys)
    assert seeds == [episode_seed(*key) for key in keys]
    assert all(0 <= seed.track < 2**31 for seed in seeds)
    assert track_seed(0, 17).track == 17 and track_seed(0, 17).noise != track_seed(0, 18).noise


def test_the_strategy_is_plain_pycma() -> None:
    import cma
    rng = np.random.default_rng(np.random.SeedSequence((5, 0xC3A)))
    plain = cma.CMAEvolutionStrategy(np.zeros(10), 0.3, {"popsize": 6, "seed": np.nan, "verbose": -9, "verb_log": 0,
                                                         "randn": lambda *size: rng.standard_normal(size)})
    ours = CmaEs(np.zeros(10), 6, 0.3, 5)
    for _ in range(5):
        candidates = ours.ask()
        expected = plain.ask()
        np.testing.assert_array_equal(candidates, expected)
        returns = -np.sum((candidates - 1) ** 2, axis=1)  # higher is better
        ours.tell(returns)
        plain.tell(expected, list(-returns))
        ours = CmaEs.loads(ours.dumps())
    np.testing.assert_array_equal(ours.mean, plain.mean)
    assert ours.sigma == plain.sigma and ours.generation == 5


def test_the_smallest_population_searches_in_a_world_too() -> None:
    """pycma with two candidates ends in an error of its own once there are as many parameters as a controller has."""
    strategy = CmaEs(np.zeros(867), least_popsize(), 0.1, 0)
    for _ in range(3):
        strategy.tell(-np.sum(strategy.ask() ** 2, axis=1))
    assert strategy.generation == 3


def least_popsize() -> int:
    """The smallest that the command line takes."""
    return next(size for size in range(1, 100) if accepted(size))


def accepted(popsize: int) -> bool:
    try:
        return parse(EsConfig, "es", ["--popsize", str(popsize)]).popsize == popsize
    except UserError:
        return False


def test_a_run_of_another_configuration_is_refused(straight: Path) -> None:
    results = [path for path in straight.rglob("*") if path.is_file() and path.name != "lock"]
    before = [path.read_bytes() for path in results]
    said = refuse(*TOY[:4], 6, *TOY[5:], "--out", straight, "--generations", 4)
    assert "popsize: 8 there, 6 now" in said
    assert before == [path.read_bytes() for path in results]


def test_a_return_that_is_nan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from wm_mpi.es import main
    monkeypatch.setattr(Toy, "step", lambda self, action: (self._observe(), float("nan"), True, False, {}))
    with pytest.raises(UserError, match=r"candidate 0 has the return nan on track \d+"):
        main(EsConfig(out=str(tmp_path / "run"), env="toy", popsize=4, episodes=1))
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


@pytest.mark.parametrize("flags,sentence", [
    (("--popsize", 2), "--popsize is 2, but must be at least 3"),
    (("--sigma", 0), "--sigma is 0.0, but must be above 0 and finite"),
    (("--seed", -1), "--seed is -1, but must be at least 0"),
])
def test_bad_values(flags: tuple, sentence: str, tmp_path: Path) -> None:
    assert sentence in refuse("es", "--env", "toy", "--out", tmp_path / "run", *flags)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("damage", ["cut", "text", "gone", "manifest"])
def test_a_damaged_world(damage: str, copied: Path) -> None:
    graph = copied / "world" / "policy.onnx"
    if damage == "cut":
        os.truncate(graph, graph.stat().st_size // 2)
    elif damage == "text":
        graph.write_text("not a graph")
    elif damage == "gone":
        graph.unlink()
    else:
        (copied / "world" / "manifest.json").write_text("{")
    said = refuse("es", "--preset", "smoke", "--world", copied / "world", "--out", copied / "run", ranks=3)
    assert ("manifest.json" if damage == "manifest" else "policy.onnx") in said and "freeze again" in said
    assert not (copied / "run").exists()


def test_evaluate_refuses_what_is_no_run(pipeline: Path, tmp_path: Path) -> None:
    assert "is not the directory of an es run" in refuse("evaluate", "--run", pipeline / "frames")
    assert "it is something else" in refuse("evaluate", "--run", tmp_path)
    assert "it does not exist" in refuse("evaluate", "--run", tmp_path / "nothing")
    succeed(*TOY, "--out", tmp_path / "run", "--generations", 1)
    for tracks in ("7", "9:3", "a:b"):
        assert "is not a range" in refuse("evaluate", "--run", tmp_path / "run", "--tracks", tracks)
    (tmp_path / "run" / "champion.h5").write_bytes(b"nothing")
    assert "champion.h5 is damaged" in refuse("evaluate", "--run", tmp_path / "run")


def test_a_generation_s_line_fits_a_terminal() -> None:
    row = Generation(
        generation=1799, frames=1, episodes=1, frames_total=1, return_mean=-234.56, return_best=-100.4, return_min=0.0,
        return_std=0.0, sigma=0.0123456, condition=1e9, seconds=99.9, frames_per_second=123456.7, busy_share=1.0,
        workers=4000, core_hours=1.0, slowest="rank 17 on node-17 (1.2x the mean time)", lost=(),
        eval_mean=-123.45, eval_std=100.4)
    line = row.describe(1800, 86_399)
    assert len(line) < 120 and line.endswith("23:59:59 left") and "slowest" not in line and "busy" not in line
    slow = dataclasses.replace(row, slowest="rank 17 on node-17 (2.0x the mean time)", busy_share=0.5,
                               lost=("rank 3 on n3",))
    said = slow.describe(1800, 60)
    assert said.endswith("busy 50%  0:01:00 left  slowest rank 17 on node-17 (2.0x the mean time)  lost 1: rank 3 on n3")
