"""What do z and h tell of the true state? Ridge regression on drives of a driver who sees it, judged on other tracks.

A linear C can use what a linear regression finds. It drives as fast as it knows its speed: one that saw the true state
through the ten tiles that a picture shows reached 934 points, a world whose [z, h] tells half of the speed's variance 906.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from wm_mpi.core.progress import Progress
from wm_mpi.world.graph import build_encoder
from wm_mpi.world.inference import Inference
from wm_mpi.world.policy import run_encoder
from wm_mpi.world.weights import Weights

Array = npt.NDArray[np.float64]
SEED = 24
WIDTH, ROUNDS = 16, 3
"""Drives: 16 at a time, three times; the last third judges."""
FRAMES = 400
SETTLED = 60
"""Frames before a drive counts: cars stand still, and the picture zooms in."""
EVERY = 3
"""Of the frames that follow, so many are as good as one."""
PENALTY = 3.0
FAST = 0.9
"""R² of the forward speed from [z, h] in a world in which C can learn to drive fast."""


class Probed(NamedTuple):
    """How well something is told, each an R² on tracks of its own."""

    name: str
    z: float
    h: float
    both: float
    spread: float
    """Standard deviation of the truth (m/s, rad/s, rad or m)."""


def probe_state(vae: Weights, rnn: Weights, frame: str) -> list[Probed]:
    """The R² of each part of the true state from [z], [h] and [z, h], z being V's mean and h as C is given it."""
    from wm_mpi.envs.fast.true_state import STATE, Watched  # loads the engine

    encode = run_encoder(build_encoder(vae).SerializeToString())
    memory = Inference(rnn=rnn)
    cars = Watched(WIDTH, frame)
    rows: list[tuple[npt.NDArray[Any], ...]] = []
    with Progress(None, ROUNDS * FRAMES, unit="frame", name="probing [z, h]") as progress:
        for number in range(ROUNDS):
            frames = cars.reset(SEED, number * WIDTH)
            h, c = np.zeros((2, WIDTH, memory.hidden), np.float32)
            for step in range(FRAMES):
                state, z = cars.state(), encode(frames)["mu"]
                if step >= SETTLED and step % EVERY == 0:
                    kept = cars.running
                    judges = np.full(kept.sum(), number == ROUNDS - 1)
                    rows.append((z[kept], h[kept], state[kept], judges))
                frames, actions = cars.drive(state)
                said = memory.expect(z, actions, h, c)
                h, c = said.h, said.c
                progress.advance()
    z_all, h_all, truth, judge = (np.concatenate(part).astype(np.float64) for part in zip(*rows, strict=True))
    told = [explained(features, truth, judge > 0) for features in (z_all, h_all, np.hstack([z_all, h_all]))]
    return [Probed(*each) for each in zip(STATE, *(part.tolist() for part in told), truth.std(axis=0).tolist(), strict=True)]


def explained(features: Array, truth: Array, judge: npt.NDArray[np.bool_]) -> Array:
    """R² of each column of ``truth`` [N, S] on the rows of ``judge`` [N], by ridge regression on the others."""
    mean, spread = features[~judge].mean(axis=0), features[~judge].std(axis=0) + 1e-6
    scaled = np.column_stack([(features - mean) / spread, np.ones(len(features))])
    fitted, held_out = scaled[~judge], scaled[judge]
    weights = np.linalg.solve(fitted.T @ fitted + PENALTY * np.eye(scaled.shape[1]), fitted.T @ truth[~judge])
    missed = ((truth[judge] - held_out @ weights) ** 2).sum(axis=0)
    return 1 - missed / ((truth[judge] - truth[~judge].mean(axis=0)) ** 2).sum(axis=0)


def describe(probed: list[Probed]) -> dict[str, Any]:
    """The probe as JSON values, for the manifest."""
    return {each.name: {"z": each.z, "h": each.h, "zh": each.both, "std": each.spread} for each in probed}


def table(probed: list[Probed]) -> str:
    """The probe for people, a line each."""
    rows = [f"{each.name:<20}{each.z:>8.3f}{each.h:>8.3f}{each.both:>8.3f}" for each in probed]
    speed = probed[0]
    verdict = "C can learn to drive fast" if speed.both >= FAST else "C will drive every bend at one safe speed"
    return "\n".join([f"{'told (R²) by':<20}{'z':>8}{'h':>8}{'[z, h]':>8}", *rows,
                      f"{speed.name} {speed.both:.2f} (at least {FAST} to drive fast): {verdict}"])
