"""CarRacing tracks: the port of Gymnasium's ``CarRacing._create_track``.

Everything is float64, as in the original, and the operations come in the same
order, so the result is equal to the last bit. Only the 24 random numbers of an
attempt are drawn by NumPy; the rest is compiled.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit

# --- constants of gymnasium/envs/box2d/car_racing.py ---------------------------
SCALE = 6.0
TRACK_RAD = 900 / SCALE
PLAYFIELD = 2000 / SCALE
TRACK_DETAIL_STEP = 21 / SCALE
TRACK_TURN_RATE = 0.31
TRACK_WIDTH = 40 / SCALE
BORDER = 8 / SCALE
BORDER_MIN_COUNT = 4
CHECKPOINTS = 12
MAX_POINTS = 2500
"""Points after which Gymnasium stops a walk that does not close (``no_freeze``)."""

MAX_TILES = 448
"""Rows that per-car tile arrays are padded to (20,000 seeds gave at most 389 tiles)."""

KERB_NONE, KERB_WHITE, KERB_RED = 0, 1, 2

_NOISE_SPAN = 2 * math.pi * 1 / CHECKPOINTS - 0
_RAD_LOW = TRACK_RAD / 3
_RAD_SPAN = TRACK_RAD - TRACK_RAD / 3
_START_ALPHA = 2 * math.pi * (-0.5) / CHECKPOINTS


@dataclass(frozen=True)
class Colors:
    """Colours of an episode (``CarRacing._reinit_colors``), three values of 0 to 255 each.

    ``road``, ``background`` and ``grass``: int64 [3] by default, float64 [3] when drawn.
    """

    road: np.ndarray
    background: np.ndarray
    grass: np.ndarray


@dataclass(frozen=True)
class Track:
    """A closed track of N tiles, equal to what ``CarRacing._create_track`` makes.

    ``points``: float64 [N, 4], Gymnasium's ``track`` (alpha, beta, x, y).
    ``tile_xy``: float64 [N, 4, 2], ``road_poly``'s road1_l, road1_r, road2_r, road2_l.
    ``kerb``: int8 [N], 0 no kerb at the tile, 1 a white one, 2 a red one.
    ``kerb_xy``: float64 [N, 4, 2], the kerb's b1_l, b1_r, b2_r, b2_l (0 where none).
    ``start``: (angle, x, y) of the car, ``track[0][1:4]``.
    ``colors``: the episode's colours.
    Lengths are in metres of the Box2D world, angles in radians.
    """

    points: np.ndarray
    tile_xy: np.ndarray
    kerb: np.ndarray
    kerb_xy: np.ndarray
    start: tuple[float, float, float]
    colors: Colors

    @property
    def tile_count(self) -> int:
        """Number N of tiles."""
        return len(self.points)

    def tile_color(self, index: int) -> np.ndarray:
        """Colour of tile ``index`` before anything has touched it: [3]."""
        return self.colors.road + 0.01 * (index % 3) * 255


def draw_colors(rng: np.random.Generator, domain_randomize: bool = False) -> Colors:
    """Gymnasium's ``_init_colors`` and ``_reinit_colors``: the same draws in the same order."""
    if not domain_randomize:
        return Colors(
            np.array([102, 102, 102]), np.array([102, 204, 102]), np.array([102, 230, 102])
        )
    road = rng.uniform(0, 210, size=3)
    background = rng.uniform(0, 210, size=3)
    grass = background.copy()
    grass[rng.integers(3)] += 20
    return Colors(road, background, grass)


def create_track(
    seed: int | np.random.Generator,
    domain_randomize: bool = False,
    colors: Colors | None = None,
    verbose: bool = False,
) -> Track:
    """The track of ``CarRacing.reset(seed=seed)``.

    Args:
        seed: Gymnasium's reset seed, or a generator to draw on from (what a
            ``reset()`` without a seed does).
        domain_randomize: draw the colours first, as the original does.
        colors: keep these colours and draw none (the reset option
            ``randomize=False`` of a ``domain_randomize`` environment).
        verbose: print the range of the walk that became the lap, and attempts that failed.
    """
    if isinstance(seed, np.random.Generator):
        rng = seed
    else:  # gymnasium.utils.seeding.np_random
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed)))
    if colors is None:
        colors = draw_colors(rng, domain_randomize)
    walk = np.empty((MAX_POINTS, 4))
    while True:
        first, last = _walk_track(rng.random(2 * CHECKPOINTS), walk)
        if first >= 0:
            break
        if verbose:
            print("retry to generate track (normal if there are not many instances of this message)")
    if verbose:
        print(f"Track generation: {first}..{last + 1} -> {last + 1 - first}-tiles track")
    points = walk[first:last].copy()
    tile_xy, kerb, kerb_xy = _lay_tiles(points)
    start = (float(points[0, 1]), float(points[0, 2]), float(points[0, 3]))
    return Track(points, tile_xy, kerb, kerb_xy, start, colors)


@njit(cache=True)
def _checkpoints(uniform: np.ndarray) -> np.ndarray:
    """The walk's 12 destinations: float64 [12, 3] (alpha, x, y) of 24 numbers in [0, 1)."""
    points = np.empty((CHECKPOINTS, 3))
    for c in range(CHECKPOINTS):
        # Generator.uniform(low, high) is low + (high - low) * random().
        noise = 0.0 + _NOISE_SPAN * uniform[2 * c]
        alpha = 2 * math.pi * c / CHECKPOINTS + noise
        rad = _RAD_LOW + _RAD_SPAN * uniform[2 * c + 1]
        if c == 0:
            alpha = 0.0
            rad = 1.5 * TRACK_RAD
        if c == CHECKPOINTS - 1:
            alpha = 2 * math.pi * c / CHECKPOINTS
            rad = 1.5 * TRACK_RAD
        points[c, 0] = alpha
        points[c, 1] = rad * math.cos(alpha)
        points[c, 2] = rad * math.sin(alpha)
    return points


