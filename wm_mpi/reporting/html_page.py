"""The report of a run as one HTML page that needs nothing beside itself."""

import base64
import datetime
import html
import json
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path

import numpy as np

from wm_mpi import __version__
from wm_mpi.core.terminal import quoted
from wm_mpi.evolution.scores import interval_in_words
from wm_mpi.reporting import figures as curves
from wm_mpi.reporting.charts import Figure
from wm_mpi.reporting.run_data import RunData, WorldData
from wm_mpi.reporting.summary import glance, headline, title
from wm_mpi.reporting.svg import draw

Cells = Sequence[str]
SHOWN = 8
"""Validations in the table."""


def make_page(data: RunData, footage: str = "") -> str:
    """The page; ``footage`` is HTML with films and dreams, where there is any."""
    name = html.escape(title(data))
    style = resources.files(__package__).joinpath("report.css").read_text(encoding="utf-8")
    parts = [section("Learning", learning(data)), section("Judgement on unseen tracks", judgement(data)), footage,
             section("What V and M have learnt", models(data.world)), section("Speed", speed(data)),
             section("Configuration and versions", setting(data))]
    today = datetime.datetime.now().astimezone().isoformat(sep=" ", timespec="minutes")
    return (f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{name}: report of a run</title>'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f'<link rel="icon" href="data:,"><style>{style}</style></head>\n<body>'
            f"<header><h1>{name}</h1><p class='soft'>{headline(data)}.</p></header>\n<main>{facts(data)}\n"
            + "\n".join(filter(None, parts)) + f"</main>\n<footer>Made by wm_mpi {__version__} on {today} with "
            f"<code>python -m wm_mpi.report --run {html.escape(quoted(data.run.path))}</code></footer></body>"
            "</html>\n")


def figure(body: str, caption: str, kind: str = "") -> str:
    """A figure with its caption, which may hold HTML, above it."""
    return f'<figure{f" class={kind}" if kind else ""}><figcaption>{caption}</figcaption>{body}</figure>'


def drawn(figures: Sequence[Figure]) -> str:
    """Figures one after the other."""
    return "".join(figure(draw(each.chart), html.escape(each.caption), "whole" if each.whole else "") if each.caption else
                   f"<figure>{draw(each.chart)}</figure>" for each in figures)


def row(figures: Sequence[Figure], kind: str = "row") -> str:
    """Figures side by side, as far as there is room."""
    return f'<div class="{kind}">{drawn(figures)}</div>' if figures else ""


def section(title: str, body: str) -> str:
    """A section with its heading."""
    return f"<section><h2>{title}</h2>{body}</section>"


def paragraph(text: str) -> str:
    """A paragraph of plain text."""
    return f"<p>{html.escape(text)}</p>"


def table(caption: str, head: Cells, rows: Iterable[Cells], kind: str = "wide", numbers: int = 1) -> str:
    """A table whose first cells head their rows; columns from ``numbers`` on are set to the right."""
    def cells(row: Cells) -> str:
        return "".join(f'<{"td" if number else "th scope=row"}{" class=number" if number >= numbers else ""} '
                       f'data-name="{html.escape(head[number])}">{html.escape(cell)}</{"td" if number else "th"}>'
                       for number, cell in enumerate(row))

    heads = "".join(f'<th scope="col"{" class=number" if number >= numbers else ""}>{html.escape(cell)}</th>'
                    for number, cell in enumerate(head))
    return (f'<table class="{kind}"><caption>{html.escape(caption)}</caption><thead><tr>{heads}</tr></thead><tbody>'
            + "".join(f"<tr>{cells(row)}</tr>" for row in rows) + "</tbody></table>")


def picture(path: Path, words: str) -> str:
    """A PNG inside the page."""
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<img src="data:image/png;base64,{data}" alt="{html.escape(words)}">'


def facts(data: RunData) -> str:
    """The run's figures at a glance, as a list of terms."""
    if not data.rows:
        return paragraph("No generation is finished yet: make the report again later.")
    tiles = "".join(f'<div><dt>{name}</dt><dd class="value">{value}</dd><dd class="more">{more}</dd></div>'
                    for name, value, more in glance(data))
    return f'<dl class="facts">{tiles}</dl>'


