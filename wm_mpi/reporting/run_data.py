"""What there is to report of a run: its own files, and whatever is found of the world and the models it was made from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from wm_mpi.core import schema
from wm_mpi.core.errors import UserError
from wm_mpi.core.files import read_json, whole_lines
from wm_mpi.core.provenance import holder, origins
from wm_mpi.core.rundir import RunDir
from wm_mpi.data.arrays import load_arrays
from wm_mpi.data.datasets import open_latents
from wm_mpi.envs import DREAM, Look, family, solved_at, told_of
from wm_mpi.evolution.champion import complete, open_run, world_of
from wm_mpi.evolution.run_state import lived
from wm_mpi.world.latents import latent_kl
from wm_mpi.world.manifest import load_manifest, played_in

SAMPLED = 20_000
"""Of a data set's latents, about so many rows are looked at."""
RUNS = 20
"""In so many runs of neighbouring rows."""


@dataclass(frozen=True)
class Latents:
    """How V uses its latents, over frames of the data set, shape (latents,) each."""

    kl: npt.NDArray[np.float64]
    """Mean divergence from the standard normal (nats): what a latent tells of a frame."""
    spread: npt.NDArray[np.float64]
    """Variance of mu over frames."""
    frames: int


@dataclass(frozen=True)
class WorldData:
    """The run's world, and what its V and M were trained and encoded in, as far as that is found."""

    path: Path | None
    missing: str = ""
    """Why there is nothing to see of the world, in a sentence."""
    manifest: schema.Manifest | None = None
    losses: Mapping[str, Sequence[schema.Epoch]] = field(default_factory=dict)
    """``history.jsonl`` of V ('vae') and M ('rnn')."""
    latents: Latents | None = None

    @property
    def samples(self) -> Path | None:
        """The picture that freeze made of frames and their reconstructions."""
        path = None if self.path is None else self.path / "samples.png"
        return path if path is not None and path.exists() else None


@dataclass(frozen=True)
class RunData:
    """All that a report tells."""

    run: RunDir
    config: schema.Settings
    environment: schema.Environment
    rows: Sequence[schema.Generation]
    """``metrics.jsonl``, a row a generation."""
    lived: Sequence[schema.Generation]
    """The same after those of the runs that this one began with; generations and frames count on."""
    own_rows: int
    """How many of these are its own."""
    evaluations: Sequence[schema.Evaluation]
    champion: schema.Champion | None
    """What is recorded with the champion; None before the first generation."""
    world: WorldData
    others: "tuple[RunData, ...]" = ()
    """Runs to compare it with."""

    @property
    def frames_before(self) -> int:
        """Frames that the runs played with which this one began."""
        return 0 if len(self.lived) == self.own_rows else self.lived[-self.own_rows - 1]["frames_total"]

    def column(self, name: str) -> npt.NDArray[np.float64]:
        """A field of the metrics over all generations."""
        return np.array([row[name] for row in self.rows], np.float64)  # type: ignore[literal-required]

    @property
    def validated(self) -> list[schema.Generation]:
        """The generations that were validated."""
        return [row for row in self.rows if "eval_mean" in row]

    @property
    def judged(self) -> list[schema.Evaluation]:
        """Evaluations of the mean solution, oldest first."""
        return [row for row in self.evaluations if row.get("controller", "mean") == "mean"]

    @property
    def verdict(self) -> schema.Evaluation | None:
        """The evaluation that counts most: that of the mean solution in the real game over the most tracks, the newest of
        several.
        """
        real = [row for row in self.judged if row["env"]["env"] != DREAM]
        return max(reversed(real or self.judged), key=lambda row: len(row["returns"]), default=None)

    @property
    def dreamt(self) -> bool:
        """Whether C was trained in M's dream, so that returns in training are none of the game's."""
        return self.config["env"] == DREAM

    @property
    def real(self) -> bool:
        """Whether C was trained in a dream and validated in the real game."""
        return self.dreamt and self.config.get("validate_in") != DREAM

    @property
    def own(self) -> str:
        """Where candidates are judged in training."""
        return "in its dream" if self.dreamt else f"on its own {self.look.episode}s"

    @property
    def game(self) -> str:
        """The real game, by the name of --env."""
        made = self.world.manifest
        return played_in(made) if self.dreamt and made is not None else self.config["env"]

    @property
    def look(self) -> Look:
        """The game's words."""
        return told_of(self.game)

    @property
    def car(self) -> bool:
        """Whether a car is driven."""
        return family(self.game) == "carracing"

    @property
    def compared(self) -> bool:
        """Whether there is a published learning curve to compare with: CarRacing's, driven on the road."""
        return self.car and not self.dreamt

    @property
    def solved(self) -> float | None:
        """The mean return at which the game counts as solved, if there is one."""
        mark = solved_at(self.game)
        return None if mark is None else mark[0]

    @property
    def lost(self) -> list[tuple[int, str]]:
        """Ranks lost: (generation in which it was noticed, rank and host). A later start counts its losses anew."""
        found, known = [], set[str]()
        for row in self.rows:
            now = set(row.get("lost", ()))
            found += [(row["generation"], rank) for rank in sorted(now - known)]
            known = now
        return found

    @property
    def exported(self) -> bool:
        """Whether this is what export made of a run: its champion with its world, without what es goes on with."""
        return (self.run.path / "manifest.json").exists() and not self.run.checkpoint_files()

    @property
    def complete(self) -> bool:
        """Whether the run has its generations, or has reached what it was to stop at."""
        return complete(self.rows, self.config)


