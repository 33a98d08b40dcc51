"""The model card of an exported run: what it is, what it took, how it was judged, and from which files."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from wm_mpi.core.controller import Control
from wm_mpi.core.schema import Champion, Evaluation, Generation, Manifest, Settings, Shown
from wm_mpi.core.terminal import quoted
from wm_mpi.envs import DREAM, GAMES, family, told_of
from wm_mpi.evolution.scores import interval_in_words
from wm_mpi.evolution.strategies import title_of
from wm_mpi.world.manifest import controller_size, played_in

ROOTED = re.compile(r"(?<![\w.~/])(?:/[^\s/:,;'\"()]+){2,}/?")
"""An absolute path within a text."""
SEEN = {"road": "the road, rows 0 to 83", "whole": "the whole picture, 96 rows",
        "published": "the road, rows 0 to 83, as the paper's code made it small"}
"""CarRacing's frames in words."""


def model_card(name: str, settings: Settings, rows: Sequence[Generation], own: int, evaluations: Sequence[Evaluation],
               manifest: Manifest, champion: Champion, notes: str) -> str:
    """The card as Markdown.

    Args:
        name: of the directory.
        settings: the run's configuration.
        rows: its metrics, a generation each, after those of the runs that it began with.
        own: how many of them are its own.
        evaluations: its verdicts, oldest first.
        manifest: its world's.
        champion: what is recorded with the champion.
        notes: more text, Markdown.
    """
    last = rows[-1]
    data, shapes = manifest["env"], manifest["shapes"]
    game = played_in(manifest)
    look = told_of(game)
    validation = champion["validation_mean"]
    mode = " --deterministic" if settings["deterministic"] else ""
    chosen = "" if validation is None else (f", chosen by its mean of {validation:.1f} over {settings['eval_episodes']} "
                                            f"validation {look.episode}s")
    word = quoted(name)
    parts = [
        f"# {name}: a world model of {look.title} and its champion",
        f"V (a VAE, {shapes.get('latents', 32)} latents), M (an MDN-RNN, LSTM {shapes.get('hidden', 256)}) and C "
        f"({controller(settings)}, {controller_size(manifest, settings.get('hidden'))} numbers) in the manner of World "
        "Models (Ha and Schmidhuber, 2018), trained by this project. V and M are stored in half precision; ranks run "
        "`policy.onnx`.",
        f"    python -m wm_mpi.watch --run {word} --serve 8000\n    python -m wm_mpi.evaluate --run {word}\n"
        f"    python -m wm_mpi.es {flags_of(settings)}--world {word} --init {word}{mode} --out runs/on",
        notes.strip(),
        f"## Verdicts\nReturns in points; every {look.episode} is one that neither training nor validation has seen. The "
        "controller is the mean of the search distribution" + chosen + ".\n\n" + verdicts(evaluations),
        "## What it took\n" + bullets({
            "what V sees": shown_of(game, data),
            "frames for V and M": f"{data['env_id']}, policy {unrooted(data.get('policy', ''))}, seed {data.get('seed')}",
            **({"where C was trained": dreamt_at(settings)} if settings["env"] == DREAM else {}),
            "C": f"{title_of(settings)}, popsize {settings['popsize']}, {settings['episodes']} episodes per candidate of at "
                 f"most {settings['max_frames']} frames, sigma {settings['sigma']:g}, z {'= mu' if mode else 'sampled'}, "
                 f"seed {settings['seed']}",
            "generations": f"{own:,}; the champion is of generation {champion['generation']:,}",
            **({} if own == len(rows) else {"it began with a run of": began_with(rows[-own - 1])}),
            "frames played for C": f"{last['frames_total']:,}",
            "core-hours for C": f"{last['core_hours']:.2f}"}),
        "## Gates that V and M passed\n" + bullets({
            gate["name"]: ("not measured" if gate["value"] is None else f"{gate['value']:.3g}")
            + ("" if gate["passed"] else " (failed)") for gate in manifest.get("gates", ())}),
        *true_state(manifest),
        "## Files\n" + bullets({file: f"SHA-256 {digest}" for file, digest in sorted(manifest["files"].items())})]
    return "\n\n".join(part for part in parts if part) + "\n"


