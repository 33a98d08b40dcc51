"""Pictures to an mp4 file that browsers play. The encoder comes in the wheel of PyAV; nothing else is needed."""

from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import numpy as np
import numpy.typing as npt

from wm_mpi.core.files import atomic_path

BT709 = 1
"""FFmpeg's number for HDTV's colours, which players assume where a file says nothing."""


class Film:
    """An H.264 film that is written as its pictures come. A context manager: after an error there is no file."""

    def __init__(self, path: Path, size: tuple[int, int], fps: int = 50) -> None:
        """Begin a film.

        Args:
            path: where it will be, whole, at the end.
            size: width and height, both even.
            fps: pictures per second.
        """
        self._replacing = atomic_path(path)
        self._size, self._fps = size, fps

    def __enter__(self) -> "Film":
        temporary = self._replacing.__enter__()
        try:
            self._file = av.open(str(temporary), "w", format="mp4", options={"movflags": "+faststart"})
            self._stream = self._file.add_stream("libx264", rate=self._fps, options={"crf": "20", "preset": "veryfast"})
            self._stream.width, self._stream.height = self._size
            self._stream.pix_fmt = "yuv420p"
            self._stream.time_base = Fraction(1, self._fps)
            context = self._stream.codec_context
            context.colorspace = context.color_primaries = context.color_trc = BT709
            context.thread_count = 1
        except BaseException as error:
            self._replacing.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def add(self, picture: npt.NDArray[np.uint8], times: int = 1) -> None:
        """Show a picture uint8 [height, width, 3] for so many frames."""
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p", dst_colorspace="ITU709")
        for _ in range(times):
            self._file.mux(self._stream.encode(frame))
            frame.pts = None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        try:
            if error is None:
                self._file.mux(self._stream.encode(None))
            self._file.close()
        except BaseException as late:
            self._replacing.__exit__(type(late), late, late.__traceback__)
            raise
        self._replacing.__exit__(kind, error, traceback)
