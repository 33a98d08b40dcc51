"""Scalars of a run as TensorBoard reads them: ``tensorboard --logdir runs`` shows a whole pipeline."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wm_mpi.core.files import explained


class Board:
    """Writes scalars by step. Use it as a context manager.

    In the thread of its caller: tensorboardX's ``SummaryWriter`` has a queue and a thread of its own, which a signal in the
    wrong moment leaves locked for good.
    """

    def __init__(self, directory: Path, step: int) -> None:
        """Go on at ``step``: TensorBoard hides what earlier starts have written of it and of later ones.

        Raises:
            UserError: it cannot be written.
        """
        from tensorboardX.event_file_writer import EventsWriter  # with protobuf, which most ranks never need
        from tensorboardX.proto.event_pb2 import SessionLog

        self._directory = directory
        with explained(directory, "written"):
            directory.mkdir(parents=True, exist_ok=True)
            # files are named by the second of their start, so the step goes into their names too
            self._writer = EventsWriter(str(directory / "events"), f".{step:06}")
        self._write(step, session_log=SessionLog(status=SessionLog.START))

    def __enter__(self) -> "Board":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, step: int, values: Mapping[str, object]) -> None:
        """Keep those of ``values`` that are numbers.

        Raises:
            UserError: it cannot be written.
        """
        from tensorboardX.summary import scalar

        for name, value in values.items():
            if isinstance(value, int | float):
                self._write(step, summary=scalar(name, value))
        with explained(self._directory, "written"):
            self._writer.flush()

    def _write(self, step: int, **what: Any) -> None:
        from tensorboardX.proto.event_pb2 import Event

        with explained(self._directory, "written"):
            self._writer.write_event(Event(wall_time=time.time(), step=step, **what))

    def close(self) -> None:
        """End the file."""
        self._writer.close()
