"""Who plays what, played through on a clock of its own: no MPI, any number of ranks."""

import contextlib
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any
from unittest import mock

import numpy as np
import pytest

from benchmarks import scale
from benchmarks.schedule import play
from wm_mpi.core.errors import NoWorkersLeft
from wm_mpi.pool import manager, membership, worker
from wm_mpi.pool.membership import Members
from wm_mpi.pool.schedule import DEADLY_RANKS, Pace, Schedule
from wm_mpi.pool.transport import ManagerLost, Message


def test_every_task_is_handed_out_once_where_ranks_are_alike() -> None:
    lengths = [random.Random(1).uniform(0.5, 1.5) for _ in range(400)]
    seconds, handed = play(lengths, [1.0] * 8)
    assert handed == 400
    assert seconds < sum(lengths) / 8 + 1.5


@pytest.mark.parametrize("ranks,tasks,slow", [(8, 256, 5.0), (8, 1024, 5.0), (64, 1024, 5.0), (64, 1024, 50.0)])
def test_a_slow_rank_costs_little(ranks: int, tasks: int, slow: float) -> None:
    """The mean of ten generations with rank 1 so many times slower is at most 1.15 of the ideal time."""
    lengths, pace, share = random.Random(2), Pace(), 0.0
    for _ in range(10):
        generation = [lengths.uniform(0.5, 1.5) for _ in range(tasks)]
        pace.fade()
        seconds, _ = play(generation, [slow] + [1.0] * (ranks - 1), pace=pace)
        share += seconds / (sum(generation) / (ranks - 1 + 1 / slow)) / 10
    assert share <= 1.15


def test_a_rank_that_stands_still_is_played_around() -> None:
    lengths = [random.Random(3).uniform(0.5, 1.5) for _ in range(100)]
    seconds, handed = play(lengths, [1.0] * 4, dies={2: 7.0})
    assert seconds < sum(lengths) / 3 + 5
    assert handed <= 103


def test_a_thousand_ranks_with_sixteen_places() -> None:
    lengths = [random.Random(4).uniform(0.5, 1.0) for _ in range(20_000)]
    seconds, handed = play(lengths, [1.0] * 1000, capacity=16)
    assert handed < 20_500 and seconds < 2.5


def test_what_a_lost_rank_held_comes_first_and_one_to_a_rank() -> None:
    schedule = Schedule(10, Pace())
    assert [schedule.next(1, 0.0) for _ in range(3)] == [0, 1, 2]
    assert schedule.lose(1, died=True) is None
    suspects = {schedule.next(rank, 1.0) for rank in (2, 3, 4)}
    assert suspects == {0, 1, 2}
    assert schedule.next(2, 1.0) == 3  # holds a suspect already, so an unsuspicious one


def test_a_task_that_ends_three_ranks_is_named() -> None:
    """Task 5 ends whoever plays it, while others of the same rank are innocent; it alone is found guilty."""
    schedule, dead, guilty = Schedule(40, Pace()), set(), None
    while guilty is None and not schedule.done:
        for rank in set(range(1, 9)) - dead:
            while len(schedule.held(rank)) < 4 and schedule.next(rank, 0.0) is not None:
                pass
        for rank in set(range(1, 9)) - dead:
            if 5 in schedule.held(rank):
                dead.add(rank)
                guilty = schedule.lose(rank, died=True)
            elif schedule.held(rank):
                schedule.finish(rank, min(schedule.held(rank)), 1.0)
    assert guilty == 5 and len(dead) == DEADLY_RANKS


class Thorough(Schedule):
    """Looks at every task that is held, not at ranks first."""

    def _overtaken(self, copier: float, now: float) -> Iterator[tuple[float, int, int]]:
        for index, holders in self._holders.items():
            if len(holders) == 1:
                yield from ((since, index, rank) for rank, since in holders.items())


