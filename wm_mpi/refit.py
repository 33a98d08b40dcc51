"""Carry a champion over to another world, whose V and M have been trained on, for es to go on from."""

from wm_mpi.cli import run_command
from wm_mpi.config import RefitConfig

if __name__ == "__main__":
    run_command("refit", RefitConfig)

import shlex
from pathlib import Path

from wm_mpi.batches import split_episodes
from wm_mpi.datasets import open_frames, save_arrays
from wm_mpi.errors import UserError
from wm_mpi.policy import load_manifest
from wm_mpi.progress import Progress
from wm_mpi.trained import load_trained
from wm_mpi.translation import Features, add_up, fit, to_matrix, to_parameters

HELD_OUT = 0.2
"""Share of the episodes on which the fit is judged."""


def main(config: RefitConfig) -> None:
    """Show both worlds the same episodes, and fit."""
    trained = load_trained(config.run, env=None, world=config.old_world, max_frames=1000, lap_complete_percent=None,
                           deterministic=None)
    if trained.world is None or trained.spec.name == "toy":
        raise UserError(f"{config.run} was trained in --env toy, which has no world: there is nothing to carry over")
    manifest = load_manifest(Path(config.world))
    old, new = Features(trained.world), Features(config.world)
    weights = to_matrix(trained.parameters)
    with open_frames(config.data) as data:
        train, held_out = split_episodes(len(data.lengths), HELD_OUT, 0)
        with Progress(None, len(data), unit="frame") as progress:
            sums = [add_up(old.of(data, part), new.of(data, part), weights, progress.advance) for part in (train, held_out)]
    result = fit(*sums)
    save_arrays(Path(config.out), {"parameters": to_parameters(result.weights)}, {
        "kind": "start", "world_sha256": manifest["files"]["policy.onnx"], "run": config.run,
        "generation": trained.generation, "explained": result.explained.tolist()})
    steer, gas, brake = (f"{share:.1%}" for share in result.explained)
    print(f"finished: {config.out} explains steer {steer}, gas {gas}, brake {brake} of the champion's variance on "
          f"{sums[1].frames:,} frames held out (penalty {result.penalty:g})\n"
          f"next: python -m wm_mpi.es --world {shlex.quote(config.world)} --init {shlex.quote(config.out)}")
