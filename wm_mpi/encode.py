"""Encode every collected frame with V: mean and log variance of z, on the same index, as latents.h5."""

from wm_mpi.core.cli import run_command
from wm_mpi.core.config import EncodeConfig

if __name__ == "__main__":
    run_command("encode", EncodeConfig)

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from wm_mpi.core.errors import UserError
from wm_mpi.core.progress import Progress, log
from wm_mpi.core.rundir import begin_directory
from wm_mpi.data.batches import frame_batches
from wm_mpi.data.datasets import Dataset, open_frames, open_latents, shown, write_latents
from wm_mpi.models.checkpoints import load_weights
from wm_mpi.models.training import backend, set_weights
from wm_mpi.models.vae import Vae

BUFFER_FRAMES = 8192
"""Frames that are read together, by all cores, while those before are encoded (12 KiB each)."""


def main(config: EncodeConfig) -> None:
    """Write ``latents.h5``, unless it is there already, of this V and these frames."""
    weights, about = load_weights(config.vae, "vae")
    latents = len(weights["encoder/mu/bias"])
    vae = Vae(latents)
    set_weights(vae, weights, f"{config.vae}/weights.h5")
    with open_frames(config.data) as data:
        data.require(shown(about["env"]), f"V in {config.vae}")
        out = Path(config.out)
        begin_directory(out, config.values(), config.changeable_fields())
        if made_before(out, data, about["sha256"]):
            print(f"finished before: latents in {out / 'latents.h5'}")
            return
        log.info(f"encoding {len(data):,} frames, {backend()}")
        write_latents(out / "latents.h5", data, encoded(vae, data, config.batch_size), latents, {"vae": about["sha256"]})
    print(f"finished: latents in {out / 'latents.h5'}")


def made_before(directory: Path, frames: Dataset, vae: str) -> bool:
    """Whether ``latents.h5`` is there, whole, of the same episodes and the V with this digest."""
    if not (directory / "latents.h5").exists():
        return False
    with contextlib.suppress(UserError), open_latents(directory) as latents:  # a damaged file is made anew
        return (latents.about == {**frames.about, "vae": vae}
                and np.array_equal(latents.identities(), frames.identities()))
    return False


def encoded(vae: Vae, data: Dataset, batch_size: int) -> Iterator[tuple[npt.NDArray, npt.NDArray]]:
    """(mu, logvar), float32 [B, 32] each, of all frames in row order."""
    with Progress(None, len(data), unit="frame", name="encode") as progress:
        for batch in frame_batches(data, np.arange(len(data.lengths)), batch_size, BUFFER_FRAMES, None):
            frames = batch.arrays["frames"]
            short = batch_size - len(frames)  # one shape, one compilation
            padded = np.pad(frames, ((0, short), (0, 0), (0, 0), (0, 0))) if short else frames
            mu, logvar = vae.encode(padded)
            yield mu[:len(frames)], logvar[:len(frames)]
            progress.advance(len(frames))
