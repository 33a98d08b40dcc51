"""Files that we read: of another version, edited by hand, torn, or something else. Each is one sentence that names them."""

import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from wm_mpi.core import schema
from wm_mpi.core.config import EsConfig
from wm_mpi.core.errors import UserError
from wm_mpi.core.rundir import RunDir
from wm_mpi.core.shipped import PRETRAINED
from wm_mpi.data.arrays import load_arrays
from wm_mpi.data.datasets import open_frames, open_latents
from wm_mpi.data.episodes import Episode, read_episode, write_episode
from wm_mpi.envs import EnvSpec, make_env
from wm_mpi.evolution.champion import load_trained
from wm_mpi.evolution.run_state import Generation, RunState
from wm_mpi.evolution.training import begin
from wm_mpi.models.checkpoints import load_weights
from wm_mpi.reporting.run_data import read_run
from wm_mpi.rollout.worker import Rollout
from wm_mpi.world.graph import build_policy
from wm_mpi.world.manifest import load_manifest
from wm_mpi.world.policy import GraphPolicy

Change = Callable[[Any], Any]


def told(run: Path) -> None:
    read_run(str(run), world=str(run))


def driven(run: Path) -> None:
    load_trained(str(run), env=None, world=None, max_frames=10, lap_complete_percent=None, deterministic=None)


TEXTS = {"config.json": (schema.Settings, driven), "manifest.json": (schema.Manifest, told),
         "metrics.jsonl": (schema.Generation, told), "evaluations.jsonl": (schema.Evaluation, told),
         "environment.json": (schema.Environment, told)}
"""Files of a run and its world: what they must hold, and who reads them."""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    shutil.copytree(PRETRAINED / "carracing", tmp_path / "run")
    return tmp_path / "run"


def rewrite(path: Path, change: Change) -> None:
    """Change the JSON of a file; of several lines the second."""
    if path.suffix == ".json":
        path.write_text(json.dumps(change(json.loads(path.read_text()))))
        return
    lines = path.read_text().splitlines()
    lines[1] = json.dumps(change(json.loads(lines[1])))
    path.write_text("\n".join(lines) + "\n")


def without(name: str) -> Change:
    return lambda value: {key: each for key, each in value.items() if key != name}


def odd(name: str) -> Change:
    return lambda value: {**value, name: [[None]]}


def cases() -> Iterator[Any]:
    for file, (fields, reader) in TEXTS.items():
        for name in sorted(fields.__annotations__):
            if name in fields.__required_keys__:
                yield pytest.param(file, reader, without(name), name, id=f"{file} without {name}")
            yield pytest.param(file, reader, odd(name), name, id=f"{file} odd {name}")


@pytest.mark.parametrize("file,reader,change,name", cases())
def test_a_field_is_missing_or_of_another_type(file: str, reader: Callable[[Path], None], change: Change, name: str,
                                               run: Path) -> None:
    reader(run)
    rewrite(run / file, change)
    with pytest.raises(UserError) as refused:
        reader(run)
    said = str(refused.value)
    assert name in said and str(run / file) in said or "is not the directory of an es run" in said and name == "popsize"
    assert "\n" not in said


@pytest.mark.parametrize("text", ["", "{", "3", "[]", "null", '{"a": 1}', "[" * 100_000, "\udcff"],
                         ids=lambda text: repr(text)[:9])
@pytest.mark.parametrize("file", TEXTS)
def test_something_else(file: str, text: str, run: Path) -> None:
    (run / file).write_bytes(text.encode(errors="surrogateescape") + b"\n")
    if text == "" and file.endswith(".jsonl") or file == "environment.json" and text == '{"a": 1}':
        text = '{"a": 1}'  # an empty line is none of ours either
        (run / file).write_text("[]\n")
    with pytest.raises(UserError) as refused:
        TEXTS[file][1](run)
    assert str(run / file) in str(refused.value) or file == "config.json" and str(run) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_directory_in_the_place_of_a_file(run: Path) -> None:
    for file, (_, reader) in TEXTS.items():
        kept = (run / file).read_bytes()
        (run / file).unlink()
        (run / file).mkdir()
        with pytest.raises(UserError, match=f"{file} cannot be read: Is a directory"):
            reader(run)
        (run / file).rmdir()
        (run / file).write_bytes(kept)


def test_what_is_read_of_a_generation_is_what_is_written() -> None:
    written = {field.name for field in dataclasses.fields(Generation)}
    assert set(schema.Generation.__annotations__) == written
    optional = {field.name for field in dataclasses.fields(Generation) if field.default is None}
    assert optional <= schema.Generation.__optional_keys__


@pytest.mark.parametrize("line", ['{"generation": 1}', '{"generation": 1, "stream": "training", "task": "0", "return": 1.0, '
                                  '"frames": 2, "lap": false}'])
