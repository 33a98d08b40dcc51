"""The training loop that V and M share: epochs of batches, losses to JSONL and TensorBoard, state that can be resumed."""

import json
import math
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
import numpy.typing as npt
from tensorboardX import SummaryWriter

from wm_mpi.errors import UserError
from wm_mpi.progress import Progress, log
from wm_mpi.rundir import append_jsonl, read_jsonl, write_text

Arrays = dict[str, npt.NDArray]


class Batch(Protocol):
    """Arrays for one step, and the data set's rows they came from."""

    @property
    def arrays(self) -> Arrays:
        """Arrays by name."""

    @property
    def rows(self) -> npt.NDArray[np.int64]:
        """Row in the data set of each item."""


def named_weights(model: Any) -> dict[str, Any]:
    """Keras variables by name: ``encoder/conv1/kernel`` (V), ``lstm/kernel`` (M)."""
    return {"/".join(filter(None, (part, layer.name, variable.name))): variable
            for part, network in model.parts().items() for layer in network.layers for variable in layer.weights}


def get_weights(model: Any) -> Arrays:
    """The weights as float32 arrays by name."""
    return {name: np.asarray(keras.ops.convert_to_numpy(variable)) for name, variable in named_weights(model).items()}


def set_weights(model: Any, arrays: Arrays, where: str) -> None:
    """Load weights by name.

    Raises:
        UserError: a name is missing or a shape differs; ``where`` is the file.
    """
    for name, variable in named_weights(model).items():
        if name not in arrays or tuple(arrays[name].shape) != tuple(variable.shape):
            found = "is missing" if name not in arrays else f"has shape {arrays[name].shape}"
            raise UserError(f"{where}: {name} {found}, expected {tuple(variable.shape)}: train again with this version")
        variable.assign(arrays[name])


class Trainer:
    """A compiled model with its optimiser, its logs and its whole state as arrays."""

    def __init__(self, model: Any, learning_rate: float, out: Path, clip: float | None = None) -> None:
        """Compile ``model`` with Adam; ``clip`` bounds each gradient value; logs go below ``out``."""
        self.model, self._learning_rate = model, learning_rate
        model.compile(optimizer=keras.optimizers.Adam(learning_rate, clipvalue=clip))
        model.optimizer.build(model.trainable_variables)
        self.history = out / "history.jsonl"
        self._board = out / "tensorboard"

    def state(self) -> Arrays:
        """Weights, optimiser and noise generator: all that an exact resume needs."""
        others = {f"optimizer/{number:03d}": np.asarray(keras.ops.convert_to_numpy(variable))
                  for number, variable in enumerate(self.model.optimizer.variables)}
        noise = np.asarray(keras.ops.convert_to_numpy(self.model.seed_generator.state.value))
        return {**{f"weights/{name}": value for name, value in get_weights(self.model).items()}, **others, "noise": noise}

    def restore(self, arrays: Arrays, where: str) -> None:
        """Take up the state that ``state`` gave."""
        set_weights(self.model, {name.removeprefix("weights/"): value for name, value in arrays.items()}, where)
        for number, variable in enumerate(self.model.optimizer.variables):
            variable.assign(arrays[f"optimizer/{number:03d}"])
        self.model.seed_generator.state.assign(arrays["noise"])
        self.model.optimizer.learning_rate = self._learning_rate  # may have been changed since

    def rewind_history(self, epochs: int) -> None:
        """Drop history lines beyond ``epochs``: a crash between log and checkpoint leaves one too many."""
        rows = [row for row in read_jsonl(self.history) if row["epoch"] <= epochs]
        write_text(self.history, "".join(json.dumps(row) + "\n" for row in rows))

    def epoch(self, epoch: int, epochs: int, train: Iterable[Batch], steps: int, validation: Iterable[Batch],
              checks: int, locate: Callable[[npt.NDArray], str]) -> dict[str, float]:
        """Train one epoch of ``steps`` batches, validate on ``checks``, and log both.

        Raises:
            UserError: the loss is not finite; ``locate`` turns the batch's rows into words.
        """
        began = time.perf_counter()
        self.model.reset_metrics()
        logs: dict[str, float] = {}
        held_out: dict[str, float] = {}
        with Progress(None, steps + checks, unit="step", name=f"epoch {epoch}/{epochs}") as progress:
            for batch in train:
                logs = self.model.train_on_batch(batch.arrays, return_dict=True)
                _require_finite(logs, batch, locate)
                progress.advance(note=f"loss {float(logs['loss']):.3f}")
            seconds = time.perf_counter() - began
            self.model.reset_metrics()
            for batch in validation:
                held_out = self.model.test_on_batch(batch.arrays, return_dict=True)
                _require_finite(held_out, batch, locate)
                progress.advance(note="validation")
        row = {"epoch": epoch, "seconds": round(seconds, 3),
               **{name: float(value) for name, value in logs.items()},
               **{f"val_{name}": float(value) for name, value in held_out.items()}}
        append_jsonl(self.history, row)
        with SummaryWriter(str(self._board)) as board:
            for name, value in row.items():
                if name != "epoch":
                    board.add_scalar(name, value, epoch)
        log.info(f"epoch {epoch}/{epochs}  " + "  ".join(f"{name} {row[name]:.4g}" for name in row if name != "epoch"))
        return row


def _require_finite(logs: dict[str, float], batch: Batch, locate: Callable[[npt.NDArray], str]) -> None:
    bad = [name for name, value in logs.items() if not math.isfinite(float(value))]
    if bad:
        raise UserError(f"{', '.join(bad)} became NaN or infinite at the batch of {locate(batch.rows)}: look at these "
                        "frames, or run the command again with a lower --learning-rate: it goes on from the last epoch")


def configure(precision: str, seed: int) -> None:
    """Set Keras's dtype policy and all its global seeds, before a model is built."""
    keras.config.set_dtype_policy(precision)
    keras.utils.set_random_seed(seed)


def backend() -> str:
    """Keras's backend and device in words, for logs."""
    name = keras.backend.backend()
    try:
        devices = keras.distribution.list_devices("gpu") or ["cpu"]
    except Exception:  # some backends raise where there is no GPU
        devices = ["cpu"]
    return f"{name} on {devices[0]}"
