"""Sights as pictures: a board of road, views, wheel and pedals for films and windows, and sheets of an episode's moments."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from wm_mpi.viewer.session import Sight

Picture = npt.NDArray[np.uint8]
SIZE = (1140, 720)
"""Width and height of a board."""
ROAD = (24, 56, 900, 600)
"""Left, top, width and height of the road on it."""
VIEW, PITCH, CAPTION = 168, 204, 24
"""Edge of V's and M's pictures on it, from one to the next, and the height of what stands above each."""
BACKGROUND, TEXT, MUTED, TROUGH = (20, 24, 29), (236, 240, 243), (151, 161, 171), (44, 51, 59)
STEER, GAS, BRAKE = (90, 169, 255), (94, 199, 112), (238, 98, 76)
VIEWS = ("seen", "reconstructed", "predicted")
CAPTIONS = ("what V is shown", "what V keeps of it", "what M expected")
MOMENTS = 8
"""Columns of a sheet."""
CELL, GAP, LEFT = 128, 6, 150
"""Width of a sheet's pictures, the space between them, and that for captions at their left."""


class Board:
    """Draws sights, one at a time, as pictures of ``SIZE``."""

    def __init__(self, title: str) -> None:
        """Draw what stands still."""
        self._ground = Image.new("RGB", SIZE, BACKGROUND)
        draw = ImageDraw.Draw(self._ground)
        draw.text((ROAD[0], 32), title, MUTED, _font(18), anchor="lm")
        self._column = ROAD[0] + ROAD[2] + 24
        for row, caption in enumerate(CAPTIONS):
            draw.text((self._column, ROAD[1] + row * PITCH + 10), caption, MUTED, _font(15), anchor="lm")
        self._bars = [(ROAD[0] + 60, "steer", STEER, -1), (ROAD[0] + 376, "gas", GAS, 0), (ROAD[0] + 700, "brake", BRAKE, 0)]
        for left, name, _, _ in self._bars:
            draw.text((left - 12, 688), name, MUTED, _font(15), anchor="rm")
            draw.rounded_rectangle((left, 681, left + 200, 695), 3, TROUGH)

    def draw(self, sight: Sight, track: str, note: str = "") -> Picture:
        """A board uint8 [720, 1140, 3] with this sight; ``note`` stands in its last corner."""
        board = self._ground.copy()
        board.paste(_resized(sight.road, ROAD[2], ROAD[3]), ROAD[:2])
        for row, name in enumerate(VIEWS):
            board.paste(_resized(getattr(sight, name), VIEW, VIEW), (self._column, ROAD[1] + row * PITCH + CAPTION))
        draw = ImageDraw.Draw(board)
        right = self._column + VIEW
        draw.text((right, 31), f"{sight.total:.1f}", TEXT, _font(26), anchor="rm")
        draw.text((right - 104, 32), "return", MUTED, _font(18), anchor="rm")
        draw.text((right - 290, 32), f"{sight.frame}", TEXT, _font(18), anchor="lm")
        draw.text((right - 298, 32), "frame", MUTED, _font(18), anchor="rm")
        draw.text((right - 400, 32), track, MUTED, _font(18), anchor="rm")
        for (left, _, colour, lowest), value in zip(self._bars, sight.action, strict=True):
            _bar(draw, left, colour, lowest, value)
        draw.text((right, 688), note, TEXT, _font(15), anchor="rm")
        if sight.ended:
            _stamp(draw, "lap completed" if sight.lap else "end", f"{sight.total:.1f} points in {sight.frame} frames")
        return np.asarray(board)


def _bar(draw: ImageDraw.ImageDraw, left: int, colour: tuple[int, int, int], lowest: int, value: float) -> None:
    """200 pixels for ``lowest``..1, filled from 0 to the value, and its number."""
    scale = 200 / (1 - lowest)
    zero = left - lowest * scale
    ends = sorted((zero, zero + value * scale))
    if ends[1] - ends[0] >= 1:
        draw.rectangle((round(ends[0]), 681, round(ends[1]), 695), colour)
    if lowest < 0:
        draw.line((zero, 678, zero, 698), MUTED)
    draw.text((left + 212, 688), f"{value:.2f}", TEXT, _font(15), anchor="lm")


def _stamp(draw: ImageDraw.ImageDraw, title: str, line: str) -> None:
    """How it ended, over the middle of the road."""
    x, y = ROAD[0] + ROAD[2] // 2, ROAD[1] + ROAD[3] // 2
    draw.rounded_rectangle((x - 180, y - 56, x + 180, y + 56), 8, BACKGROUND)
    draw.text((x, y - 16), title, TEXT, _font(30), anchor="mm")
    draw.text((x, y + 26), line, MUTED, _font(18), anchor="mm")


class Moments:
    """Keeps small copies of an episode's sights for a sheet, evenly spread however long it turns out to be."""

    def __init__(self, title: str) -> None:
        """For an episode that ``title`` names."""
        self.title = title
        self.chosen: list[Sight] = []
        """Once the episode has ended: first, last, and what lies evenly between them, at most ``MOMENTS``."""
        self._every = 1

    def add(self, sight: Sight) -> None:
        """The next sight; when many are kept, every other one is let go."""
        if len(self.chosen) == 8 * MOMENTS:
            self.chosen, self._every = self.chosen[::2], self._every * 2
        if sight.frame % self._every == 0 or sight.ended:
            road = np.asarray(_resized(sight.road, CELL, CELL * 2 // 3))
            self.chosen.append(sight._replace(road=road))
        if sight.ended:
            frames = np.array([each.frame for each in self.chosen])
            wanted = np.linspace(0, sight.frame, min(MOMENTS, len(frames)))
            self.chosen = [self.chosen[index] for index in np.unique(np.abs(frames[:, None] - wanted).argmin(axis=0))]


def contact_sheet(title: str, episodes: Sequence[Moments]) -> Image.Image:
    """One picture of several episodes: the road and the three views at some moments of each."""
    road = CELL * 2 // 3
    rows = [(0, road), *((road + GAP + number * (CELL + GAP), CELL) for number in range(3))]
    band = 52 + rows[-1][0] + CELL + 30
    width = LEFT + MOMENTS * (CELL + GAP) - GAP + 24
    sheet = Image.new("RGB", (width, 60 + band * len(episodes)), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    draw.text((24, 34), title, TEXT, _font(22), anchor="lm")
    for number, episode in enumerate(episodes):
        top = 60 + band * number
        last = episode.chosen[-1]
        end = f"{episode.title}: return {last.total:.1f} in {last.frame} frames{', lap completed' if last.lap else ''}"
        draw.text((24, top + 14), end, TEXT, _font(16), anchor="lm")
        for (y, height), caption in zip(rows, ("the road", *CAPTIONS), strict=True):
            draw.text((24, top + 52 + y + height // 2), caption, MUTED, _font(14), anchor="lm")
        for column, sight in enumerate(episode.chosen):
            x = LEFT + column * (CELL + GAP)
            draw.text((x, top + 39), f"frame {sight.frame}", MUTED, _font(14), anchor="lm")
            for (y, height), picture in zip(rows, (sight.road, *(getattr(sight, view) for view in VIEWS)), strict=True):
                sheet.paste(_resized(picture, CELL, height), (x, top + 52 + y))
    return sheet


def _resized(picture: Picture, width: int, height: int) -> Image.Image:
    image = Image.fromarray(picture)
    if image.size == (width, height):
        return image
    return image.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=2.0)


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
