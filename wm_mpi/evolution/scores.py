"""What played test tracks say of a controller: scores with intervals, pairs on the same tracks, and what solved means."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from wm_mpi.core.seeding import EpisodeSeed, generator
from wm_mpi.core.words import counted
from wm_mpi.envs import EnvSpec, solved_at, told_of
from wm_mpi.rollout.worker import Played

FEWEST_TRACKS = 10
"""No interval is given of fewer tracks: a percentile bootstrap of few values is too narrow. Of normal values, what is called
95 % holds the true mean in 52 % of cases with 2 of them, 84 % with 5, 90 % with 10 and 92 % with 20.
"""
NOT_GIVEN = f"not given below {FEWEST_TRACKS} tracks"
SHARE = 0.95
"""Of resampled means that lie in the interval."""
RESAMPLES = 10_000
VALUES_PER_DRAW = 1_000_000
"""Values drawn at once (8 MB)."""
Result = dict[str, Any]


def score(played: Sequence[Played], spec: EnvSpec, seeds: Sequence[EpisodeSeed]) -> Result:
    """The result as JSON values: returns in points, the interval a 95 % bootstrap of the mean, or None of too few tracks."""
    returns = np.array([each.total for each in played])
    return {"mean": float(returns.mean()), "std": float(returns.std()), "interval": interval_of(returns),
            "min": float(returns.min()), "median": float(np.median(returns)), "max": float(returns.max()),
            "laps": float(np.mean([each.lap for each in played])), "returns": returns.tolist(),
            "frames": [each.frames for each in played], "tracks": [seed.track for seed in seeds], "env": spec.describe(),
            "solved": is_solved(returns, spec.name)}


def is_solved(returns: npt.NDArray[np.float64], env: str) -> bool:
    """Whether returns (points) over test tracks are what counts as solved in an environment that has such a mark."""
    mean, tracks = solved_at(env) or (np.inf, 0)
    return bool(len(returns) >= tracks and returns.mean() >= mean)


def compare(first: Mapping[str, Any], second: Mapping[str, Any]) -> Result:
    """Two results on the same tracks: first minus second, track by track, with a paired interval.

    Raises:
        ValueError: other tracks.
    """
    if first["tracks"] != second["tracks"]:
        raise ValueError("only results on the same tracks can be paired")
    differences = np.array(first["returns"]) - np.array(second["returns"])
    return {"difference": float(differences.mean()), "interval": interval_of(differences), "std": float(differences.std()),
            "won": float(np.mean(differences > 0)), "drawn": float(np.mean(differences == 0)), "tracks": len(differences)}


def interval_of(values: npt.NDArray[np.float64]) -> list[float] | None:
    """The 95 % interval of the mean, None of too few values."""
    return None if len(values) < FEWEST_TRACKS else list(bootstrap_interval(values))


def bootstrap_interval(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Percentile bootstrap (Efron) of the mean, with a fixed seed. By hand: ranks, which have no SciPy, judge too."""
    rng = generator(95)
    rows = max(1, VALUES_PER_DRAW // len(values))
    means = [values[rng.integers(len(values), size=(min(rows, RESAMPLES - first), len(values)))].mean(axis=1)
             for first in range(0, RESAMPLES, rows)]
    low, high = np.quantile(np.concatenate(means), [(1 - SHARE) / 2, (1 + SHARE) / 2])
    return float(low), float(high)


def describe(result: Result) -> str:
    """The lines that people read of one result."""
    env, tracks = result["env"], len(result["returns"])
    look = told_of(env["env"])
    laps = f"; {result['laps']:.0%} of laps completed" if look.laps else ""
    rule = f"lap at {env['lap_complete_percent']:.0%} of tiles, " if look.laps else ""
    return (f"{result['mean']:.1f} ± {result['std']:.1f} over {counted(tracks, f'test {look.episode}')} "
            f"(95 % interval of the mean {interval_in_words(result)}; min {result['min']:.1f}, "
            f"median {result['median']:.1f}, max {result['max']:.1f}{laps})\n"
            f"{result['what']}, {env['env_id']}, {rule}at most {env['max_frames']} frames{solved(result)}")


def interval_in_words(result: Mapping[str, Any]) -> str:
    """From where to where it reaches, or why there is none; earlier versions recorded one of any number of tracks."""
    if len(result["returns"]) < FEWEST_TRACKS:
        return NOT_GIVEN.replace("track", told_of(result["env"]["env"]).episode)
    low, high = result["interval"]
    return f"{low:.1f} to {high:.1f}"


def solved(result: Result) -> str:
    """Whether that is solved, in words."""
    if (mark_at := solved_at(result["env"]["env"])) is None:
        return ""
    mean, tracks = mark_at
    mark = f"a mean of at least {mean:.0f} over at least {tracks} {told_of(result['env']['env']).episode}s"
    if result["solved"]:
        return f"\nsolved: {mark}" + (
            "" if result["interval"][0] >= mean else f", though the interval reaches below {mean:.0f}")
    return f"\nnot solved: that takes {mark}"


def describe_pair(pair: Result) -> str:
    """The line that people read of two results."""
    tracks = pair["tracks"]
    low, high = pair["interval"] or (-np.inf, np.inf)
    interval = NOT_GIVEN if pair["interval"] is None else f"{low:+.1f} to {high:+.1f}"
    clear = "" if low > 0 or high < 0 else ": no difference is shown"
    return (f"{pair['first']} minus {pair['second']}: {pair['difference']:+.1f} points on the same "
            f"{counted(tracks, 'track')} (95 % paired interval {interval}{clear}; "
            f"better on {round(pair['won'] * tracks)} of {tracks})")
