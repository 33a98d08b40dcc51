"""What the gates judge by: held-out drives through V and M as ONNX graphs, without Keras, in bounded memory."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wm_mpi.core.errors import UserError
from wm_mpi.core.seeding import generator
from wm_mpi.data.datasets import Dataset
from wm_mpi.world.gates.metrics import huber_centre
from wm_mpi.world.graph import build_encoder
from wm_mpi.world.inference import Forecast, Inference
from wm_mpi.world.policy import run_encoder
from wm_mpi.world.weights import Weights, hidden_of

WINDOWS = 24
"""Drives looked at, each from an episode of its own."""
WINDOW = 400
"""Frames of a drive at most. 24 x 400 frames take about 5 s on one core."""
FITTED = 12
"""Training episodes from which the baseline's widths come, of ``FITTED_FRAMES`` frames each."""
FITTED_FRAMES = 100
PICTURES = 512
"""Frames of the drives that are painted again."""
RATED = 1000
"""Training episodes from which the base rates of rewards and terminations come."""
DREAM = 50
"""Steps of a dream, and the real ones that M has seen before it begins."""
DREAM_EVERY = 75
"""A drive's dreams begin so many frames apart."""

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Drives:
    """B windows of at most T frames of held-out episodes, time first; what is beyond a window's end is zero."""

    mu: Floats
    logvar: Floats
    z: Floats
    """What V makes of the frames, and a draw from it [T, B, 32]."""
    actions: Floats
    rewards: Floats
    terminated: npt.NDArray[np.bool_]
    """[T, B, 3], [T, B], [T, B]."""
    real: npt.NDArray[np.bool_]
    """Which rows are there [T, B]."""
    frames: npt.NDArray[np.uint8]
    painted: npt.NDArray[np.uint8]
    """Some of the frames, and what V's decoder makes of their z [N, 64, 64, 3]."""
    frame: str = "road"
    """What they show."""


@dataclass(frozen=True)
class Baseline:
    """What is known without M, from training episodes."""

    step: npt.NDArray[np.float64]
    """RMS of z's change in one frame [32]: the best constant width of a Gaussian around the last z."""
    reward: float
    """The constant with the least Huber loss (points)."""
    termination: float
    """Share of frames that end an episode."""


@dataclass(frozen=True)
class Forecasts:
    """What M expected on N steps of the drives that have a next frame, and on all S steps."""

    mixture: tuple[Floats, Floats, Floats]
    """logmix, mean, logstd of the next z [N, 32, 5]."""
    z: Floats
    next_z: Floats
    """[N, 32]."""
    reward: Floats
    reward_then: Floats
    termination: Floats
    terminated_then: npt.NDArray[np.bool_]
    """Expected reward (points), the real one; logit of the end, whether it came [S]."""


@dataclass(frozen=True)
class Dreams:
    """D dreams of ``DREAM`` steps from real moments with real actions, beside what really happened; [D, 32] each."""

    first: Floats
    last: Floats
    """What M expected (the mean of its mixtures) of the first and of the last step."""
    z: Floats
    """The latents drawn at the last step."""
    real_first: Floats
    real_last: Floats
    """V's mu at these steps."""
    real_z: Floats
    """V's z at the last."""


