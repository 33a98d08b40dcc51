"""One visitor and one car: the loop that drives it, sends pictures and heeds wishes."""

import base64
import dataclasses
import io
import json
import struct
import time
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from wm_mpi.core.seeding import EpisodeSeed
from wm_mpi.viewer.drawing import fitted
from wm_mpi.viewer.episode import Picture, Session
from wm_mpi.viewer.imagination import SECONDS, branches, what_if
from wm_mpi.viewer.keyboard import follow
from wm_mpi.viewer.web.controls import Wishes, read
from wm_mpi.viewer.web.race import Race
from wm_mpi.viewer.web.source import Source, caption, presented

LARGEST = (600, 400)
"""Width and height that a game's picture fills as far as its shape allows."""
PICTURES_UNDER_WAY = 3
"""Most pictures on their way to a visitor; those that a slow one has no time for are never made (count)."""
UNSEEN_SECONDS = 5.0
"""How long a car drives on that nobody looks at (a page in the background draws nothing; seconds)."""
MESSAGES_PER_FRAME = 8
"""A visitor who sends more than this must wait for the next frame (count)."""
REST_SECONDS = 1.5
"""How long the last picture of an episode stands still (seconds)."""


class Line(Protocol):
    """What a viewer needs of a WebSocket connection."""

    def recv(self, timeout: float | None = None) -> str | bytes:
        """The next message; TimeoutError if none comes."""

    def send(self, message: str | bytes) -> None:
        """Send a text or binary message."""


