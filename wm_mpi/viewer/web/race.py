"""You against the champion: its car beside a visitor's, from the same start on the same track."""

from typing import Any

from wm_mpi.core.seeding import EpisodeSeed
from wm_mpi.envs.fast.onlooker import Onlooker
from wm_mpi.viewer.episode import Session


class Race:
    """A champion's episode that goes on frame by frame with a visitor's."""

    def __init__(self, ghost: Session, seed: EpisodeSeed) -> None:
        """At the start; ``ghost`` is a session of the champion's own."""
        self._ghost = ghost
        ghost.reset(seed)

    def advance(self) -> None:
        """A frame; once the champion has ended, nothing."""
        self._ghost.advance()

    def finish(self) -> None:
        """Let the champion come to its end."""
        while not self._ghost.ended:
            self._ghost.advance()

    def told(self, onlooker: Onlooker) -> dict[str, Any]:
        """How the champion does, and where it is in the picture of the visitor's car, as JSON values."""
        about, ghost = self._ghost.score, self._ghost.onlooker
        assert ghost is not None
        return {"place": [round(each, 4) for each in onlooker.place(ghost.pose)], "total": round(about.total, 2),
                "frame": about.frame, "ended": about.ended, "lap": about.lap}
