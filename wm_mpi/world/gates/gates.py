"""Gates that a world passes before anyone trains in it: does V see, does M expect, do its dreams hold together?

A controller trained for hours on a V that sees nothing, or an M that expects nothing, fails late and without a word. Each
gate is one figure on held-out drives with a bound, what it means, and what is likely wrong when it is missed. The bounds
are wide: they tell a broken model from a modest one (``jobs/quickstart.bash``'s passes), not a good one from a better.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from wm_mpi.world.gates.metrics import (
    CAR,
    cross_entropy,
    distance_from_uniform,
    error_share,
    huber,
    inside,
    mixture_cdf,
    mixture_nll,
    order,
    regions,
    repeat_nll,
    rms,
)
from wm_mpi.world.gates.probes import Baseline, Dreams, Drives, Forecasts
from wm_mpi.world.latents import latent_kl

ACTIVE = 0.1
"""A latent that tells this much of a frame is in use (nats); an idle one tells less than 0.01."""
BLOCK = 2048
"""Rows of mixtures worked on at once."""

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Gate:
    """A figure with its bound; ``least`` or ``most`` is None where that side is open."""

    name: str
    value: float
    least: float | None = None
    most: float | None = None
    meaning: str = ""
    cause: str = ""
    """What is likely wrong where it fails, and the fix."""

    @property
    def passed(self) -> bool:
        """Whether the value is within its bound; what could not be measured, or is infinite, is not."""
        return (math.isfinite(self.value) and (self.least is None or self.value >= self.least)
                and (self.most is None or self.value <= self.most))

    @property
    def bound(self) -> str:
        """The bound in words."""
        if self.least is not None and self.most is not None:
            return f"{self.least:g} to {self.most:g}"
        if self.least is not None:
            return f"at least {self.least:g}"
        return "none" if self.most is None else f"at most {self.most:g}"

    def describe(self) -> dict[str, Any]:
        """The gate as JSON values, for the manifest."""
        return {"name": self.name, "value": self.value if math.isfinite(self.value) else None, "bound": self.bound,
                "passed": self.passed, "meaning": self.meaning, "cause": self.cause}


def judge(drives: Drives, baseline: Baseline, forecasts: Forecasts, dreams: Dreams) -> tuple[list[Gate], list[float]]:
    """All gates, and the KL of each latent (nats)."""
    kl = latent_kl(drives.mu[drives.real], drives.logvar[drives.real])
    active = kl >= ACTIVE if (kl >= ACTIVE).any() else np.ones_like(kl, np.bool_)  # of an idle latent all is noise
    spread = np.maximum(drives.z[drives.real].std(axis=0), 1e-6)
    return ([*judge_sight(kl, drives.frames, drives.painted, drives.frame),
             *judge_memory(forecasts, baseline, active, drives.frame),
             *judge_dreams(dreams, spread, active)], kl.tolist())


def judge_sight(kl: Array, frames: npt.NDArray[np.uint8], painted: npt.NDArray[np.uint8],
                frame: str = "road") -> list[Gate]:
    """V: what its latents tell [L] (nats), and frames beside what it makes of them [N, 64, 64, 3]."""
    collapsed = ("V's KL collapsed or V is hardly trained: give train_vae more --epochs, keep --kl-tolerance at 0.5 (near 0 "
                 "it has no free bits), and see whether the reconstruction still falls in history.jsonl")
    blind = "V is hardly trained or has seen too few roads: give train_vae more --epochs, or collect more --episodes"
    usual = np.broadcast_to(frames.mean(axis=0), frames.shape)
    seen = judge_road(frames, painted, usual, frame, blind) if frame in CAR else [
        # A V that sees nothing paints at best the mean picture (1)
        Gate("picture_error", error_share(frames, painted, usual, np.ones(frames.shape[:3], np.bool_)), most=0.8,
             meaning="squared error, over that of the mean picture", cause=blind.replace("roads", "pictures"))]
    return [
        # Where the road lies, turns and ends takes several numbers: 10 are in use after the quick start
        Gate("active_latents", float((kl >= ACTIVE).sum()), least=6, meaning=f"latents that tell {ACTIVE:g} nats",
             cause=collapsed),
        # V may spend --kl-tolerance x 32 = 16 nats for nothing; one that leaves two thirds of them has not begun to see
        Gate("kl", float(kl.sum()), least=6, meaning="nats that all latents tell of a frame", cause=collapsed),
        *seen]


def judge_road(frames: npt.NDArray[np.uint8], painted: npt.NDArray[np.uint8], usual: npt.NDArray, frame: str,
               blind: str) -> list[Gate]:
    """CarRacing's frames where it matters, beside what V makes of them; ``usual`` is the mean picture."""
    edge, car, grass = regions(frames, frame)
    plain = np.broadcast_to(frames[car].mean(axis=0) if car.any() else 0.0, frames.shape)
    return [
        # A V that sees nothing paints at best the mean picture (1); the right road a pixel further left would be 0.8
        Gate("road_edge_error", error_share(frames, painted, usual, edge), most=0.8,
             meaning="squared error at the road's edges, over that of the mean picture", cause=blind),
        # A blob of the car's mean colour is 1, a frame without a car 12
        Gate("car_error", error_share(frames, painted, plain, car), most=0.75,
             meaning="squared error on the car, over that of its mean colour", cause=blind),
        Gate("grass_error", error_share(frames, painted, usual, grass),
             meaning="the same on grass, over the mean picture's; nobody drives by it")]


