"""The report of a run as one HTML page that needs nothing beside itself: what it tells. report.html sets it."""

import base64
import datetime
import json
from collections.abc import Sequence
from importlib import resources
from typing import NamedTuple

import jinja2
import numpy as np
from markupsafe import Markup

from wm_mpi import __version__
from wm_mpi.core.schema import Evaluation
from wm_mpi.core.terminal import quoted
from wm_mpi.evolution.published import scores_of
from wm_mpi.evolution.scores import interval_in_words
from wm_mpi.reporting import figures
from wm_mpi.reporting.charts import Figure
from wm_mpi.reporting.clips import Footage
from wm_mpi.reporting.run_data import RunData, WorldData
from wm_mpi.reporting.summary import glance, headline, title
from wm_mpi.reporting.svg import draw

SHOWN = 8
"""Validations in the table."""


class Table(NamedTuple):
    """A table whose first cells head their rows."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


def make_page(data: RunData, footage: Footage | None = None) -> str:
    """The page, with films and dreams where there are any."""
    begun, (models, absent) = bool(data.rows), learnt(data.world)
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
                                     keep_trailing_newline=True)
    return environment.from_string(_read("report.html")).render(
        data=data, footage=footage, draw=draw, style=Markup(_read("report.css")), name=title(data), headline=headline(data),
        tiles=glance(data) if begun else [], learning=figures.learning(data) if begun else [],
        search=figures.search(data) if begun else [], validations=validations(data),
        scores=scores(data),
        judgements=figures.judgements(data), evaluations=evaluations(data), samples=samples(data.world), models=models,
        absent=absent, speed=figures.speed(data) if begun else [], lost=lost(data), settings=settings(data),
        version=__version__, today=datetime.datetime.now().astimezone().isoformat(sep=" ", timespec="minutes"),
        run=quoted(data.run.path))


def _read(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def validations(data: RunData) -> Table:
    """Validations, evenly chosen where there are many."""
    rows = data.validated
    shown = rows if len(rows) <= SHOWN else [rows[round(each)] for each in np.linspace(0, len(rows) - 1, SHOWN)]
    names = ("validation mean", "its std", "population mean", "best candidate")
    if data.real:
        names = ("mean in the real game", "its std", "population in the dream", "best in the dream")
    return Table(
        f"Validations{'' if len(shown) == len(rows) else f', {len(shown)} of {len(rows)}'} (returns in points)",
        ("generation", "frames", *names, "sigma"),
        [(f"{row['generation']:,}", f"{row['frames_total']:,}", *(f"{row[name]:.1f}" for name in
          ("eval_mean", "eval_std", "return_mean", "return_best")), f"{row['sigma']:.4f}") for row in shown])


def evaluations(data: RunData) -> Table:
    """All evaluations."""
    return Table(
        "All evaluations, oldest first (returns in points)",
        ("environment", "controller", "generation", f"{data.look.episode}s", "mean", "std", "95 % interval", "min", "median",
         "max", *["lap at", "laps"] * data.look.laps),
        [(place_of(row), row.get("controller", "mean"), f"{row['generation']:,}",
          str(len(row["returns"])), f"{row['mean']:.1f}", f"{row['std']:.1f}",
          interval_in_words(row), f"{row['min']:.1f}", f"{row['median']:.1f}", f"{row['max']:.1f}",
          *[f"{row['env']['lap_complete_percent']:.0%}", f"{row['laps']:.0%}"] * data.look.laps)
         for row in data.evaluations])


def place_of(row: Evaluation) -> str:
    """Where an evaluation was played."""
    env, heat = row["env"], row["env"].get("temperature")
    return f"{env['env_id']}{'' if heat is None else f', temperature {heat:g}'}, at most {env['max_frames']} frames"


def scores(data: RunData) -> Table:
    """What others have published, and what counts as solved."""
    rows = [] if data.compared else scores_of(data.game)
    return Table(f"Published for {data.look.title}, in the real game (returns in points)",
                 ("result", "mean", "std", "episodes", "source"),
                 [(each.what, f"{each.mean:g}", f"{each.std:g}", str(each.episodes), each.source) for each in rows])


def samples(world: WorldData) -> str:
    """Freeze's picture of frames and reconstructions as a data URI; empty where there is none."""
    return "" if world.samples is None else f"data:image/png;base64,{base64.b64encode(world.samples.read_bytes()).decode()}"


def learnt(world: WorldData) -> tuple[list[Figure], list[str]]:
    """Losses and latents as far as they are found, and what is not."""
    if world.missing:
        return [], []
    found, absent = [], []
    for model, name, part in (("V", "vae", ("reconstruction", "pixels")), ("M", "rnn", ("nll", "latents"))):
        rows = world.losses[name]
        found += [figures.losses(rows, model, *part)] if rows else []
        absent += [] if rows else [f"{model}'s losses"]
    found += [figures.latents(world.latents)] if world.latents is not None else []
    absent += [] if world.latents is not None else ["the latents' activity"]
    return found, absent


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
