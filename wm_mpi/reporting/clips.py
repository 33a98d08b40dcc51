"""What a run's champion does, to look at: films of its worst and best test tracks, what V and M make of them, and dreams."""

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from wm_mpi.core.errors import UserError
from wm_mpi.core.progress import Progress
from wm_mpi.core.schema import Champion, Evaluation
from wm_mpi.core.seeding import EpisodeSeed, Stream, episode_seed, track_seed
from wm_mpi.data.arrays import load_arrays
from wm_mpi.reporting.run_data import RunData
from wm_mpi.viewer.session import DreamDrive, Drive, Sight

Picture = npt.NDArray[np.uint8]
EVERY = 5
"""Of a drive's 50 frames per second, every so many-th is in its film."""
QUALITY = 40
"""Of the films' WebP pictures (0 to 100): about 2 kB each."""
TEMPERATURES = (0.1, 0.5, 1.0, 1.3)
MOMENTS = 8
"""Pictures in a strip."""
APART = 15
"""Frames between them."""
GAP = 4
"""Between pictures that stand side by side (pixels)."""
OPENING = 50
"""At first the road is drawn from far above (frames)."""
PLAIN = 128
"""The grey of the gaps, which is neither the light page's nor the dark one's."""


class Take(NamedTuple):
    """A track to film."""

    seed: EpisodeSeed
    title: str


class Film(NamedTuple):
    """An episode to look at; pictures are data URIs."""

    moving: str
    still: str
    """For who does not want motion, or prints."""
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
    """``films`` of the worst tracks and as many of the best, and what V and M make of them; None where there is no car."""
    if films == 0 or data.world.path is None or not data.champion or data.toy:
        return None
    try:
        return played(data, films)
    except UserError as error:  # a world of before, without V's decoder: the rest of the report is none the worse for it
        return Footage(missing=str(error))


def played(data: RunData, films: int) -> Footage:
    """Films, strips and dreams; some seconds each, with a bar."""
    assert data.world.path is not None
    parameters = load_arrays(data.run.champion, "let es go on with the run", Champion, ("parameters",))[0]["parameters"]
    judged, width = judgement(data), data.config["width"]
    rules = data.config if judged is None else judged["env"]
    deterministic = (judged or data.config)["deterministic"]
    width = width if judged is None else judged.get("width", width)
    drive, dream = (kind(str(data.world.path), parameters, deterministic, rules["max_frames"],
                         rules["lap_complete_percent"], width) for kind in (Drive, DreamDrive))
    assert isinstance(dream, DreamDrive)
    first, chosen, screened = episode_seed(data.config["seed"], Stream.TEST, 0, 0), takes(data, films), []
    with Progress(None, len(chosen) + 1 + len(TEMPERATURES), unit="film") as progress:
        for take in chosen:
            screened.append(film(drive, take))
            progress.advance()
        understood = understanding(drive, first)
        progress.advance()
        dreamt = dreams(dream, first, progress)
    return Footage(
        films=screened, understood=understood, dreams=dreamt,
        dreaming=f"The champion drives inside M, from a real first frame on; every {APART}th frame. The higher the "
                 "temperature, the less likely are the futures that M draws.")


def judgement(data: RunData) -> Evaluation | None:
    """The newest evaluation in our engine, where a drive is the same again."""
    return next((row for row in reversed(data.judged) if row["env"]["env"] == "fast"), None)


