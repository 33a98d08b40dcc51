"""What a host can do and what will go wrong on it: every rank tells its facts while all play at once, rank 0 judges."""

import importlib.metadata
import os
import resource
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from threadpoolctl import threadpool_info

from wm_mpi.core.launched import launched_rank
from wm_mpi.core.machine import available_memory, cores
from wm_mpi.core.provenance import PACKAGES, environment
from wm_mpi.core.seeding import track_seed
from wm_mpi.envs import EnvSpec, make_env
from wm_mpi.pool import FAR_APART, Arithmetic, Indexed, Tasks
from wm_mpi.rollout.worker import Rollout, Task, make_policy

Status = Literal["ok", "warning", "FAIL"]
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
PROBE = ".wm_mpi-probe"
"""A file that rank 0 puts into the output directory for the others to see."""
COMPILED_SECONDS = 20.0
"""A rank that took longer to its first frame has compiled the engine (seconds)."""
SLOW_FACTOR = 1.5
"""A rank this many times slower than the median is worth a line."""


class Finding(NamedTuple):
    """A line of the verdict."""

    status: Status
    about: str
    text: str
    fix: str = ""


class Facts(NamedTuple):
    """What a rank knows about itself."""

    rank: int
    host: str
    cpu: str
    cores: frozenset[int]
    """The cores that it may run on."""
    host_cores: int
    quota: float
    """How many cores' worth of time it may use, with all that share its quota."""
    threads: tuple[str, ...]
    """Libraries that use more threads than one, and settings that say so."""
    packages: tuple[tuple[str, str], ...]
    probe_seen: bool
    """Whether it sees the file that rank 0 has put into the output directory."""
    arithmetic: Arithmetic
    """What it computes with."""
    start_seconds: float
    """From nothing to a built worker."""
    frames_per_second: float
    resident: int
    """Memory (bytes)."""
    available: int
    """Memory that its host, or its container, still has (bytes)."""


class Examiner:
    """A rank's worker: plays for some seconds as ``es`` would, then tells its facts."""

    capacity = 1
    arithmetic = None
    """What ranks tell differs by nature."""

    def __init__(self, spec: EnvSpec, world: str | None, width: int, seconds: float, probe: Path) -> None:
        """Build what ``es`` would build.

        Raises:
            UserError: see ``envs.make_env`` and ``rollout.make_policy``.
        """
        began = time.perf_counter()
        policy = make_policy(spec, world, width, deterministic=False)
        self._rollout = Rollout(make_env(spec, width), policy)
        self._parameters = np.zeros((1, policy.parameters))
        self._width, self._seconds, self._probe = width, seconds, probe
        self._start = time.perf_counter() - began

    def run(self, shared: object, tasks: Tasks) -> Iterator[Indexed]:
        """Each task is one look at this rank."""
        while (indexed := tasks.take(wait=True)) is not None:
            stopwatch = _Stopwatch(tasks, self._seconds)
            for _ in self._rollout.run(self._parameters, stopwatch):
                pass
            yield indexed[0], self._facts(stopwatch.ticks * self._width / stopwatch.elapsed)

    def _facts(self, frames_per_second: float) -> Facts:
        about = environment()
        return Facts(rank=launched_rank(), host=about["host"], cpu=about["cpu"], cores=frozenset(os.sched_getaffinity(0)),
                     host_cores=about["cpus"], quota=cores(), threads=threads(), packages=tuple(about["packages"].items()),
                     probe_seen=self._probe.exists(), arithmetic=self._rollout.arithmetic, start_seconds=self._start,
                     frames_per_second=frames_per_second,
                     resident=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, available=available_memory())


def threads() -> tuple[str, ...]:
    """Libraries of this process that use more threads than one, and settings that say so."""
    settings = tuple(f"{name}={os.environ[name]}" for name in THREADS if os.environ.get(name, "1") != "1")
    return settings + tuple(f"{each['internal_api']} with {each['num_threads']} threads" for each in threadpool_info()
                            if each["num_threads"] > 1)


class _Stopwatch:
    """Endless episodes for some seconds; counts ticks."""

    def __init__(self, outer: Tasks, seconds: float) -> None:
        self._outer, self._until, self._began = outer, time.perf_counter() + seconds, time.perf_counter()
        self._taken = 0
        self.ticks = 0

    @property
    def elapsed(self) -> float:
        return time.perf_counter() - self._began

    def take(self, wait: bool) -> tuple[int, Task]:
        self._taken += 1
        return self._taken, Task(0, track_seed(0, self._taken))

    def wanted(self) -> bool:
        self.ticks += 1
        return time.perf_counter() < self._until and self._outer.wanted()


def by_host(facts: Iterable[Facts]) -> dict[str, list[Facts]]:
    """The ranks of each host, in order."""
    hosts: dict[str, list[Facts]] = defaultdict(list)
    for each in sorted(facts, key=lambda each: each.rank):
        hosts[each.host].append(each)
    return dict(hosts)


def check_hosts(facts: Sequence[Facts], rank_0_host: str) -> list[Finding]:
    """What the ranks' facts mean, host by host."""
    found = []
    for host, ranks in by_host(facts).items():
        found += [_cores(host, ranks), _threads(host, ranks), _memory(host, ranks, rank_0_host), _speed(host, ranks)]
    return [*found, _alike(facts), _shared(facts), _start(facts)]


