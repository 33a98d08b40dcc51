"""A generation on thousands of ranks: rank 0's own code and the strategies are real, ranks and network are played.

python -m benchmarks.scale --run RUN        efficiency, bytes and rank 0's time at 64 to 4,000 ranks

Time flows as it does while rank 0 works, and jumps to the next message while it waits. A rank plays its episodes side by
side; an episode is as long as one that RUN has played (``episodes.jsonl``, its last generation: the tracks are that
generation's, candidates are drawn among its own). What a tick costs a rank, and a message rank 0, was measured (see
docs/performance.md) and can be given.
"""

import argparse
import collections
import contextlib
import heapq
import json
import pickle
import statistics
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import numpy.typing as npt

from wm_mpi.core.config import EsConfig
from wm_mpi.evolution.strategies import begin_strategy
from wm_mpi.evolution.training import mixed, training_tasks
from wm_mpi.pool import manager, membership
from wm_mpi.pool.transport import Message
from wm_mpi.rollout.worker import Played

PARAMETERS = 867


class Costs(NamedTuple):
    """What was measured."""

    tick: float
    """A rank's time for a tick, apart from its episodes (seconds)."""
    row: float
    """The same for each episode that it plays (seconds)."""
    send: float
    """Rank 0's time to hand a message to MPI, beside pickling (seconds)."""
    receive: float
    """The same to take one."""
    gigabits: float
    """What rank 0's network carries (Gbit/s)."""
    latency: float
    """Of a message (seconds)."""


class Clock:
    """Real time, of which what the simulation itself takes is left out, and waiting is jumped over."""

    def __init__(self) -> None:
        self._ahead, self._stopped = 0.0, 0
        self._since = 0.0

    def monotonic(self) -> float:
        """As ``time.monotonic``."""
        return (self._since if self._stopped else time.perf_counter()) + self._ahead

    perf_counter = monotonic

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """For the simulation's own work."""
        if not self._stopped:
            self._since = time.perf_counter()
        self._stopped += 1
        try:
            yield
        finally:
            self._stopped -= 1
            if not self._stopped:
                self._ahead -= time.perf_counter() - self._since

    def advance(self, seconds: float) -> None:
        """Let so much time pass."""
        self._ahead += seconds


class PlayedRank:
    """A worker rank that is played: its episodes share its core."""

    def __init__(self, number: int, capacity: int, costs: Costs) -> None:
        self.number, self.capacity, self._costs = number, capacity, costs
        self.run = self.version = 0
        self._left: dict[int, float] = {}  # tasks in play -> frames to go
        self._queue: collections.deque[tuple[int, float]] = collections.deque()
        self._now = 0.0
        self.busy = 0.0
        """Seconds in which it has played."""

    def take(self, tasks: Iterable[tuple[int, float]], now: float) -> None:
        """Tasks have come, by number and length."""
        self._play(now)
        self._queue.extend(tasks)
        self._fill()

    def _fill(self) -> None:
        while self._queue and len(self._left) < self.capacity:
            index, frames = self._queue.popleft()
            self._left[index] = frames

    @property
    def _seconds(self) -> float:
        return self._costs.tick + self._costs.row * len(self._left)

    def _play(self, now: float) -> None:
        if self._left:
            self.busy += now - self._now
        frames = (now - self._now) / self._seconds
        self._left = {index: left - frames for index, left in self._left.items()}
        self._now = now

    def next(self) -> tuple[float, int] | None:
        """When which task ends."""
        if not self._left:
            return None
        index = min(self._left, key=self._left.__getitem__)
        return self._now + max(0.0, self._left[index]) * self._seconds, index

    def stop(self, now: float) -> None:
        """The run has ended: what is left, copies of what others have answered, is not wanted any more."""
        self._play(now)
        self._left.clear()
        self._queue.clear()

    def finish(self, index: int, now: float) -> None:
        """It has ended."""
        self._play(now)
        del self._left[index]
        self._fill()