def began_with(last: Generation) -> str:
    """What the runs took that this one began with."""
    return f"{last['generation']:,} generations, {last['frames_total']:,} frames, counted below"


def flags_of(settings: Settings) -> str:
    """What es must be told to go on where C was trained."""
    kind = f"--hidden {' '.join(layers_of(settings))} " if layers_of(settings) else ""
    kind += f"--components {settings['components']} " if settings.get("components") else ""
    if settings["env"] == DREAM:
        return f"--env dream --temperature {settings.get('temperature') or 1:g} {kind}"
    return kind if family(settings["env"]) == "carracing" else f"--env {settings['env']} {kind}"


def controller(settings: Settings) -> str:
    """What kind of C it is."""
    layers = " and ".join(layers_of(settings))
    return f"with {layers} hidden units" if layers else "a linear controller"


def layers_of(settings: Settings) -> list[str]:
    """The units of C's hidden layers, as --hidden takes them."""
    return list(map(str, Control().with_hidden(settings.get("hidden")).hidden))


def dreamt_at(settings: Settings) -> str:
    """The dream that C was trained in."""
    chosen = "the dream" if settings.get("validate_in") == DREAM else "the real game"
    return f"M's dream, temperature {settings.get('temperature') or 1:g}; the champion was chosen in {chosen}"


def shown_of(game: str, env: Shown) -> str:
    """What part of its pictures a game's V sees."""
    if family(game) == "carracing":
        return SEEN.get(frame := env.get("frame") or "road", frame)
    if game not in GAMES:
        return "the whole picture"
    frame = env.get("frame") or GAMES[game].frame or ""
    cut = GAMES[game].frames[frame]
    return f"rows 0 to {cut.rows - 1} of {cut.height}"


def true_state(manifest: Manifest) -> list[str]:
    """How well the car's true state is told by z, h and both."""
    told = manifest.get("true_state", {})
    if not told:
        return []
    rows = [f"| {name} | {each['z']:.2f} | {each['h']:.2f} | {each['zh']:.2f} |" for name, each in told.items()]
    return ["\n".join(["## What z and h know of the true state", "R² of a linear regression, on tracks of its own.", "",
                       "| | z | h | [z, h] |", "|---|---:|---:|---:|", *rows])]


def verdicts(evaluations: Sequence[Evaluation]) -> str:
    """A table of the newest verdict of each kind."""
    newest = {(row["env"]["env_id"], row["env"]["lap_complete_percent"], row.get("controller", "mean"),
               len(row["tracks"])): row for row in evaluations}
    if not newest:
        return "None yet."
    looks = [told_of(row["env"]["env"]) for row in newest.values()]
    laps, one = any(look.laps for look in looks), looks[-1].episode
    lines = [f"| environment |{' lap at |' * laps} judged | {one}s | mean | 95 % interval | std |"
             f"{' laps completed |' * laps}", f"|---|{'---:|' * laps}---|---:|---:|---:|---:|{'---:|' * laps}"]
    for (environment, lap, controller, tracks), row in newest.items():
        share = row["laps"]
        lines.append(f"| {environment} |{f' {lap:.0%} |' * laps} {controller} | {tracks} | **{row['mean']:.1f}** | "
                     f"{interval_in_words(row)} | {row['std']:.1f} |{f' {share:.0%} |' * laps}")
    return "\n".join(lines)


def bullets(facts: Mapping[str, str]) -> str:
    """A list of facts."""
    return "\n".join(f"- {name}: {value}" for name, value in facts.items())


def unrooted(value: Any) -> Any:
    """JSON values in which absolute paths have kept their last two parts: where they lay is nobody's business."""
    if isinstance(value, str):
        return ROOTED.sub(lambda path: "/".join(path.group().rstrip("/").split("/")[-2:]), value)
    if isinstance(value, Mapping):
        return {name: unrooted(each) for name, each in value.items()}
    return [unrooted(each) for each in value] if isinstance(value, list | tuple) else value