def _cores(host: str, ranks: list[Facts]) -> Finding:
    usable = frozenset().union(*(each.cores for each in ranks))
    unbound = "wm-mpi launch instead of mpirun, or mpirun --bind-to none"
    crowd = _crowd(ranks)
    if crowd:
        return Finding("FAIL", "binding", f"{host}: ranks {', '.join(map(str, crowd))} are bound to the same core", unbound)
    quota = min(each.quota for each in ranks)
    if quota < min(len(ranks), len(usable)):
        return Finding("warning", "cores", f"{host}: {len(ranks)} playing share {quota:g} cores: a container's or a batch "
                       "system's quota", f"ask for more, or start {max(1, int(quota))} a host, plus rank 0")
    if len(usable) >= len(ranks):
        return Finding("ok", "cores", f"{host}: {len(ranks)} playing on {len(usable)} cores")
    if len(usable) < ranks[0].host_cores:
        return Finding("FAIL", "binding", f"{host}: {len(ranks)} playing may use {len(usable)} of "
                       f"{ranks[0].host_cores} cores", unbound)
    return Finding("warning", "cores", f"{host}: {len(ranks)} playing share {len(usable)} cores",
                   f"start {len(usable)} a host, plus rank 0, which only waits")


def _crowd(ranks: list[Facts]) -> list[int]:
    """Ranks bound to a single core that another one is bound to as well."""
    bound: dict[frozenset[int], list[int]] = defaultdict(list)
    for each in ranks:
        if len(each.cores) == 1:
            bound[each.cores].append(each.rank)
    return next((crowd for crowd in bound.values() if len(crowd) > 1), [])


def _threads(host: str, ranks: list[Facts]) -> Finding:
    many = sorted({each for rank in ranks for each in rank.threads})
    if many:
        return Finding("warning", "threads", f"{host}: {', '.join(many)}: ranks will fight for cores, and may round "
                       "differently", f"unset {' '.join(name for name in THREADS if name in os.environ) or THREADS[0]}")
    return Finding("ok", "threads", f"{host}: one per rank")


def _memory(host: str, ranks: list[Facts], rank_0_host: str) -> Finding:
    resident = sum(each.resident for each in ranks)
    available = min(each.available for each in ranks)  # with all ranks already there
    text = (f"{host}: {resident / len(ranks) / 2**20:.0f} MB per rank, {resident / 2**30:.1f} GB in all, "
            f"{available / 2**30:.1f} GB still free")
    if available < 2**28:
        return Finding("FAIL", "memory", text, "fewer ranks on this host: the kernel will kill some")
    return Finding("ok", "memory", text + (" (rank 0 comes on top)" if host == rank_0_host else ""))


def _speed(host: str, ranks: list[Facts]) -> Finding:
    rates = {each.rank: each.frames_per_second for each in ranks}
    median, slowest = float(np.median(list(rates.values()))), min(rates, key=lambda rank: rates[rank])
    text = (f"{host}: {sum(rates.values()):,.0f} frames per second, {median:,.0f} a rank, slowest rank {slowest} with "
            f"{rates[slowest]:,.0f}; {ranks[0].cpu}")
    if rates[slowest] * SLOW_FACTOR < median:
        return Finding("warning", "speed", text, "look what else runs on this host: top")
    return Finding("ok", "speed", text)


def _alike(facts: Sequence[Facts]) -> Finding:
    different = []
    for name in PACKAGES:
        versions = {dict(each.packages).get(name, "none") for each in facts}
        if len(versions) > 1:
            different.append(f"{name} {' and '.join(sorted(versions))}")
    if different:
        return Finding("FAIL", "versions", f"hosts have different packages: {', '.join(different)}",
                       "pip install -c constraints.txt on every host, or one virtual environment on a shared file system")
    kinds = list({each.arithmetic: each for each in facts}.values())
    if len(kinds) > 1:
        off = max(kinds[0].arithmetic.apart(each.arithmetic) for each in kinds[1:])
        text = f"{len(kinds)} kinds: {'; '.join(f'{each.arithmetic.on} (rank {each.rank})' for each in kinds)}"
        if not off <= FAR_APART:
            return Finding("FAIL", "processors", f"{text}: the same calculation is {off:.2g} off, so that es will stop",
                           "the same packages and the same world on all hosts")
        return Finding("warning", "processors", f"{text}: the same calculation differs by {off:.2g}",
                       "runs go on, but another start may give other last digits: use one kind to repeat a run to the digit")
    return Finding("ok", "versions", f"the same packages and processors everywhere (numpy "
                   f"{importlib.metadata.version('numpy')}, onnxruntime {importlib.metadata.version('onnxruntime')})")


def _shared(facts: Sequence[Facts]) -> Finding:
    blind = sorted({each.host for each in facts if not each.probe_seen})
    if blind:
        return Finding("warning", "shared files", f"{', '.join(blind)} cannot see the output directory",
                       "fine for es and evaluate if the world is there; collect needs a shared file system")
    return Finding("ok", "shared files", "all ranks see the output directory")


def _start(facts: Sequence[Facts]) -> Finding:
    slowest = max(facts, key=lambda each: each.start_seconds)
    text = f"first frame after {slowest.start_seconds:.1f} s on rank {slowest.rank} on {slowest.host}"
    if slowest.start_seconds > COMPILED_SECONDS:
        return Finding("warning", "engine cache", f"{text}: the engine was compiled",
                       "nothing if it was the first time; else let WM_MPI_CACHE name a directory that stays")
    return Finding("ok", "engine cache", text)
