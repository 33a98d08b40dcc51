"""Sights as pictures: boards of game, views and gauges, for films and windows."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from wm_mpi.viewer.episode import Show, Sight
from wm_mpi.viewer.gauges import Gauge

Picture = npt.NDArray[np.uint8]
SIZE = (1140, 720)
"""Width and height of CarRacing's board, the widest."""
ROAD = (24, 56, 900, 600)
"""Left, top, width and height of the road on it; the width is the game's own on other boards."""
NARROWEST = 800
"""Least width of what holds a game's picture: a board's first line needs its room."""
VIEW, PITCH, CAPTION = 168, 204, 24
"""Edge of V's and M's pictures on it, from one to the next, and the height of what stands above each."""
BACKGROUND, TEXT, MUTED, TROUGH = (20, 24, 29), (236, 240, 243), (151, 161, 171), (44, 51, 59)
STEER, GAS, BRAKE = (90, 169, 255), (94, 199, 112), (238, 98, 76)
COLOURS = {"gas": GAS, "brake": BRAKE}
"""Of bars with these names; others have that of the wheel."""
PLACES = {"steer": (60, 200), "gas": (376, 200), "brake": (700, 200)}
"""Left edge from that of the road, and width, of CarRacing's bars."""
GAUGES = 688
"""Middle of the line of gauges."""
DIGITS = len(str(2**32))
"""Of a track's number, at most."""


