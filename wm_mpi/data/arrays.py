"""Named arrays in HDF5 files (weights, champions), and how every HDF5 file is written: whole, or not at all."""

import contextlib
import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from wm_mpi.core.errors import UserError
from wm_mpi.core.rundir import atomic_path
from wm_mpi.core.schema import Value, checked

FORMAT = 1
"""Of every HDF5 file of the project."""
UNREADABLE = (OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError)
"""What h5py and JSON raise on files that are torn, or something else."""


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[h5py.File]:
    """A new HDF5 file, built in memory and then written atomically.

    HDF5 on a full disk fails again and again while it closes; written by us, a full disk is one clear error. The largest
    file made so is a shard: ``--shard-episodes`` times about 2 MB, compressed.
    """
    image = io.BytesIO()
    with h5py.File(image, "w") as file:
        yield file
    with atomic_path(path) as temporary:
        temporary.write_bytes(image.getbuffer())


def save_arrays(path: Path, arrays: Mapping[str, npt.ArrayLike], about: Mapping[str, Any], compress: bool = False) -> None:
    """Write named arrays (names with slashes become groups) and ``about`` as JSON, atomically."""
    packing: dict[str, Any] = {"compression": "gzip", "compression_opts": 9, "shuffle": True} if compress else {}
    with new_file(path) as file:
        file.attrs.update(format=FORMAT, about=json.dumps(dict(about)))
        for name, value in arrays.items():
            file.create_dataset(name, data=np.asarray(value), **(packing if np.ndim(value) else {}))


def load_arrays(path: Path, what: str, schema: type[Value] = dict,  # type: ignore[assignment]
                vectors: Sequence[str] = ()) -> tuple[dict[str, npt.NDArray], Value]:
    """Read what ``save_arrays`` wrote.

    Args:
        path: the file.
        what: tells in an error how to get the file.
        schema: what must be recorded with the arrays.
        vectors: names of arrays that must be there, of one dimension, each number finite.

    Raises:
        UserError: missing, damaged, or something else.
    """
    if not path.exists():
        raise UserError(f"{path} does not exist: {what}")
    arrays: dict[str, npt.NDArray] = {}

    def visit(name: str, node: h5py.HLObject) -> None:
        if isinstance(node, h5py.Dataset):
            arrays[name] = node[()]

    try:
        with h5py.File(path, "r") as file:
            check_format(file)
            file.visititems(visit)
            about = json.loads(file.attrs["about"])
    except UNREADABLE as error:
        raise UserError(f"{path} is damaged ({reason(error)}): {what}") from None
    for name in vectors:
        if name not in arrays or arrays[name].ndim != 1 or arrays[name].dtype.kind != "f":
            raise UserError(f"{path} is of another version, or damaged (it has no vector {name}): {what}")
        if not np.isfinite(arrays[name]).all():
            raise UserError(f"{path}: {name} has numbers that are not finite, the run has diverged: {what}")
    return arrays, checked(about, schema, str(path), what)


def identity(weights: Mapping[str, npt.NDArray]) -> str:
    """Identity of a set of weights: V's goes into the latents, and from there into M, so that freeze can tell a misfit."""
    sha = hashlib.sha256()
    for name in sorted(weights):
        sha.update(name.encode() + np.ascontiguousarray(weights[name], np.float32).tobytes())
    return sha.hexdigest()


def check_format(file: h5py.File) -> None:
    """Refuse a file that a later version has written otherwise.

    Raises:
        ValueError: it is one; see ``UNREADABLE``.
    """
    if (number := int(file.attrs.get("format", FORMAT))) != FORMAT:
        raise ValueError(f"it has format {number}, this version reads {FORMAT}")


def reason(error: Exception) -> str:
    """What an error says, in a line."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__
