"""What a run has trained, and where to judge it: what evaluate, watch and whoever else drives a champion begin with."""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from wm_mpi.core.errors import UserError
from wm_mpi.core.files import read_json, whole_lines
from wm_mpi.core.options import WIDTH
from wm_mpi.core.progress import log
from wm_mpi.core.rundir import RunDir
from wm_mpi.core.schema import Champion, Generation, Manifest, Settings, checked
from wm_mpi.core.seeding import EpisodeSeed, Stream, episode_seed, track_seed
from wm_mpi.core.shipped import called, found, kind_of, offered
from wm_mpi.data.arrays import load_arrays
from wm_mpi.envs import DREAM, EnvSpec, family, game_of
from wm_mpi.evolution.run_state import finished
from wm_mpi.world.manifest import frame_of, load_manifest, played_in

OWN = "runs/es"
"""Where es puts a run unless told otherwise."""


class Trained(NamedTuple):
    """A champion with everything that it needs to drive."""

    run: RunDir
    settings: Settings
    """The run's configuration."""
    spec: EnvSpec
    world: str | None
    deterministic: bool
    parameters: npt.NDArray[np.float64]
    """The champion's: the mean of the search distribution, shape (parameters,)."""
    best_candidate: npt.NDArray[np.float64]
    """The candidate with the highest fitness of all generations."""
    generation: int
    """The champion's."""

    def in_world(self, why_not: str) -> str:
        """The world that it drives in.

        Raises:
            UserError: there is none; ``why_not`` says what its environment lacks, and what to do.
        """
        if self.world is None or not self.spec.pictures:
            raise UserError(f"{self.run.path} was trained in --env {self.spec.name}, which has {why_not}")
        return self.world

    @property
    def width(self) -> int:
        """Episodes in lock-step where it is judged or shown: as the run had it, if that was said."""
        return self.settings["width"] or WIDTH

    def require_linear(self, why: str) -> None:
        """Refuse a C with hidden layers, for what only a linear one can do.

        Raises:
            UserError: it has them; ``why`` says what needs a linear one.
        """
        if self.settings.get("hidden"):
            raise UserError(f"C of {self.run.path} has hidden layers (--hidden), but {why}")


def load_trained(run: str, *, env: str | None, world: str | None, max_frames: int | None, lap_complete_percent: float | None,
                 deterministic: bool | None) -> Trained:
    """The champion of the run directory ``run``; whatever is None is taken as the run had it.

    Raises:
        UserError: not a run, no champion yet, or a world or environment that it was not trained in.
    """
    directory, settings = open_run(run)
    if called(run) != run:
        log.info(f"this is {called(run)}, which comes with the package"
                 + (f"; for your own: --run {OWN}" if RunDir(OWN).champion.exists() else ""))
    lap = settings["lap_complete_percent"] if lap_complete_percent is None else lap_complete_percent
    first = f"{directory.path} has no champion yet: let es finish a generation first"
    arrays, about = load_arrays(directory.champion, first, Champion, ("parameters", "best_candidate"))
    dreamt = settings["env"] == DREAM
    world = (world or world_of(directory, settings)) if dreamt or game_of(settings["env"]).pictures else None
    if world is not None and world == world_of(directory, settings) and not Path(world).exists():
        raise UserError(f"{world}, the world of {directory.path}, is not there any more: say with --world where it is now")
    manifest = None if world is None else load_manifest(Path(world))
    trained_in = played_in(manifest) if dreamt and manifest is not None else settings["env"]
    spec = EnvSpec(env or trained_in, max_frames or game_of(trained_in).max_frames, lap, frame_of(manifest),
                   settings.get("temperature"))
    check_world(world, manifest, about, spec, trained_in)
    generation, rows = about["generation"], list(whole_lines(directory.metrics, Generation))
    if directory.checkpoint_files() and not complete(rows, settings):  # an export has none, and is what it is
        log.info(f"{directory.path} is not finished ({len(rows)} of {settings['generations']} generations): this is its "
                 f"champion so far, of generation {generation}")
    return Trained(run=directory, settings=settings, spec=spec, world=world, generation=generation,
                   deterministic=settings["deterministic"] if deterministic is None else deterministic,
                   parameters=arrays["parameters"], best_candidate=arrays["best_candidate"])


def open_run(path: str) -> tuple[RunDir, Settings]:
    """A run's directory and its configuration.

    Raises:
        UserError: it is something else.
    """
    run = RunDir(path)
    restore = "restore it, or give another --run"
    settings = read_json(run.config, dict[str, Any], restore) if run.config.exists() else {}
    if "popsize" not in settings:
        raise UserError(f"{run.path} is not the directory of an es run, {kind_of(run.path)}: give --run the --out of es, "
                        f"or {offered()}")
    return run, checked(settings, Settings, str(run.config), restore)  # type: ignore[arg-type]


def world_of(run: RunDir, settings: Settings) -> str | None:
    """A run's world: what export wrote has its own with it."""
    if (run.path / "manifest.json").exists():
        return str(run.path)
    return None if settings["world"] is None else found(settings["world"])


def complete(rows: Sequence[Mapping[str, Any]], settings: Settings) -> bool:
    """Whether a run with these metrics has come to its end."""
    best = max((row["eval_mean"] for row in rows if "eval_mean" in row), default=-math.inf)
    return bool(rows) and finished(rows[-1]["generation"], best, settings["generations"], settings.get("stop_at"))


def check_world(world: str | None, manifest: Manifest | None, champion: Champion, spec: EnvSpec, trained_in: str) -> None:
    """Refuse a world that the champion was not trained in.

    Raises:
        UserError: another world, no world, or another kind of environment.
    """
    if family(spec.name) != family(trained_in) and not (spec.name == DREAM and manifest is not None):
        raise UserError(f"the champion was trained in --env {trained_in}, it cannot drive in --env {spec.name}: give "
                        f"--env {trained_in}")
    if manifest is None:
        return
    found = manifest["files"]["policy.onnx"]
    if found != champion.get("world_sha256"):
        raise UserError(f"{world} is another world than the champion was trained in (policy.onnx {found[:12]}, not "
                        f"{str(champion.get('world_sha256'))[:12]}): give the right one with --world")


def judged_tracks(episodes: int, tracks: str | None, run_seed: int) -> list[EpisodeSeed]:
    """The first ``episodes`` of the test stream, or the tracks of ``--tracks A:B``.

    Raises:
        UserError: not a range.
    """
    if tracks is None:
        return [judged_track(number, None, run_seed) for number in range(episodes)]
    first, _, last = tracks.partition(":")
    if not (re.fullmatch(r"[0-9]{1,10}:[0-9]{1,10}", tracks) and int(first) < int(last) <= 2**32):
        raise UserError(f"--tracks {tracks} is not a range A:B of track seeds with 0 <= A < B <= 2**32, such as 1000:1100")
    return [judged_track(number, tracks, run_seed) for number in range(int(last) - int(first))]


def judged_track(number: int, tracks: str | None, run_seed: int) -> EpisodeSeed:
    """The track of that number, from 0 on, of those that ``judged_tracks`` begins with; there is always a next one."""
    if tracks is None:
        return episode_seed(run_seed, Stream.TEST, 0, number)
    return track_seed(run_seed, (int(tracks.partition(":")[0]) + number) % 2**32)
