"""Pictures to films that browsers play: mp4 files, and WebM to lie within a page.

The encoders come in the wheel of PyAV; nothing else is needed.
"""

import io
from collections.abc import Iterable
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
            _settle(self._stream)
        except BaseException as error:
            self._replacing.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def add(self, picture: npt.NDArray[np.uint8], times: int = 1) -> None:
        """Show a picture uint8 [height, width, 3] for so many frames."""
        frame = _frame(picture)
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


def webm(pictures: Iterable[npt.NDArray[np.uint8]], size: tuple[int, int], fps: Fraction) -> bytes:
    """A film in VP9, which Chromium and Firefox play by themselves. H.264 is no smaller, and there are builds of
    Chromium, and Firefoxes on Linux, without a decoder for it.

    Args:
        pictures: uint8 [height, width, 3] each, one after another.
        size: width and height.
        fps: pictures per second.
    """
    file = io.BytesIO()
    with av.open(file, "w", format="webm") as container:
        # crf says how good (0 to 63, 0 is the best), b=0 that nothing else does; cpu-used is how quick (5 is the quickest)
        stream = container.add_stream("libvpx-vp9", rate=fps, options={
            "crf": "38", "b": "0", "deadline": "good", "cpu-used": "5"})
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        _settle(stream)
        for picture in pictures:
            container.mux(stream.encode(_frame(picture)))
        container.mux(stream.encode(None))
    return file.getvalue()


def _settle(stream: av.VideoStream) -> None:
    """Colours that are named, so that every player shows the same; one thread, as commands keep to one."""
    context = stream.codec_context
    context.colorspace = context.color_primaries = context.color_trc = BT709
    context.thread_count = 1


def _frame(picture: npt.NDArray[np.uint8]) -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p", dst_colorspace="ITU709")
