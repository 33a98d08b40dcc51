"""What a world can show beyond its policy: pictures of latents (V's decoder), and what M expects next.

Ranks need none of it: its graphs are built from ``vae.h5`` and ``rnn.h5`` of the world when somebody looks inside.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from wm_mpi.core.schema import Manifest
from wm_mpi.data.arrays import load_arrays
from wm_mpi.world.graph import build_decoder
from wm_mpi.world.graph_memory import build_memory
from wm_mpi.world.manifest import AGAIN, load_manifest, read_part
from wm_mpi.world.policy import open_session
from wm_mpi.world.weights import Weights, actions_of, hidden_of, latents_of


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

    def sample(self, row: int, temperature: float, rng: np.random.Generator) -> npt.NDArray[np.float32]:
        """A next z [32] drawn from one row's mixture; always as many numbers from ``rng``."""
        logits = self.logmix[row].astype(np.float64) / temperature
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        sums = weights.cumsum(axis=1)
        chosen = (rng.random((len(sums), 1)) * sums[:, -1:] >= sums[:, :-1]).sum(axis=1)
        latents = np.arange(len(sums))
        mean, logstd = self.mean[row, latents, chosen], self.logstd[row, latents, chosen]
        return (mean + np.exp(logstd) * math.sqrt(temperature) * rng.standard_normal(len(sums))).astype(np.float32)


class Inference:
    """V's decoder and M with all its heads, in fp32, or one of the two."""

    def __init__(self, vae: Weights | None = None, rnn: Weights | None = None) -> None:
        """Build what weights are given for."""
        self._decoder, self._memory = (
            None if weights is None else open_session(build(weights).SerializeToString())
            for weights, build in ((vae, build_decoder), (rnn, build_memory)))
        if rnn is not None:
            self.hidden = hidden_of(rnn)
            self.latents, self.actions = latents_of(rnn), actions_of(rnn)

    @classmethod
    def of(cls, world: str | Path) -> "Inference":
        """Both, from the weights that lie in a world.

        Raises:
            UserError: not a world, or damaged.
        """
        manifest = load_manifest(Path(world))
        return cls(*(weights_in(Path(world), manifest, name) for name in ("vae.h5", "rnn.h5")))

    def decode(self, z: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
        """Frames [B, 64, 64, 3] that latents [B, 32] stand for."""
        assert self._decoder is not None
        return self._decoder.run(["frames"], {"z": z})[0]

    def expect(self, z: npt.NDArray[np.float32], actions: npt.NDArray, h: npt.NDArray[np.float32],
               c: npt.NDArray[np.float32]) -> Forecast:
        """One step of M on latents [B, 32] and actions [B, 3] from state h, c [B, 256]."""
        assert self._memory is not None
        names = ["h_next", "c_next", "logmix", "mean", "logstd", "reward", "termination"]
        return Forecast(*self._memory.run(names, {"z": z, "actions": actions.astype(np.float32), "h": h, "c": c}))

    def dream(self, z: npt.NDArray[np.float32], actions: npt.NDArray, h: npt.NDArray[np.float32],
              c: npt.NDArray[np.float32], temperature: float, generators: Sequence[np.random.Generator],
              ) -> tuple[Forecast, npt.NDArray[np.float32]]:
        """One step of the paper's dream: ``expect``, and each row's next z [B, 32], drawn by its own generator."""
        said = self.expect(z, actions, h, c)
        drawn = [said.sample(row, temperature, rng) for row, rng in enumerate(generators)]
        return said, np.stack(drawn) if drawn else z


def weights_in(world: Path, manifest: Manifest, name: str) -> Weights:
    """Arrays of vae.h5 or rnn.h5 of a world.

    Raises:
        UserError: missing or damaged.
    """
    read_part(world, manifest, name)
    return load_arrays(world / name, AGAIN)[0]
