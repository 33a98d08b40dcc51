"""Every command's options: a frozen dataclass for each, one documented field for each flag, and presets.

Longer than other modules: all flags of the project stand in one place, in the order of the data.
"""

import dataclasses
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import tyro

from wm_mpi.core.options import (
    AUTO,
    SHIPPED,
    WIDTH,
    Command,
    Display,
    EpisodeOptions,
    Out,
    Presets,
    TrainingOptions,
    changeable,
    of_strategies,
)

StrategyName = Literal["cma", "sep-cma", "lm-ma", "openes", "pgpe", "snes", "ga"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class CollectConfig(EpisodeOptions, Command):
    """Play episodes for first data and store them as HDF5 shards with an index, frames.h5.

    Over MPI: wm-mpi launch -np 3 collect. Running it again continues where it stopped.
    """

    presets: ClassVar[Presets] = {
        "champion": {},
        "paper": {"episodes": 10_000, "shard_episodes": 50},
        "laptop": {"episodes": 200, "shard_episodes": 50},
        "smoke": {"episodes": 8, "max_frames": 120, "shard_episodes": 4}}

    out: Out = dataclasses.field(default="runs/frames", metadata=changeable())
    """Directory for frames.h5 and shards/."""
    episodes: int = dataclasses.field(default=140, metadata=changeable())
    """Episodes to play (count); a later start may ask for more."""
    world: str | None = dataclasses.field(default=None, metadata=changeable())
    """Directory of the world that a run's champion drives with, if it is not where the run found it."""
    policy: str = "random"
    """'random' (a smooth random walk over actions), 'linear' (random linear policies, as the paper's authors did), or the
    directory of an es run, whose champion then drives."""
    frame: str | None = None
    """What is recorded, and so what V will see: 'road', what is above the bar of instruments, as in the paper; 'whole', the
    picture with its bar; 'published', the road as the paper's code made it small; of Doom 'view' or 'published' (default:
    what the champion's world sees, else the first)."""
    longest_held: int | None = None
    """How long random actions are held at most, where they are held; above 10 each episode draws its own longest hold from
    10 to this, log-uniform (frames; default: 10, as the paper's authors did for Doom)."""
    exploration: float = 0.0
    """Strength of exploration by a champion: each episode adds smooth noise, of a strength drawn between 0 and this, to the
    controller's output before the squashing (0: none; 1: strong)."""
    width: int = WIDTH
    """Episodes that a rank plays in lock-step (count)."""
    mix: str | None = dataclasses.field(default=None, metadata=changeable())
    """Directory of an older data set, whose first shards the new data set includes by reference."""
    mix_share: float = dataclasses.field(default=0.5, metadata=changeable())
    """Share of the mixed data set's frames that come from the older one (fraction)."""
    shard_episodes: int = 10
    """Consecutive episodes in one shard file (count)."""
    seed: int = 0
    """Seed of the collection stream (non-negative integer)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class VaeConfig(TrainingOptions, Command):
    """Train V, the VAE, on collected frames. GPU when there is one, CPU otherwise; running it again resumes."""

    one_thread: ClassVar[bool] = False

    presets: ClassVar[Presets] = {
        "champion": {},
        "paper": {"learning_rate": 1e-4, "epochs": 10, "kl_tolerance": 0.5},
        "laptop": {"learning_rate": 1e-4, "epochs": 5, "kl_tolerance": 0.5},
        "smoke": {"learning_rate": 1e-4, "epochs": 1, "kl_tolerance": 0.5}}

    data: Out = dataclasses.field(default="runs/frames", metadata=changeable())
    """Directory of collect."""
    out: Out = dataclasses.field(default="runs/vae", metadata=changeable())
    """Directory for weights.h5, checkpoint.h5, history.jsonl and tensorboard/."""
    learning_rate: float = dataclasses.field(default=5e-4, metadata=changeable())
    """Adam's step size."""
    epochs: int = dataclasses.field(default=6, metadata=changeable())
    """Passes over the training frames (count; the paper: 1, its code: 10)."""
    parts: int = 1
    """Parts that each pass is cut into; every part ends with a validation and a checkpoint (count)."""
    batch_size: int = 100
    """Frames per step (count)."""
    kl_tolerance: float = 1.0
    """Free nats per latent: the KL is not penalised below kl_tolerance x 32 (nats; the paper: 0.5)."""
    latents: int | None = None
    """Numbers in z (count; default: the game's, 32 for CarRacing, 64 for Doom)."""
    bar_weight: float | None = None
    """Weight of errors in the bar of instruments, in frames that show it (default: 10; 1: the same as elsewhere)."""
    buffer_frames: int = 16_384
    """Frames shuffled together in memory (count; 12 KiB each)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EncodeConfig(Command):
    """Encode every frame with V and store mean and log variance as latents.h5."""

    one_thread: ClassVar[bool] = False

    data: Out = dataclasses.field(default="runs/frames", metadata=changeable())
    """Directory of collect."""
    vae: Out = dataclasses.field(default="runs/vae", metadata=changeable())
    """Directory of train_vae, or the name of a world that comes with the package."""
    out: Out = dataclasses.field(default="runs/latents", metadata=changeable())
    """Directory for latents.h5."""
    batch_size: int = dataclasses.field(default=500, metadata=changeable())
    """Frames per call (count)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RnnConfig(TrainingOptions, Command):
    """Train M, the MDN-RNN, on encoded episodes. GPU when there is one, CPU otherwise; running it again resumes."""

    one_thread: ClassVar[bool] = False

    presets: ClassVar[Presets] = {
        "champion": {},
        "paper": {"steps": 4000, "steps_per_epoch": 200, "batch_size": 100, "sequence": 999, "last_learning_rate": 1e-5},
        "laptop": {"steps": 1000, "steps_per_epoch": 200, "batch_size": 32, "sequence": 250},
        "smoke": {"steps": 10, "steps_per_epoch": 5, "batch_size": 8, "sequence": 50}}

    data: Out = dataclasses.field(default="runs/latents", metadata=changeable())
    """Directory of encode."""
    out: Out = dataclasses.field(default="runs/rnn", metadata=changeable())
    """Directory for weights.h5, checkpoint.h5, history.jsonl and tensorboard/."""
    steps: int = dataclasses.field(default=2100, metadata=changeable())
    """Total gradient steps (count; a multiple of --steps-per-epoch; 0 writes an untrained M)."""
    hidden: int | None = None
    """Units of the LSTM (count; default: the game's, 256 for CarRacing, 512 for Doom)."""
    steps_per_epoch: int = 100
    """Steps between validations and checkpoints (count)."""
    batch_size: int = 32
    """Sequences per step (count)."""
    sequence: int = 150
    """Longest sequence (frames)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FreezeConfig(Command):
    """Join V and M into world/: policy.onnx for the ranks, a manifest, and sample frames with their reconstructions.

    Before that, gates judge both on drives that they have not seen; one that fails stops here and says what is wrong.
    """

    one_thread: ClassVar[bool] = False

    presets: ClassVar[Presets] = {"champion": {}, "paper": {}, "laptop": {}, "smoke": {"force": True, "probe": False}}

    vae: Out = "runs/vae"
    """Directory of train_vae, or the name of a world that comes with the package."""
    rnn: Out = "runs/rnn"
    """Directory of train_rnn, or the name of a world that comes with the package."""
    data: Out = "runs/frames"
    """Directory of collect: frames for the check and the samples."""
    out: Out = "runs/world"
    """Directory to write: the world."""
    precision: Literal["auto", "int8", "fp32"] = "auto"
    """Number format of V's convolutions in policy.onnx. auto: the fastest that passes its gate, of int8, one convolution in
    fp32 with the others in int8, and fp32; int8: that or an error."""
    half: bool = False
    """Round M's weights to half precision first, as export stores them anyway: the world of an M with 512 units gets a third
    smaller, and what is judged, dreamt in and shared is one and the same M."""
    force: bool = False
    """Write the world even if gates fail; the manifest lists them."""
    probe: bool = True
    """Also measure how well z and h predict the car's true state, its speed above all, by regression on separate drives; or,
    where a game is about staying alive, how long simple ways to play live in the game and in M's dreams."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EsConfig(EpisodeOptions, Command):
    """Train the controller with an evolution strategy: rank 0 proposes candidates, the other ranks play episodes.

    Over MPI: wm-mpi launch -np 3 es; without launch everything runs in one process. Running the same command again
    resumes.
    """

    presets: ClassVar[Presets] = {
        "champion": {},
        "paper": {"popsize": 64, "episodes": 16, "generations": 1800, "eval_every": 25, "deterministic": False,
                  "stuck_frames": 0},
        "laptop": {"popsize": 32, "episodes": 4, "generations": 100, "eval_every": 10, "eval_episodes": 16},
        "smoke": {"popsize": 4, "episodes": 1, "generations": 2, "max_frames": 100, "width": WIDTH, "eval_every": 2,
                  "eval_episodes": 2, "deterministic": False, "stuck_frames": 0}}

    out: Out = dataclasses.field(default="runs/es", metadata=changeable())
    """Directory of the run; tensorboard/ in it is for tensorboard --logdir runs."""
    world: str | None = dataclasses.field(default=SHIPPED, metadata=changeable())
    """Directory that freeze wrote, or the name of a world that comes with the package (the toy environment needs none)."""
    width: int | None = dataclasses.field(default=None, metadata=changeable())
    """Episodes that a rank plays in lock-step (count; default: in CarRacing's engine, where it changes no number, what is
    fastest here of 8, 16 and 32; elsewhere 16)."""
    popsize: int = 128
    """Candidates per generation (count; independent of the number of ranks)."""
    episodes: int = 2
    """Episodes per candidate, on tracks shared by the generation (count)."""
    generations: int = dataclasses.field(default=40, metadata=changeable())
    """Total generations (count)."""
    strategy: StrategyName = "cma"
    """How candidates are chosen (docs/strategies.md has the papers):
    'cma', CMA-ES, the best for up to some thousand parameters;
    'sep-cma', CMA-ES with a diagonal covariance, for more;
    'lm-ma', LM-MA-ES, a covariance of a few vectors, for more;
    'openes', OpenAI's, a gradient estimated from antithetic pairs, for a million;
    'pgpe', the same with a width for each parameter, and ClipUp;
    'snes', separable natural evolution strategy;
    'ga', a genetic algorithm of mutations alone."""
    sigma: float = 0.1
    """Initial step size of the strategy: the standard deviation of candidates (in units of C's weights)."""
    optimizer: Literal["adam", "clipup"] | None = dataclasses.field(default=None, metadata=of_strategies("openes", "pgpe"))
    """openes, pgpe: what makes steps of gradients (default: adam for openes, clipup for pgpe)."""
    learning_rate: float | None = dataclasses.field(default=None, metadata=of_strategies("openes", "pgpe"))
    """openes, pgpe: the optimizer's step size, Adam's for each parameter, ClipUp's for all together (in units of C's
    weights; default: sigma / 10, and sigma sqrt(parameters) / 30)."""
    momentum: float | None = dataclasses.field(default=None, metadata=of_strategies("openes", "pgpe"))
    """openes, pgpe: the optimizer's momentum, Adam's beta_1 (fraction below 1; default: 0.9)."""
    weight_decay: float | None = dataclasses.field(default=None, metadata=of_strategies("openes", "pgpe"))
    """openes, pgpe: share of the mean that a generation takes off it, in learning rates (0 to 1; default: 0)."""
    sigma_decay: float | None = dataclasses.field(default=None, metadata=of_strategies("openes", "ga"))
    """openes, ga: what sigma is multiplied by after each generation (above 0, at most 1; default: 1, it stays)."""
    elite_share: float | None = dataclasses.field(default=None, metadata=of_strategies("ga"))
    """ga: share of the candidates that become parents (above 0, at most 1; default: 0.1)."""
    restarts: int | None = dataclasses.field(default=None, metadata=of_strategies("cma", "sep-cma"))
    """cma, sep-cma: how often to begin again, with twice the candidates, when pycma says that the search has ended (0 to
    10; default: 0)."""
    components: int | None = None
    """Search a linear C of a world in so many principal components of what it sees, each scaled to a mean square of 1; they
    are found in the world's dreams (count; default: none, each of C's weights is searched by itself)."""
    init: str | None = None
    """Where the search begins: the file of refit, or the directory of a run in the same world (default: at zero)."""
    stop_at: float | None = dataclasses.field(default=None, metadata=changeable())
    """Stop once the validation mean reaches this return (points)."""
    stuck_frames: int | None = None
    """End a training episode after this many frames without a gain in return; evaluation ignores it (0: never; default: the
    game's own, 100 for CarRacing, 0 for most)."""
    eval_every: int = 5
    """Generations between validations of the mean solution (count)."""
    temperature: float | None = None
    """How wild M's dream is, with --env dream (above 0; default: 1; the paper: 1.15)."""
    validate_in: Literal["real", "dream"] | None = None
    """Where a C that is trained in a dream is validated (default: in the real game, so that cheating its dream shows)."""
    hidden: tuple[int, ...] | None = None
    """Tanh units of C's hidden layers, one number for each layer: 64, or 64 32 (counts; default: none, C is linear)."""
    eval_episodes: int = 64
    """Validation episodes, on tracks of their own (count)."""
    deterministic: bool = True
    """Use the mean of z instead of sampling it (the paper samples)."""
    log: Literal["wandb", "mlflow"] | None = dataclasses.field(default=None, metadata=changeable())
    """Tell each generation to wandb or MLflow as well, where installed; TensorBoard's files are always written."""
    seed: int = 0
    """Seed of every random draw in the run (non-negative integer)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TemperaturesConfig(Command):
    """Train C in M's dream at several temperatures, and judge each champion in its dream and in the real game.

    Too cold a dream is cheated, too hot a one teaches nothing (the paper's table 2). Over MPI: wm-mpi launch -np 3
    temperatures. Running it again continues where it stopped.
    """

    presets: ClassVar[Presets] = {
        "champion": {}, "paper": {"generations": 1800, "eval_every": 25, "eval_episodes": 64},
        "laptop": {"popsize": 32, "episodes": 8, "generations": 40},
        "smoke": {"popsize": 4, "episodes": 1, "generations": 2, "max_frames": 60, "eval_every": 2, "eval_episodes": 2,
                  "test_episodes": 10, "temperatures": (0.5, 1.15)}}

    world: str = dataclasses.field(default="runs/world", metadata=changeable())
    """Directory that freeze wrote, or the name of a world that comes with the package."""
    out: Out = "runs/temperatures"
    """Directory to write: temperatures.json, .md (for export --notes), .png, and a run of es for each temperature."""
    temperatures: tuple[float, ...] = (0.1, 0.5, 1.0, 1.15, 1.3)
    """Temperatures of the dream (each above 0; these are the paper's)."""
    generations: int = 60
    """Generations of each run (count)."""
    popsize: int = 64
    """Candidates per generation (count)."""
    episodes: int = 16
    """Dreams per candidate, shared by the generation (count)."""
    eval_every: int = 10
    """Generations between validations of the mean solution, in the real game (count)."""
    components: int | None = None
    """As es's (count)."""
    eval_episodes: int = 32
    """Validation episodes (count)."""
    test_episodes: int = 100
    """Test episodes of each champion, in its dream and in the real game (count)."""
    max_frames: int | None = None
    """Longest episode (frames; default: the game's own, 2,100 for Doom)."""
    width: int = WIDTH
    """Episodes that a rank plays in lock-step (count)."""
    seed: int = 0
    """Seed of every random draw, the same for all temperatures (non-negative integer)."""
    display: Display = "none"
    """'none' draws in memory; 'xvfb' starts one virtual X server per node; 'screen' uses $DISPLAY."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RefitConfig(Command):
    """Carry a champion over to a world whose V and M were trained on: a file that es --init begins with.

    Its weights are fitted (ridge regression) to say on the new world's latents what the champion says on the old ones.
    """

    run: Out = "runs/es"
    """Directory of the es run."""
    world: Out = "runs/world"
    """Directory of the new world."""
    data: Out = "runs/frames"
    """Directory of collect: episodes to fit on, ideally the champion's own."""
    out: Out = "runs/start.h5"
    """File to write (.h5)."""
    old_world: str | None = None
    """Directory of the run's own world, if it is not where the run found it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportConfig(Command):
    """Put a run and its world into one small directory to share: V and M in half precision, the champion, a model card.

    What comes out is taken as --run and as --world by every command, and as --init by those that train.
    """

    run: Out = "runs/es"
    """Directory of the es run."""
    out: Out = "runs/export"
    """Directory to write; one of an earlier export is replaced."""
    world: str | None = None
    """Directory of the world, if it is not where the run found it."""
    notes: str | None = None
    """File whose text (Markdown) goes into the model card: data, intended use, what went before."""
    published: Annotated[str | None, tyro.conf.arg(metavar="DIR")] = None
    """Instead of --out, write V, M, first latents and C to this directory as the paper's authors published theirs: vae.json,
    rnn.json, initial_z.json and *.best.json, which their code and adopt read."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdoptConfig(Command):
    """Make a world with its champion of the files that the paper's authors published, for CarRacing or Doom.

    They lie in the folders carracing and doomrnn of github.com/hardmaru/WorldModelsExperiments. What comes out is taken as
    --run and as --world by every command, and as --init by those that train. For the opposite: export --published.
    """

    published: Out = "WorldModelsExperiments/carracing"
    """Directory with vae.json, rnn.json and, if there are any, initial_z.json (where dreams begin) and *.best.json (C)."""
    out: Out = "runs/published"
    """Directory to write; what an earlier adopt left there is replaced."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluateConfig(Command):
    """Play the champion of a run on test tracks that it has never seen and print the score with its interval."""

    presets: ClassVar[Presets] = {"champion": {}, "paper": {}, "laptop": {}, "smoke": {"episodes": 4, "max_frames": 100}}

    run: Out = SHIPPED
    """Directory of the es run, or the name of a champion that comes with the package."""
    episodes: int = 100
    """Test episodes (count)."""
    env: Annotated[str | None, tyro.conf.arg(metavar="GAME")] = None
    """Judge in this environment instead of the run's own."""
    world: str | None = None
    """Directory of the world, if it is not where the run found it."""
    tracks: Annotated[str | None, tyro.conf.arg(metavar="A:B")] = None
    """Play exactly the tracks of reset(seed=A) ... reset(seed=B-1) instead of the test stream's --episodes."""
    controller: Literal["mean", "best", "both"] = "mean"
    """Which controller to judge: the mean of the search distribution at its best validation, the best single candidate, or
    both."""
    compare: str | None = None
    """Directory of another es run, which plays the same tracks: prints the paired difference with its interval."""
    max_frames: int | None = None
    """Longest episode (frames; default: the game's own, 1,000 for CarRacing)."""
    lap_complete_percent: float | None = None
    """Another rule for a completed lap than the run's (fraction)."""
    width: int | None = None
    """Episodes that a rank plays in lock-step, if not as the run did (count)."""
    deterministic: bool | None = None
    """Use the mean of z instead of sampling it, if not as the run did."""
    display: Display = "none"
    """'none' draws in memory; 'xvfb' starts one virtual X server per node; 'screen' uses $DISPLAY."""
    json: Annotated[str | None, tyro.conf.arg(metavar="FILE")] = None
    """Also write the result as one JSON object to this file."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class WatchConfig(Command):
    """Watch the champion of a run play its test episodes: as a film (no display needed), in a browser, or in a window.

    Beside the game stand the frame that V is shown, what V keeps of it, and what M expected before. Without --video,
    --sheet, --serve or --window both a film and a sheet are written, watch.mp4 and watch.png in the run's directory.
    """

    presets: ClassVar[Presets] = {"champion": {}, "paper": {}, "laptop": {}, "smoke": {"max_frames": 100}}
    bare: ClassVar[Mapping[str, str]] = {"--serve": "8000"}

    run: Annotated[str | None, tyro.conf.arg(metavar="DIR")] = None
    """Directory of the es run, or the name of a champion that comes with the package (default: 'carracing', which does; with
    --serve the newest run under runs/, if there is one)."""
    video: Annotated[str | None, tyro.conf.arg(metavar="FILE.mp4")] = None
    """Write a film (H.264, in real time: 50 frames per second for CarRacing) of all episodes."""
    sheet: Annotated[str | None, tyro.conf.arg(metavar="FILE.png")] = None
    """Write one picture of moments of all episodes."""
    serve: Annotated[int | None, tyro.conf.arg(metavar="[PORT]")] = None
    """Serve pages to browsers on this port (without one 8000; 0: a free one): watch each new champion, play yourself, dream,
    and see how all runs grow, as curves."""
    runs: Annotated[str | None, tyro.conf.arg(metavar="DIR")] = None
    """Directory whose runs --serve lists, up to four levels down (default: where the watched run lies)."""
    host: str = "127.0.0.1"
    """Address to serve on; 0.0.0.0 lets in whoever can reach this machine."""
    origin: Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(metavar="URL")] = ()
    """Also let pages of this origin drive, such as https://watch.example.org, where a proxy serves the page (repeat the flag
    for each further origin)."""
    prefix: str = "/"
    """Path under which a proxy serves the page, if it passes the whole path on, such as /user/me/proxy/absolute/8000/."""
    window: bool = False
    """Open a window: space pauses, the arrow keys play (CarRacing and Doom), n begins the next episode, q quits."""
    episodes: int = 1
    """Test episodes (count)."""
    tracks: Annotated[str | None, tyro.conf.arg(metavar="A:B")] = None
    """Play exactly the episodes of reset(seed=A) ... reset(seed=B-1) instead of the test stream's --episodes."""
    dream: bool = False
    """Play in M's dream: that of --env dream; for CarRacing trained on the road, one that begins with a real first frame."""
    temperature: float | None = None
    """Temperature of M's draws in a dream (above 0; default: the run's own, else 1): below 1 the likely is favoured, above 1
    the unlikely."""
    world: str | None = None
    """Directory of the world, if it is not where the run found it."""
    max_frames: int | None = None
    """Longest episode (frames; default: the game's own, 1,000 for CarRacing)."""
    lap_complete_percent: float | None = None
    """Another rule for a completed lap than the run's (fraction)."""
    deterministic: bool | None = None
    """Use the mean of z instead of sampling it, if not as the run did."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReportConfig(Command):
    """Write one self-contained HTML file about a run, which may still be in progress."""

    presets: ClassVar[Presets] = {"champion": {}, "paper": {}, "laptop": {}, "smoke": {"films": 1}}

    run: Out = SHIPPED
    """Directory of the es run, or the name of a champion that comes with the package."""
    out: Annotated[str | None, tyro.conf.arg(metavar="FILE.html")] = None
    """Where to write the page, if not to report.html of the run."""
    png: Annotated[str | None, tyro.conf.arg(metavar="FILE.png")] = None
    """Also write the report as one picture."""
    world: str | None = None
    """Directory of the world, if it is not where the run found it."""
    compare: Annotated[tyro.conf.UseAppendAction[tuple[tuple[str, ...], ...]], tyro.conf.arg(metavar="RUN ...")] = ()
    """Directories of other es runs of the same game, or names of champions that come with the package: their learning curves
    and verdicts stand beside the run's (at most four)."""
    films: int = 2
    """Test tracks to film, this many of the worst and of the best; dreams too (count; 0: no films)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DoctorConfig(Command):
    """Find what will go wrong here before a run does: every rank plays for some seconds and reports.

    Start it as you will start es: wm-mpi launch -np 65 doctor --world WORLD --out runs
    """

    presets: ClassVar[Presets] = {"champion": {}, "paper": {}, "laptop": {}, "smoke": {"seconds": 0.5, "width": 2}}

    out: Out = "runs"
    """Directory that runs will be written to: its locks, free space and visibility to all ranks are checked."""
    world: str | None = SHIPPED
    """Directory or name of the world that es will use."""
    env: Annotated[str, tyro.conf.arg(metavar="GAME")] = AUTO
    """Environment that es will use ('auto': the game of --world)."""
    width: int = WIDTH
    """Episodes that a rank plays in lock-step (count)."""
    seconds: float = 5.0
    """How long ranks play (seconds)."""
    display: Display = "none"
    """As es will use it: 'none' draws in memory; 'xvfb' starts one virtual X server per node; 'screen' uses $DISPLAY."""
