"""Reads the renderer's inputs from a live Gymnasium CarRacing."""

from __future__ import annotations

import gymnasium as gym
import numpy as np

from wm_mpi.envs.fast.render.state import RenderState

MAX_TILES = 512


def make_env(domain_randomize: bool = False) -> gym.Env:
    """CarRacing without wrappers and without a window."""
    return gym.make(
        "CarRacing-v3", render_mode="rgb_array", domain_randomize=domain_randomize
    ).unwrapped


def extract(env, reward_at_draw: float | None = None) -> RenderState:
    """The state (width 1) that the drawing functions take.

    ``reward_at_draw``: ``env.reward`` when the frame was drawn, which is
    before the 0.1 of the step were taken off.
    """
    car = env.car
    f32, f64 = np.float32, np.float64
    tile_xy = np.zeros((1, MAX_TILES, 4, 2), f64)
    kerb_xy = np.zeros((1, MAX_TILES, 4, 2), f64)
    touched = np.zeros((1, MAX_TILES), bool)
    kerb = np.zeros((1, MAX_TILES), np.int8)
    i = -1
    for poly, colour in env.road_poly:
        if isinstance(colour, tuple):
            kerb_xy[0, i] = poly
            kerb[0, i] = 1 if colour == (255, 255, 255) else 2
        else:
            i += 1
            tile_xy[0, i] = poly
            touched[0, i] = bool(np.all(np.asarray(colour) == env.road_color))
    reward = env.reward if reward_at_draw is None else reward_at_draw
    wheels = car.wheels
    return RenderState(
        np.array([tuple(car.hull.position)], f32),
        np.array([car.hull.angle], f32),
        np.array([tuple(car.hull.linearVelocity)], f32),
        np.array([car.hull.angularVelocity], f32),
        np.array([[tuple(w.position) for w in wheels]], f32),
        np.array([[w.angle for w in wheels]], f32),
        np.array([[w.omega for w in wheels]], f64),
        np.array([[w.phase for w in wheels]], f64),
        np.array([wheels[0].joint.angle], f32),
        np.array([env.t], f64),
        np.array([reward], f64),
        tile_xy,
        np.array([i + 1], np.int64),
        touched,
        kerb_xy,
        kerb,
        np.array([env.road_color], f64),
        np.array([env.bg_color], f64),
        np.array([env.grass_color], f64),
    )


def _overlaps(n: int, m: int) -> np.ndarray:
    """Overlap of n source pixels with m output pixels, in 1/m source pixels."""
    i, j = np.indices((m, n))
    ends = np.minimum((i + 1) * n, (j + 1) * m)
    return np.maximum(0, ends - np.maximum(i * n, j * m)).astype(np.float64)


_ROWS, _COLS = _overlaps(84, 64), _overlaps(96, 64)


