"""The model card of an exported run: what it is, what it took, how it was judged, and from which files."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from wm_mpi.core.schema import Champion, Evaluation, Generation, Manifest, Settings
from wm_mpi.core.terminal import quoted
from wm_mpi.evolution.scores import interval_in_words

ROOTED = re.compile(r"(?<![\w.~/])(?:/[^\s/:,;'\"()]+){2,}/?")
"""An absolute path within a text."""
SEEN = {"road": "the road, rows 0 to 83", "whole": "the whole picture, 96 rows",
        "published": "the road, rows 0 to 83, as the paper's code made it small"}
"""CarRacing's frames in words."""


def model_card(name: str, settings: Settings, rows: Sequence[Generation], evaluations: Sequence[Evaluation],
               manifest: Manifest, champion: Champion, notes: str) -> str:
    """The card as Markdown.

    Args:
        name: of the directory.
        settings: the run's configuration.
        rows: its metrics, a generation each.
        evaluations: its verdicts, oldest first.
        manifest: its world's.
        champion: what is recorded with the champion.
        notes: more text, Markdown.
    """
    last = rows[-1]
    data = manifest["env"]
    validation = champion["validation_mean"]
    mode = " --deterministic" if settings["deterministic"] else ""
    chosen = "" if validation is None else (f", chosen by its mean of {validation:.1f} over {settings['eval_episodes']} "
                                            "validation tracks")
    word = quoted(name)
    parts = [
        f"# {name}: a world model of CarRacing and its champion",
        "V (a VAE, 32 latents), M (an MDN-RNN, LSTM 256) and C (a linear controller, 867 numbers) in the manner of World "
        "Models (Ha and Schmidhuber, 2018), trained by this project. V and M are stored in half precision; ranks run "
        "`policy.onnx`.",
        f"    python -m wm_mpi.watch --run {word} --serve 8000\n    python -m wm_mpi.evaluate --run {word}\n"
        f"    python -m wm_mpi.es --world {word} --init {word}{mode} --out runs/on",
        notes.strip(),
        "## Verdicts\nReturns in points; every track is one that neither training nor validation has seen. The controller "
        "is the mean of the search distribution" + chosen + ".\n\n" + verdicts(evaluations),
        "## What it took\n" + bullets({
            "what V sees": SEEN.get(frame := data.get("frame", "road"), frame),
            "frames for V and M": f"{data['env_id']}, policy {unrooted(data.get('policy', ''))}, seed {data.get('seed')}",
            "C": f"CMA-ES, popsize {settings['popsize']}, {settings['episodes']} episodes per candidate of at most "
                 f"{settings['max_frames']} frames, sigma {settings['sigma']:g}, z {'= mu' if mode else 'sampled'}, "
                 f"seed {settings['seed']}",
            "generations": f"{last['generation']:,}; the champion is of generation {champion['generation']:,}",
            "frames played for C": f"{last['frames_total']:,}",
            "core-hours for C": f"{last['core_hours']:.2f}"}),
        "## Gates that V and M passed\n" + bullets({
            gate["name"]: ("not measured" if gate["value"] is None else f"{gate['value']:.3g}")
            + ("" if gate["passed"] else " (failed)") for gate in manifest.get("gates", ())}),
        *true_state(manifest),
        "## Files\n" + bullets({file: f"SHA-256 {digest}" for file, digest in sorted(manifest["files"].items())})]
    return "\n\n".join(part for part in parts if part) + "\n"


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
    lines = ["| environment | lap at | judged | tracks | mean | 95 % interval | std | laps completed |",
             "|---|---:|---|---:|---:|---:|---:|---:|"]
    for (environment, lap, controller, tracks), row in newest.items():
        lines.append(f"| {environment} | {lap:.0%} | {controller} | {tracks} | **{row['mean']:.1f}** | "
                     f"{interval_in_words(row)} | {row['std']:.1f} | {row['laps']:.0%} |")
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