class Board:
    """Draws the sights of a session, one at a time, as pictures of ``size``."""

    def __init__(self, title: str, show: Show) -> None:
        """Draw what stands still."""
        self._show = show
        self._width = min(ROAD[2], max(NARROWEST, round(ROAD[3] * show.aspect)))
        self._column = ROAD[0] + self._width + 24
        self._right = self._column + VIEW if show.views else ROAD[0] + self._width
        even = (self._right + 24) // 2 * 2
        self.size = even, SIZE[1]
        """Width and height, both even, as films want it."""
        self._ground = Image.new("RGB", self.size, BACKGROUND)
        draw = ImageDraw.Draw(self._ground)
        self._frame = self._right - (290 if self._right > 1100 else 205)
        widest = max(font(18).getlength(f"{show.look.episode} {digit * DIGITS}") for digit in "0123456789")
        room = self._frame - 110 - widest - 16 - ROAD[0]
        draw.text((ROAD[0], 32), cut(title, room, 18), MUTED, font(18), anchor="lm")
        for row, (_, caption) in enumerate(show.views):
            draw.text((self._column, ROAD[1] + row * PITCH + 10), caption, MUTED, font(15), anchor="lm")
        self._gauges = placed(show.gauges, ROAD[0], self._width)

    def draw(self, sight: Sight, episode: str, note: str = "") -> Picture:
        """A board uint8 [720, width, 3] with this sight; ``note`` stands in its last corner."""
        board = self._ground.copy()
        picture = fitted(sight.road, self._width, ROAD[3])
        board.paste(picture, (ROAD[0] + (self._width - picture.width) // 2, ROAD[1] + (ROAD[3] - picture.height) // 2))
        for row, (name, _) in enumerate(self._show.views):
            board.paste(resized(getattr(sight, name), VIEW, VIEW), (self._column, ROAD[1] + row * PITCH + CAPTION))
        draw, right = ImageDraw.Draw(board), self._right
        draw.text((right, 31), f"{sight.total:.1f}", TEXT, font(26), anchor="rm")
        draw.text((right - 104, 32), "return", MUTED, font(18), anchor="rm")
        draw.text((self._frame, 32), f"{sight.frame}", TEXT, font(18), anchor="lm")
        draw.text((self._frame - 8, 32), "frame", MUTED, font(18), anchor="rm")
        draw.text((self._frame - 110, 32), episode, MUTED, font(18), anchor="rm")
        _draw_gauges(draw, self._gauges, sight.action)
        draw.text((right, GAUGES), note, TEXT, font(15), anchor="rm")
        if sight.ended:
            _stamp(draw, ROAD[0] + self._width // 2, "lap completed" if sight.lap else "end",
                   f"{sight.total:.1f} points in {sight.frame} frames")
        return np.asarray(board)


def placed(gauges: Sequence[Gauge], left: int, width: int) -> list[tuple[int, int, Gauge]]:
    """Gauges with their left edges and widths (pixels), in a line; names stand left of them, bars' numbers right."""
    if all(gauge.name in PLACES for gauge in gauges):
        return [(left + PLACES[gauge.name][0], PLACES[gauge.name][1], gauge) for gauge in gauges]
    names = [font(15).getlength(gauge.name) + 12 for gauge in gauges]
    slot = width / len(gauges)
    most = 200 if gauges[0].kind == "bar" else width
    return [(round(left + number * slot + name), min(most, round(slot - name - (64 if slot > 150 else 10))), gauge)
            for number, (name, gauge) in enumerate(zip(names, gauges, strict=True))]


def _draw_gauges(draw: ImageDraw.ImageDraw, gauges: Sequence[tuple[int, int, Gauge]], action: Sequence[float]) -> None:
    for number, (left, width, gauge) in enumerate(gauges):
        draw.text((left - 12, GAUGES), gauge.name, MUTED, font(15), anchor="rm")
        if gauge.kind == "bar":
            _bar(draw, left, width, gauge, action[number])
        elif gauge.kind == "zones":
            _cells(draw, left, [110] * len(gauge.words), gauge, action[number:number + 1])
            low, high = left + 1, left + 110 * len(gauge.words) - 2
            at = low + (high - low) * (action[number] - gauge.low) / (gauge.high - gauge.low)
            draw.rectangle((round(at) - 1, 674, round(at) + 1, 702), TEXT)
        else:
            _words(draw, left, width, gauge, action)


def _bar(draw: ImageDraw.ImageDraw, left: int, width: int, gauge: Gauge, value: float) -> None:
    """A trough from ``low`` to ``high``, filled from 0 to the value, and its number where there is room."""
    draw.rounded_rectangle((left, 681, left + width, 695), 3, TROUGH)
    scale, origin = width / (gauge.high - gauge.low), min(max(0.0, gauge.low), gauge.high)
    zero = left + (origin - gauge.low) * scale
    ends = sorted((zero, zero + (value - origin) * scale))
    if ends[1] - ends[0] >= 1:
        draw.rectangle((round(ends[0]), 681, round(ends[1]), 695), COLOURS.get(gauge.name, STEER))
    if gauge.low < 0 < gauge.high:
        draw.line((zero, 678, zero, 698), MUTED)
    if width > 60:
        draw.text((left + width + 12, GAUGES), f"{value:.2f}", TEXT, font(15), anchor="lm")


def _words(draw: ImageDraw.ImageDraw, left: int, width: int, gauge: Gauge, action: Sequence[float]) -> None:
    """A cell for each word; where they have no room, those that are lit alone."""
    widths = [max(34, round(font(15).getlength(word)) + 18) for word in gauge.words]
    if sum(widths) <= width:
        _cells(draw, left, widths, gauge, action)
        return
    lit = [word for word, on in zip(gauge.words, gauge.lit(action), strict=True) if on]
    draw.text((left, GAUGES), cut(", ".join(lit) or "none", width, 15), TEXT, font(15), anchor="lm")


def _cells(draw: ImageDraw.ImageDraw, left: int, widths: Sequence[int], gauge: Gauge, action: Sequence[float]) -> None:
    """Words side by side, those that an action comes to on a ground of colour."""
    for word, width, on in zip(gauge.words, widths, gauge.lit(action), strict=True):
        draw.rounded_rectangle((left + 1, 677, left + width - 2, 699), 3, STEER if on else TROUGH)
        draw.text((left + width / 2, GAUGES), word, BACKGROUND if on else MUTED, font(15), anchor="mm")
        left += width


def _stamp(draw: ImageDraw.ImageDraw, x: int, title: str, line: str) -> None:
    """How it ended, over the middle of the game."""
    y = ROAD[1] + ROAD[3] // 2
    draw.rounded_rectangle((x - 180, y - 56, x + 180, y + 56), 8, BACKGROUND)
    draw.text((x, y - 16), title, TEXT, font(30), anchor="mm")
    draw.text((x, y + 26), line, MUTED, font(18), anchor="mm")


def fitted(picture: Picture, width: int, height: int) -> Image.Image:
    """A picture as large as it goes into these bounds, in its own shape; small ones keep the edges of their pixels."""
    rows, columns, _ = picture.shape
    if (columns, rows) == (width, height):
        return Image.fromarray(picture)
    scale = min(width / columns, height / rows)
    return resized(picture, round(columns * scale), round(rows * scale), sharp=scale > 1)


def resized(picture: Picture, width: int, height: int, sharp: bool = False) -> Image.Image:
    """A picture at another size; ``sharp`` keeps the edges of its pixels when it grows."""
    image = Image.fromarray(picture)
    if image.size == (width, height):
        return image
    if sharp:
        times = -(-width // image.width)
        image = image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)
    return image.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=2.0)


def cut(text: str, width: float, size: int) -> str:
    """A text, cut short where it is wider than this (pixels)."""
    if font(size).getlength(text) <= width:
        return text
    while text and font(size).getlength(f"{text}…") > width:
        text = text[:-1]
    return f"{text.rstrip()}…"


@lru_cache
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The one font there is, at a size (pixels)."""
    return ImageFont.load_default(size)
