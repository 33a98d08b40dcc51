"""A sheet: one picture of some moments of several episodes."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from wm_mpi.viewer.drawing import BACKGROUND, MUTED, TEXT, cut, fitted, font, resized
from wm_mpi.viewer.episode import Show, Sight

MOMENTS = 8
"""Moments of an episode on a sheet."""
CELL, GAP, LEFT = 128, 6, 150
"""Width of a sheet's pictures, the space between them, and that for captions at their left."""


class Moments:
    """Keeps small copies of an episode's sights for a sheet, evenly spread however long it turns out to be."""

    def __init__(self, title: str, show: Show) -> None:
        """For an episode that ``title`` names, of a session."""
        self.title = title
        self.chosen: list[Sight] = []
        """Once the episode has ended: first, last, and what lies evenly between them, at most ``MOMENTS``."""
        self._size, self._every = cell(show), 1

    def add(self, sight: Sight) -> None:
        """The next sight; when many are kept, every other one is let go."""
        if len(self.chosen) == 8 * MOMENTS:
            self.chosen, self._every = self.chosen[::2], self._every * 2
        if sight.frame % self._every == 0 or sight.ended:
            self.chosen.append(sight._replace(road=np.asarray(fitted(sight.road, *self._size))))
        if sight.ended:
            frames = np.array([each.frame for each in self.chosen])
            wanted = np.linspace(0, sight.frame, min(MOMENTS, len(frames)))
            self.chosen = [self.chosen[index] for index in np.unique(np.abs(frames[:, None] - wanted).argmin(axis=0))]


def cell(show: Show) -> tuple[int, int]:
    """Width and height of a game's pictures on a sheet: where there are no views, they are twice as wide, in two lines."""
    width = CELL if show.views else 2 * CELL + GAP
    return width, int(width / show.aspect + 1e-6)


def contact_sheet(title: str, episodes: Sequence[Moments], show: Show) -> Image.Image:
    """One picture of several episodes: at some moments of each the game and, one below the other, the views."""
    width = LEFT + MOMENTS * (CELL + GAP) - GAP + 24
    band = 52 + lines(show) * (heights(show) + 30)
    sheet = Image.new("RGB", (width, 60 + band * len(episodes)), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    draw.text((24, 34), cut(title, width - 48, 22), TEXT, font(22), anchor="lm")
    for number, episode in enumerate(episodes):
        top = 60 + band * number
        last = episode.chosen[-1]
        end = f"{episode.title}: return {last.total:.1f} in {last.frame} frames{', lap completed' if last.lap else ''}"
        draw.text((24, top + 14), end, TEXT, font(16), anchor="lm")
        draw_episode(sheet, draw, top + 52, episode.chosen, show)
    return sheet


def lines(show: Show) -> int:
    """How many lines the moments of an episode fill."""
    return 1 if show.views else 2


def heights(show: Show) -> int:
    """Height of a moment: the game's picture and the views below it."""
    return cell(show)[1] + len(show.views) * (CELL + GAP)


def draw_episode(sheet: Image.Image, draw: ImageDraw.ImageDraw, top: int, moments: Sequence[Sight], show: Show) -> None:
    """The moments of an episode, the first line of pictures at ``top``, with captions at the left."""
    across, high = cell(show)
    columns, pitch = MOMENTS // lines(show), heights(show) + 30
    for row, caption in enumerate([show.scene, *(caption for _, caption in show.views)]):
        middle = top + (high // 2 if row == 0 else high + GAP + (row - 1) * (CELL + GAP) + CELL // 2)
        draw.text((24, middle), caption, MUTED, font(14), anchor="lm")
    for number, sight in enumerate(moments):
        line, column = divmod(number, columns)
        x, y = LEFT + column * (across + GAP), top + line * pitch
        draw.text((x, y - 13), f"frame {sight.frame}", MUTED, font(14), anchor="lm")
        sheet.paste(fitted(sight.road, across, high), (x, y))
        for row, (name, _) in enumerate(show.views):
            sheet.paste(resized(getattr(sight, name), CELL, CELL), (x, y + high + GAP + row * (CELL + GAP)))