def test_a_journal_of_something_else(line: str, tmp_path: Path) -> None:
    (tmp_path / "episodes.jsonl").write_text(line + "\n")
    (tmp_path / "checkpoint").mkdir()
    with pytest.raises(UserError, match="episodes.jsonl line 1 is of another version, or damaged"):
        RunState.resume(RunDir(tmp_path), lambda: None, lambda _: None, {})  # type: ignore[arg-type,return-value]


# --- HDF5 -------------------------------------------------------------------------------------------------------------
def dataset(opened: Callable[[Path], Any]) -> Callable[[Path], None]:
    def read(directory: Path) -> None:
        with opened(directory) as data:
            data.read("actions", 0, len(data))
    return read


ARRAYS = {
    "run/champion.h5": (schema.Champion, driven, ("parameters", "best_candidate")),
    "run/./champion.h5": (schema.Start, lambda run: begin(EsConfig(init=str(run / "champion.h5")), EnvSpec("fast"),
                                                          load_manifest(run)), ("parameters",)),
    "vae/weights.h5": (schema.Weights, lambda directory: load_weights(directory, "vae"), ()),
    "rnn/weights.h5": (schema.RnnWeights, lambda directory: load_weights(directory, "rnn"), ()),
    "frames/frames.h5": (schema.Frames, dataset(open_frames), ("episodes/start", "actions", "shards/file", "shards/length")),
    "latents/latents.h5": (schema.Latents, dataset(open_latents), ("episodes/seed", "episodes/length", "actions"))}
"""What is recorded in them, who reads them, and arrays that must be there."""


@pytest.fixture
def place(run: Path, copied: Path) -> Path:
    run.rename(copied / "run")
    return copied


@pytest.mark.parametrize("file", ARRAYS)
def test_arrays_that_are_something_else(file: str, place: Path) -> None:
    fields, reader, arrays = ARRAYS[file]
    path = place / file
    whole = path.read_bytes()
    reader(path.parent)

    def refused(*words: str) -> None:
        with pytest.raises(UserError) as error:
            reader(path.parent)
        assert str(path) in str(error.value) and "\n" not in str(error.value) and all(w in str(error.value) for w in words)
        path.write_bytes(whole)

    def change(about: Any) -> None:
        with h5py.File(path, "r+") as opened:
            opened.attrs["about"] = about

    with h5py.File(path) as opened:
        recorded = json.loads(opened.attrs["about"])
    for name in sorted(fields.__required_keys__):
        change(json.dumps(without(name)(recorded)))
        refused(*(() if name == "kind" else (name,)))
        change(json.dumps({**recorded, name: [[None]]}))
        refused()
    with h5py.File(path, "r+") as opened:
        opened.attrs["format"] = 2
    refused("it has format 2, this version reads 1")
    for about in ("", "{", "[]", 3):
        change(about)
        refused()
    for name in arrays:
        with h5py.File(path, "r+") as opened:
            del opened[name]
        refused()
    for size in (0, 10, len(whole) // 2):
        path.write_bytes(whole[:size])
        refused()
    path.unlink()
    with pytest.raises(UserError, match="does not exist"):
        reader(path.parent)


def test_parameters_that_are_not_finite(place: Path) -> None:
    """As --init, as --run: where they enter."""
    path = place / "run" / "champion.h5"
    with h5py.File(path, "r+") as opened:
        opened["parameters"][3] = np.nan
    for reader in (driven, ARRAYS["run/./champion.h5"][1]):
        with pytest.raises(UserError, match="champion.h5: parameters has numbers that are not finite"):
            reader(path.parent)


@pytest.mark.parametrize("name", ["vae/encoder/mu/bias", "rnn/lstm/bias"])
def test_a_world_that_has_diverged(name: str) -> None:
    """Whoever plays in it is told before an episode begins."""
    model, _, array = name.partition("/")
    weights = {each: dict(load_arrays(PRETRAINED / "carracing" / f"{each}.h5", "")[0]) for each in ("vae", "rnn")}
    weights[model][array] = np.full_like(weights[model][array], np.nan)
    vae, rnn = ({key: value.astype(np.float32) for key, value in each.items()} for each in weights.values())
    policy = GraphPolicy(build_policy(vae, rnn).SerializeToString(), 2)
    with pytest.raises(UserError, match="the world's actions are not finite"):
        Rollout(make_env(EnvSpec("fast"), 2), policy)


def test_a_damaged_episode(tmp_path: Path) -> None:
    path = tmp_path / "000000.h5"
    write_episode(path, Episode(0, 1, np.zeros((2, 64, 64, 3), np.uint8), np.zeros((2, 3), np.float32),
                                np.zeros(2, np.float32), np.zeros(2, np.bool_)))
    whole = path.read_bytes()
    for torn in (b"", whole[:100], whole[:len(whole) // 2]):
        path.write_bytes(torn)
        with pytest.raises(UserError, match="000000.h5 is damaged .*: delete it and run the same collect command again"):
            read_episode(path)
