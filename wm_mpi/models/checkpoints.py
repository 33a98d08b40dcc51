"""What the training commands share: where checkpoints and weights lie, what they were trained on, how a batch is named."""

import base64
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wm_mpi.core.errors import UserError
from wm_mpi.core.progress import log
from wm_mpi.core.schema import Checkpoint, RnnWeights, Weights, checked
from wm_mpi.core.terminal import quoted
from wm_mpi.data.arrays import identity, load_arrays, save_arrays
from wm_mpi.data.datasets import Dataset
from wm_mpi.models.training import Arrays, Trainer, get_weights, set_weights

UNKNOWN = "unknown"
"""In the place of the episodes that weights have seen, where an older version did not record them."""


def resume(trainer: Trainer, out: Path, data: Dataset, start: Arrays | None) -> int:
    """Restore the last checkpoint, or begin with the weights ``start``; gives the number of finished epochs.

    Raises:
        UserError: the checkpoint is damaged or belongs to another data set; ``start`` has other shapes.
    """
    path = out / "checkpoint.h5"
    done = 0
    if path.exists():
        arrays, about = load_arrays(path, "delete it to train anew", Checkpoint)
        if about["data"] != data.fingerprint():
            raise UserError(f"{path} was trained on another data set than {data.path}: give another --out")
        trainer.restore(arrays, str(path))
        done = about["epoch"]
        log.info(f"resuming after epoch {done}")
    elif start is not None:
        set_weights(trainer.model, start, "--init")
    trainer.rewind_history(done)
    return done


def save(trainer: Trainer, out: Path, epoch: int, data: Dataset, about: dict[str, Any]) -> None:
    """Write ``weights.h5`` (for later stages) and ``checkpoint.h5`` (for resuming)."""
    about = {**about, "epoch": epoch, "data": data.fingerprint()}
    weights = get_weights(trainer.model)
    save_arrays(out / "weights.h5", weights, {**about, "env": data.about, "sha256": identity(weights)})
    save_arrays(out / "checkpoint.h5", trainer.state(), about)


def trained_on(data: Dataset, episodes: npt.NDArray[np.int64], start: dict[str, Any] | None) -> str:
    """Which episodes weights have seen, to be recorded with them: those of ``data``, and what they began with had seen.

    Args:
        data: the data set.
        episodes: numbers of those that are trained on.
        start: what is recorded with the weights of ``--init``.
    """
    before = np.empty(0, np.uint64) if start is None else _episodes_seen(start)
    if before is None:
        return UNKNOWN
    seen = np.union1d(before, data.identities()[episodes])
    return base64.b64encode(seen.astype("<u8").tobytes()).decode("ascii")


def _episodes_seen(about: dict[str, Any]) -> npt.NDArray[np.uint64] | None:
    """Identities of the episodes that weights have seen; None where that was not recorded, or an older export spoilt it."""
    said = about.get("trained_on", UNKNOWN)
    try:
        return None if said == UNKNOWN else np.frombuffer(base64.b64decode(said, validate=True), "<u8")
    except ValueError:
        return None


def split_by_sight(about: dict[str, Any], data: Dataset, kind: str) -> npt.NDArray[np.bool_]:
    """Which episodes of a data set weights have seen in training, shape (E,); ``kind`` is "V" or "M".

    Weights of before this was recorded are taken to have seen none; that is said.
    """
    seen = _episodes_seen(about)
    if seen is None:
        log.warning(f"{kind} is of an older version, which did not record what it was trained on: its gates may be judged "
                    "on drives that it has seen")
        return np.zeros(len(data.lengths), np.bool_)
    return np.isin(data.identities(), seen)


def weights_file(directory: str | Path, kind: str) -> Path:
    """Where the weights of a trained V ('vae') or M ('rnn') lie: in their training's directory, or in a world."""
    in_world = Path(directory) / f"{kind}.h5"
    return in_world if in_world.exists() else Path(directory) / "weights.h5"


def load_weights(directory: str | Path, kind: str) -> tuple[Arrays, dict[str, Any]]:
    """Weights of a trained V ('vae') or M ('rnn'), or of those in a world, and what is recorded with them.

    Raises:
        UserError: missing, damaged, the other kind, or not finite.
    """
    path = weights_file(directory, kind)
    again = f"run python -m wm_mpi.train_{kind} --out {quoted(directory)}"
    about: dict[str, Any]
    weights, about = load_arrays(path, again)
    if about.get("kind") != kind:
        raise UserError(f"{path} holds a {about.get('kind')!r}, not a {kind!r}: the directories are mixed up")
    for name, value in weights.items():
        if not np.isfinite(value).all():
            raise UserError(f"{path}: {name} has numbers that are not finite, the training has diverged: train again with a "
                            "lower --learning-rate")
    schema: type[dict[str, Any]] = {"vae": Weights, "rnn": RnnWeights}[kind]  # type: ignore[assignment]
    return weights, checked(about, schema, str(path), again)


def locate(data: Dataset, rows: npt.NDArray[np.int64]) -> str:
    """Rows of a data set as episodes and steps, for people."""
    episodes = np.searchsorted(data.starts, rows, side="right") - 1
    worst = [f"episode {data.table['number'][episode]} step {row - data.starts[episode]}"
             for episode, row in zip(episodes[:5], rows[:5], strict=True)]
    more = f" and {len(rows) - 5} more" if len(rows) > 5 else ""
    return f"{data.path}: {', '.join(worst)}{more}"