def held_out(by_vae: npt.NDArray[np.bool_], by_rnn: npt.NDArray[np.bool_], data: Dataset, judged_all_the_same: bool,
             ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Episodes for the baseline, and those to judge by, which neither V nor M has seen, by number.

    Args:
        by_vae: which episodes V has seen in training, shape (E,).
        by_rnn: which ones M has.
        data: the drives.
        judged_all_the_same: judge by all of them if both have seen all.

    Raises:
        UserError: there is nothing to judge by.
    """
    seen = by_vae | by_rnn
    if seen.all() and not judged_all_the_same:
        raise UserError(f"V and M have seen every drive of {data.path} in training, so that nothing can be judged: train "
                        "both with the same --seed and --validation, or give --data other drives (collect with another "
                        "--seed)")
    everything = np.arange(len(seen))
    return everything[seen] if seen.any() else everything, everything if seen.all() else everything[~seen]


def watch_drives(vae: Weights, data: Dataset, episodes: npt.NDArray[np.int64]) -> Drives:
    """Windows of at most ``WINDOWS`` of the episodes through V: the end of one that terminated, of others any part.

    Raises:
        UserError: the episodes are too short.
    """
    rng = generator(19)
    chosen = np.sort(rng.choice(episodes, min(WINDOWS, len(episodes)), replace=False))
    length, count = min(WINDOW, int(data.lengths[chosen].max())), len(chosen)
    if length < 2:
        raise UserError(f"{data.path} has episodes of a single frame only: collect with more --max-frames")
    encode = run_encoder(build_encoder(vae).SerializeToString())
    actions = data.read("actions", 0, 1).shape[1]
    arrays: dict[str, npt.NDArray] = {
        "actions": np.zeros((length, count, actions), np.float32), "rewards": np.zeros((length, count), np.float32),
        "terminated": np.zeros((length, count), np.bool_)}
    mu, logvar = np.zeros((2, length, count, vae["encoder/mu/bias"].shape[0]), np.float32)
    real, frames, places = np.zeros((length, count), np.bool_), [], []
    for slot, episode in enumerate(chosen):
        stop = int(data.starts[episode] + data.lengths[episode])
        first = max(stop - length, int(data.starts[episode]))
        if not data.read("terminated", stop - 1, stop)[0]:
            first = int(rng.integers(data.starts[episode], first + 1))
        rows = min(first + length, stop) - first
        seen = data.read("frames", first, first + rows)
        said = encode(seen)
        mu[:rows, slot], logvar[:rows, slot], real[:rows, slot] = said["mu"], said["logvar"], True
        for name, array in arrays.items():
            array[:rows, slot] = data.read(name, first, first + rows)
        picked = rng.choice(rows, min(PICTURES // count, rows), replace=False)
        frames.append(seen[picked])
        places.append(np.stack([picked, np.full_like(picked, slot)]))
    z = mu + np.exp(logvar / 2) * rng.standard_normal(mu.shape, np.float32) * real[..., None]
    step, slot_of = np.concatenate(places, axis=1)
    return Drives(mu=mu, logvar=logvar, z=z, **arrays, real=real, frames=np.concatenate(frames),
                  painted=_decode(vae, z[step, slot_of]), frame=data.frame)


def _decode(vae: Weights, z: Floats) -> npt.NDArray[np.uint8]:
    paint = Inference(vae=vae).decode
    return np.concatenate([paint(z[start:start + 16]) for start in range(0, len(z), 16)])


def fit_baseline(vae: Weights, data: Dataset, episodes: npt.NDArray[np.int64]) -> Baseline:
    """What training episodes tell about the next frame to one who knows no M."""
    rng = generator(20)
    encode = run_encoder(build_encoder(vae).SerializeToString())
    squares = []
    for episode in rng.choice(episodes, min(FITTED, len(episodes)), replace=False):
        start, length = int(data.starts[episode]), int(data.lengths[episode])
        first = start + int(rng.integers(max(length - FITTED_FRAMES, 0) + 1))
        said = encode(data.read("frames", first, min(first + FITTED_FRAMES, start + length)))
        z = said["mu"] + np.exp(said["logvar"] / 2) * rng.standard_normal(said["mu"].shape)
        squares.append(np.diff(z, axis=0) ** 2)
    spans = [(int(data.starts[each]), int(data.starts[each] + data.lengths[each])) for each in episodes[:RATED]]
    rewards = np.concatenate([data.read("rewards", *span) for span in spans])
    ends = sum(int(data.read("terminated", stop - 1, stop)[0]) for _, stop in spans)
    return Baseline(step=np.sqrt(np.concatenate(squares).mean(axis=0)), reward=huber_centre(rewards),
                    termination=(ends + 0.5) / (len(rewards) + 1))


def forecast_drives(rnn: Weights, drives: Drives) -> tuple[Forecasts, Dreams]:
    """M along the drives, its state zero where a window begins, and dreams that set out on the way."""
    mind = Inference(rnn=rnn)
    length, count = drives.real.shape
    h, c = np.zeros((2, count, hidden_of(rnn)), np.float32)
    steps: list[dict[str, npt.NDArray]] = []
    heads: list[dict[str, npt.NDArray]] = []
    dreams: list[dict[str, npt.NDArray]] = []
    for step in range(length):
        if step >= DREAM and (step - DREAM) % DREAM_EVERY == 0 and step + DREAM < length:
            dreams.append(vars(_dream(mind, drives, step, h, c)))
        said = mind.expect(drives.z[step], drives.actions[step], h, c)
        h, c = said.h, said.c
        real = drives.real[step]
        heads.append({"reward": said.reward[real], "reward_then": drives.rewards[step, real],
                      "termination": said.termination[real], "terminated_then": drives.terminated[step, real]})
        if step + 1 < length:
            both = real & drives.real[step + 1]
            steps.append({"logmix": said.logmix[both], "mean": said.mean[both], "logstd": said.logstd[both],
                          "z": drives.z[step, both], "next_z": drives.z[step + 1, both]})
    moves, nothing = _joined(steps), np.zeros((0, drives.mu.shape[2]), np.float32)
    return (Forecasts(mixture=(moves["logmix"], moves["mean"], moves["logstd"]), z=moves["z"], next_z=moves["next_z"],
                      **_joined(heads)),
            Dreams(**_joined(dreams or [dict.fromkeys(Dreams.__dataclass_fields__, nothing)])))


def _joined(parts: list[dict[str, npt.NDArray]]) -> dict[str, npt.NDArray]:
    """Arrays of the same names, one after the other."""
    return {name: np.concatenate([each[name] for each in parts]) for name in parts[0]}


def _dream(mind: Inference, drives: Drives, begin: int, h: Floats, c: Floats) -> Dreams:
    """Dreams of all drives that go on for ``DREAM`` steps after frame ``begin``."""
    slots = drives.real[begin + DREAM]
    rng = generator(21, begin)
    z, h, c = drives.z[begin, slots], h[slots], c[slots]
    expected: list[Floats] = []
    for step in range(begin, begin + DREAM):
        said, z = mind.dream(z, drives.actions[step, slots], h, c, 1.0, [rng] * len(z))
        h, c = said.h, said.c
        expected.append(_mean(said))
    return Dreams(first=expected[0], last=expected[-1], z=z, real_first=drives.mu[begin + 1, slots],
                  real_last=drives.mu[begin + DREAM, slots], real_z=drives.z[begin + DREAM, slots])


def _mean(said: Forecast) -> Floats:
    return (np.exp(said.logmix) * said.mean).sum(axis=-1)
