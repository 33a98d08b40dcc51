"""Scalars of a run as TensorBoard reads them: ``tensorboard --logdir runs`` shows a whole pipeline."""

from collections.abc import Mapping
from pathlib import Path


class Board:
    """Writes scalars by step. Use it as a context manager."""

    def __init__(self, directory: Path, step: int) -> None:
        """Go on at ``step``: TensorBoard hides what earlier starts have written of it and of later ones."""
        from tensorboardX import SummaryWriter  # protobuf, which most ranks never need

        # files are named by the second of their start, so the step goes into their names too
        self._writer = SummaryWriter(str(directory), purge_step=step, filename_suffix=f".{step:06}")

    def __enter__(self) -> "Board":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, step: int, values: Mapping[str, object]) -> None:
        """Keep those of ``values`` that are numbers."""
        for name, value in values.items():
            if isinstance(value, int | float):
                self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self) -> None:
        """End the file."""
        self._writer.close()
