"""The champion of a run, also of one in progress, and the sessions that it plays."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from wm_mpi.core.errors import UserError
from wm_mpi.core.schema import Champion as Recorded
from wm_mpi.core.seeding import EpisodeSeed, track_seed
from wm_mpi.core.terminal import shown
from wm_mpi.data.arrays import load_arrays
from wm_mpi.evolution.champion import Trained, load_trained
from wm_mpi.evolution.means import kept_generations, load_mean
from wm_mpi.viewer.episode import Picture, Session, Show, Sight
from wm_mpi.viewer.session import Part, open_session
from wm_mpi.viewer.web.runs import Runs
from wm_mpi.world.manifest import load_manifest

MOST_KNOBS, TELLS = 16, 0.05
"""Latents that a visitor may set (count), of those that tell more than this (nats)."""


class Champion(NamedTuple):
    """What ``champion.h5`` held when it was read."""

    parameters: npt.NDArray[np.float64]
    """Shape (P,)."""
    generation: int
    validation: float | None
    """Mean return over the validation tracks (points), before the first validation None."""


class Source(Protocol):
    """Where a viewer gets what it shows; tests put another in its place."""

    title: str
    max_frames: int
    temperature: float
    """Of dreams, until a visitor wants another."""
    knobs: Sequence[int]
    """The latents that tell most of a frame, in the order of how much."""

    def latest(self) -> Champion:
        """The champion as of now."""

    def kept(self) -> Sequence[int]:
        """The generations of which the mean can be shown as well."""

    def mean(self, generation: int) -> Champion:
        """The mean of a generation that is kept.

        Raises:
            UserError: it is not.
        """

    def car(self, champion: Champion, place: str) -> Session:
        """A new session, in the game ("road": CarRacing's) or in a "dream"."""

    def seed(self, track: int) -> EpisodeSeed:
        """The episode on a track."""


class RunSource:
    """A run's champion, read again whenever es has written a new one. Safe to use from many threads."""

    def __init__(self, trained: Trained, temperature: float | None = None) -> None:
        """Follow a run, whose champion dreams at this temperature, or at the run's own.

        Raises:
            UserError: its champion has gone.
        """
        path = trained.run.path.resolve()
        self.title, self.max_frames = shown(f"{path.parent.name}/{path.name}"), trained.spec.max_frames
        self._trained, self._part = trained, Part.of(trained, temperature)
        self.temperature, self.knobs = self._part.temperature, latents_in_use(trained.world)
        self._lock = threading.Lock()
        self._stamp = self._stamp_now()
        self._champion = self._load()

    def latest(self) -> Champion:
        """The newest champion that can be read: es replaces the file whole, so a failure is the file system's."""
        with self._lock:
            stamp = self._stamp_now()
            if stamp is not None and stamp != self._stamp:
                try:
                    self._champion, self._stamp = self._load(), stamp
                except UserError:
                    pass  # what drove before drives on; the next episode tries again
            return self._champion

    def kept(self) -> Sequence[int]:
        """The generations of which the mean is there."""
        return kept_generations(self._trained.run)

    def mean(self, generation: int) -> Champion:
        """A generation's mean."""
        parameters, about = load_mean(self._trained.run, generation)
        return Champion(parameters, about["generation"], about["validation_mean"])

    def car(self, champion: Champion, place: str) -> Session:
        """A new session.

        Raises:
            UserError: the world has moved or is damaged, or there is none to dream with.
        """
        with self._lock:  # the first one compiles the engine
            return open_session(replace(self._part, parameters=champion.parameters), place == "dream")

    def seed(self, track: int) -> EpisodeSeed:
        """``reset(seed=track)``, with noise of its own."""
        return track_seed(self._trained.settings["seed"], track)

    def _load(self) -> Champion:
        path = self._trained.run.champion
        arrays, about = load_arrays(path, f"{path.parent} has no champion yet: let es finish a generation first", Recorded,
                                    ("parameters",))
        return Champion(arrays["parameters"], about["generation"], about["validation_mean"])

    def _stamp_now(self) -> tuple[int, int] | None:
        try:
            status = self._trained.run.champion.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_ino


def latents_in_use(world: str | None) -> Sequence[int]:
    """The latents that tell most of a frame, ``MOST_KNOBS`` at most."""
    kl = np.array([] if world is None else load_manifest(Path(world)).get("kl", []))
    return [int(place) for place in np.argsort(-kl)[:MOST_KNOBS] if kl[place] > TELLS]


def open_source(run: Path) -> Source:
    """A run's champion, as the run has it.

    Raises:
        UserError: it has none yet, or its world has gone.
    """
    return RunSource(load_trained(str(run), env=None, world=None, max_frames=None, lap_complete_percent=None,
                                  deterministic=None))


class Sources:
    """The champion that watch was started for, and those of the other runs that are found, each opened when it is wanted."""

    def __init__(self, first: Source, runs: Runs | None, opened: Callable[[Path], Source] = open_source) -> None:
        self.first, self.runs = first, runs
        self._opened, self._known, self._lock = opened, dict[Path, Source](), threading.Lock()

    def named(self, name: str) -> Source:
        """The source of a run that is listed under this name.

        Raises:
            UserError: there is none, or it cannot be shown.
        """
        path = None if self.runs is None else self.runs.path(name)
        if path is None:
            raise UserError("there is no such run here")
        if self.runs is not None and path == self.runs.watched:
            return self.first
        with self._lock:
            if path not in self._known:
                self._known[path] = self._opened(path)
            return self._known[path]


def presented(show: Show, picture: Picture, temperature: float) -> dict[str, Any]:
    """What a page must know of a session, as JSON values; ``picture`` is what it will draw of the game, ``temperature``
    that of its dreams.
    """
    height, width, _ = picture.shape
    look = show.look
    return {"title": look.title, "verb": look.verb, "place": look.scene, "scene": show.scene, "episode": look.episode,
            "width": width, "height": height, "views": [name for name, _ in show.views], "latents": show.latents,
            "keys": len(look.grip), "fps": look.fps, "temperature": temperature,
            "gauges": [gauge._asdict() for gauge in show.gauges]}


def caption(sight: Sight) -> dict[str, float | int | bool | list[float]]:
    """The numbers of a sight as JSON values, rounded to what a page shows."""
    return {"frame": int(sight.frame), "total": round(float(sight.total), 2), "reward": round(float(sight.reward), 2),
            "action": [round(float(each), 3) for each in sight.action], "ended": bool(sight.ended), "lap": bool(sight.lap)}
