"""What a world can show beyond its policy: pictures of latents (V's decoder), and what M expects next.

Ranks need none of it: its graphs are built from ``vae.h5`` and ``rnn.h5`` of the world when somebody looks inside.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from wm_mpi.datasets import load_arrays
from wm_mpi.graph import build_decoder, build_memory
from wm_mpi.policy import load_manifest, open_session, read_part


class Forecast(NamedTuple):
    """What M expects after a step, for B rows."""

    h: npt.NDArray[np.float32]
    c: npt.NDArray[np.float32]
    """M's next state [B, 256]."""
    logmix: npt.NDArray[np.float32]
    mean: npt.NDArray[np.float32]
    logstd: npt.NDArray[np.float32]
    """The mixture of the next z [B, 32, 5]; the weights' logarithms are normalised."""
    reward: npt.NDArray[np.float32]
    """Expected reward [B] (points)."""
    termination: npt.NDArray[np.float32]
    """Logit of the episode's end [B]."""

    def likeliest(self) -> npt.NDArray[np.float32]:
        """The next z [B, 32] in short: each latent's mean in its likeliest component."""
        best = self.logmix.argmax(axis=-1, keepdims=True)
        return np.take_along_axis(self.mean, best, axis=-1)[..., 0]


class Insight:
    """V's decoder and M with all its heads, of a world, in fp32."""

    def __init__(self, world: str | Path) -> None:
        """Build both from the weights that lie in the world.

        Raises:
            UserError: not a world, or damaged.
        """
        world = Path(world)
        manifest = load_manifest(world)
        self.latents, self.hidden = int(manifest["shapes"]["latents"]), int(manifest["shapes"]["hidden"])
        self._decoder = open_session(build_decoder(_weights(world, manifest, "vae.h5")).SerializeToString())
        self._memory = open_session(build_memory(_weights(world, manifest, "rnn.h5")).SerializeToString())

    def decode(self, z: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
        """Frames [B, 64, 64, 3] that latents [B, 32] stand for."""
        return self._decoder.run(["frames"], {"z": z})[0]

    def expect(self, z: npt.NDArray[np.float32], actions: npt.NDArray, h: npt.NDArray[np.float32],
               c: npt.NDArray[np.float32]) -> Forecast:
        """One step of M on latents [B, 32] and actions [B, 3] from state h, c [B, 256]."""
        names = ["h_next", "c_next", "logmix", "mean", "logstd", "reward", "termination"]
        return Forecast(*self._memory.run(names, {"z": z, "actions": actions.astype(np.float32), "h": h, "c": c}))


def _weights(world: Path, manifest: dict[str, Any], name: str) -> dict[str, npt.NDArray]:
    read_part(world, manifest, name)
    return load_arrays(world / name, "run python -m wm_mpi.freeze again to rebuild it")[0]
