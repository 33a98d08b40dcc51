"""A window in which the champion drives, or whoever presses an arrow key."""

import os
import sys
from collections.abc import Sequence

os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
import pygame  # noqa: E402

from wm_mpi.core.errors import UserError  # noqa: E402
from wm_mpi.core.seeding import EpisodeSeed  # noqa: E402
from wm_mpi.viewer.drawing import SIZE, Board  # noqa: E402
from wm_mpi.viewer.keyboard import follow  # noqa: E402
from wm_mpi.viewer.session import Drive, Sight  # noqa: E402

FRAMES_PER_SECOND = 50
"""The environment's own frames per second."""
REST_FRAMES = 75
"""How long an episode's last picture stands still (frames)."""
ARROWS = (pygame.K_LEFT, pygame.K_RIGHT, pygame.K_UP, pygame.K_DOWN)


class Window:
    """One car in a window. Space pauses, the arrow keys drive while one is held, n begins the next track, q quits."""

    sight: Sight
    """What is shown."""

    def __init__(self, car: Drive, seeds: Sequence[EpisodeSeed], board: Board) -> None:
        """Open the window.

        Raises:
            UserError: there is no display.
        """
        if sys.platform == "linux" and not any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"))):
            raise UserError("--window needs a display, but $DISPLAY is not set: log in with ssh -X, or use "
                            "--video FILE.mp4, which needs no display")
        try:
            pygame.display.init()
            self._screen = pygame.display.set_mode(SIZE, pygame.SCALED | pygame.RESIZABLE)
        except pygame.error as error:
            raise UserError(f"--window cannot be opened ({error}): use --video FILE.mp4, which needs no display") from None
        pygame.display.set_caption("wm_mpi")
        self._car, self._seeds, self._board = car, seeds, board
        self._held: set[int] = set()
        self._wheel = (0.0, 0.0, 0.0)
        self._open, self._paused = True, False
        self._number = -1
        self._rest = REST_FRAMES
        self._next()

    def run(self) -> None:
        """Drive the tracks over and over, until the window is closed."""
        clock = pygame.time.Clock()
        try:
            while self._open:
                self.tick()
                clock.tick(FRAMES_PER_SECOND)
        finally:
            pygame.display.quit()

    def tick(self) -> None:
        """Heed the keys, drive on by a frame, and draw it."""
        for event in pygame.event.get():
            self._heed(event)
        if self._paused or not self._open:
            note = "paused"
        elif self.sight.ended:
            note = ""
            self._rest -= 1
            if self._rest == 0:
                self._next()
        else:
            note = "you drive" if self._held else ""
            self.sight = self._car.step(self._visitors_action() if self._held else None)
            if not self._held:
                self._wheel = self.sight.action  # whoever takes over takes over from here
        self._draw(note)

    def _heed(self, event: pygame.event.Event) -> None:
        if event.type == pygame.QUIT or (event.type == pygame.KEYDOWN and event.key in (pygame.K_q, pygame.K_ESCAPE)):
            self._open = False
        elif event.type == pygame.KEYDOWN and event.key == pygame.K_SPACE:
            self._paused = not self._paused
        elif event.type == pygame.KEYDOWN and event.key == pygame.K_n:
            self._next()
        elif event.type == pygame.KEYDOWN and event.key in ARROWS:
            self._held.add(event.key)
        elif event.type == pygame.KEYUP:
            self._held.discard(event.key)
        elif event.type == pygame.WINDOWFOCUSLOST:
            self._held.clear()  # keys let go elsewhere are never reported

    def _visitors_action(self) -> tuple[float, float, float]:
        left, right, up, down = (key in self._held for key in ARROWS)
        self._wheel = follow(self._wheel, (right - left, up, down))
        return self._wheel

    def _next(self) -> None:
        self._number += 1
        self._seed = self._seeds[self._number % len(self._seeds)]
        self.sight = self._car.reset(self._seed)
        self._rest, self._wheel = REST_FRAMES, (0.0, 0.0, 0.0)

    def _draw(self, note: str) -> None:
        picture = self._board.draw(self.sight, f"track {self._seed.track}", note)
        self._screen.blit(pygame.image.frombuffer(picture.tobytes(), SIZE, "RGB"), (0, 0))
        pygame.display.flip()