@njit(cache=True)
def _walk_track(uniform: np.ndarray, walk: np.ndarray) -> tuple[int, int]:
    """Walk round the checkpoints and find the closed lap.

    Fills ``walk`` [MAX_POINTS, 4] with (alpha, beta, x, y) and returns the
    lap's range of rows; the first is -1 where the attempt failed.
    """
    goals = _checkpoints(uniform)
    x, y, beta = 1.5 * TRACK_RAD, 0.0, 0.0
    goal = 0
    laps = 0
    count = 0
    other_side = False
    while True:
        alpha = math.atan2(y, x)
        if other_side and alpha > 0:
            laps += 1
            other_side = False
        if alpha < 0:
            other_side = True
            alpha += 2 * math.pi
        # The next checkpoint that lies ahead, unwinding alpha after each full turn of them.
        while alpha > goals[goal % CHECKPOINTS, 0]:
            goal += 1
            if goal % CHECKPOINTS == 0:
                alpha -= 2 * math.pi
        goal_x, goal_y = goals[goal % CHECKPOINTS, 1], goals[goal % CHECKPOINTS, 2]

        r1x = math.cos(beta)
        r1y = math.sin(beta)
        proj = r1x * (goal_x - x) + r1y * (goal_y - y)
        while beta - alpha > 1.5 * math.pi:
            beta -= 2 * math.pi
        while beta - alpha < -1.5 * math.pi:
            beta += 2 * math.pi
        before = beta
        proj *= SCALE
        if proj > 0.3:
            beta -= min(TRACK_TURN_RATE, abs(0.001 * proj))
        if proj < -0.3:
            beta += min(TRACK_TURN_RATE, abs(0.001 * proj))
        x += -r1y * TRACK_DETAIL_STEP
        y += r1x * TRACK_DETAIL_STEP
        walk[count, 0] = alpha
        walk[count, 1] = before * 0.5 + beta * 0.5
        walk[count, 2] = x
        walk[count, 3] = y
        count += 1
        if laps > 4 or count == MAX_POINTS:
            break
    return _find_lap(walk, count)


@njit(cache=True)
def _find_lap(walk: np.ndarray, count: int) -> tuple[int, int]:
    """The rows between the last two passes of the start line, or (-1, -1)."""
    end = -1
    begin = -1
    i = count
    while begin == -1:
        i -= 1
        if i == 0:
            return -1, -1
        if walk[i, 0] > _START_ALPHA and walk[i - 1, 0] <= _START_ALPHA:
            if end == -1:
                end = i
            else:
                begin = i
    end -= 1
    # Python would fail on a lap without points; a lap has hundreds.
    first_beta = walk[begin, 1]
    gap_x = math.cos(first_beta) * (walk[begin, 2] - walk[end - 1, 2])
    gap_y = math.sin(first_beta) * (walk[begin, 3] - walk[end - 1, 3])
    if math.sqrt(gap_x * gap_x + gap_y * gap_y) > TRACK_DETAIL_STEP:
        return -1, -1
    return begin, end


@njit(cache=True)
def _find_kerbs(points: np.ndarray) -> np.ndarray:
    """Which tiles carry a kerb: bool [N]. Indices below 0 count from the end, as in Python."""
    n = len(points)
    border = np.zeros(n, np.bool_)
    for i in range(n):
        good = True
        oneside = 0.0
        for neg in range(BORDER_MIN_COUNT):
            turn = points[i - neg, 1] - points[i - neg - 1, 1]
            good &= abs(turn) > TRACK_TURN_RATE * 0.2
            oneside += np.sign(turn)
        border[i] = good and abs(oneside) == BORDER_MIN_COUNT
    for i in range(n):
        for neg in range(BORDER_MIN_COUNT):
            border[i - neg] |= border[i]
    return border


@njit(cache=True)
def _lay_tiles(points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tiles, kerb kinds and kerbs of a lap: [N, 4, 2], [N] and [N, 4, 2]."""
    n = len(points)
    tile_xy = np.empty((n, 4, 2))
    kerb = np.zeros(n, np.int8)
    kerb_xy = np.zeros((n, 4, 2))
    border = _find_kerbs(points)
    for i in range(n):
        for end in range(2):  # this tile's own point, then the one before it
            beta, x, y = points[i - end, 1], points[i - end, 2], points[i - end, 3]
            cos, sin = math.cos(beta), math.sin(beta)
            left, right = (0, 1) if end == 0 else (3, 2)
            tile_xy[i, left, 0] = x - TRACK_WIDTH * cos
            tile_xy[i, left, 1] = y - TRACK_WIDTH * sin
            tile_xy[i, right, 0] = x + TRACK_WIDTH * cos
            tile_xy[i, right, 1] = y + TRACK_WIDTH * sin
            if border[i]:
                side = np.sign(points[i - 1, 1] - points[i, 1])
                kerb_xy[i, left, 0] = x + side * TRACK_WIDTH * cos
                kerb_xy[i, left, 1] = y + side * TRACK_WIDTH * sin
                kerb_xy[i, right, 0] = x + side * (TRACK_WIDTH + BORDER) * cos
                kerb_xy[i, right, 1] = y + side * (TRACK_WIDTH + BORDER) * sin
        if border[i]:
            kerb[i] = KERB_WHITE if i % 2 == 0 else KERB_RED
    return tile_xy, kerb, kerb_xy
