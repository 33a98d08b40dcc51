"""Train M on encoded episodes: Keras on GPU or CPU, streamed from disk, resumable after any epoch."""

from wm_mpi.core.cli import run_command
from wm_mpi.core.config import RnnConfig

if __name__ == "__main__":
    run_command("train_rnn", RnnConfig)

from pathlib import Path

from wm_mpi.core.progress import log
from wm_mpi.core.rundir import begin_directory
from wm_mpi.data.batches import long_enough, recalled, sequence_batches, split_episodes
from wm_mpi.data.datasets import open_latents
from wm_mpi.envs import game_of
from wm_mpi.models.checkpoints import load_weights, locate, resume, save, trained_on
from wm_mpi.models.rnn import MdnRnn
from wm_mpi.models.training import Trainer, backend, configure

CLIP = 1.0
"""Gradients are clipped to +-1, as in the paper's code."""


def main(config: RnnConfig) -> None:
    """Train, or go on after the last finished epoch."""
    configure(config.precision, config.seed, config.devices, config.batch_size, config.steps_per_call)
    with open_latents(config.data) as data:
        out = Path(config.out)
        start, origin = (None, None) if config.init is None else load_weights(config.init, "rnn")
        begin_directory(out, config.values(), config.changeable_fields())
        game, (latents, actions) = game_of(data.about["env"]), (data.read(name, 0, 1).shape[1] for name in ("mu", "actions"))
        train, held_out = split_episodes(len(data.lengths), config.validation, config.seed)
        train = long_enough(data, train, game.dropped_frames)
        sequence = min(config.sequence, int(data.lengths.max()))
        epochs = -(-config.steps // config.steps_per_epoch)
        checks = max(1, min(10, config.steps_per_epoch // 10))
        log.info(f"M: {len(data):,} steps, {len(train)} episodes to train on, {len(held_out)} held out, {backend()}")
        rnn = MdnRnn(latents, config.seed, config.hidden or game.hidden, actions, game.ending_weight)
        trainer = Trainer(rnn, config.learning_rate, out, CLIP, config.last_learning_rate, config.steps_per_call)
        done = resume(trainer, out, data, start)
        about = {"kind": "rnn", "vae": data.about["vae"],
                 "trained_on": trained_on(data, train if epochs else train[:0], origin)}
        source = recalled(data)
        if epochs == done == 0:
            save(trainer, out, 0, data, about)
        for epoch in range(done + 1, epochs + 1):
            trainer.epoch(
                epoch, epochs,
                sequence_batches(source, train, config.batch_size, sequence, config.steps_per_epoch, (config.seed, epoch)),
                config.steps_per_epoch,
                sequence_batches(source, held_out, config.batch_size, sequence, checks, (config.seed, 0)), checks,
                lambda rows: locate(data, rows))
            save(trainer, out, epoch, data, about)
        print(f"finished: {max(done, epochs)} epochs, weights in {out / 'weights.h5'}")