def judge_memory(said: Forecasts, baseline: Baseline, active: npt.NDArray[np.bool_], frame: str = "road") -> list[Gate]:
    """M's next z, reward and end against what is known without M; of the ``active`` [L] latents only."""
    gain, below = _score(said, baseline, active)
    constant = np.full_like(said.termination, math.log(baseline.termination / (1 - baseline.termination)))
    ends = cross_entropy(said.termination, said.terminated_then) - cross_entropy(constant, said.terminated_then)
    reward = 1 - huber(said.reward - said.reward_then) / max(huber(baseline.reward - said.reward_then), 1e-9)
    untrained = ("M is hardly trained, or was trained on latents out of order: give train_rnn more --steps, or begin anew "
                 "at encode")
    uncertain = ("M's mixtures are too wide or too narrow: give train_rnn more --steps, and more episodes if val_nll rises "
                 "while nll falls in history.jsonl")
    heads = "M's {} head is hardly trained or over-fitted: give train_rnn more --steps, or collect more --episodes"
    always = (said.reward_then == said.reward_then[:1]).all()  # where there is nothing to expect
    usual = np.median(said.reward_then)  # CarRacing's -0.1 of a frame without a tile
    rewarded = said.reward_then > usual
    if not rewarded.any():  # a game of costs alone: frames that are spared them
        rewarded = said.reward_then == usual
    paid = [] if always else [
        # Nobody sees where a tile begins, so that little of the loss can be saved, but it must not grow; speed and road
        # are seen, and tell frames with tiles from those without: 0.85 after the quick start, 0.5 is chance. Elsewhere
        # nobody knows how far pay can be foreseen, and who plays the real game needs no M that does
        Gate("reward_gain", reward, least=-0.05, meaning="share of a constant reward's Huber loss saved",
             cause=heads.format("reward")),
        Gate("reward_order", order(said.reward, rewarded), least=0.6 if frame in CAR else None,
             meaning=f"share of frames with and without a {'tile' if frame in CAR else 'reward'} told apart",
             cause=heads.format("reward"))]
    return [
        # V's own noise drawn anew is half of what a repeated z misses by, so that 0.35 is there to be had where nothing
        # moves; -0.05 after 100 steps of training, 0.2 after the quick start's 300
        Gate("nll_gain", float(gain.mean()), least=0.05, meaning="nats per latent by which M beats repeating z",
             cause=untrained),
        # A tenth of the probability in the wrong place; 0.04 after the quick start
        Gate("calibration", float(distance_from_uniform(below).mean()), most=0.1,
             meaning="distance of the next z's place in M's mixture from uniform (KS)", cause=uncertain),
        # Widths a quarter too wide or too narrow, give or take
        Gate("inside_50", inside(below, 0.5), least=0.4, most=0.6,
             meaning="share of next z in the central 50 % of the mixture", cause=uncertain),
        Gate("inside_90", inside(below, 0.9), least=0.8, most=0.97,
             meaning="share of next z in the central 90 % of the mixture", cause=uncertain),
        *paid,
        # Ends are rare, so that a good head can win little; 0.02 is one that always expects the end within 50 frames
        Gate("termination_excess", ends, most=0.02,
             meaning="nats per frame by which the end's head is worse than the base rate",
             cause=heads.format("termination"))]


