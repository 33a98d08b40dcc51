"""Records what episodes show, each into a file of its own when it ends."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from wm_mpi.data.episodes import Episode, write_episode
from wm_mpi.envs.frame import Cut
from wm_mpi.rollout.worker import Task


class EpisodeRecorder:
    """A ``rollout.Recorder`` that writes episode files; memory holds the running episodes only (12 KiB a frame)."""

    def __init__(self, width: int, path_of: Callable[[int], Path], cut: Cut | None = None) -> None:
        """For ``width`` slots; ``path_of`` gives an episode number's file; of a game's own pictures
        what ``cut`` makes of them is kept.
        """
        self._cut = cut
        self.numbers: Sequence[int] = ()
        """Episode number of each task index; set before a run."""
        self._path_of = path_of
        self._steps: list[list[tuple[npt.NDArray, npt.NDArray, float, bool]]] = [[] for _ in range(width)]

    def begin(self, slot: int) -> None:
        """Forget what an unfinished episode left in this slot."""
        self._steps[slot] = []

    def step(self, slot: int, frame: npt.NDArray, action: npt.NDArray, reward: float, terminated: bool) -> None:
        """Keep one step."""
        kept = frame.copy() if self._cut is None else self._cut(frame[None])[0]
        self._steps[slot].append((kept, action, reward, terminated))

    def finish(self, slot: int, index: int, task: Task) -> None:
        """Write the episode and forget it."""
        frames, actions, rewards, terminated = zip(*self._steps[slot], strict=True)
        self._steps[slot] = []
        number = self.numbers[index]
        write_episode(self._path_of(number), Episode(
            number=number, seed=task.seed.track, frames=np.stack(frames), actions=np.array(actions, np.float32),
            rewards=np.array(rewards, np.float32), terminated=np.array(terminated, np.bool_)))
