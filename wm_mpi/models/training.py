"""The training loop that V and M share: epochs of batches, losses to JSONL and TensorBoard, state that can be resumed."""

import json
import math
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from wm_mpi.core.errors import UserError
from wm_mpi.core.files import append_jsonl, read_jsonl, write_text
from wm_mpi.core.progress import Progress, log
from wm_mpi.core.schema import Epoch
from wm_mpi.data.batches import Batch, stacked
from wm_mpi.data.board import Board
from wm_mpi.models import quiet

Arrays = dict[str, npt.NDArray]


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

    def __init__(self, model: Any, learning_rate: float, out: Path, clip: float | None = None,
                 last: float | None = None, at_once: int = 1) -> None:
        """Compile ``model`` with Adam; ``clip`` bounds each gradient value; logs go below ``out``. The learning rate is
        ``last`` in the last epoch, to which it falls by the same factor from epoch to epoch. ``at_once`` steps are one call.
        """
        self.model, self._learning_rate, self._last = model, learning_rate, last or learning_rate
        model.compile(optimizer=keras.optimizers.Adam(learning_rate, clipvalue=clip))
        model.optimizer.build(model.trainable_variables)
        distribution = keras.distribution.distribution()
        self._devices = 1 if distribution is None else distribution.num_model_replicas
        self._at_once = at_once
        self._several = None if at_once == 1 else SeveralSteps(model)
        self.history = out / "history.jsonl"
        self._board = out / "tensorboard"

    def state(self) -> Arrays:
        """Weights, optimiser and noise generator: all that an exact resume needs."""
        others = {f"optimizer/{number:03d}": np.asarray(keras.ops.convert_to_numpy(variable))
                  for number, variable in enumerate(self.model.optimizer.variables)}
        noise = np.asarray(keras.ops.convert_to_numpy(self.model.seed_generator.state.value))
        return {**{f"weights/{name}": value for name, value in get_weights(self.model).items()}, **others, "noise": noise}

    def restore(self, arrays: Arrays, where: str) -> None:
        """Take up the state that ``state`` gave.

        Raises:
            UserError: ``where``, the file, holds another model's.
        """
        missing = self.state().keys() - {name for name, value in self.state().items()
                                         if name in arrays and arrays[name].shape == value.shape}
        if missing:
            raise UserError(f"{where}: {min(missing)} is missing or of another shape: delete it to train anew")
        set_weights(self.model, {name.removeprefix("weights/"): value for name, value in arrays.items()}, where)
        for number, variable in enumerate(self.model.optimizer.variables):
            variable.assign(arrays[f"optimizer/{number:03d}"])
        self.model.seed_generator.state.assign(arrays["noise"])

    def rewind_history(self, epochs: int) -> None:
        """Drop history lines beyond ``epochs``: a crash between log and checkpoint leaves one too many."""
        rows = [row for row in read_jsonl(self.history, Epoch) if row["epoch"] <= epochs]
        write_text(self.history, "".join(json.dumps(row) + "\n" for row in rows))

    def epoch(self, epoch: int, epochs: int, train: Iterable[Batch], steps: int, validation: Iterable[Batch],
              checks: int, locate: Callable[[npt.NDArray], str]) -> dict[str, float]:
        """Train one epoch of ``steps`` batches, validate on ``checks``, and log both.

        Losses are means over all items. ``seconds`` is what training took, ``waiting`` the share of it without a batch.

        Raises:
            UserError: the loss is not finite; ``locate`` turns the batch's rows into words.
        """
        fallen = (epoch - 1) / max(1, epochs - 1)  # set anew each time: options may have changed since a checkpoint
        self.model.optimizer.learning_rate = self._learning_rate * (self._last / self._learning_rate) ** fallen
        with Progress(None, steps + checks, unit="step", name=f"epoch {epoch}/{epochs}") as progress:
            began = time.perf_counter()
            losses, waited = self._pass(self._train, stacked(train, self._at_once), locate, progress)
            seconds = time.perf_counter() - began
            held_out, _ = self._pass(self._test, validation, locate, progress)
        row = {"epoch": epoch, "seconds": round(seconds, 3), "waiting": round(waited / seconds, 4), **losses,
               **{f"val_{name}": value for name, value in held_out.items()}}
        append_jsonl(self.history, row)
        with Board(self._board, epoch) as board:
            board.write(epoch, {name: value for name, value in row.items() if name != "epoch"})
        log.info(f"epoch {epoch}/{epochs}  " + "  ".join(f"{name} {row[name]:.4g}" for name in row if name != "epoch"))
        return row

    def _train(self, batch: Batch) -> dict[str, float]:
        if batch.steps == 1 or self._several is None:
            return self.model.train_on_batch(batch.arrays, return_dict=True)
        return self._several(batch.arrays)

    def _test(self, batch: Batch) -> dict[str, float]:
        return self.model.test_on_batch(batch.arrays, return_dict=True)

    def _pass(self, step: Callable[[Batch], dict[str, float]], batches: Iterable[Batch],
              locate: Callable[[npt.NDArray], str], progress: Progress) -> tuple[dict[str, float], float]:
        """``step`` on all batches: means over their items, and the seconds spent waiting for batches."""
        pending, sums, items, waited = iter(batches), dict[str, float](), 0, 0.0
        while True:
            asked = time.perf_counter()
            batch = next(pending, None)
            waited += time.perf_counter() - asked
            if batch is None:
                return {name: value / items for name, value in sums.items()}, waited
            if batch.steps == 1:
                batch = batch.first(len(batch.rows) // self._devices * self._devices)  # the last may not divide among them
            if size := len(batch.rows):
                self.model.reset_metrics()  # only some versions of Keras do so themselves
                logs = step(batch)
                _require_finite(logs, batch, locate)
                items += size
                sums = {name: sums.get(name, 0.0) + float(value) * size for name, value in logs.items()}
            progress.advance(batch.steps, note=f"loss {sums['loss'] / items:.3f}" if items else "")


class SeveralSteps:
    """Several training steps as one call of JAX, each on a batch of its own, one after the other."""

    def __init__(self, model: Any) -> None:
        """Of a compiled ``model``, whose step is Keras's own."""
        import jax  # which other backends do without

        def step(state: Any, arrays: Any) -> tuple[Any, Any]:
            logs, state = model.train_step(state, (arrays,))
            return state, logs

        self._model = model
        self._steps = jax.jit(lambda state, arrays: jax.lax.scan(step, state, arrays), donate_argnums=0)

    def __call__(self, arrays: Arrays) -> dict[str, float]:
        """Train on arrays [steps, B, ...]; gives the losses' means over all steps."""
        model = self._model
        variables = (model.trainable_variables, model.non_trainable_variables, model.optimizer.variables,
                     model.metrics_variables)
        state, logs = self._steps(tuple([each.value for each in some] for some in variables), arrays)
        for some, values in zip(variables, state, strict=True):
            for variable, value in zip(some, values, strict=True):
                variable.assign(value)
        return {name: float(values[-1]) for name, values in logs.items()}  # means since metrics were reset


def _require_finite(logs: dict[str, float], batch: Batch, locate: Callable[[npt.NDArray], str]) -> None:
    bad = [name for name, value in logs.items() if not math.isfinite(float(value))]
    if bad:
        raise UserError(f"{', '.join(bad)} became NaN or infinite at the batch of {locate(batch.rows)}: look at these "
                        "frames, or run the command again with a lower --learning-rate: it goes on from the last epoch")


def configure(precision: str, seed: int, devices: int = 1, batch_size: int = 0, at_once: int = 1) -> None:
    """Set Keras's dtype policy, all its global seeds, and how many devices share a batch, before a model is built.

    Raises:
        UserError: several devices, or several steps at once, with another backend than JAX, or both; more devices than there
            are, or that ``batch_size`` does not suit.
    """
    keras.config.set_dtype_policy(precision)
    with quiet():  # it imports TensorFlow wherever that is installed
        keras.utils.set_random_seed(seed)
    for option, value in (("--devices", devices), ("--steps-per-call", at_once)):
        if value > 1 and keras.backend.backend() != "jax":
            raise UserError(f"{option} {value} needs the JAX backend, not {keras.backend.backend()}: set KERAS_BACKEND=jax")
    if devices == 1:
        return
    if at_once > 1:
        raise UserError(f"--steps-per-call {at_once} is for one GPU, not for --devices {devices}: leave one of them out")
    there = keras.distribution.list_devices()
    if devices > len(there):
        raise UserError(f"--devices is {devices}, but JAX sees {len(there)} here ({', '.join(there)}): ask for no more")
    if batch_size % devices:
        raise UserError(f"--batch-size is {batch_size}, but must be a multiple of --devices, {devices}")
    keras.distribution.set_distribution(keras.distribution.DataParallel(devices=there[:devices]))


def backend() -> str:
    """Keras's backend and devices in words, for logs."""
    name = keras.backend.backend()
    distribution = keras.distribution.distribution()
    if distribution is not None:
        return f"{name} on {', '.join(distribution.device_mesh.devices.tolist())}"
    try:
        devices = keras.distribution.list_devices("gpu") or ["cpu"]
    except Exception:  # some backends raise where there is no GPU
        devices = ["cpu"]
    return f"{name} on {devices[0]}"