def _score(said: Forecasts, baseline: Baseline, active: npt.NDArray[np.bool_]) -> tuple[Array, Array]:
    """M's gain in likelihood over repeating z (nats), and the next z's place in its mixture: [N, active] each."""
    gains, places = [], []
    for start in range(0, len(said.z), BLOCK):
        rows = slice(start, start + BLOCK)
        logmix, mean, logstd = (each[rows][:, active] for each in said.mixture)
        now, then = said.z[rows][:, active], said.next_z[rows][:, active]
        gains.append(repeat_nll(now, then, baseline.step[active]) - mixture_nll(logmix, mean, logstd, then))
        places.append(mixture_cdf(logmix, mean, logstd, then))
    return np.concatenate(gains), np.concatenate(places)


def judge_dreams(dreams: Dreams, spread: Array, active: npt.NDArray[np.bool_]) -> list[Gate]:
    """Dreams against what really happened; ``spread`` [L] is what latents vary by, so that each counts alike."""
    unit = spread[active]
    size = rms(dreams.z[:, active] / unit) / rms(dreams.real_z[:, active] / unit)
    way = rms((dreams.last - dreams.first)[:, active] / unit) / rms((dreams.real_last - dreams.real_first)[:, active] / unit)
    astray = ("M's dreams {}: give train_rnn more --steps and longer --sequence, or collect more --episodes; no dream could "
              "be tried if drives are shorter than 100 frames")
    return [
        # Dreams that leave where V's latents lie show C what no frame looks like
        Gate("dream_size", size, least=0.5, most=2, meaning="size of z after 50 dreamt steps, over the real",
             cause=astray.format("swell or shrink")),
        # An M that always expects the same gets nowhere (0.06 untrained), one that wanders gets too far
        Gate("dream_way", way, least=0.3, most=3, meaning="how far 50 dreamt steps lead, over the real",
             cause=astray.format("freeze or run wild"))]


def table(gates: Sequence[Gate]) -> str:
    """The gates for people, a line each."""
    head = f"{'gate':<20}{'value':>10}  {'bound':<14}"
    rows = [f"{gate.name:<20}{gate.value:>10.3g}  {gate.bound:<16}{'ok  ' if gate.passed else 'FAIL'}  {gate.meaning}"
            for gate in gates]
    return "\n".join([head, *rows])


def objection(gates: Sequence[Gate]) -> str | None:
    """A sentence on the gates that failed, None if all passed.

    Gates stand in the order in which one's failure brings about another's: an M cannot be judged where V sees nothing. So
    the first one's cause is the one that is named.
    """
    failed = [gate for gate in gates if not gate.passed]
    if not failed:
        return None
    first = [gate for gate in failed if gate.cause == failed[0].cause]
    others = [gate.name for gate in failed if gate not in first]
    said = ", ".join(f"{gate.name} is {gate.value:.3g} (must be {gate.bound})" for gate in first)
    return f"{said}: {first[0].cause}" + (f" (failed as well, perhaps from that: {', '.join(others)})" if others else "")
