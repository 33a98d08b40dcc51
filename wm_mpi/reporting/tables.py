"""The tables of a report."""

import json
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from wm_mpi.core.schema import Evaluation
from wm_mpi.core.words import percent
from wm_mpi.evolution.published import scores_of
from wm_mpi.evolution.scores import interval_in_words
from wm_mpi.reporting.run_data import RunData

SHOWN = 8
"""Validations in the table."""


class Table(NamedTuple):
    """A table whose first cells head their rows."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


def validations(data: RunData) -> Table:
    """Validations, evenly chosen where there are many."""
    rows = data.validated
    shown = rows if len(rows) <= SHOWN else [rows[round(each)] for each in np.linspace(0, len(rows) - 1, SHOWN)]
    names = ("validation mean", "its std", "population mean", "best candidate")
    if data.real:
        names = ("mean in the real game", "its std", "population in the dream", "best in the dream")
    own = "; generations and frames of this run alone" if data.frames_before else ""
    return Table(
        f"Validations{'' if len(shown) == len(rows) else f', {len(shown)} of {len(rows)}'} (returns in points{own})",
        ("generation", "frames", *names, "sigma"),
        [(f"{row['generation']:,}", f"{row['frames_total']:,}", *(f"{row[name]:.1f}" for name in
          ("eval_mean", "eval_std", "return_mean", "return_best")), f"{row['sigma']:.4f}") for row in shown])


def evaluations(data: RunData) -> Table:
    """All evaluations, told apart: what differs between some of them has a column, and what was only judged again is one."""
    one, laps = data.look.episode, data.look.laps
    columns: list[tuple[str, list[str]]] = [
        ("environment", [place_of(row) for row in data.evaluations]),
        ("controller", [row.get("controller", "mean") for row in data.evaluations]),
        ("generation", [f"{row['generation']:,}" for row in data.evaluations]),
        (f"{one}s", [str(len(row["returns"])) for row in data.evaluations]),
        *((name, cells) for name, cells in (
            (f"which {one}s", [tracks_of(row) for row in data.evaluations]),
            ("z", ["its mean" if row["deterministic"] else "sampled" for row in data.evaluations]),
            ("width", [str(row.get("width", data.config["width"])) for row in data.evaluations])) if len(set(cells)) > 1),
        *((name, [f"{row[name]:.1f}" for row in data.evaluations]) for name in ("mean", "std")),  # type: ignore[literal-required]
        ("95 % interval", [interval_in_words(row) for row in data.evaluations]),
        *((name, [f"{row[name]:.1f}" for row in data.evaluations])  # type: ignore[literal-required]
          for name in ("min", "median", "max")),
        *[("lap at", [percent(row["env"]["lap_complete_percent"]) for row in data.evaluations]),
          ("laps", [percent(round(row["laps"], 2)) for row in data.evaluations])] * laps]
    rows = list(zip(*(cells for _, cells in columns), strict=True))
    different = list(dict.fromkeys(rows))
    again = len(rows) - len(different)
    return Table("All evaluations, oldest first (returns in points"
                 + (f"; {again} more came to the same)" if again else ")"), [name for name, _ in columns], different)


def place_of(row: Evaluation) -> str:
    """Where an evaluation was played."""
    env, heat = row["env"], row["env"].get("temperature")
    return f"{env['env_id']}{'' if heat is None else f', temperature {heat:g}'}, at most {env['max_frames']:,} frames"


def tracks_of(row: Evaluation) -> str:
    """Which tracks were played: a range of them, or those that the run's seed gives."""
    tracks = row["tracks"]
    in_order = tracks == list(range(tracks[0], tracks[0] + len(tracks)))
    return f"{tracks[0]} to {tracks[-1]}" if in_order and len(tracks) > 1 else f"from {tracks[0]} on"


def scores(data: RunData) -> Table:
    """What others have published, and what counts as solved."""
    rows = [] if data.compared else scores_of(data.game)
    return Table(f"Published for {data.look.title}, in the real game (returns in points)",
                 ("result", "mean", "std", "episodes", "source"),
                 [(each.what, f"{each.mean:g}", f"{each.std:g}", str(each.episodes), each.source) for each in rows])


def lost(data: RunData) -> Table:
    """The ranks that were lost."""
    return Table("Ranks lost", ("generation", "rank and host"),
                 [(f"{generation:,}", rank) for generation, rank in data.lost])


def settings(data: RunData) -> list[Table]:
    """The run's options, and where and with which versions it was started last."""
    environment, world = data.environment, data.world.manifest
    packages = {"wm_mpi": environment.get("wm_mpi"), "Python": environment.get("python"), **environment.get("packages", {})}
    machine = {name: environment.get(name) for name in ("host", "platform", "cpu", "cpus")}
    if world:
        machine |= {"world's policy.onnx (SHA-256)": world["files"]["policy.onnx"], "world's precision": world["precision"]}
    tables = ((data.config, "Options of the run", ("option", "value")),
              ({**packages, **machine}, "Versions and machine of rank 0 at the latest start", ("what", "value")))
    return [Table(caption, head, [(name, value if isinstance(value, str) else json.dumps(value))
                                  for name, value in pairs.items()]) for pairs, caption, head in tables]
