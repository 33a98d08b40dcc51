"""V and M in Keras 3, on any of its backends. Ranks never import this package: they run ``policy.onnx``."""

import contextlib
import os
import tempfile
from collections.abc import Iterator


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what C++ libraries print to stderr, and show it only if the block fails.

    TensorFlow announces instruction sets and missing GPUs there, whatever its log level. Set TF_CPP_MIN_LOG_LEVEL to see it.
    """
    if "TF_CPP_MIN_LOG_LEVEL" in os.environ:
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


with _quiet():
    import keras

    keras.ops.convert_to_numpy(keras.ops.zeros(1))  # the first operation looks for devices
