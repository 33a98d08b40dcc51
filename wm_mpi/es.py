"""Train the controller: rank 0 runs the strategy, the other ranks play CarRacing with frozen V and M."""

from wm_mpi.core.cli import run_command
from wm_mpi.core.config import EsConfig

if __name__ == "__main__":
    run_command("es", EsConfig)

from dataclasses import replace
from pathlib import Path

from wm_mpi.core.progress import log
from wm_mpi.core.shipped import describe_place
from wm_mpi.core.terminal import quoted
from wm_mpi.envs import display, settled
from wm_mpi.evolution.training import dreaming, train
from wm_mpi.pool import Several, open_pool
from wm_mpi.rollout.worker import make_rollout
from wm_mpi.world.manifest import load_manifest, meant_by, real


def main(config: EsConfig) -> None:
    """Run or resume ``config``; worker ranks serve inside ``open_pool`` and come out with None."""
    config = settled(replace(config, env=meant_by(config.env, config.world)))
    manifest = None if config.world is None else load_manifest(Path(config.world))
    config, spec = dreaming(config, manifest)
    introduce(config)

    def build() -> Several:
        places = [spec] if config.validate_in != "real" else [spec, real(spec, manifest)]
        return Several([make_rollout(each, config.world, config.width, config.deterministic, config.hidden)
                        for each in places])

    with open_pool(build, lambda: display(config.display)) as pool:
        if pool is not None:
            train(config, pool, spec, manifest, (0, int(config.validate_in == "real")))
            print(f"next: python -m wm_mpi.evaluate --run {quoted(config.out)}")


def introduce(config: EsConfig) -> None:
    """Say what will be trained where, and how to watch it."""
    place = f"--env {config.env}" if config.world is None else f"the world {describe_place(config.world)}"
    log.info(f"training C in {place}, run in {config.out}: {config.generations} generations x {config.popsize} candidates x "
             f"{config.episodes} episodes")
    if config.world is not None:
        log.info(f"watch it: python -m wm_mpi.watch --run {quoted(config.out)} --serve 8000")
