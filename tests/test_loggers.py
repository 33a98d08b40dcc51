"""What es tells TensorBoard, wandb and MLflow: every generation once, whatever came between."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import metrics

import wm_mpi
from wm_mpi.core.rundir import RunDir
from wm_mpi.evolution.loggers import open_loggers

TOY = {"env": "toy", "popsize": 4, "episodes": 1, "eval_every": 2, "eval_episodes": 2, "max_frames": 20, "quiet": True}


def shown(run: Path) -> dict[str, list[tuple[int, float]]]:
    """Scalars by name as TensorBoard's own reader has them."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator",
                                      reason="tensorboard is not installed: pip install -c constraints.txt tensorboard")
    events = accumulator.EventAccumulator(str(run / "tensorboard"), {"scalars": 0})
    events.Reload()
    return {name: [(each.step, each.value) for each in events.Scalars(name)] for name in events.Tags()["scalars"]}


def test_tensorboard_shows_every_generation_once(tmp_path: Path) -> None:
    for generations in (2, 4):
        wm_mpi.train(out=tmp_path, generations=generations, **TOY)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    found = shown(tmp_path)
    assert {"return_mean", "sigma", "condition", "frames_per_second", "busy_share", "eval_mean"} <= found.keys()
    for name, values in found.items():
        assert values == [(row["generation"], pytest.approx(row[name])) for row in rows if name in row], name


def test_what_a_kill_left_out_is_told_later(tmp_path: Path) -> None:
    """Generation 3 was saved, but not told; then, of an older run, there are no files at all."""
    run, rows = RunDir(tmp_path), [{"generation": number, "sigma": 1.0 / number} for number in range(1, 6)]
    with open_loggers(run, [], None, {}) as told:
        for row in rows[:2]:
            told.write(row)
    with open_loggers(run, rows[:3], None, {}) as told:
        told.write(rows[3])
    with open_loggers(run, rows[:4], None, {}) as told:
        told.write(rows[4])
    assert [step for step, _ in shown(tmp_path)["sigma"]] == [1, 2, 3, 4, 5]
    with open_loggers(RunDir(tmp_path / "older"), rows, None, {}):
        pass
    assert [step for step, _ in shown(tmp_path / "older")["sigma"]] == [1, 2, 3, 4, 5]


def test_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed: pip install -c constraints.txt mlflow-skinny")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file:{tmp_path / 'server'}")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    for generations in (2, 4, 4):
        wm_mpi.train(out=tmp_path / "run", generations=generations, log="mlflow", **TOY)
    client = mlflow.MlflowClient()
    kept, = client.search_runs([client.get_experiment_by_name("wm_mpi").experiment_id])
    assert kept.info.status == "FINISHED" and kept.data.params["popsize"] == "4"
    told = sorted((each.step, each.value) for each in client.get_metric_history(kept.info.run_id, "return_mean"))
    assert told == [(row["generation"], pytest.approx(row["return_mean"])) for row in metrics(tmp_path / "run")]


def records(data: bytes) -> Iterator[bytes]:
    """Those of wandb's file, a log of LevelDB after a header of 7 bytes: blocks of 32 KiB, records in parts."""
    position, parts = 7, b""
    while position + 7 < len(data):
        if 32768 - position % 32768 < 7:  # the rest of a block is too short for a header
            position += 32768 - position % 32768
            continue
        length, kind = int.from_bytes(data[position + 4:position + 6], "little"), data[position + 6]
        parts += data[position + 7:position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield parts
            parts = b""


def test_wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason="wandb is not installed: pip install -c constraints.txt wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    for generations in (2, 4):
        wm_mpi.train(out=tmp_path, generations=generations, log="wandb", **TOY)
    until = time.monotonic() + 60
    while len(told := wandb_history(tmp_path)) < 5:  # its service writes on after the run has ended
        assert time.monotonic() < until, told
        time.sleep(0.2)
    assert told == [(row["generation"], pytest.approx(row["return_mean"]))
                    for number in (0, 1, 1, 2, 3) for row in [metrics(tmp_path)[number]]]  # it drops what it has already
    assert len({path.name for path in tmp_path.glob("wandb/offline-run-*/*.wandb")}) == 1, "one run, gone on with"


def wandb_history(run: Path) -> list[tuple[int, float]]:
    """(step, return_mean) in the order of writing."""
    from wandb.proto import wandb_internal_pb2
    told = []
    for path in sorted(run.glob("wandb/offline-run-*/*.wandb")):
        for data in records(path.read_bytes()):
            history = wandb_internal_pb2.Record.FromString(data).history
            told += [(history.step.num, float(item.value_json)) for item in history.item
                     if item.nested_key[:1] == ["return_mean"]]
    return told


def test_a_logger_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "wandb", None)
    with pytest.raises(wm_mpi.UserError, match=r"--log wandb cannot be used here .*: pip install wandb"):
        wm_mpi.train(out=tmp_path, generations=1, log="wandb", **TOY)
