"""Where a run's numbers go beside ``metrics.jsonl``: TensorBoard's files, and with ``--log`` wandb or MLflow.

What a run is called there is kept in its ``loggers.json``, so that a later start goes on with it.
"""

import contextlib
import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from wm_mpi.core.errors import UserError
from wm_mpi.core.files import read_json, write_json
from wm_mpi.core.rundir import RunDir
from wm_mpi.data.board import Board

PROJECT = "wm_mpi"
"""What runs are kept under, unless WANDB_PROJECT or MLFLOW_EXPERIMENT_NAME says otherwise."""


class Logger(Protocol):
    """Takes a generation's numbers."""

    def write(self, step: int, values: Mapping[str, object]) -> None:
        """Those of generation ``step``."""

    def close(self) -> None:
        """The run stops, for now or for good."""


class Wandb:
    """Weights & Biases; its own variables (WANDB_MODE=offline, WANDB_PROJECT, ...) say where that goes."""

    def __init__(self, run: RunDir, settings: Mapping[str, Any]) -> None:
        """Begin, or go on with, the run of this directory."""
        import wandb

        name = _known(run, "wandb") or secrets.token_hex(4)
        _know(run, "wandb", name)
        self._run = wandb.init(project=os.environ.get("WANDB_PROJECT", PROJECT), id=name, resume="allow", name=str(run.path),
                               dir=str(run.path), config=dict(settings))

    def write(self, step: int, values: Mapping[str, object]) -> None:
        """Wandb itself ignores a step that it has already."""
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        """Wait until all is written."""
        self._run.finish()


class Mlflow:
    """MLflow; MLFLOW_TRACKING_URI and MLFLOW_EXPERIMENT_NAME say where."""

    def __init__(self, run: RunDir, settings: Mapping[str, Any]) -> None:
        """Begin, or go on with, the run of this directory."""
        import mlflow

        self._client = mlflow.MlflowClient()
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        experiment = self._client.get_experiment_by_name(name)
        known = _known(run, "mlflow")
        if known is None:
            known = self._client.create_run(self._client.create_experiment(name) if experiment is None else
                                            experiment.experiment_id, run_name=str(run.path)).info.run_id
            _know(run, "mlflow", known)
            for key, value in settings.items():
                self._client.log_param(known, key, value)
        self._id = known
        self._client.update_run(known, status="RUNNING")
        self._last = max((each.step for each in self._client.get_metric_history(known, "return_mean")), default=0)

    def write(self, step: int, values: Mapping[str, object]) -> None:
        """A step that is there already is left alone."""
        if step > self._last:
            for name, value in values.items():
                self._client.log_metric(self._id, name, float(value), step=step)  # type: ignore[arg-type]
            self._last = step

    def close(self) -> None:
        """Say that nobody writes any more."""
        self._client.set_terminated(self._id)


KINDS: dict[str, Callable[[RunDir, Mapping[str, Any]], Logger]] = {"wandb": Wandb, "mlflow": Mlflow}


@contextlib.contextmanager
def open_loggers(run: RunDir, rows: Sequence[Mapping[str, Any]], log: str | None,
                 settings: Mapping[str, Any]) -> Iterator["Loggers"]:
    """All that this run is told to: TensorBoard's files always, and what ``--log`` names.

    Args:
        run: the run's directory.
        rows: generations of earlier starts; the last is written once more, since a kill may have come before it was, and all
            of them where there are no files yet.
        log: None, or one of ``KINDS``.
        settings: the run's configuration, for who compares runs.

    Raises:
        UserError: the package of ``log`` is not installed, or does not want to begin.
    """
    loggers: list[Logger] = []
    try:
        if log is not None:
            try:
                loggers.append(KINDS[log](run, settings))
            except ImportError as error:
                raise UserError(f"--log {log} cannot be used here ({error}): pip install {log}") from None
            except Exception as error:  # of their own kinds: no login, no server
                raise UserError(f"--log {log} does not begin ({str(error).splitlines()[0]}): see to it, or leave it "
                                "out") from None
        missing = rows if not run.board.exists() else rows[-1:]
        loggers.insert(0, Board(run.board, missing[0]["generation"] if missing else 1))
        told = Loggers(loggers)
        for row in missing:
            told.write(row)
        yield told
    finally:
        for each in loggers:
            each.close()


class Loggers:
    """Several as one."""

    def __init__(self, loggers: Sequence[Logger]) -> None:
        """Write to all of these."""
        self._loggers = loggers

    def write(self, row: Mapping[str, Any]) -> None:
        """A line of ``metrics.jsonl``: its numbers, by its generation."""
        numbers = {name: value for name, value in row.items()
                   if isinstance(value, int | float) and name != "generation"}
        for each in self._loggers:
            each.write(row["generation"], numbers)


def _known(run: RunDir, kind: str) -> str | None:
    """What the run is called there."""
    return read_json(run.loggers, dict[str, str], "delete it").get(kind) if run.loggers.exists() else None


def _know(run: RunDir, kind: str, name: str) -> None:
    known = read_json(run.loggers, dict[str, str], "delete it") if run.loggers.exists() else {}
    write_json(run.loggers, {**known, kind: name})
