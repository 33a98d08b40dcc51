"""What a run's champion does, to look at: films of its worst and best test tracks, what V and M make of them, and dreams."""

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from wm_mpi.core.errors import UserError
from wm_mpi.core.options import WIDTH
from wm_mpi.core.progress import Progress
from wm_mpi.core.schema import Champion, Evaluation
from wm_mpi.core.seeding import EpisodeSeed, Stream, episode_seed, track_seed
from wm_mpi.core.words import counted
from wm_mpi.data.arrays import load_arrays
from wm_mpi.envs import game_of
from wm_mpi.reporting.run_data import RunData
from wm_mpi.viewer.drawing import fitted
from wm_mpi.viewer.episode import Session, Show, Sight
from wm_mpi.viewer.session import Part, open_session

Picture = npt.NDArray[np.uint8]
PACE = 25
"""Pictures per second of a film, nearly: CarRacing's has every second frame."""
QUALITY = 60
"""Of a film's poster, a WebP picture (0 to 100): about 4 kB."""
TEMPERATURES = (0.1, 0.5, 1.0, 1.3)
MOMENTS = 8
"""Pictures in a strip."""
APART = 15
"""Frames between them."""
GAP = 4
"""Between pictures that stand side by side (pixels)."""
OPENING = 50
"""At first a car's road is drawn from far above (frames)."""
PLAIN = 128
"""The grey of the gaps, which is neither the light page's nor the dark one's."""


class Take(NamedTuple):
    """A track to film."""

    seed: EpisodeSeed
    title: str


class Film(NamedTuple):
    """An episode to look at; in data URIs."""

    moving: str
    """WebM; nothing where PyAV, which makes it, is not installed."""
    still: str
    """One of its pictures: what stands there until it is played, and on paper."""
    words: str
    """What it shows, for who cannot see it."""
    caption: str
    width: int
    height: int


class Strip(NamedTuple):
    """Moments of an episode side by side, as one picture in a data URI."""

    picture: str
    words: str
    caption: str


@dataclass(frozen=True)
class Footage:
    """What there is to look at; or, in a sentence, why there is nothing."""

    missing: str = ""
    films: Sequence[Film] = ()
    understood: Strip | None = None
    dreaming: str = ""
    """What the dreams are."""
    dreams: Sequence[Strip] = ()


def make_footage(data: RunData, films: int) -> Footage | None:
    """``films`` of the worst tracks and as many of the best, and what V and M make of them; None where nobody plays."""
    gone = data.world.path is None and data.config["world"] is not None
    if films == 0 or gone or not data.champion:
        return None
    try:
        return played(data, films)
    except UserError as error:  # no picture, or a world without V's decoder: the rest is none the worse for it
        return Footage(missing=str(error))


def played(data: RunData, films: int) -> Footage:
    """Films, strips and dreams; some seconds each, with a bar."""
    part = part_of(data)
    session, temperatures = open_session(part), sorted({*TEMPERATURES, part.temperature})
    first, chosen, screened = episode_seed(data.config["seed"], Stream.TEST, 0, 0), takes(data, films), []
    strips = 0 if part.world is None else 1 + len(temperatures)
    with Progress(None, len(chosen) + strips, unit="film") as progress:
        for take in chosen:
            screened.append(film(session, take))
            progress.advance()
        if part.world is None:
            return Footage(films=screened)
        understood = understanding(session, first, OPENING if data.car else 0)
        progress.advance()
        dreamt = dreams(open_session(part, dream=True), temperatures, first, progress)
    return Footage(
        films=screened, understood=understood, dreams=dreamt,
        dreaming=f"The champion {data.look.verb}s inside M, from a real first frame on; every {APART}th frame. The higher "
                 "the temperature, the less likely are the futures that M draws."
                 + (f" C was trained at {part.temperature:g}." if data.dreamt else ""))


def part_of(data: RunData) -> Part:
    """The champion as it was judged last."""
    config, judged = data.config, judgement(data)
    parameters = load_arrays(data.run.champion, "let es go on with the run", Champion, ("parameters",))[0]["parameters"]
    rules = config if judged is None else judged["env"]
    longest = game_of(data.game).max_frames if data.dreamt and judged is None else rules["max_frames"]
    width = (config["width"] if judged is None else judged.get("width", config["width"])) or WIDTH
    return Part(
        engine(data), None if data.world.path is None else str(data.world.path), parameters,
        (judged or config)["deterministic"], longest, rules["lap_complete_percent"], width, config.get("hidden"),
        config.get("temperature") or 1.0, in_latents=data.dreamt or not data.car)


def engine(data: RunData) -> str:
    """Where films are made, by the name of --env: cars drive in our engine."""
    return "fast" if data.car else data.game


def judgement(data: RunData) -> Evaluation | None:
    """The newest evaluation where films are made, so that an episode is the same again."""
    return next((row for row in reversed(data.judged) if row["env"]["env"] == engine(data)), None)


