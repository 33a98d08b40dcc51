"""Score text: glyph table and its exact-area shrinking.

``digits.npz`` holds the glyphs of pygame's default font at 42 px as the
1000x800 picture shows them (made by ``make_digits.py``); nothing here needs
pygame.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from numba import njit

_TABLE = np.load(Path(__file__).with_name("digits.npz"))
GLYPHS: np.ndarray = _TABLE["glyphs"]
ADVANCE: np.ndarray = _TABLE["advance"]
KERN: np.ndarray = _TABLE["kern"]
MINUS = 10
TEXT_X = 60
TEXT_TOP = 750 - GLYPHS.shape[1] // 2


@lru_cache
def shrink_rows(out_height: int) -> tuple[np.ndarray, int]:
    """Glyphs averaged over the rows of a picture ``out_height`` pixels high.

    Returns float32 ``[11, rows, width + 1]``: running sums over the columns
    (of the 1000x800 picture) of each glyph's level 0..255, so that any span of
    columns costs two look-ups; and the output row of its first row.
    """
    scale = out_height / 800.0
    top = TEXT_TOP * scale
    bottom = (TEXT_TOP + GLYPHS.shape[1]) * scale
    first, last = int(np.floor(top)), int(np.ceil(bottom))
    weight = np.zeros((last - first, GLYPHS.shape[1]))
    for r in range(first, last):
        for g in range(GLYPHS.shape[1]):
            y0, y1 = (TEXT_TOP + g) * scale, (TEXT_TOP + g + 1) * scale
            weight[r - first, g] = max(0.0, min(r + 1, y1) - max(r, y0))
    levels = np.einsum("rg,cgx->crx", weight, GLYPHS.astype(np.float64))
    table = np.zeros((len(GLYPHS), last - first, GLYPHS.shape[2] + 1), np.float32)
    table[:, :, 1:] = np.cumsum(levels, axis=2)
    return table, first


@njit(cache=True, error_model="numpy")
def score_glyphs(reward: float, text: np.ndarray) -> int:
    """Write the glyph numbers of ``f"{reward:04.0f}"``; return how many.

    ``text`` is int64 ``[8]`` scratch.  Rounds half to even, as Python does.
    """
    value = int(np.rint(abs(reward)))
    negative = reward < 0.0
    least = 3 if negative else 4
    n = 0
    while n < least or value > 0:
        if n >= 7:
            break
        text[n] = value % 10
        value //= 10
        n += 1
    if negative:
        text[n] = MINUS
        n += 1
    for k in range(n // 2):
        text[k], text[n - 1 - k] = text[n - 1 - k], text[k]
    return n


@njit(cache=True, error_model="numpy")
def place_glyphs(text: np.ndarray, n: int, left: np.ndarray) -> None:
    """Left edges (int64 ``[8]``, pixels of the 1000x800 picture) of the glyphs.

    Pen positions add up in 1/64 pixel and are cut to whole pixels; the text is
    centred on column 60 (``CarRacing._render``).
    """
    pen = 0
    for k in range(n):
        if k:
            pen += KERN[text[k - 1], text[k]]
        left[k] = pen >> 6
        pen += ADVANCE[text[k]] * 64
    start = TEXT_X - (pen >> 6) // 2
    for k in range(n):
        left[k] += start
