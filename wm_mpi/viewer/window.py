"""A window in which the champion drives, or whoever presses an arrow key."""

import os
import sys
from collections.abc import Callable

os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
import pygame  # noqa: E402

from wm_mpi.core.errors import UserError  # noqa: E402
from wm_mpi.core.seeding import EpisodeSeed  # noqa: E402
from wm_mpi.viewer.drawing import Board  # noqa: E402
from wm_mpi.viewer.episode import Session, Sight  # noqa: E402
from wm_mpi.viewer.keyboard import follow  # noqa: E402

REST_SECONDS = 1.5
"""How long an episode's last picture stands still (seconds)."""
ARROWS = (pygame.K_LEFT, pygame.K_RIGHT, pygame.K_UP, pygame.K_DOWN)


class Window:
    """A session in a window. Space pauses, the arrow keys play while one is held, n begins the next episode, q quits."""

    sight: Sight
    """What is shown."""

    def __init__(self, session: Session, seeds: Callable[[int], EpisodeSeed], board: Board) -> None:
        """Open the window.

        Raises:
            UserError: there is no display.
        """
        if sys.platform == "linux" and not any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"))):
            raise UserError("--window needs a display, but $DISPLAY is not set: log in with ssh -X, or use "
                            "--video FILE.mp4, which needs no display")
        try:
            pygame.display.init()
            self._screen = pygame.display.set_mode(board.size, pygame.SCALED | pygame.RESIZABLE)
        except pygame.error as error:
            raise UserError(f"--window cannot be opened ({error}): use --video FILE.mp4, which needs no display") from None
        pygame.display.set_caption("wm_mpi")
        self._session, self._seeds, self._board = session, seeds, board
        self._look = session.show.look
        self._still = (0.0,) * len(session.show.look.grip)
        self._held: set[int] = set()
        self._wheel: tuple[float, ...] = self._still
        self._open, self._paused = True, False
        self._number = -1
        self._rest = self._most = round(REST_SECONDS * self._look.fps)
        self._next()

    def run(self) -> None:
        """Play one episode after another, until the window is closed."""
        clock = pygame.time.Clock()
        try:
            while self._open:
                self.tick()
                clock.tick(self._look.fps)
        finally:
            pygame.display.quit()

    def tick(self) -> None:
        """Heed the keys, play on by a frame, and draw it."""
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
            note = f"you {self._look.verb}" if self._held else ""
            self.sight = self._session.step(self._visitors_action() if self._held else None)
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
        elif event.type == pygame.KEYDOWN and event.key in ARROWS and self._look.grip:
            self._held.add(event.key)
        elif event.type == pygame.KEYUP:
            self._held.discard(event.key)
        elif event.type == pygame.WINDOWFOCUSLOST:
            self._held.clear()  # keys let go elsewhere are never reported

    def _visitors_action(self) -> tuple[float, ...]:
        left, right, up, down = (key in self._held for key in ARROWS)
        self._wheel = follow(self._wheel, (right - left, up, down), self._look.grip)
        return self._wheel

    def _next(self) -> None:
        self._number += 1
        self._seed = self._seeds(self._number)
        self.sight = self._session.reset(self._seed)
        self._rest, self._wheel = self._most, self._still

    def _draw(self, note: str) -> None:
        picture = self._board.draw(self.sight, f"{self._look.episode} {self._seed.track}", note)
        self._screen.blit(pygame.image.frombuffer(picture.tobytes(), self._board.size, "RGB"), (0, 0))
        pygame.display.flip()
