"""The report of a run as one HTML page that needs nothing beside itself: what it tells. report.html sets it."""

import base64
import datetime
from importlib import resources

import jinja2
from markupsafe import Markup

from wm_mpi import __version__
from wm_mpi.core.shipped import called
from wm_mpi.core.terminal import quoted
from wm_mpi.core.words import counted
from wm_mpi.reporting import comparison, figures, tables
from wm_mpi.reporting.charts import Figure
from wm_mpi.reporting.clips import Footage
from wm_mpi.reporting.learning import learning
from wm_mpi.reporting.run_data import RunData, WorldData
from wm_mpi.reporting.summary import glance, headline, title, why_they_differ
from wm_mpi.reporting.svg import draw


def make_page(data: RunData, footage: Footage | None = None) -> str:
    """The page, with films and dreams where there are any."""
    begun, (models, absent) = bool(data.rows), learnt(data.world)
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
                                     keep_trailing_newline=True)
    return environment.from_string(_read("report.html")).render(
        data=data, footage=footage, draw=draw, style=Markup(_read("report.css")), script=Markup(_read("report.js")),
        name=title(data), headline=headline(data), tiles=glance(data) if begun else [],
        learning=learning(data) if begun else [], search=figures.search(data) if begun else [],
        validations=tables.validations(data), compared=comparison.table(data), differ=why_they_differ(data),
        scores=tables.scores(data), judgements=figures.judgements(data), evaluations=tables.evaluations(data),
        samples=samples(data.world), models=models, absent=absent, speed=figures.speed(data) if begun else [],
        lost=tables.lost(data), settings=tables.settings(data), version=__version__,
        today=datetime.datetime.now().astimezone().isoformat(sep=" ", timespec="minutes"),
        run=quoted(called(str(data.run.path))), command=command_of(data), counted=counted)


def command_of(data: RunData) -> str:
    """What makes this page again."""
    run, *others = (quoted(called(str(each.run.path))) for each in (data, *data.others))
    return " ".join([f"python -m wm_mpi.report --run {run}", *(["--compare", *others] if others else ())])


def _read(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


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
