"""Ranks that compute unlike: told when they join and in the metrics, played on, and an error only beyond rounding."""

import hashlib
import json
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, metrics, succeed
from striking import Job

from wm_mpi.core.errors import UserError
from wm_mpi.core.shipped import PRETRAINED
from wm_mpi.data.arrays import load_arrays
from wm_mpi.pool.interface import Arithmetic
from wm_mpi.pool.manager import _Run
from wm_mpi.pool.membership import Members, Rank
from wm_mpi.pool.schedule import Pace
from wm_mpi.pool.transport import Message
from wm_mpi.world.graph import build_policy

CHAOS = ROOT / "tests" / "programs" / "chaos_program.py"
TOY = ("--env", "toy", "--popsize", 3, "--episodes", 2, "--seed", 5)
CAR = ("--popsize", 4, "--episodes", 1, "--generations", 2, "--max-frames", 40, "--eval-episodes", 1, "--width", 2)
OURS = Arithmetic("processor A", (0.5, -0.25))


class Silent:
    """A post of four ranks that carries nothing."""

    size, survives, dead = 4, True, frozenset[int]()

    def send(self, *_: object) -> None:
        pass


def crew(*arithmetics: Arithmetic | None) -> tuple[Members, list[str]]:
    """Ranks 1, 2, ... have joined; and what was said of it."""
    told, said = Members(Silent()), list[str]()  # type: ignore[arg-type]
    told.say = said.append
    for number, arithmetic in enumerate(arithmetics, start=1):
        told._note(told.ranks[number], Message(number, "ready", (1, arithmetic)))
    return told, said


def test_ranks_that_compute_alike_are_not_mentioned() -> None:
    told, said = crew(OURS, OURS, OURS)
    assert told.kinds == () and not said


@pytest.mark.parametrize("other", [OURS._replace(on="processor B"), OURS._replace(sample=(0.5, -0.25000003)),
                                   OURS._replace(sample=(0.55, -0.25))], ids=str)
def test_another_kind_is_told_once(other: Arithmetic) -> None:
    told, said = crew(OURS, other, other)
    assert len(said) == 1 and "rank 2" in said[0] and "another start may give others" in said[0]
    assert told.kinds == ("processor A (1 ranks)", f"{other.on} (2 ranks)")


@pytest.mark.parametrize("sample", [(0.65, -0.25), (0.5,), (float("nan"), -0.25)], ids=str)
def test_what_rounding_does_not_explain_is_an_error(sample: tuple[float, ...]) -> None:
    with pytest.raises(UserError, match="rank 2 on .* computes something else than rank 1"):
        crew(OURS, OURS._replace(sample=sample))


def answers(first: Arithmetic | None, second: Arithmetic | None, *results: object) -> tuple[list[object], list[str]]:
    """Rank 1 and rank 2 both play task 0."""
    told, said = crew(first, second)
    run = _Run(told, 1, Pace(), None, ["task 0", "task 1"], None)
    run._playing = {1: 1, 2: 1}
    for rank, result in zip((1, 2), results, strict=True):
        run._take(told.ranks[rank], 1, [(0, result)], 0.0)
    return run.results, [text for text in said if "task 0" in text]


def test_copies_that_differ() -> None:
    other = OURS._replace(on="processor B")
    results, said = answers(OURS, other, 1.0, 2.0)
    assert results[0] == 1.0 and "gave 1.0 on rank 1" in said[0] and "the first answer counts" in said[0]
    assert answers(OURS, OURS, 1.0, 1.0)[1] == answers(OURS, other, 1.0, 1.0)[1] == []
    assert answers(None, None, "facts of rank 1", "facts of rank 2") == (["facts of rank 1", None], []), "doctor's"
    with pytest.raises(UserError, match="task 0 gave 1.0 on rank 1 .* although both compute alike to the last bit"):
        answers(OURS, OURS, 1.0, 2.0)


def test_rank_knows_itself() -> None:
    assert str(Rank(3, 0.0)) == "rank 3 on a host not yet known"


@pytest.fixture
def fp32(tmp_path: Path) -> Path:
    """The world that ships, in floating point: sums of integers are the same in any order."""
    world = tmp_path / "world"
    shutil.copytree(PRETRAINED / "carracing", world)
    vae, rnn = (load_arrays(world / name, "")[0] for name in ("vae.h5", "rnn.h5"))
    (world / "policy.onnx").write_bytes(build_policy(*({name: value.astype(np.float32) for name, value in each.items()}
                                                       for each in (vae, rnn))).SerializeToString())
    manifest = json.loads((world / "manifest.json").read_text())
    manifest["files"]["policy.onnx"] = hashlib.sha256((world / "policy.onnx").read_bytes()).hexdigest()
    (world / "manifest.json").write_text(json.dumps(manifest))
    return world


@pytest.mark.parametrize("kind", ["graph", pytest.param("engine", marks=pytest.mark.slow)])  # that compiles for a minute
def test_ranks_of_another_arithmetic_join(kind: str, fp32: Path, tmp_path: Path) -> None:
    """Rank 2 runs V, M and C without ONNX Runtime's optimisations, or an engine compiled for any x86-64."""
    run = tmp_path / "run"
    assert "generation 2/2" in succeed(CHAOS, kind, 2, "--", *CAR, "--world", fp32, "--out", run, ranks=3)
    for row in map(json.loads, (run / "metrics.jsonl").read_text().splitlines()):
        assert [text[text.rindex("("):] for text in row["unlike"]] == ["(1 ranks)"] * 2
    assert (run / "log.txt").read_text().count("the same calculation differs by") == 1
    assert ("for x86-64" in (run / "metrics.jsonl").read_text()) is (kind == "engine")


def test_a_run_goes_on_when_copies_differ_by_rounding(tmp_path: Path) -> None:
    """Rank 2 computes in 32 bits, and stands still again and again, so that others play what it holds."""
    run = tmp_path / "run"
    with Job(CHAOS, "rough", 2, "--", *TOY, "--generations", 100_000, "--out", run, ranks=3) as job:
        job.wait_for(run / "metrics.jsonl", 2)
        deadline = time.monotonic() + 60
        while job.process.poll() is None and time.monotonic() < deadline:
            for blow in (signal.SIGSTOP, signal.SIGCONT):
                job.strike(2, with_signal=blow)
                time.sleep(0.05)
            if run.joinpath("log.txt").exists() and "which compute unlike" in run.joinpath("log.txt").read_text():
                break
        job.wait_for(run / "metrics.jsonl", len(metrics(run)) + 2)
        job.process.send_signal(signal.SIGUSR1)
        status, said = job.end(timeout=10)
    assert status == 75 and "the first answer counts" in said, said
