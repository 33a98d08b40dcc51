"""What the options of several commands have in common."""

import dataclasses
import functools
import os
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, Literal

import tyro

from wm_mpi.core.errors import UserError
from wm_mpi.core.shipped import called, found

Preset = Literal["champion", "paper", "laptop", "smoke"]
Display = Literal["none", "xvfb", "screen"]
Presets = dict[str, dict[str, Any]]
Out = Annotated[str, tyro.conf.arg(metavar="DIR")]
PATHS = ("out", "data", "vae", "rnn", "run", "runs", "world", "old_world", "init", "mix", "policy", "compare", "notes",
         "json", "video", "sheet", "png", "published")
"""Options that name a file or a directory."""
SHIPPABLE = ("run", "compare", "vae", "rnn", "world", "old_world", "policy", "init")
"""Options that take the name of what comes with the package instead of a directory."""
AUTO = "auto"
"""What --env calls the game that a world or a run is of."""
SHIPPED = "carracing"
"""The champion, with its world, that commands take when they are told nothing."""
Switch = tyro.conf.FlagCreatePairsOff[bool]


def flag(field: str) -> str:
    """A field as it is typed."""
    return f"--{field.replace('_', '-')}"


def at_home(option: str, path: str) -> str:
    """A path with its ~ expanded: a shell does that after a blank, though not after the = of --out=~/runs.

    Raises:
        UserError: nobody knows that home.
    """
    expanded = os.path.expanduser(path)
    if expanded.startswith("~") and not os.path.lexists(expanded):
        raise UserError(f"{option} is {path}, but there is no such home directory: write the whole path, or ./{path} if its "
                        "name begins so")
    return expanded


def _each(value: Any, change: Callable[[str], str]) -> Any:
    """A changed option: a text, unless it is empty, or each of those in tuples."""
    if isinstance(value, tuple):
        return tuple(_each(one, change) for one in value)
    return change(value) if value else value


WIDTH = 16
"""Episodes that a rank plays in lock-step: the cars that fill one AVX-512 register, and enough rows for V's fast kernels."""


def changeable() -> Any:
    """Metadata of a field that a later start of the same run may change."""
    return {"changeable": True}


def of_strategies(*names: str) -> Any:
    """Metadata of a field that is an option of these strategies of ``es`` alone; None leaves the choice to the strategy."""
    return {"strategies": names}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Command:
    """What all commands share."""

    presets: ClassVar[Presets] = {"champion": {}, "paper": {}, "laptop": {}, "smoke": {}}
    one_thread: ClassVar[bool] = True
    """Whether a process keeps to one thread, as ranks do; what uses Keras takes all cores."""
    bare: ClassVar[Mapping[str, str]] = {}
    """Values of flags that may be given without one."""

    preset: Preset = dataclasses.field(default="champion", metadata=changeable())
    """Sets every default at once: the recipe of the champion that comes with the package, the paper's sizes (days on a
    cluster), an evening on a laptop, or a minute to see that it works."""
    quiet: Annotated[Switch, tyro.conf.arg(aliases=("-q",))] = False
    """Say only results and what goes wrong; log files are written as ever."""
    verbose: Annotated[Switch, tyro.conf.arg(aliases=("-v",))] = False
    """Say more, each line with its time, and errors with their traceback."""

    def __post_init__(self) -> None:
        """Find home directories and what comes with the package."""
        for name in PATHS:
            if isinstance(value := getattr(self, name, None), str | tuple):
                object.__setattr__(self, name, _each(value, functools.partial(at_home, flag(name))))
        for name in SHIPPABLE:
            if isinstance(value := getattr(self, name, None), str | tuple):
                object.__setattr__(self, name, _each(value, found))
        if getattr(self, "env", None) == "carracing":
            object.__setattr__(self, "env", "fast")  # as runs have recorded it from the beginning

    def values(self) -> dict[str, Any]:
        """The options as JSON values, without those that only tell how much to say."""
        values = {name: _each(value, called) if name in SHIPPABLE and isinstance(value, str | tuple) else value
                  for name, value in dataclasses.asdict(self).items() if name not in ("quiet", "verbose")}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    @classmethod
    def changeable_fields(cls) -> frozenset[str]:
        """Options that a later start of the same run may change."""
        return frozenset(f.name for f in dataclasses.fields(cls) if f.metadata.get("changeable"))


@dataclasses.dataclass(frozen=True, kw_only=True)
class EpisodeOptions:
    """How episodes are played, wherever they are played."""

    env: Annotated[str, tyro.conf.arg(metavar="GAME")] = AUTO
    """'auto' (the game of --world or of the run that --policy names, else CarRacing), 'carracing' (our engine), 'gymnasium'
    (Gymnasium's CarRacing-v3), 'gym' (gym 0.26.2's, extra 'gym'), 'doom' (ViZDoom's Take Cover, extra 'doom'), 'dream' (M's
    dream of --world), 'toy' (its optimum is known), an id of Gymnasium, or package.module:Class of your own."""
    max_frames: int | None = None
    """Longest episode (frames; default: the game's own, 1,000 for CarRacing)."""
    lap_complete_percent: float = 0.95
    """Share of tiles to visit before the start line ends the lap (fraction; CarRacing-v3: 0.95, the paper: 1.0)."""
    display: Display = dataclasses.field(default="none", metadata=changeable())
    """'none' draws in memory; 'xvfb' starts one virtual X server per node; 'screen' uses $DISPLAY."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """What the training of V and M shares."""

    data: Out = dataclasses.field(metadata=changeable())
    """Directory with the data set: of collect for V, of encode for M."""
    out: Out = dataclasses.field(metadata=changeable())
    """Directory for weights.h5, checkpoint.h5, history.jsonl and tensorboard/."""
    init: str | None = None
    """Directory of an earlier training whose weights this one begins with (default: random weights)."""
    learning_rate: float = dataclasses.field(default=1e-3, metadata=changeable())
    """Adam's step size."""
    last_learning_rate: float | None = dataclasses.field(default=None, metadata=changeable())
    """Adam's step size in the last epoch, to which it falls by the same factor from epoch to epoch (default: it stays)."""
    validation: float = 0.1
    """Share of episodes held out for the validation loss (fraction)."""
    seed: int = 0
    """Seed of the split, the initial weights, the order of batches and the sampled latents."""
    precision: Literal["float32", "mixed_float16", "mixed_bfloat16"] = "float32"
    """Keras's dtype policy; the mixed ones are for GPUs."""
    devices: int = dataclasses.field(default=1, metadata=changeable())
    """GPUs of this host that share each batch (count; more than 1 needs KERAS_BACKEND=jax)."""
    steps_per_call: int = dataclasses.field(default=1, metadata=changeable())
    """Steps in one call of the backend (count; more than 1 needs KERAS_BACKEND=jax): for a GPU, which does a step of a small
    batch in less time than Python takes to ask for it. On a CPU V is slower with it."""