def shrink_64(frame: np.ndarray) -> np.ndarray:
    """The project's 64x64 policy frame of a 96x96 observation."""
    rows = _ROWS @ frame[:84].reshape(84, 288)
    total = (_COLS @ rows.reshape(64, 96, 3)).astype(np.int64)  # whole numbers
    area = 84 * 96
    return ((2 * total + area) // (2 * area)).astype(np.uint8)


def driver(env, t: int, rng: np.random.Generator, style: int) -> np.ndarray:
    """A varied policy: 0 follows the road, 1 wild, 2 straight to the field's edge."""
    car = env.car
    if style == 2:
        steer = 0.3 * np.sin(t / 90.0)
        return np.array([steer, 1.0 if t % 3 else 0.4, 0.0], np.float32)
    pos = np.array(tuple(car.hull.position))
    track = np.array(env.track)
    near = int(np.argmin(((track[:, 2:4] - pos) ** 2).sum(1)))
    goal = track[(near + 5) % len(track), 2:4] - pos
    angle = car.hull.angle
    right = np.array([np.cos(angle), np.sin(angle)])
    ahead = np.array([-np.sin(angle), np.cos(angle)])
    steer = np.clip(2.0 * np.arctan2(goal @ right, goal @ ahead), -1, 1)
    speed = float(np.hypot(*car.hull.linearVelocity))
    gas = 0.6 if speed < 45 else 0.0
    brake = 0.3 if speed > 60 or (abs(steer) > 0.5 and speed > 30) else 0.0
    if style == 1:
        steer = np.clip(steer + rng.normal(0, 0.8), -1, 1)
        gas, brake = rng.random(), 0.5 * (rng.random() < 0.2)
    return np.array([steer, gas, brake], np.float32)


def place(env, angle: float, x: float, y: float, t: float = 1.5) -> None:
    """Put a fresh car anywhere, at time ``t`` of the episode."""
    from gymnasium.envs.box2d.car_dynamics import Car

    env.car.destroy()
    env.car = Car(env.world, angle, x, y)
    # A fresh car's wheels are not turned with it; the joints pull them in place.
    for _ in range(3):
        env.world.Step(1.0 / 50.0, 180, 60)
    env.t = t


def crossing(env) -> tuple[int, int] | None:
    """Two far-apart track points that lie close together, if there are any."""
    p = np.array(env.track)[:, 2:4]
    n = len(p)
    d = np.hypot(*(p[:, None] - p[None]).transpose(2, 0, 1))
    i, j = np.indices((n, n))
    gap = np.minimum(abs(i - j), n - abs(i - j))
    d[gap < 14] = 1e9
    k = np.unravel_index(np.argmin(d), d.shape)
    return (int(k[0]), int(k[1])) if d[k] < 12.5 else None


def scenes() -> list[tuple[str, np.ndarray, RenderState]]:
    """Hand-placed scenes that driving seldom meets: name, frame, state."""
    out = []
    env = make_env()

    def shoot(name: str) -> None:
        frame = env._render("state_pixels").copy()
        out.append((name, frame, extract(env)))

    rng = np.random.default_rng(5)
    crossings = 0
    for seed in range(60):
        env.reset(seed=seed)
        if seed < 6:
            for tile in np.flatnonzero(extract(env).kerb[0])[:: max(1, 40 // (seed + 1))][:3]:
                _, beta, x, y = env.track[tile]
                place(env, beta + rng.normal(0, 0.5), x, y)
                shoot("kerbs")
        if seed < 4:
            for x, y in ((320, 10), (-325, 200), (310, -310), (-340, -330)):
                place(env, rng.uniform(0, 6.3), x, y)
                shoot("field edge")
            for t in (0.02, 0.1, 0.3, 0.6, 0.9):
                place(env, rng.uniform(0, 6.3), *env.track[0][2:4], t)
                shoot("zoom, any angle")
            for _ in range(4):
                place(env, rng.uniform(0, 6.3), *rng.uniform(-250, 250, 2))
                shoot("anywhere")
        pair = crossing(env)
        if pair and crossings < 12:
            crossings += 1
            i, j = pair
            place(env, rng.uniform(0, 6.3), *env.track[i][2:4])
            shoot("crossing")
    env.close()
    return out


def crossed_scene() -> tuple[np.ndarray, RenderState]:
    """A second road with kerbs laid across the first (drawn later, so on top)."""
    env = make_env()
    env.reset(seed=3)
    i = 12
    _, beta, x, y = env.track[i]
    extra = []
    for poly, colour in env.road_poly[4:40]:
        # Turned by 90 degrees around the car.
        turned = [(x - (py - y) + 3.0, y + (px - x)) for px, py in poly]
        extra.append((turned, colour))
    env.road_poly.extend(extra)
    place(env, beta, x, y)
    frame = env._render("state_pixels").copy()
    return frame, extract(env)


def drive(seed: int, style: int, steps: int, every: int, domain_randomize: bool = False):
    """Drive an episode; yield ``(frame, state)`` of every so many steps."""
    env = make_env(domain_randomize)
    rng = np.random.default_rng(seed)
    env.reset(seed=seed)
    render = env._render
    for t in range(steps):
        keep = t % every == 0 or (t < 50 and t % 7 == 0)
        env._render = render if keep else (lambda mode: None)
        frame, _, done, *_ = env.step(driver(env, t, rng, style))
        if keep:
            yield frame.copy(), extract(env, env.reward + 0.1)
        if done:
            break
    env.close()