class Cluster:
    """Rank 0's mailbox, and all that is behind it."""

    rank, survives = 0, True

    def __init__(self, ranks: int, capacity: int, costs: Costs, clock: Clock) -> None:
        self.size, self.dead = ranks + 1, set[int]()
        self._costs, self._clock, self._capacity = costs, clock, capacity
        self._ranks = {number: PlayedRank(number, capacity, costs) for number in range(1, ranks + 1)}
        self._events: list[tuple[float, int, str, int, Any]] = []
        self._count, self._line_free = 0, 0.0
        self.lengths: npt.NDArray[np.float64] = np.empty(0)
        """Frames of the run's tasks."""
        self.bytes: collections.Counter[str] = collections.Counter()
        """Sent by rank 0, by the kind of message."""
        self.waited = 0.0
        """Seconds in which rank 0 had nothing to do."""
        for number in self._ranks:
            self._at(0.0, "arrives", number, ("hello", (f"host{number // 64}", number)))

    @property
    def busy(self) -> float:
        """Seconds in which ranks have played, all together."""
        return sum(rank.busy for rank in self._ranks.values())

    def _at(self, when: float, what: str, number: int, content: Any) -> None:
        self._count += 1
        heapq.heappush(self._events, (when, self._count, what, number, content))

    def send(self, ranks: Iterable[int], kind: str, content: Any = None) -> None:
        """As ``transport.Mail``."""
        data = pickle.dumps((kind, content), pickle.HIGHEST_PROTOCOL)
        with self._clock.stopped():
            for number in ranks:
                self._clock.advance(self._costs.send)
                self.bytes[kind] += len(data)
                now = self._clock.monotonic()
                self._line_free = max(self._line_free, now) + 8e-9 * len(data) / self._costs.gigabits
                self._at(self._line_free + self._costs.latency, "delivered", number, (kind, content))

    def receive(self, timeout: float, source: int | None = None) -> Message | None:
        """As ``transport.Mail``."""
        with self._clock.stopped():
            until = self._clock.monotonic() + timeout
            while self._events and self._events[0][0] <= max(until, self._clock.monotonic()):
                when, _, what, number, content = heapq.heappop(self._events)
                if what == "arrives":
                    self._wait(when)
                    self._clock.advance(self._costs.receive)
                    return Message(number, *content)
                self._happen(when, what, self._ranks[number], content)
            self._wait(until)
        return None

    def _wait(self, when: float) -> None:
        seconds = max(0.0, when - self._clock.monotonic())
        self.waited += seconds
        self._clock.advance(seconds)

    def _happen(self, when: float, what: str, rank: PlayedRank, content: Any) -> None:
        """On a rank."""
        if what == "ends":
            index, version = content
            if version != rank.version:
                return  # something else has happened there meanwhile
            rank.finish(index, when)
            said = ("results", (rank.run, [(index, Played(0.0, int(self.lengths[index]), True))], 0.0))
            self._at(when + self._costs.latency, "arrives", rank.number, said)
        elif content[0] == "begin":
            rank.run = content[1][0]
        elif content[0] == "tasks":
            rank.take([(index, self.lengths[index]) for index, _ in content[1]], when)
        elif content[0] in ("build", "end"):
            rank.stop(when)
            self._at(when + self._costs.latency, "arrives", rank.number, ("ready", (self._capacity, None)))
        rank.version += 1
        ending = rank.next()
        if ending is not None:
            self._at(ending[0], "ends", rank.number, (ending[1], rank.version))


class Figures(NamedTuple):
    """Of a generation, medians."""

    seconds: float
    ideal: float
    """With every rank's core busy with full ticks from begin to end."""
    busy: float
    """The share of their time in which ranks played at all."""
    asking: float
    """Rank 0's ask and tell."""
    working: float
    """Rank 0's other work."""
    shared: float
    """Sent to all ranks alike (bytes)."""
    tasks: float
    """Sent with tasks (bytes)."""


