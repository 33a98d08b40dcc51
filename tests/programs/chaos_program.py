"""es, with a blow at an exact moment: chaos_program.py MOMENT ARGUMENT -- the command line of es.

    broadcast R    rank R is killed in the middle of the broadcast of the third generation's candidates
    checkpoint G   everything is killed when generation G's checkpoint is written and not yet in its place
    raise R        rank R raises in its second run
    poison T       whoever plays task T of a run dies
    lie R          rank R answers with another number than it found
    graph R        rank R runs V, M and C without the graph's optimisations
    engine R       rank R compiles the engine for any processor of the family
    rough R        rank R computes the toy's actions in 32 bits
    hasty -        a rank counts as silent after 2 seconds, and says something every half
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import numba
import numpy as np
import onnxruntime

from wm_mpi.core import rundir
from wm_mpi.core.cli import run_command
from wm_mpi.core.config import EsConfig
from wm_mpi.es import main
from wm_mpi.pool import membership, transport, worker
from wm_mpi.rollout import worker as rollout
from wm_mpi.world import policy

moment, argument = sys.argv[1:3]
sys.argv = [sys.argv[0], *sys.argv[4:]]
rank = os.environ.get("OMPI_COMM_WORLD_RANK", "0")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def during_broadcast() -> None:
    send, pids = transport.Mail.send, {}
    hello, broadcasts = membership.Members._note, []

    def noting(self: Any, who: Any, message: Any) -> None:
        hello(self, who, message)
        pids[who.number] = who.pid

    def sending(self: Any, ranks: Any, kind: str, content: Any = None) -> None:
        ranks = list(ranks)
        if kind == "begin" and len(ranks) > 1:
            broadcasts.append(kind)
            if len(broadcasts) == 3:
                send(self, ranks[:1], kind, content)
                os.kill(pids[int(argument)], signal.SIGKILL)
                ranks = ranks[1:]
        send(self, ranks, kind, content)

    transport.Mail.send, membership.Members._note = sending, noting  # type: ignore[method-assign]


def during_checkpoint() -> None:
    replace = os.replace

    def replacing(source: Any, target: Any) -> None:
        if Path(target).name == f"{int(argument):06d}.ckpt":
            die()
        replace(source, target)

    rundir.os.replace = replacing  # type: ignore[attr-defined]


def at_assignment() -> None:
    """Blows on the worker's side, when an episode begins or ends."""
    run, runs = rollout.Rollout.run, []

    def running(self: Any, shared: Any, tasks: Any) -> Any:
        runs.append(1)
        if moment == "raise" and rank == argument and len(runs) == 2:
            raise RuntimeError("a fault of one rank")
        take = tasks.take

        def taking(wait: bool) -> Any:
            indexed = take(wait)
            if moment == "poison" and indexed is not None and indexed[0] == int(argument):
                die()
            return indexed

        tasks.take = taking
        for index, played in run(self, shared, tasks):
            yield index, played._replace(total=played.total + 1.0) if moment == "lie" and rank == argument else played

    rollout.Rollout.run = running  # type: ignore[method-assign]


def in_arithmetic() -> None:
    membership.LATECOMER_SECONDS = 300.0  # one that compiles its engine anew
    session, act = onnxruntime.InferenceSession, policy.VectorPolicy.act

    def plainly(graph: bytes, options: Any, **others: Any) -> Any:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        return session(graph, options, **others)

    def roughly(self: Any, observations: Any) -> Any:
        self._layers = [tuple(each.astype(np.float32) for each in layer) for layer in self._layers]
        return act(self, observations.astype(np.float32)).astype(np.float32).astype(np.float64)

    if rank == argument and moment == "engine":
        numba.config.CPU_NAME = "x86-64"
    if rank == argument and moment == "graph":
        onnxruntime.InferenceSession = plainly
    if rank == argument and moment == "rough":
        policy.VectorPolicy.act = roughly  # type: ignore[method-assign]


if moment == "broadcast":
    during_broadcast()
elif moment == "checkpoint":
    during_checkpoint()
elif moment in ("graph", "rough", "engine"):
    in_arithmetic()
elif moment == "hasty":
    membership.SILENT_SECONDS, worker.BEAT_SECONDS = 2.0, 0.5
else:
    at_assignment()
run_command("es", EsConfig, main)