def takes(data: RunData, films: int) -> list[Take]:
    """The worst and the best tracks of the newest evaluation in our engine; without one, the first test track."""
    judged, seed = judgement(data), data.config["seed"]
    if judged is None:
        return [Take(episode_seed(seed, Stream.TEST, 0, 0), "the first test track (the worst and best, once evaluated)")]
    returns, tracks = judged["returns"], judged["tracks"]
    order = [int(number) for number in np.argsort(returns, kind="stable")]
    films = min(films, (len(order) + 1) // 2)
    names = {number: "worst" for number in order[:films]} | {number: "best" for number in order[::-1][:films]}
    return [Take(seed_of(seed, number, tracks[number]),
                 f"{name} of {len(order)}: track {tracks[number]}, {returns[number]:.1f} points when evaluated")
            for number, name in names.items()]


def seed_of(run_seed: int, number: int, track: int) -> EpisodeSeed:
    """Track and noise of an evaluation's episode: the test stream's, or those of a track given by its number."""
    streamed = episode_seed(run_seed, Stream.TEST, 0, number)
    return streamed if streamed.track == track else track_seed(run_seed, track)


def drives(car: Drive | DreamDrive, seed: EpisodeSeed) -> Iterator[Sight]:
    """Everything that is to be seen of an episode."""
    sight = car.reset(seed)
    yield sight
    while not sight.ended:
        sight = car.step()
        yield sight


def film(car: Drive, take: Take) -> Film:
    """An episode as a film."""
    pictures, last = [], None
    for number, last in enumerate(drives(car, take.seed)):
        if number % EVERY == 0 or last.ended:
            pictures.append(Image.fromarray(scene_of(last)))
    assert last is not None
    ended = f"{last.total:.1f} points in {last.frame} frames{', lap completed' if last.lap else ''}"
    return Film(moving=webp(pictures), still=webp(pictures[len(pictures) // 3:][:1]),
                words=f"Film of the car on {take.title}: {ended}", caption=f"{take.title}; in this drive {ended}",
                width=pictures[0].width, height=pictures[0].height)


def scene_of(sight: Sight) -> Picture:
    """The road at half its size, and beside it what is seen, what is kept of it, and what was expected."""
    road = sight.road.reshape(200, 2, 300, 2, 3).mean(axis=(1, 3)).astype(np.uint8)
    return row_of([road, column_of([sight.seen, sight.reconstructed, sight.predicted])])


def webp(pictures: Sequence[Image.Image]) -> str:
    """Pictures as an endless film at the speed of life, or one as a still, in a data URI."""
    stream = io.BytesIO()
    pictures[0].save(stream, "WEBP", save_all=len(pictures) > 1, append_images=pictures[1:], duration=20 * EVERY, loop=0,
                     quality=QUALITY, method=4)
    return f"data:image/webp;base64,{base64.b64encode(stream.getvalue()).decode()}"


def strip(car: Drive | DreamDrive, seed: EpisodeSeed, first: int) -> list[Sight]:
    """Some moments of an episode from frame ``first`` on, evenly apart; fewer where it ends before."""
    moments = []
    for number, sight in enumerate(drives(car, seed)):
        if number >= first and (number - first) % APART == 0:
            moments.append(sight)
        if len(moments) == MOMENTS:
            break
    return moments


def understanding(car: Drive, seed: EpisodeSeed) -> Strip:
    """Frames above V's reconstructions above M's predictions."""
    moments = strip(car, seed, OPENING)
    rows = [row_of([getattr(sight, name) for sight in moments]) for name in ("seen", "reconstructed", "predicted")]
    return Strip(png(column_of(rows)), f"{len(moments)} moments of a drive in three rows.",
                 f"Every {APART}th frame of the first test track, from frame {OPENING} on: seen (above), reconstructed "
                 "by V, predicted by M.")


def dreams(car: DreamDrive, seed: EpisodeSeed, progress: Progress) -> list[Strip]:
    """One start dreamt on at several temperatures: how sure M is of what it makes up."""
    strips = []
    for temperature in TEMPERATURES:
        car.temperature = temperature
        moments = strip(car, seed, 0)
        end = "" if len(moments) == MOMENTS else "; then the dream ended"
        strips.append(Strip(png(row_of([sight.seen for sight in moments])),
                            f"{len(moments)} moments of a dream at temperature {temperature}.",
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