def played(run: Path, candidates: int, episodes: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Lengths [candidates, episodes] as in the last generation of a run that is complete there."""
    found: dict[int, dict[int, int]] = collections.defaultdict(dict)
    with open(run / "episodes.jsonl", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            if row["stream"] == "training":
                found[row["generation"]][row["task"]] = row["frames"]
    config = json.loads((run / "config.json").read_text())
    whole = [rows for rows in found.values() if len(rows) == config["popsize"] * config["episodes"]]
    if not whole or config["episodes"] < episodes:
        raise SystemExit(f"{run} has no whole generation of at least {episodes} episodes per candidate in episodes.jsonl")
    lengths = np.array([frames for _, frames in sorted(whole[-1].items())], float).reshape(config["popsize"], -1)
    return lengths[rng.integers(0, len(lengths), candidates), :episodes]


def generation(strategy_name: str, ranks: int, options: argparse.Namespace, costs: Costs) -> Figures:
    """Play some generations; their medians."""
    clock, rng = Clock(), np.random.default_rng(0)
    config = EsConfig(strategy=strategy_name, popsize=options.popsize, episodes=options.episodes)  # type: ignore[arg-type]
    found: list[Figures] = []
    with mock.patch.object(manager, "time", clock), mock.patch.object(membership, "time", clock):
        cluster = Cluster(ranks, options.width, costs, clock)
        pool = manager.MpiPool(cluster)  # type: ignore[arg-type]
        pool.begin()
        strategy = begin_strategy(config, np.zeros(PARAMETERS))
        for number in range(options.generations):
            with clock.stopped():
                lengths = played(options.run, options.popsize, options.episodes, rng)
                returns = rng.normal(size=options.popsize)
                cluster.bytes.clear()
                cluster.waited = 0.0
            began, busy = clock.monotonic(), cluster.busy
            candidates, recipe = strategy.ask(), strategy.recipe()
            asked = clock.monotonic()
            tasks = training_tasks(config, number + 1, [None] * len(candidates) if recipe else list(candidates))
            order = mixed([task.candidate for task in tasks]) if recipe else range(len(tasks))
            cluster.lengths = lengths.ravel()[order]
            pool.run((0, recipe), [tasks[index] for index in order])
            done = clock.monotonic()
            strategy.tell(returns)
            ended = clock.monotonic()
            ideal = lengths.sum() / ranks * (costs.tick / options.width + costs.row)
            share = (cluster.busy - busy) / ranks / (ended - began)
            found.append(Figures(ended - began, ideal, share, asked - began + ended - done, done - asked - cluster.waited,
                                 cluster.bytes["begin"], cluster.bytes["tasks"]))
    return Figures(*(statistics.median(column) for column in zip(*found[1:], strict=True)))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="a run whose episodes are as long as those to be played")
    parser.add_argument("--ranks", type=int, nargs="+", default=[64, 256, 1000, 4000], help="worker ranks")
    parser.add_argument("--strategies", nargs="+", default=["cma", "openes"])
    parser.add_argument("--popsize", type=int, default=1024)
    parser.add_argument("--episodes", type=int, default=16)
    parser.add_argument("--width", type=int, default=16, help="episodes of a rank side by side")
    parser.add_argument("--generations", type=int, default=4, help="of which the first is not counted")
    for name, value, text in (("tick", 150.0, "a tick apart from its rows (µs)"), ("row", 90.0, "each row of a tick (µs)"),
                              ("send", 4.0, "rank 0 sends a message (µs)"), ("receive", 6.0, "rank 0 takes a message (µs)"),
                              ("gigabits", 10.0, "rank 0's network (Gbit/s)"), ("latency", 20.0, "of a message (µs)")):
        parser.add_argument(f"--{name}", type=float, default=value, help=text)
    options = parser.parse_args()
    costs = Costs(options.tick * 1e-6, options.row * 1e-6, options.send * 1e-6, options.receive * 1e-6, options.gigabits,
                  options.latency * 1e-6)
    columns = ["strategy", "ranks", "generation (s)", "efficiency", "busy", "ask and tell (ms)", "rank 0 besides (ms)",
               "to all (MB)", "with tasks (MB)"]
    print(f"| {' | '.join(columns)} |\n|---|{'---:|' * (len(columns) - 1)}")
    for name in options.strategies:
        for ranks in options.ranks:
            each = generation(name, ranks, options, costs)
            cells = [name, f"{ranks:,}", f"{each.seconds:.2f}", f"{each.ideal / each.seconds:.1%}", f"{each.busy:.1%}",
                     f"{1e3 * each.asking:.0f}", f"{1e3 * each.working:.0f}", f"{each.shared / 1e6:.2f}",
                     f"{each.tasks / 1e6:.2f}"]
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