def learning(data: RunData) -> str:
    """Curve and table of validations."""
    if not data.rows:
        return paragraph("Nothing to draw before the first generation is finished.")
    rows = data.validated
    if not rows:
        return drawn(curves.learning(data)) + paragraph(
            f"No validation so far; one comes every {data.config['eval_every']} generations.")
    shown = rows if len(rows) <= SHOWN else [rows[round(each)] for each in np.linspace(0, len(rows) - 1, SHOWN)]
    return drawn(curves.learning(data)) + table(
        f"Validations{'' if len(shown) == len(rows) else f', {len(shown)} of {len(rows)}'} (returns in points)",
        ("generation", "frames", "validation mean", "its std", "population mean", "best candidate", "sigma"),
        [(f"{row['generation']:,}", f"{row['frames_total']:,}", *(f"{row[name]:.1f}" for name in
          ("eval_mean", "eval_std", "return_mean", "return_best")), f"{row['sigma']:.4f}") for row in shown])


def judgement(data: RunData) -> str:
    """Histograms and a table of all evaluations."""
    if not data.evaluations:
        return paragraph(f"No evaluation yet: run python -m wm_mpi.evaluate --run {quoted(data.run.path)}")
    return row(curves.judgements(data)) + table(
        "All evaluations, oldest first (returns in points)",
        ("environment", "controller", "generation", "tracks", "mean", "std", "95 % interval", "min", "median", "max",
         "laps"),
        [(f"{row['env']['env_id']}, at most {row['env']['max_frames']} frames", row.get("controller", "mean"),
          f"{row['generation']:,}",
          str(len(row["returns"])), f"{row['mean']:.1f}", f"{row['std']:.1f}",
          interval_in_words(row), f"{row['min']:.1f}", f"{row['median']:.1f}", f"{row['max']:.1f}", f"{row['laps']:.0%}")
         for row in data.evaluations])


def models(world: WorldData) -> str:
    """Reconstructions, latents, losses, as far as they are found."""
    if world.missing:
        return paragraph(world.missing)
    parts = []
    if world.samples is not None:
        parts.append(figure(picture(world.samples, "Sixteen frames of the data set, each above what V made of it."),
                                   "Frames of the data set and what is left of them after V's 32 latents."))
    shown, absent = list[Figure](), list[str]()
    for model, name, part in (("V", "vae", ("reconstruction", "pixels")), ("M", "rnn", ("nll", "latents"))):
        rows = world.losses[name]
        shown += [curves.losses(rows, model, *part)] if rows else []
        absent += [] if rows else [f"{model}'s losses"]
    shown += [curves.latents(world.latents)] if world.latents is not None else []
    absent += [] if world.latents is not None else ["the latents' activity"]
    if absent:
        parts.append(paragraph(f"Not shown: {' and '.join(absent)}. The directories of train_vae, train_rnn and encode that "
                               "this world was made from are neither beside it nor where freeze found them."))
    return "".join(parts) + row(shown)


def speed(data: RunData) -> str:
    """Curves, and the ranks that were lost."""
    if not data.rows:
        return paragraph("Nothing is measured before the first generation is finished.")
    rows = [(f"{generation:,}", rank) for generation, rank in data.lost]
    return row(curves.speed(data), "row three") + (
        table("Ranks lost", ("generation", "rank and host"), rows, "pairs", 2) if rows else "")


def setting(data: RunData) -> str:
    """The run's options, and where and with which versions it was started last."""
    environment, world = data.environment, data.world.manifest
    packages = {"wm_mpi": environment.get("wm_mpi"), "Python": environment.get("python"), **environment.get("packages", {})}
    machine = {name: environment.get(name) for name in ("host", "platform", "cpu", "cpus")}
    if world:
        machine |= {"world's policy.onnx (SHA-256)": world["files"]["policy.onnx"], "world's precision": world["precision"]}
    tables = ((data.config, "Options of the run", ("option", "value")),
              ({**packages, **machine}, "Versions and machine of rank 0 at the latest start", ("what", "value")))
    return '<div class="row">' + "".join(
        table(caption, head, [(name, value if isinstance(value, str) else json.dumps(value))
                              for name, value in pairs.items()], "pairs", 2) for pairs, caption, head in tables) + "</div>"