def test_no_copy_is_missed_by_passing_over_whole_ranks() -> None:
    """Ranks of many paces, tasks begun at many times, some finished: the same copies as by looking at each task."""
    copied = 0
    for seed in range(60):
        rng, pace = random.Random(seed), Pace()
        paces = {rank: rng.choice([0.5, 1.0, 1.0, 1.2, 3.0, 8.0]) for rank in range(12)}
        for rank, slowness in paces.items():
            for _ in range(5):
                pace.note(rank, slowness * rng.uniform(0.7, 1.4))
        two = [kind(60, pace) for kind in (Schedule, Thorough)]
        held: list[tuple[int, int]] = []
        for step in range(60):
            rank = rng.randrange(9)
            held.append((rank, two[0].next(rank, step / 20)))  # type: ignore[arg-type]
            assert two[1].next(rank, step / 20) == held[-1][1]
            if rng.random() < 0.3:
                rank, index = held.pop(rng.randrange(len(held)))
                assert two[0].finish(rank, index, step / 20) and two[1].finish(rank, index, step / 20)
        idle = {rank: rng.randrange(4) for rank in range(6, 12)}
        for now in (3.1, 4.0, 6.5, 20.0):
            first, second = (list(each.copies(dict(idle), now)) for each in two)
            assert first == second
            copied += len(first)
    assert copied > 100


@contextlib.contextmanager
def on_four_ranks(kind: type[scale.Cluster], places: int) -> Iterator[tuple[scale.Cluster, manager.MpiPool]]:
    """Rank 0's own code, with ranks and messages that are played."""
    clock = scale.Clock()
    with mock.patch.object(manager, "time", clock), mock.patch.object(membership, "time", clock):
        cluster = kind(4, places, scale.Costs(1.5e-4, 9e-5, 0.0, 0.0, 10.0, 2e-5), clock)
        pool = manager.MpiPool(cluster)  # type: ignore[arg-type]
        pool.begin()
        yield cluster, pool


@pytest.mark.parametrize(("tasks", "dealt"), [(64, [16, 16, 16, 16]), (6, [2, 2, 1, 1]), (40, [10, 10, 10, 10])])
def test_ranks_are_dealt_tasks_that_follow_one_another(tasks: int, dealt: list[int]) -> None:
    """Of many; few spread over all. What follows one another shares a candidate, which a message holds once."""
    first: dict[int, list[int]] = {}

    class Noting(scale.Cluster):
        def send(self, ranks: Iterable[int], kind: str, content: Any = None) -> None:
            ranks = list(ranks)
            if kind == "tasks":
                first.setdefault(ranks[0], [index for index, _ in content])
            super().send(ranks, kind, content)

    with on_four_ranks(Noting, 16) as (cluster, pool):
        cluster.lengths = np.full(tasks, 100.0)
        pool.run(None, list(range(tasks)))
    assert sorted(map(len, first.values()), reverse=True) == dealt
    assert tasks == 6 or all(indexes == list(range(indexes[0], indexes[0] + len(indexes))) for indexes in first.values())


def test_copies_are_for_ranks_with_nothing_left_to_play() -> None:
    """Where something is in play, a copy would hold it up, free places or not. Who is idle shares them."""
    sent: set[int] = set()
    copied: list[tuple[int, int]] = []

    class Noting(scale.Cluster):
        def send(self, ranks: Iterable[int], kind: str, content: Any = None) -> None:
            ranks = list(ranks)
            if kind == "tasks":
                again = [index for index, _ in content if index in sent]
                assert not again or not self._ranks[ranks[0]]._left
                copied.extend((ranks[0], index) for index in again)
                sent.update(index for index, _ in content)
            super().send(ranks, kind, content)

    with on_four_ranks(Noting, 32) as (cluster, pool):
        for lengths in (np.full(64, 500.0), np.array([500.0] * 57 + [9000.0] * 7)):
            sent.clear()
            cluster.lengths = lengths
            pool.run(None, [(index, "a task") for index in range(64)])
    counts = Counter(rank for rank, _ in copied)
    assert len(counts) == 3 and sum(counts.values()) == 7 and max(counts.values()) == 3, counts


