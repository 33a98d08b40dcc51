"""The renderer against Gymnasium's picture, and its own promises."""

from __future__ import annotations

import gc
import tracemalloc

import numpy as np
import pytest
from render_oracle import crossed_scene, drive, extract, make_env, scenes, shrink_64

from wm_mpi.envs.fast.render import render as R
from wm_mpi.envs.fast.render.digits import score_glyphs


def observation(state: R.RenderState, k: int = 0) -> np.ndarray:
    out = np.full((96, 96, 3), 77, np.uint8)
    scratch = R.make_scratch()
    R.draw_observation(out, scratch, k, state)
    assert not scratch.cover.any()
    return out


def policy(state: R.RenderState, direct: bool = False) -> np.ndarray:
    out = np.full((64, 64, 3), 77, np.uint8)
    draw = R.draw_policy_frame_direct if direct else R.draw_policy_frame
    draw(out, R.make_scratch(), 0, state)
    return out


def off(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Mean absolute error, and per cent of pixels with a channel off by > 16."""
    d = np.abs(a.astype(int) - b.astype(int))
    return float(d.mean()), float((d.max(2) > 16).mean() * 100)


@pytest.fixture(scope="module")
def driven() -> list[tuple[np.ndarray, R.RenderState]]:
    plans = [(1, 0, 420, 10, False), (2, 1, 300, 10, False), (3, 2, 420, 20, False)]
    plans += [(4, 0, 250, 10, False), (11, 1, 80, 8, True), (12, 0, 80, 8, True)]
    return [shot for plan in plans for shot in drive(*plan)]


@pytest.fixture(scope="module")
def placed() -> list[tuple[str, np.ndarray, R.RenderState]]:
    return scenes()


def test_observation_while_driving(driven) -> None:
    errors = np.array([off(observation(s), f) for f, s in driven])
    assert len(errors) > 130
    assert errors[:, 0].mean() < 0.1 and errors[:, 0].max() < 0.2
    assert errors[:, 1].mean() < 0.02 and errors[:, 1].max() < 0.2


def test_bar_while_driving(driven) -> None:
    errors = np.array([off(observation(s)[84:], f[84:]) for f, s in driven])
    assert errors[:, 0].max() < 0.2 and errors[:, 1].max() < 0.5


def test_placed_scenes(placed) -> None:
    for name, frame, state in placed:
        mean, share = off(observation(state), frame)
        assert mean < 0.2 and share < 0.5, name


def test_policy_frame_is_the_shrunk_observation(driven) -> None:
    for _, state in driven[::5]:
        assert np.array_equal(policy(state), shrink_64(observation(state)))


def test_policy_frame_against_gymnasium(driven, placed) -> None:
    shots = driven + [(f, s) for _, f, s in placed]
    errors = np.array([off(policy(s), shrink_64(f)) for f, s in shots])
    assert errors[:, 0].mean() < 0.1 and errors[:, 0].max() < 0.2
    assert errors[:, 1].mean() < 0.05 and errors[:, 1].max() < 0.3


def test_direct_policy_frame(driven) -> None:
    errors = np.array([off(policy(s, direct=True), shrink_64(f)) for f, s in driven])
    assert errors[:, 0].mean() < 0.4 and errors[:, 0].max() < 0.9
    assert errors[:, 1].mean() < 0.9


def test_later_road_lies_on_top() -> None:
    frame, state = crossed_scene()
    mean, share = off(observation(state), frame)
    assert mean < 0.3 and share < 0.3


def test_neighbours_do_not_matter(driven) -> None:
    picks = [s for _, s in driven[3:60:6]]
    state = R.RenderState(*(np.concatenate(parts) for parts in zip(*picks, strict=True)))
    out96 = np.zeros((len(picks), 96, 96, 3), np.uint8)
    out64 = np.zeros((len(picks), 64, 64, 3), np.uint8)
    scratch = R.make_scratch()
    R.draw_observations(out96, scratch, state, np.ones(len(out96), np.bool_))
    R.draw_policy_frames(out64, scratch, state, np.ones(len(out64), np.bool_))
    for k, one in enumerate(picks):
        assert np.array_equal(out96[k], observation(one))
        assert np.array_equal(out64[k], policy(one))


def test_no_allocation_growth(driven) -> None:
    state = driven[20][1]
    out = np.zeros((1, 64, 64, 3), np.uint8)
    scratch = R.make_scratch()
    tracemalloc.start()
    sizes = []
    for _ in range(3):
        for _ in range(3000):
            R.draw_policy_frames(out, scratch, state, np.ones(len(out), np.bool_))
        gc.collect()
        sizes.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    # The first round fills caches of the calling machinery. A leak would cost an object, 16 bytes or more, a call; half of
    # that leaves room for what else goes on in a long-lived test process.
    assert sizes[2] - sizes[1] < 3000 * 8


def test_tall_indicators_reach_into_the_picture(driven) -> None:
    state = driven[25][1]
    fast = state._replace(wheel_omega=np.full((1, 4), 600.0))
    picture = policy(fast).astype(int)
    changed = np.abs(picture - policy(state)).max(2) > 16
    rows = np.flatnonzero(changed.any(1))
    # Their top is at 780 - 600 * 0.01 * 20 = 660 of the 700 rows in view.
    assert rows.min() == 60 and rows.max() == 63


def test_score_text() -> None:
    text = np.zeros(8, np.int64)
    for reward in (0.0, -0.04, 0.5, 1.5, 2.5, 9.99, -12.3, 123.4, 999.6, -99.5, 1234.5, 12345.6):
        n = score_glyphs(reward, text)
        assert "".join("0123456789-"[g] for g in text[:n]) == f"{reward:04.0f}"


def test_score_pixels() -> None:
    env = make_env()
    env.reset(seed=1)
    for reward in (-100.0, -7.2, 11.0, 88.0, 404.0, 777.7, 936.5, 1000.0):
        env.reward = reward
        frame = env._render("state_pixels")
        mean, share = off(observation(extract(env))[84:], frame[84:])
        assert mean < 0.2 and share == 0.0, reward
    env.close()


def test_picture_to_watch() -> None:
    env = make_env()
    env.reset(seed=5)
    for _ in range(60):
        env.step(np.array([0.1, 0.6, 0.0], np.float32))
    for mode_size in ((600, 400),):
        mean, share = off(R.render_rgb(extract(env), 0, *mode_size), env._render("rgb_array"))
        assert mean < 0.6 and share < 0.5
    assert R.render_rgb(extract(env), 0, 1000, 800).shape == (800, 1000, 3)
    env.close()