class Viewer:
    """A car for one visitor. ``run`` returns by an exception only: the connection's, when the visitor goes."""

    def __init__(self, line: Line, source: Source) -> None:
        self._line, self._source = line, source
        self._wishes = Wishes(temperature=source.temperature)
        self._champion = source.latest()
        self._place = self._wishes.place
        self._car = source.car(self._champion, self._place)
        self._look = self._car.show.look
        self._sent, self._sent_at, self._owed, self._told = 0, 0.0, False, False
        self._race: Race | None = None
        self._rival: Session | None = None
        self._alone = False
        self._branches: dict[str, Any] | None = None
        self._car.reset(source.seed(self._wishes.track))
        self._wheel = self._car.action
        self._due = 0.0

    def run(self) -> None:
        """Drive and listen, until the connection is closed.

        Raises:
            ValueError: a message that is no wish, as a sentence.
            UserError: the world has gone.
        """
        self._show()
        while True:
            self._listen()
            self._tick()

    def _listen(self) -> None:
        """Heed messages until the next frame is due, also then those that are here already, but not forever."""
        heeded = 0
        while (wait := self._wait()) is None or wait > 0 or heeded < MESSAGES_PER_FRAME:
            try:
                self._heed(read(self._line.recv(None if wait is None else max(0.0, wait))))
                heeded += 1
            except TimeoutError:
                return

    def _wait(self) -> float | None:
        """Until the next frame is due (seconds); None while the car stands still."""
        now = time.monotonic()
        looked_at = not self._owed or now - self._sent_at < UNSEEN_SECONDS
        return self._due - now if looked_at and not self._wishes.paused else None

    def _heed(self, wanted: dict[str, Any]) -> None:
        self._wishes = wishes = dataclasses.replace(self._wishes, **wanted)
        if wishes.place != self._place or "track" in wanted or "generation" in wanted or wishes.restart:
            self._begin()
        elif wishes.step and wishes.paused:
            self._tick()
        elif "imagine" in wanted:
            self._car.imagine(wishes.imagine)
            self._show()
        if wishes.latents:
            self._bend(wishes.latents)
        if wishes.branch:
            self._branch()
        wishes.step = wishes.restart = wishes.branch = False
        wishes.latents = {}
        if self._owed and self._sent - wishes.drawn < PICTURES_UNDER_WAY:
            self._show()

    def _begin(self) -> None:
        """An episode, with the newest champion or the generation that is wished for."""
        wished = self._wishes.generation
        champion = self._source.mean(wished) if wished else self._source.latest()
        if champion.generation != self._champion.generation or self._wishes.place != self._place:
            self._champion, self._place = champion, self._wishes.place
            self._car, self._told, self._rival = self._source.car(champion, self._place), False, None
        seed = self._source.seed(self._wishes.track)
        self._car.reset(seed)
        self._wheel, self._wishes.imagine = self._car.action, False
        self._alone = self._wishes.driver == "visitor" and bool(self._look.grip)
        self._race = self._line_up(seed) if self._alone and self._car.onlooker is not None else None
        self._show()
        self._due = time.monotonic()

    def _line_up(self, seed: EpisodeSeed) -> Race:
        """The champion beside the visitor."""
        if self._rival is None:
            self._rival = self._source.car(self._champion, self._place)
        return Race(self._rival, seed)

    def _bend(self, latents: dict[int, float]) -> None:
        """Dream other numbers of z, of those that there are."""
        z = self._car.latents()
        if z is not None and not self._car.ended:
            self._car.bend({place: value for place, value in latents.items() if place < len(z)})
            self._show()

    def _branch(self) -> None:
        """Send what would come if other things were done from here."""
        moment, look = self._car.moment, self._look
        choices = branches(self._car.control, look, self._car.action)
        if moment is None or not choices:
            return
        frames = round(SECONDS * look.fps)
        actions = np.array([each.action for each in choices])
        strips = what_if(moment, actions, self._wishes.temperature, frames, self._wishes.track)
        count, moments, edge, _, _ = strips.shape
        sheet = strips.transpose(0, 2, 1, 3, 4).reshape(count * edge, moments * edge, 3)
        self._branches = {"labels": [each.label for each in choices], "seconds": SECONDS, "moments": moments,
                          "frame": self._car.score.frame, "picture": base64.b64encode(jpeg(sheet)).decode()}
        self._show()

    def _tick(self) -> None:
        """One frame; after an ended episode, the next track's first."""
        if self._car.ended:
            self._wishes.track += 1
            self._begin()
            return
        if self._place == "dream":
            self._car.temperature = self._wishes.temperature
        action = self._visitors_action()
        self._car.advance(action)
        self._alone = self._alone and action is not None
        if self._race is not None:
            self._race.advance()
            if self._car.ended:
                self._race.finish()
        self._show()
        pause = REST_SECONDS if self._car.ended else 1 / (self._look.fps * self._wishes.speed)
        self._due = max(self._due + pause, time.monotonic())  # a machine that is too slow owes nothing

    def _visitors_action(self) -> tuple[float, ...] | None:
        """What the visitor does; None while the champion drives."""
        if self._wishes.driver == "champion" or not self._look.grip:
            self._wheel = self._car.action  # whoever takes over takes over from here
            return None
        self._wheel = follow(self._wheel, self._wishes.wheel, self._look.grip)
        return self._wheel

    def _show(self) -> None:
        """Send a picture, unless the visitor has not drawn the ones before: then the newest one follows when it has."""
        self._owed = self._sent - self._wishes.drawn >= PICTURES_UNDER_WAY
        if self._owed:
            return
        self._sent, self._sent_at = self._sent + 1, time.monotonic()
        sight, show = self._car.sight(), self._car.show
        picture = np.asarray(fitted(sight.road, *LARGEST))
        about: dict[str, Any] = {**caption(sight), "number": self._sent, "max_frames": self._source.max_frames,
                 "run": self._source.title, "generation": self._champion.generation, "validation": self._champion.validation,
                 "track": self._wishes.track, "place": self._place,
                 "driver": self._wishes.driver if self._look.grip else "champion"}
        about |= self._told_beside()
        if not self._told:
            about["show"] = presented(show, picture, self._wishes.temperature) | {
                "kept": list(self._source.kept()), "knobs": list(self._source.knobs) if "z" in about else [],
                "branches": self._car.moment is not None and bool(branches(self._car.control, self._look, self._car.action)),
                "cars": self._car.onlooker is not None}
            self._told = True
        self._line.send(pack(about, jpeg(composed(picture, [getattr(sight, name) for name, _ in show.views]))))


    def _told_beside(self) -> dict[str, Any]:
        """What only some sessions have: tiles, the champion's car, latents, branches."""
        about: dict[str, Any] = {"alone": self._alone, "imagined": self._car.imagined_frames}
        onlooker, z = self._car.onlooker, self._car.latents()
        if onlooker is not None and self._place != "dream":
            about |= {"tiles": onlooker.tiles, "off": onlooker.off_road}
            if self._race is not None and self._wishes.driver == "visitor":
                about["race"] = self._race.told(onlooker)
        if z is not None:
            about["z"] = [round(float(z[place]), 2) for place in self._source.knobs]
        if self._branches is not None:
            about["branches"], self._branches = self._branches, None
        return about


def composed(game: Picture, views: Sequence[Picture]) -> Picture:
    """All pictures in one, CarRacing's [528, 600, 3]: decoding one costs a browser half as much as decoding two.

    The small ones lie side by side below the game, each pixel as 2 x 2, because JPEG keeps colours at half the resolution.
    """
    if not views:
        return game
    height, width, _ = game.shape
    minds = np.hstack(views)
    rows, columns, _ = minds.shape
    picture = np.zeros((height + 2 * rows, max(width, 2 * columns), 3), np.uint8)
    picture[:height, :width] = game
    picture[height:, :2 * columns].reshape(rows, 2, columns, 2, 3)[:] = minds[:, None, :, None]
    return picture


def jpeg(picture: npt.NDArray[np.uint8]) -> bytes:
    """A picture [height, width, 3] as JPEG."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=90)
    return file.getvalue()


def pack(about: dict[str, Any], picture: bytes) -> bytes:
    """A message: the length of ``about`` as JSON (uint32, big-endian), the JSON and the picture."""
    text = json.dumps(about).encode()
    return struct.pack(">I", len(text)) + text + picture
