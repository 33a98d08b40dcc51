"""Carry a champion over to another world, whose V and M have been trained on, for es to go on from."""

from wm_mpi.core.cli import run_command
from wm_mpi.core.config import RefitConfig

if __name__ == "__main__":
    run_command("refit", RefitConfig)

from pathlib import Path

import numpy as np
import numpy.typing as npt

from wm_mpi.core.errors import UserError
from wm_mpi.core.files import check_writable
from wm_mpi.core.progress import Progress
from wm_mpi.core.terminal import quoted
from wm_mpi.data.arrays import save_arrays
from wm_mpi.data.batches import split_episodes
from wm_mpi.data.datasets import open_frames
from wm_mpi.evolution.champion import load_trained
from wm_mpi.world.controller_fit import Features, add_up, fit, to_matrix, to_parameters
from wm_mpi.world.manifest import frame_of, load_manifest

HELD_OUT_SHARE = 0.2
"""Share of the episodes that judge the fit, and of the others that choose its penalty."""


def main(config: RefitConfig) -> None:
    """Show both worlds the same episodes, and fit."""
    trained = load_trained(config.run, env=None, world=config.old_world, max_frames=None, lap_complete_percent=None,
                           deterministic=None)
    trained.require_linear("refit fits the weights of a linear one: train it in the new world from zero")
    before = trained.in_world("no world: there is nothing to carry over")
    manifest = load_manifest(Path(config.world))
    check_writable(Path(config.out))
    old, new = Features(before), Features(config.world)
    weights = to_matrix(trained.parameters)
    with open_frames(config.data) as data:
        for world in (before, config.world):
            data.require(frame_of(load_manifest(Path(world))), world)
        parts = split(len(data.lengths), config.data)
        with Progress(None, len(data), unit="frame") as progress:
            sums = [add_up(old.of(data, part), new.of(data, part), weights, progress.advance) for part in parts]
    result = fit(*sums)
    save_arrays(Path(config.out), {"parameters": to_parameters(result.weights)}, {
        "kind": "start", "world_sha256": manifest["files"]["policy.onnx"], "run": config.run,
        "generation": trained.generation, "explained": result.explained.tolist()})
    steer, gas, brake = (f"{share:.1%}" for share in result.explained)
    print(f"finished: {config.out} explains steer {steer}, gas {gas}, brake {brake} of the champion's variance on "
          f"{sums[2].frames:,} frames held out (penalty {result.penalty:g})\n"
          f"next: python -m wm_mpi.es --world {quoted(config.world)} --init {quoted(config.out)}")


def split(episodes: int, where: str) -> tuple[npt.NDArray[np.int64], ...]:
    """The numbers of the episodes that fit the weights, that choose the penalty, and that judge the result.

    Raises:
        UserError: one of them would have none.
    """
    if episodes < 3:
        raise UserError(f"{where} has {episodes} episode{'s' * (episodes > 1)}, but refit needs at least 3, to fit, to "
                        "choose the penalty and to judge: collect more")
    others, judge = split_episodes(episodes, HELD_OUT_SHARE, 0)
    train, choose = split_episodes(len(others), HELD_OUT_SHARE, 1)
    return others[train], others[choose], judge
