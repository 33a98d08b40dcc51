"""What the training commands share: where checkpoints and weights lie, and how a batch is named."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wm_mpi.datasets import Dataset, load_arrays, save_arrays
from wm_mpi.errors import UserError
from wm_mpi.models.training import Arrays, Trainer, get_weights, set_weights
from wm_mpi.progress import log
from wm_mpi.terminal import quoted


def resume(trainer: Trainer, out: Path, data: Dataset, start: Arrays | None) -> int:
    """Restore the last checkpoint, or begin with the weights ``start``; gives the number of finished epochs.

    Raises:
        UserError: the checkpoint is damaged or belongs to another data set; ``start`` has other shapes.
    """
    path = out / "checkpoint.h5"
    done = 0
    if path.exists():
        arrays, about = load_arrays(path, "delete it to train anew")
        if about["data"] != data.fingerprint():
            raise UserError(f"{path} was trained on another data set than {data.path}: give another --out")
        trainer.restore(arrays, str(path))
        done = int(about["epoch"])
        log.info(f"resuming after epoch {done}")
    elif start is not None:
        set_weights(trainer.model, start, "--init")
    trainer.rewind_history(done)
    return done


def save(trainer: Trainer, out: Path, epoch: int, data: Dataset, about: dict[str, Any]) -> None:
    """Write ``weights.h5`` (for later stages) and ``checkpoint.h5`` (for resuming)."""
    about = {**about, "epoch": epoch, "data": data.fingerprint()}
    weights = get_weights(trainer.model)
    save_arrays(out / "weights.h5", weights, {**about, "env": data.about, "sha256": digest(weights)})
    save_arrays(out / "checkpoint.h5", trainer.state(), about)


def digest(weights: Arrays) -> str:
    """Identity of a set of weights: V's goes into the latents, and from there into M, so that freeze can tell a misfit."""
    sha = hashlib.sha256()
    for name in sorted(weights):
        sha.update(name.encode() + np.ascontiguousarray(weights[name], np.float32).tobytes())
    return sha.hexdigest()


def load_weights(directory: str | Path, kind: str) -> tuple[Arrays, dict[str, Any]]:
    """Weights of a trained V ('vae') or M ('rnn'), or of those in a world, and what is recorded with them.

    Raises:
        UserError: missing, damaged, or the other kind.
    """
    path = Path(directory) / "weights.h5"
    if not path.exists() and (Path(directory) / f"{kind}.h5").exists():
        path = Path(directory) / f"{kind}.h5"
    weights, about = load_arrays(path, f"run python -m wm_mpi.train_{kind} --out {quoted(directory)}")
    if about.get("kind") != kind:
        raise UserError(f"{path} holds a {about.get('kind')!r}, not a {kind!r}: the directories are mixed up")
    return weights, about


def locate(data: Dataset, rows: npt.NDArray[np.int64]) -> str:
    """Rows of a data set as episodes and steps, for people."""
    episodes = np.searchsorted(data.starts, rows, side="right") - 1
    worst = [f"episode {data.table['number'][episode]} step {row - data.starts[episode]}"
             for episode, row in zip(episodes[:5], rows[:5], strict=True)]
    more = f" and {len(rows) - 5} more" if len(rows) > 5 else ""
    return f"{data.path}: {', '.join(worst)}{more}"
