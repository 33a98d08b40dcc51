"""Drawing CarRacing observations straight at their own size.

The functions draw the state of one car of many, given as arrays with a
leading dimension (:class:`RenderState`), as ``CarRacing._render`` of Gymnasium
draws one for ``"state_pixels"``: but without its 1000x800 picture, by exact
area coverage.  All but :func:`render_rgb` are compiled, allocate nothing and
are meant to be called from compiled loops over the cars.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from .car import draw_car
from .colour import LOSS_64, LOSS_96, LOSS_OTHER, fill_palette
from .compose import compose_base
from .digits import shrink_rows
from .hud import clear_bar, draw_indicators, draw_score
from .road import LAYERED, PLAIN, draw_road
from .scene import BAR_TOP, WINDOW_H, WINDOW_W, add_grass, camera, draw_outside, world_box
from .shrink import pack, shrink_to_policy, shrink_whole
from .state import RenderState, Scratch, make_scratch

__all__ = [
    "OBSERVATION_SIZE",
    "OBSERVATION_VIEW",
    "POLICY_SIZE",
    "RenderState",
    "Scratch",
    "draw_observation",
    "draw_observations",
    "draw_policy_frame",
    "draw_policy_frame_direct",
    "draw_policy_frames",
    "draw_whole_frames",
    "make_scratch",
    "render_rgb",
]

OBSERVATION_SIZE = np.int64(96)
OBSERVATION_VIEW = np.int64(84)
"""Rows of an observation above the black bar."""
POLICY_SIZE = np.int64(64)

_TABLE_96, _FIRST_96 = shrink_rows(int(OBSERVATION_SIZE))


@njit(cache=True, error_model="numpy")
def draw_view(
    rows: int, cols: int, sx: float, sy: float, loss: int, scratch: Scratch, k: int, state: RenderState
) -> None:
    """Draw field, road and car of car ``k``, ``rows`` by ``cols`` pixels, into ``scratch.pixels``.

    ``sx`` and ``sy`` are output pixels per pixel of Gymnasium's 1000x800
    picture; ``loss`` is one of ``compose.LOSS_*``.
    """
    cover, pixels, runs, pal = scratch.cover, scratch.pixels, scratch.runs, scratch.palette
    fill_palette(pal, state.bg_color[k], state.grass_color[k], state.road_color[k])
    x = float(state.hull_xy[k, 0])
    y = float(state.hull_xy[k, 1])
    angle = float(state.hull_angle[k])
    cam = camera(x, y, angle, state.time[k], sx, sy)
    box = world_box(cam)
    count = int(state.tile_count[k])
    tiles, touched = state.tile_xy[k], state.tile_touched[k]
    kerbs, kinds = state.kerb_xy[k], state.kerb[k]
    add_grass(cover, rows, cols, cam, box)
    draw_road(cover, pixels, rows, cols, runs, cam, tiles, count, touched, kerbs, kinds, pal, loss, PLAIN)
    if compose_base(cover, pixels, rows, cols, runs, pal, loss):
        # The road lies over itself somewhere in sight: paint it again in
        # Gymnasium's order, stretch by stretch.
        add_grass(cover, rows, cols, cam, box)
        compose_base(cover, pixels, rows, cols, runs, pal, loss)
        draw_road(cover, pixels, rows, cols, runs, cam, tiles, count, touched, kerbs, kinds, pal, loss, LAYERED)
    draw_outside(cover, pixels, rows, cols, cam, box, runs, loss)
    wheels = state.wheel_xy[k], state.wheel_angle[k], state.wheel_phase[k]
    draw_car(cover, pixels, rows, cols, runs, cam, (x, y, angle), wheels, loss)


@njit(cache=True, error_model="numpy")
def _picture(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """The bytes of ``pixels`` as uint8 ``[height, width, 4]``."""
    return pixels[: height * width].view(np.uint8).reshape(height, width, 4)


@njit(cache=True, error_model="numpy")
def _draw_indicators(
    picture: np.ndarray, rows: int, sx: float, sy: float, loss: int, k: int, state: RenderState
) -> None:
    """The indicators of car ``k``, as far as they reach into ``rows``."""
    draw_indicators(
        picture,
        rows,
        sx,
        sy,
        state.hull_velocity[k],
        float(state.hull_angular_velocity[k]),
        state.wheel_omega[k],
        float(state.joint_angle0[k]),
        loss,
    )


@njit(cache=True, error_model="numpy")
def _draw_window(
    height: int, width: int, loss: int, table: np.ndarray, first_row: int, scratch: Scratch, k: int, state: RenderState
) -> None:
    """Draw the whole window of car ``k``, bar included, into ``scratch.pixels``."""
    sx = width / WINDOW_W
    sy = height / WINDOW_H
    rows = min(height, int(np.ceil(BAR_TOP * sy)))
    draw_view(rows, width, sx, sy, loss, scratch, k, state)
    picture = _picture(scratch.pixels, height, width)
    clear_bar(picture, sx, sy, loss)
    _draw_indicators(picture, height, sx, sy, loss, k, state)
    reward = state.total_reward[k]
    draw_score(picture, sx, reward, table, first_row, scratch.text, scratch.left, loss)


@njit(cache=True, error_model="numpy")
def draw_observation(out: np.ndarray, scratch: Scratch, k: int, state: RenderState) -> None:
    """Draw car ``k``'s observation into ``out`` uint8 ``[96, 96, 3]``."""
    _draw_window(OBSERVATION_SIZE, OBSERVATION_SIZE, LOSS_96, _TABLE_96, _FIRST_96, scratch, k, state)
    pack(scratch.pixels, out)


