"""Verdicts: intervals that cover as often as they say, pairs, and nothing called solved that is not."""

import numpy as np
import pytest

from wm_mpi.core.seeding import track_seed
from wm_mpi.envs import EnvSpec
from wm_mpi.evolution.scores import (
    FEWEST_TRACKS,
    bootstrap_interval,
    compare,
    describe,
    describe_pair,
    interval_in_words,
    score,
)
from wm_mpi.reporting.figures import histogram
from wm_mpi.reporting.model_card import verdicts
from wm_mpi.rollout.worker import Played

ROAD = EnvSpec("fast", 1000, 0.95)


def result(returns: np.ndarray, spec: EnvSpec = ROAD, first: int = 0) -> dict:
    played = [Played(float(each), 700, each > 0) for each in returns]
    return score(played, spec, [track_seed(0, first + number) for number in range(len(returns))]) | {"what": "a controller"}


@pytest.mark.parametrize("mean,tracks,spec,expected", [
    (900.0, 100, ROAD, True), (899.9, 100, ROAD, False), (950.0, 99, ROAD, False),
    (950.0, 100, EnvSpec("toy", 10, 1.0), False)])
def test_solved_takes_900_over_100_tracks(mean: float, tracks: int, spec: EnvSpec, expected: bool) -> None:
    judged = result(np.full(tracks, mean), spec)
    assert judged["solved"] is expected
    said = describe(judged)
    assert ("\nsolved" in said) == expected
    assert ("not solved" in said) == (not expected and spec is ROAD)


def test_a_lucky_mean_says_how_far_its_interval_reaches() -> None:
    said = describe(result(np.where(np.arange(100) < 50, 1000.0, 801.0)))
    assert "\nsolved" in said and "the interval reaches below 900" in said


def test_intervals_cover_as_often_as_they_say() -> None:
    """95 % intervals of 30 skewed values must hold the true mean in most of 200 repetitions."""
    rng = np.random.default_rng(3)
    held = [low <= 100 <= high for low, high in (bootstrap_interval(rng.exponential(100, 30)) for _ in range(200))]
    assert 0.86 <= np.mean(held) <= 0.99


def test_pairs_see_what_single_intervals_cannot() -> None:
    rng = np.random.default_rng(4)
    tracks = rng.normal(700, 150, 50)
    better, worse = result(tracks + 10 + rng.normal(0, 5, 50)), result(tracks)
    assert better["interval"][0] < worse["interval"][1], "alone they overlap"
    pair = compare(better, worse)
    assert 8 < pair["interval"][0] < pair["difference"] < pair["interval"][1] < 12
    assert "no difference" not in describe_pair(pair | {"first": "a", "second": "b"})
    same = compare(worse, worse)
    assert same["difference"] == 0 and same["drawn"] == 1
    assert "no difference is shown" in describe_pair(same | {"first": "a", "second": "b"})


def test_other_tracks_cannot_be_paired() -> None:
    with pytest.raises(ValueError, match="same tracks"):
        compare(result(np.ones(3)), result(np.ones(3), first=1))


@pytest.mark.parametrize("tracks", [1, 2, FEWEST_TRACKS - 1, FEWEST_TRACKS])
def test_few_tracks_have_no_interval(tracks: int) -> None:
    """In JSON, in words, in the card and on the page; also where an earlier version recorded one."""
    rng = np.random.default_rng(6)
    judged, other = (result(rng.normal(700, 150, tracks)) | {"env": ROAD.describe()} for _ in range(2))
    pair = compare(judged, other) | {"first": "a", "second": "b"}
    said = [describe(judged), describe_pair(pair), verdicts([judged])]
    said += [histogram(each, "road").caption for each in (judged, judged | {"interval": [1.0, 1.0]})] * (tracks > 1)
    given = tracks >= FEWEST_TRACKS
    assert all(("not given below 10 tracks" in each) != given for each in said)
    assert (judged["interval"] is not None) == (pair["interval"] is not None) == given
    assert ("not given" in interval_in_words(judged | {"interval": [1.0, 1.0]})) != given
    assert ("no difference is shown" in said[1]) or given
    assert f"better on {sum(np.subtract(judged['returns'], other['returns']) > 0)} of {tracks}" in said[1]
