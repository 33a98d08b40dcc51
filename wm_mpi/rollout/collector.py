"""The two workers of a rank that collects: one plays episodes into files, one packs such files into shards."""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from gymnasium.vector import VectorEnv

from wm_mpi.data.collection import Collection
from wm_mpi.envs.frame import Cut
from wm_mpi.pool import Tasks
from wm_mpi.rollout.recorder import EpisodeRecorder
from wm_mpi.rollout.worker import Played, Rollout
from wm_mpi.world.policy import Policy


class Player:
    """Plays episodes, each into a file of its own."""

    def __init__(self, env: VectorEnv, policy: Policy, collection: Collection, cut: Cut | None = None) -> None:
        """Play with ``env`` and ``policy``; of a game's own pictures what ``cut`` makes of them is kept.

        Raises:
            UserError: the policy's actions are not finite.
        """
        self._recorder = EpisodeRecorder(env.num_envs, collection.episode, cut)
        self._rollout = Rollout(env, policy, self._recorder)
        self.capacity, self.arithmetic = self._rollout.capacity, self._rollout.arithmetic

    def run(self, shared: tuple[npt.NDArray[np.float64], Sequence[int]], tasks: Tasks) -> Iterator[tuple[int, Played]]:
        """Play tasks with parameters [candidates, parameters]; with them come the episodes' numbers, one a task."""
        parameters, self._recorder.numbers = shared
        yield from self._rollout.run(parameters, tasks)


class Packer:
    """Packs episodes into shards."""

    capacity = 1
    arithmetic = None

    def __init__(self, collection: Collection) -> None:
        self._collection = collection

    def run(self, shared: None, tasks: Tasks) -> Iterator[tuple[int, None]]:
        """Write the shards whose numbers are the tasks."""
        while (indexed := tasks.take(wait=True)) is not None:
            index, shard = indexed
            self._collection.pack(shard)
            yield index, None
