"""From what a game shows to what V sees (64x64): which rows, and how they are made small."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
from PIL import Image

SIZE = 64
"""Height and width of what V sees."""
PUBLISHED = "published"
"""The name of frames that are made as the paper's authors made theirs."""


def shrink(pictures: npt.NDArray, rows: int) -> npt.NDArray[np.uint8]:
    """The first ``rows`` rows of pictures, area-averaged to what V sees.

    Args:
        pictures: uint8 [B, H, W, 3].
        rows: up to H.

    Returns:
        uint8 [B, 64, 64, 3]: the exact weighted mean of the pixels that each new pixel covers, rounded half up.
    """
    area_mean = _area_mean()
    shrunk = np.empty((len(pictures), SIZE, SIZE, 3), np.uint8)
    sums = np.empty(3 * pictures.shape[2], np.uint32)
    for picture, out in zip(np.ascontiguousarray(pictures, np.uint8), shrunk, strict=True):
        area_mean(picture, rows, sums, out)
    return shrunk


@functools.cache
def _area_mean() -> Callable:
    """Compiled when it is first needed: Numba takes a second to load."""
    from wm_mpi.envs import cache

    with cache.used():
        from wm_mpi.envs.area import area_mean
    return area_mean


def stretch(pictures: npt.NDArray, rows: int) -> npt.NDArray[np.uint8]:
    """The first ``rows`` rows of pictures as the paper's code showed them to V.

    ``scipy.misc.imresize`` of floats stretched the contrast of each picture, its darkest value to 0 and its brightest to
    255, and resized it by Pillow's bilinear filter. ``(1 - byte) * 255``, meant to invert it, became (byte - 1) mod 256 as
    an unsigned byte: nothing is inverted, everything is a level darker, and black is white. V was trained on that.

    Args:
        pictures: uint8 [B, H, W, 3].
        rows: up to H.

    Returns:
        uint8 [B, 64, 64, 3], to the bit what that code made of the same pictures.
    """
    seen = np.ascontiguousarray(pictures[:, :rows])
    small = np.empty((len(seen), SIZE, SIZE, 3), np.uint8)
    for picture, out in zip(seen, small, strict=True):
        full = _full_contrast(int(picture.min()), int(picture.max()))[picture]
        out[:] = np.asarray(Image.fromarray(full).resize((SIZE, SIZE), Image.Resampling.BILINEAR))
    return small - np.uint8(1)  # modulo 256


@functools.cache
def _full_contrast(darkest: int, brightest: int) -> npt.NDArray[np.uint8]:
    """What ``scipy.misc.bytescale`` made of each level [256] over 255, in its own arithmetic."""
    levels = np.arange(256) / 255.0
    span = levels[brightest] - levels[darkest]
    scaled = (levels - levels[darkest]) * (255.0 / (span if span else 1.0))
    return (scaled.clip(0, 255) + 0.5).astype(np.uint8)


@dataclass(frozen=True)
class Cut:
    """What V sees of a game's pictures."""

    rows: int
    """The first so many of a picture's rows."""
    height: int
    """Rows of the pictures that are cut."""
    resize: Callable[[npt.NDArray, int], npt.NDArray[np.uint8]] = shrink
    """From pictures uint8 [B, height, W, 3] and ``rows`` to uint8 [B, 64, 64, 3]."""

    def __call__(self, pictures: npt.NDArray) -> npt.NDArray[np.uint8]:
        """Frames, uint8 [B, 64, 64, 3], of pictures uint8 [B, height, W, 3]."""
        return self.resize(pictures, self.rows)


CUTS = {"road": Cut(84, 96), "whole": Cut(96, 96), PUBLISHED: Cut(84, 96, stretch)}
"""CarRacing's frames. The bar of instruments, which tells the speed, begins at row 84; the paper's code cuts it off."""


def bar_row(frame: str) -> int:
    """The row of a CarRacing frame in which the bar of instruments begins; 64 where there is none."""
    return SIZE * CUTS["road"].rows // CUTS.get(frame, CUTS["road"]).rows


def policy_frame(observation: npt.NDArray, frame: str = "road") -> npt.NDArray[np.uint8]:
    """CarRacing's pictures, uint8 [B, 96, 96, 3], as V sees them, uint8 [B, 64, 64, 3]."""
    return CUTS[frame](observation)


class PolicyFrames(gymnasium.ObservationWrapper):
    """A game that shows what V sees of it."""

    def __init__(self, env: gymnasium.Env, cut: Cut) -> None:
        super().__init__(env)
        self.observation_space = gymnasium.spaces.Box(0, 255, (SIZE, SIZE, 3), np.uint8)
        self._cut = cut

    def observation(self, observation: Any) -> npt.NDArray[np.uint8]:
        """What V sees, uint8 [64, 64, 3]."""
        return self._cut(observation[None])[0]
