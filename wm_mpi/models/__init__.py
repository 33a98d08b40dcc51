"""V and M in Keras 3, on any of its backends. Ranks never import this package: they run ``policy.onnx``."""

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from wm_mpi.core.errors import UserError
from wm_mpi.core.machine import whole_cores

BACKENDS = ("tensorflow", "jax", "torch")
"""Those of Keras's that can train."""


def _backend() -> str:
    """What KERAS_BACKEND or else keras.json asks for.

    Raises:
        UserError: it is none of ``BACKENDS``.
    """
    where, name = "KERAS_BACKEND", os.environ.get("KERAS_BACKEND")
    if not name:
        path = Path(os.environ.get("KERAS_HOME") or os.path.expanduser("~/.keras")) / "keras.json"
        where, name = str(path), BACKENDS[0]
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # no such file, or none that says it
            name = json.loads(path.read_text(encoding="utf-8"))["backend"]
    if name not in BACKENDS:
        raise UserError(f"{where} asks for the Keras backend {name!r}, but V and M train with {', '.join(BACKENDS[:-1])} or "
                        f"{BACKENDS[-1]}: set KERAS_BACKEND=tensorflow")
    return name


@contextlib.contextmanager
def _own_settings() -> Iterator[None]:
    """Keras as it comes, but with the user's backend.

    keras.json also sets the float type, where channels are and more, for the programs of others.
    """
    before = os.environ.get("KERAS_HOME")
    os.environ["KERAS_BACKEND"] = _backend()
    with tempfile.TemporaryDirectory() as empty:
        os.environ["KERAS_HOME"] = empty
        try:
            yield
        finally:
            del os.environ["KERAS_HOME"]
            if before is not None:
                os.environ["KERAS_HOME"] = before


WANTED = "TF_CPP_MIN_LOG_LEVEL" in os.environ
"""Whether the user wants to see what TensorFlow's C++ says."""


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what C++ libraries print to stderr, and show it only if the block fails.

    TensorFlow announces instruction sets and missing GPUs there, whatever its log level. Set TF_CPP_MIN_LOG_LEVEL to see it.
    """
    if WANTED:
        yield
        return
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    saved = os.dup(2)
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except BaseException:
            kept.seek(0)
            os.write(saved, kept.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def heed_quota() -> None:
    """Have backends start as many threads as a quota allows, not one for each core that they see."""
    if whole_cores() < len(os.sched_getaffinity(0)):
        for name in ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS"):
            os.environ.setdefault(name, str(whole_cores()))


heed_quota()
with _own_settings(), quiet():
    import keras

    keras.ops.convert_to_numpy(keras.ops.zeros(1))  # the first operation looks for devices