@njit(cache=True, error_model="numpy")
def draw_policy_frame(out: np.ndarray, scratch: Scratch, k: int, state: RenderState) -> None:
    """Draw car ``k``'s policy frame into ``out`` uint8 ``[64, 64, 3]``.

    Draws what lies above the bar of the observation and averages it down, so
    the result is exactly that of shrinking :func:`draw_observation`'s picture.
    ``scratch`` must be 96 x 96.
    """
    sx = OBSERVATION_SIZE / WINDOW_W
    sy = OBSERVATION_SIZE / WINDOW_H
    draw_view(OBSERVATION_VIEW, OBSERVATION_SIZE, sx, sy, LOSS_96, scratch, k, state)
    picture = _picture(scratch.pixels, OBSERVATION_VIEW, OBSERVATION_SIZE)
    _draw_indicators(picture, OBSERVATION_VIEW, sx, sy, LOSS_96, k, state)
    shrink_to_policy(scratch.pixels, out, scratch.line)


@njit(cache=True, error_model="numpy")
def draw_policy_frame_direct(out: np.ndarray, scratch: Scratch, k: int, state: RenderState) -> None:
    """Like :func:`draw_policy_frame`, but drawn straight at 64x64.

    Its edges are a little sharper, because averaging twice (to 96, then to 64)
    blurs more than averaging once.
    """
    sx = POLICY_SIZE / WINDOW_W
    sy = POLICY_SIZE / BAR_TOP
    draw_view(POLICY_SIZE, POLICY_SIZE, sx, sy, LOSS_64, scratch, k, state)
    _draw_indicators(_picture(scratch.pixels, POLICY_SIZE, POLICY_SIZE), POLICY_SIZE, sx, sy, LOSS_64, k, state)
    pack(scratch.pixels, out)


@njit(cache=True, error_model="numpy")
def draw_observations(out: np.ndarray, scratch: Scratch, state: RenderState, mask: np.ndarray) -> None:
    """Draw the observations of the cars in ``mask`` (bool ``[W]``) into uint8 ``[W, 96, 96, 3]``."""
    for k in range(out.shape[0]):
        if mask[k]:
            draw_observation(out[k], scratch, k, state)


@njit(cache=True, error_model="numpy")
def draw_policy_frames(out: np.ndarray, scratch: Scratch, state: RenderState, mask: np.ndarray) -> None:
    """Draw the policy frames of the cars in ``mask`` (bool ``[W]``) into uint8 ``[W, 64, 64, 3]``."""
    for k in range(out.shape[0]):
        if mask[k]:
            draw_policy_frame(out[k], scratch, k, state)


@njit(cache=True, error_model="numpy")
def draw_whole_frames(out: np.ndarray, scratch: Scratch, state: RenderState, mask: np.ndarray) -> None:
    """Like :func:`draw_policy_frames`, of the whole observation, bar included."""
    for k in range(out.shape[0]):
        if mask[k]:
            _draw_window(OBSERVATION_SIZE, OBSERVATION_SIZE, LOSS_96, _TABLE_96, _FIRST_96, scratch, k, state)
            shrink_whole(scratch.pixels, out[k], scratch.line)


def render_rgb(state: RenderState, k: int = 0, width: int = 600, height: int = 400) -> np.ndarray:
    """A picture to watch, uint8 ``[height, width, 3]``, like ``rgb_array``.

    Skid marks are left out.  Allocates; not meant for training loops.
    """
    out = np.zeros((height, width, 3), np.uint8)
    scratch, (table, first_row) = make_scratch(height, width), shrink_rows(height)
    _draw_window(height, width, LOSS_OTHER, table, first_row, scratch, k, state)
    pack(scratch.pixels, out)
    return out
