"""ViZDoom's Take Cover, headless: monsters throw fireballs, the player may step to the left or to the right.

Settings are those of the paper's environment (gym's DoomTakeCover-v0) as it was in effect: skill 4, begun at tic 14, at most
2,100 tics, one point for each. The engine, the scenario and Freedoom's graphics come with the package ``vizdoom``.
"""

import contextlib
import os
import tempfile
from importlib import metadata
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt

from wm_mpi.core.errors import UserError

HEIGHT, WIDTH = 120, 160
SHOWN_ROWS = 100
"""Rows above the status bar, which V sees: 400 of 480 in the paper's code."""
LARGE = 4
"""How many times larger, each way, the pictures of the paper's code are."""
SKILL, START = 4, 14
STEP_ASIDE = 1 / 3
"""An action below minus this is a step to the left, above it one to the right, and nothing between, as the paper has it."""


def doom_id() -> str:
    """Environment id with the version of its package."""
    return f"VizdoomTakeCover (vizdoom {metadata.version('vizdoom')})"


class TakeCover(gymnasium.Env):
    """Pictures uint8 [120, 160, 3]; an action is one number, -1 to 1. An episode is a function of its seed and actions.

    Large pictures are [480, 640, 3].
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 35}
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self, large: bool = False) -> None:
        """Start the engine, which is a process of its own; ``large``: with pictures as the paper's code had them.

        Raises:
            UserError: ViZDoom is not installed.
        """
        try:
            import vizdoom
        except ImportError as error:
            raise UserError(f"--env doom cannot be used here ({error}): pip install 'wm_mpi[doom]'") from None
        height, width = (LARGE * HEIGHT, LARGE * WIDTH) if large else (HEIGHT, WIDTH)
        self.observation_space = gymnasium.spaces.Box(0, 255, (height, width, 3), np.uint8)
        self.render_mode = "rgb_array"
        self._game = game = vizdoom.DoomGame()
        game.load_config(os.path.join(vizdoom.scenarios_path, "take_cover.cfg"))
        game.set_window_visible(False)
        game.set_screen_format(vizdoom.ScreenFormat.RGB24)
        game.set_screen_resolution(getattr(vizdoom.ScreenResolution, f"RES_{width}X{height}"))
        game.set_doom_skill(SKILL)
        game.set_episode_start_time(START)
        game.set_episode_timeout(0)  # a wrapper's affair
        game.set_doom_config_path(os.devnull)  # else it writes one where it is started, and complains at its end
        with tempfile.TemporaryDirectory() as elsewhere, contextlib.chdir(elsewhere):  # it leaves files where it is started
            game.init()
        self._picture = np.zeros((height, width, 3), np.uint8)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[npt.NDArray, dict]:
        """Begin the episode of ``seed``."""
        super().reset(seed=seed)
        self._game.set_seed(int(self.np_random.integers(2**31)))
        self._game.new_episode()
        return self._look(), {}

    def step(self, action: npt.ArrayLike) -> tuple[npt.NDArray, float, bool, bool, dict]:
        """Play one tic (1/35 s)."""
        aside = float(np.asarray(action).reshape(-1)[0])
        reward = self._game.make_action([aside < -STEP_ASIDE, aside > STEP_ASIDE])
        dead = self._game.is_episode_finished()
        return self._look(), float(reward), dead, False, {}

    def _look(self) -> npt.NDArray[np.uint8]:
        """The picture; after the end there is none, and the last one stands."""
        state = self._game.get_state()
        if state is not None:
            self._picture = state.screen_buffer
        return self._picture.copy()

    def render(self) -> npt.NDArray[np.uint8]:  # type: ignore[override]
        """What was last seen."""
        return self._picture.copy()

    def close(self) -> None:
        """Stop the engine."""
        self._game.close()