def takes(data: RunData, films: int) -> list[Take]:
    """The worst and the best episodes of the newest evaluation; without one, the first test episode."""
    judged, seed, one = judgement(data), data.config["seed"], data.look.episode
    if judged is None:
        return [Take(episode_seed(seed, Stream.TEST, 0, 0), f"the first test {one} (the worst and best, once evaluated)")]
    returns, tracks = judged["returns"], judged["tracks"]
    order = [int(number) for number in np.argsort(returns, kind="stable")]
    films = min(films, (len(order) + 1) // 2)
    names = {number: "worst" for number in order[:films]} | {number: "best" for number in order[::-1][:films]}
    return [Take(seed_of(seed, number, tracks[number]),
                 f"{name} of {len(order)}: {one} {tracks[number]}, {returns[number]:.1f} points when evaluated")
            for number, name in names.items()]


def seed_of(run_seed: int, number: int, track: int) -> EpisodeSeed:
    """Track and noise of an evaluation's episode: the test stream's, or those of a track given by its number."""
    streamed = episode_seed(run_seed, Stream.TEST, 0, number)
    return streamed if streamed.track == track else track_seed(run_seed, track)


def watched(car: Session, seed: EpisodeSeed) -> Iterator[Sight]:
    """Everything that is to be seen of an episode."""
    sight = car.reset(seed)
    yield sight
    while not sight.ended:
        sight = car.step()
        yield sight


def film(car: Session, take: Take) -> Film:
    """An episode as a film."""
    pictures, last, look = list[Picture](), None, car.show.look
    every = max(1, round(look.fps / PACE))
    for number, last in enumerate(watched(car, take.seed)):
        if number % every == 0 or last.ended:
            pictures.append(scene_of(last, car.show))
    assert last is not None
    ended = f"{last.total:.1f} points in {counted(last.frame, 'frame')}{', lap completed' if last.lap else ''}"
    height, width, _ = pictures[0].shape
    return Film(moving=moving(pictures, Fraction(look.fps, every)), still=webp(pictures[len(pictures) // 3]),
                words=f"Film of {look.title}, {take.title}: {ended}", caption=f"{take.title}; in this {look.turn} {ended}",
                width=width, height=height)


def scene_of(sight: Sight, show: Show) -> Picture:
    """The game at most 300 pixels wide and 200 high, and beside it the views."""
    if sight.road.shape == (400, 600, 3):
        road = sight.road.reshape(200, 2, 300, 2, 3).mean(axis=(1, 3)).astype(np.uint8)
    else:
        road = np.asarray(fitted(sight.road, 300, 200))
    if not show.views:
        return road
    ground = np.full((200, road.shape[1], 3), PLAIN, np.uint8)
    ground[:len(road)] = road
    return row_of([ground, column_of([getattr(sight, name) for name, _ in show.views])])


def moving(pictures: Sequence[Picture], fps: Fraction) -> str:
    """Pictures as a film in a data URI; empty without PyAV."""
    try:
        from wm_mpi.viewer.films import webm
    except ModuleNotFoundError as error:
        if error.name != "av":
            raise
        return ""
    height, width, _ = pictures[0].shape
    return f"data:video/webm;base64,{base64.b64encode(webm(pictures, (width, height), fps)).decode()}"


def webp(picture: Picture) -> str:
    """A picture in a data URI."""
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "WEBP", quality=QUALITY, method=4)
    return f"data:image/webp;base64,{base64.b64encode(stream.getvalue()).decode()}"


def strip(car: Session, seed: EpisodeSeed, first: int) -> list[Sight]:
    """Some moments of an episode from frame ``first`` on, evenly apart; fewer where it ends before."""
    moments = []
    for number, sight in enumerate(watched(car, seed)):
        if number >= first and (number - first) % APART == 0:
            moments.append(sight)
        if len(moments) == MOMENTS:
            break
    return moments


def understanding(car: Session, seed: EpisodeSeed, first: int) -> Strip:
    """Frames above V's reconstructions above M's predictions, from frame ``first`` on where an episode is that long."""
    moments = strip(car, seed, first)
    if not moments:
        first, moments = 0, strip(car, seed, 0)
    rows = [row_of([getattr(sight, name) for sight in moments]) for name in ("seen", "reconstructed", "predicted")]
    return Strip(png(column_of(rows)), f"{counted(len(moments), 'moment')} in three rows.",
                 f"Every {APART}th frame of the first test {car.show.look.episode}, from frame {first} on: seen (above), "
                 "reconstructed by V, predicted by M.")


def dreams(car: Session, temperatures: Sequence[float], seed: EpisodeSeed, progress: Progress) -> list[Strip]:
    """One start dreamt on at several temperatures: how sure M is of what it makes up."""
    strips = []
    for temperature in temperatures:
        car.temperature = temperature
        moments = strip(car, seed, 0)
        end = "" if len(moments) == MOMENTS else "; then the dream ended"
        strips.append(Strip(png(row_of([sight.seen for sight in moments])),
                            f"{counted(len(moments), 'moment')} of a dream at temperature {temperature}.",
                            f"Temperature {temperature}{end}"))
        progress.advance()
    return strips


def row_of(pictures: Sequence[Picture]) -> Picture:
    """Pictures of one height side by side."""
    gap = np.full((len(pictures[0]), GAP, 3), PLAIN, np.uint8)
    return np.concatenate([part for picture in pictures for part in (gap, picture)][1:], axis=1)


def column_of(pictures: Sequence[Picture]) -> Picture:
    """Pictures of one width one below the other."""
    return row_of([picture.transpose(1, 0, 2) for picture in pictures]).transpose(1, 0, 2)


def png(picture: Picture) -> str:
    """A small picture as a data URI."""
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"