@pytest.mark.alone
def test_a_thousand_ranks_cost_rank_0_no_more_per_task_than_a_hundred() -> None:
    """Rank 0's own code, with ranks and messages that are played: what is not linear shows at this size."""
    costs = scale.Costs(1.5e-4, 9e-5, 0.0, 0.0, 10.0, 2e-5)
    spent = {}
    for ranks in (100, 1000):
        clock = scale.Clock()
        with mock.patch.object(manager, "time", clock), mock.patch.object(membership, "time", clock):
            cluster = scale.Cluster(ranks, 16, costs, clock)
            pool = manager.MpiPool(cluster)  # type: ignore[arg-type]
            pool.begin()
            cluster.lengths = np.random.default_rng(0).uniform(500, 900, 17 * ranks)
            began = clock.monotonic()
            outcome = pool.run(None, [(index, "a task") for index in range(17 * ranks)])
            spent[ranks] = (clock.monotonic() - began - cluster.waited) / (17 * ranks)
        assert [each.frames for each in outcome.results] == cluster.lengths.astype(int).tolist()
    assert spent[1000] < 4 * spent[100]


def test_a_late_answer_counts_once() -> None:
    schedule = Schedule(2, Pace())
    assert (schedule.next(1, 0.0), schedule.next(1, 0.0)) == (0, 1)
    schedule.lose(1, died=False)  # silent, then it answers after all: once before others took over, once after
    assert schedule.finish(1, 1, 1.0)
    assert schedule.next(2, 1.0) == 0
    assert schedule.finish(1, 0, 2.0) and schedule.done
    assert not schedule.finish(2, 0, 3.0)


def test_pace_is_against_the_mean() -> None:
    pace = Pace()
    for _ in range(50):
        pace.note(1, 5.0)
        for rank in (2, 3, 4, 5):
            for _ in range(5):
                pace.note(rank, 1.0)
    assert pace.of(1) / pace.of(2) == pytest.approx(5.0)
    assert pace.of(99) == 1.0


class StoppedPost:
    """Messages of two ranks, one of which comes too late, and a clock that runs only while rank 0 waits."""

    size, dead = 3, ()

    def __init__(self) -> None:
        self.clock, self.mail, self.stop = 100.0, [], 0.0

    def receive(self, timeout: float, source: int | None = None) -> Message | None:
        self.clock += self.stop or timeout
        self.stop = 0.0
        return self.mail.pop(0) if self.mail else None

    def send(self, *_: object) -> None:
        pass


def test_a_job_that_was_stopped_as_a_whole_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGSTOP to all, SIGCONT a quarter of an hour later: the ranks get their time to speak. Silence afterwards counts."""
    post = StoppedPost()
    monkeypatch.setattr("time.monotonic", lambda: post.clock)
    crew = Members(post)  # type: ignore[arg-type]
    said: list[str] = []
    crew.say = said.append
    post.mail = [Message(number, "ready", (4, None)) for number in (1, 2)]
    for _ in range(2):
        crew.next(1.0)
    post.stop = 900.0
    for _ in range(15):
        crew.next(1.0)
    assert not said and [rank.number for rank in crew.ready] == [1, 2]
    post.mail = [Message(1, "beat", None)]
    for _ in range(20):
        crew.next(1.0)
    assert "rank 2 on a host not yet known has said nothing" in said[0] and [rank.number for rank in crew.ready] == [1]
    with pytest.raises(NoWorkersLeft):
        for _ in range(200):
            crew.next(1.0)


def test_a_worker_that_was_stopped_for_long_does_not_take_rank_0_for_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    """As SLURM suspends a job: an hour later nothing has come, since rank 0 was stopped too. Silence afterwards counts."""
    post = StoppedPost()
    monkeypatch.setattr("time.monotonic", lambda: post.clock)
    orders = worker._Orders(post)  # type: ignore[arg-type]
    for within in (True, False):
        orders.next(2.0)
        if within:
            post.stop = 3600.0  # while it waits for a message
        else:
            post.clock += 3600.0  # while it plays
        for _ in range(100):
            assert orders.next(2.0) is None
    with pytest.raises(ManagerLost):
        for _ in range(600):
            orders.next(2.0)