def read_run(directory: str, world: str | None = None) -> RunData:
    """Read everything, changing nothing: the run may be in progress.

    Args:
        directory: of an es run.
        world: its world's directory, if not where the run found it.

    Raises:
        UserError: not a run, a damaged file, or ``world`` is not the run's.
    """
    run, config = open_run(directory)
    rows = list(whole_lines(run.metrics, schema.Generation))
    return RunData(
        run=run, config=config, environment=read_versions(run) if run.environment.exists() else {},
        rows=rows, lived=lived(run), own_rows=len(rows),
        evaluations=list(whole_lines(run.evaluations, schema.Evaluation)),
        champion=load_arrays(run.champion, "let es go on with it", schema.Champion)[1] if run.champion.exists() else None,
        world=find_world(config, world, world_of(run, config)))


def read_versions(run: RunDir) -> schema.Environment:
    """Packages and machine of a run."""
    return read_json(run.environment, schema.Environment, "delete it, it only tells the run's versions")


def find_world(config: schema.Settings, given: str | None, recorded: str | None) -> WorldData:
    """The world that is ``given``, or else the ``recorded`` one of a run with this ``config``.

    Raises:
        UserError: the given one is no world, or another.
    """
    name = given or recorded
    if name is None:
        return WorldData(None, "This run has no world: its environment is played without V and M.")
    path = Path(name)
    try:
        manifest = load_manifest(path)
        if manifest["files"]["policy.onnx"] != config.get("world_sha256"):
            raise UserError(f"{path} is another world than the run was trained in: give the right one with --world")
    except UserError as error:
        if given is not None:
            raise
        return WorldData(None, f"The run's world could not be shown: {error}.")
    nearby = origins(path, manifest["made_by"]["command"])
    vae, rnn = (holder(nearby, "weights.h5", manifest["files"][name]) for name in ("vae.h5", "rnn.h5"))
    return read_world(path, manifest, vae, rnn, nearby if rnn is None else [*nearby, *data_of(rnn)])


def data_of(training: Path) -> list[Path]:
    """The data set of a training's directory, where that is recorded."""
    recorded = training / "config.json"
    return [Path(read_json(recorded, schema.Trained, "train_rnn writes it")["data"])] if recorded.exists() else []


def read_world(path: Path, manifest: schema.Manifest, vae: Path | None, rnn: Path | None,
               data: Sequence[Path]) -> WorldData:
    """A world, with the histories of V's and M's directories, and the latents of the first data set that has V's."""
    losses = {name: [] if each is None else list(whole_lines(each / "history.jsonl", schema.Epoch))
              for name, each in (("vae", vae), ("rnn", rnn))}
    encoded = (latents_of(each, manifest["vae"]) for each in data if (each / "latents.h5").exists())
    return WorldData(path, manifest=manifest, losses=losses, latents=next(filter(None, encoded), None))


def latents_of(directory: Path, vae: str) -> Latents | None:
    """How a data set's latents are used, if they are of this V; what cannot be read is passed over."""
    try:
        with open_latents(directory) as data:
            if data.about.get("vae") != vae:
                return None
            length = min(SAMPLED // RUNS, len(data))
            starts = np.unique(np.linspace(0, len(data) - length, RUNS).astype(int))
            mu, logvar = (np.concatenate([data.read(name, start, start + length) for start in starts]).astype(np.float64)
                          for name in ("mu", "logvar"))
    except UserError:
        return None
    return Latents(latent_kl(mu, logvar), mu.var(axis=0), len(mu))
