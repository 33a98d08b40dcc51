"""Train V on collected frames: Keras on GPU or CPU, streamed from disk, resumable after any part of a pass."""

from wm_mpi.core.cli import run_command
from wm_mpi.core.config import VaeConfig

if __name__ == "__main__":
    run_command("train_vae", VaeConfig)

from pathlib import Path

from wm_mpi.core.progress import log
from wm_mpi.core.rundir import begin_directory
from wm_mpi.data.batches import frame_batches, frame_steps, long_enough, split_episodes
from wm_mpi.data.datasets import open_frames
from wm_mpi.envs import game_of
from wm_mpi.envs.frame import bar_row
from wm_mpi.models.checkpoints import load_weights, locate, resume, save, trained_on
from wm_mpi.models.training import Trainer, backend, configure
from wm_mpi.models.vae import Vae

BAR_WEIGHT = 10.0
"""The bar of instruments has an eighth of the pixels, and all that tells the speed."""


def main(config: VaeConfig) -> None:
    """Train, or go on after the last finished epoch, which is a pass over the frames or a part of one."""
    configure(config.precision, config.seed, config.devices, config.batch_size, config.steps_per_call)
    with open_frames(config.data) as data:
        out = Path(config.out)
        start, origin = (None, None) if config.init is None else load_weights(config.init, "vae")
        begin_directory(out, config.values(), config.changeable_fields())
        game = game_of(data.about["env"])
        train, held_out = split_episodes(len(data.lengths), config.validation, config.seed)
        train = long_enough(data, train, game.dropped_frames)
        steps, checks = (frame_steps(data, each, config.batch_size, config.parts) for each in (train, held_out))
        log.info(f"V: {len(data):,} frames, {len(train)} episodes to train on, {len(held_out)} held out, {backend()}")
        bar_weight = BAR_WEIGHT if config.bar_weight is None else config.bar_weight
        latents = config.latents or game.latents
        vae = Vae(latents, config.kl_tolerance, config.seed, (bar_row(data.frame), bar_weight))
        trainer = Trainer(vae, config.learning_rate, out, last=config.last_learning_rate, at_once=config.steps_per_call)
        done = resume(trainer, out, data, start)
        about = {"kind": "vae", "kl_tolerance": config.kl_tolerance, "bar_weight": bar_weight,
                 "trained_on": trained_on(data, train, origin)}
        epochs = config.epochs * config.parts
        for epoch in range(done + 1, epochs + 1):
            passed, part = divmod(epoch - 1, config.parts)
            trainer.epoch(
                epoch, epochs,
                frame_batches(data, train, config.batch_size, config.buffer_frames, (config.seed, passed + 1),
                              (part, config.parts)), steps,
                frame_batches(data, held_out, config.batch_size, config.buffer_frames, None, (0, config.parts)), checks,
                lambda rows: locate(data, rows))
            save(trainer, out, epoch, data, about)
        print(f"finished: {max(done, epochs)} epochs, weights in {out / 'weights.h5'}")
