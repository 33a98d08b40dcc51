"""What the files that we read must hold. They may be of another version, edited by hand, or torn: then a sentence says so.

Only what is read is named here; files hold more.
"""

from typing import Any, NotRequired, TypedDict, TypeVar

import msgspec

from wm_mpi.core.errors import UserError

Value = TypeVar("Value")


class Rules(TypedDict):
    """Environment and rules under which episodes are played."""

    env: str
    env_id: str
    max_frames: int
    lap_complete_percent: float
    temperature: NotRequired[float | None]


class Shown(TypedDict):
    """What is recorded with frames, and with what was made of them: the environment, and what its frames show of it."""

    env_id: NotRequired[str]
    env: NotRequired[str]
    frame: NotRequired[str]


class Settings(TypedDict):
    """``config.json`` of an es run."""

    env: str
    world: str | None
    world_sha256: NotRequired[str | None]
    popsize: int
    episodes: int
    generations: int
    sigma: float
    max_frames: int
    lap_complete_percent: float
    width: int | None
    eval_every: int
    eval_episodes: int
    deterministic: bool
    seed: int
    strategy: NotRequired[str]
    hidden: NotRequired[list[int] | int | None]
    components: NotRequired[int | None]
    temperature: NotRequired[float | None]
    stop_at: NotRequired[float | None]
    validate_in: NotRequired[str | None]
    stuck_frames: NotRequired[int | None]


class Collected(TypedDict):
    """``config.json`` of collect."""

    episodes: int


class Trained(TypedDict):
    """``config.json`` of train_vae and train_rnn."""

    data: str


class Generation(TypedDict):
    """A line of ``metrics.jsonl``."""

    generation: int
    frames: int
    episodes: int
    frames_total: int
    return_mean: float
    return_best: float
    return_min: float
    return_std: float
    sigma: float
    seconds: float
    frames_per_second: float
    busy_share: float
    workers: int
    core_hours: float
    eval_mean: NotRequired[float]
    eval_std: NotRequired[float]
    slowest: NotRequired[str]
    lost: NotRequired[list[str]]
    unlike: NotRequired[list[str]]
    condition: NotRequired[float]


Journalled = TypedDict("Journalled", {"generation": int, "stream": str, "task": int, "return": float, "frames": int,
                                      "lap": bool})
"""A line of ``episodes.jsonl``."""


class Evaluation(TypedDict):
    """A line of ``evaluations.jsonl``."""

    mean: float
    std: float
    interval: list[float] | None
    min: float
    median: float
    max: float
    laps: float
    returns: list[float]
    frames: list[int]
    tracks: list[int]
    env: Rules
    generation: int
    deterministic: bool
    controller: NotRequired[str]
    width: NotRequired[int]
    solved: NotRequired[bool]


class Epoch(TypedDict):
    """A line of ``history.jsonl``; losses have names of their own."""

    epoch: int
    loss: float
    val_loss: float


class Gate(TypedDict):
    """What a gate measured."""

    name: str
    value: float | None
    bound: str
    passed: bool
    meaning: str


class Shapes(TypedDict):
    """Sizes of a world."""

    parameters: int
    latents: NotRequired[int]
    hidden: NotRequired[int]


class MadeBy(TypedDict):
    """Versions and machine; freeze's command line."""

    command: list[str]


class Told(TypedDict):
    """How well a part of the true state is told, R², by z, by h and by both."""

    z: float
    h: float
    zh: float
    std: float


class Manifest(TypedDict):
    """``manifest.json`` of a world."""

    files: dict[str, str]
    shapes: Shapes
    controller: NotRequired[dict[str, Any]]
    precision: str
    env: Shown
    vae: str
    made_by: MadeBy
    adopted: NotRequired[bool]
    gates: NotRequired[list[Gate]]
    kl: NotRequired[list[float]]
    true_state: NotRequired[dict[str, Told]]
    survival: NotRequired[dict[str, dict[str, float]]]


class Environment(TypedDict):
    """``environment.json``."""

    wm_mpi: NotRequired[str]
    python: NotRequired[str]
    packages: NotRequired[dict[str, str]]
    host: NotRequired[str]
    platform: NotRequired[str]
    cpu: NotRequired[str]
    cpus: NotRequired[int | None]


class Champion(TypedDict):
    """What is recorded with ``champion.h5``."""

    generation: int
    validation_mean: float | None
    world_sha256: NotRequired[str | None]


class Start(TypedDict):
    """What is recorded with refit's file, or a champion, that es begins with."""

    world_sha256: NotRequired[str | None]


class Weights(TypedDict):
    """What is recorded with ``weights.h5`` of V."""

    kind: str
    sha256: str
    env: Shown
    trained_on: NotRequired[str]


class RnnWeights(Weights):
    """The same of M."""

    vae: str


class Checkpoint(TypedDict):
    """What is recorded with ``checkpoint.h5`` of a training."""

    data: str
    epoch: int


class Frames(Shown):
    """What is recorded with ``frames.h5``."""


class Latents(Frames):
    """What is recorded with ``latents.h5``."""

    vae: str


def checked(value: Any, schema: type[Value], where: str, fix: str) -> Value:
    """The ``value`` as it is, if it holds what ``schema`` asks for.

    Raises:
        UserError: it does not; ``where`` is the file, and the line if it has several, ``fix`` what to do.
    """
    try:
        msgspec.convert(value, schema)
    except msgspec.ValidationError as error:
        what = str(error).replace("`$.", "`").replace("`", "")
        raise UserError(f"{where} is of another version, or damaged ({what[0].lower()}{what[1:]}): {fix}") from None
    return value
