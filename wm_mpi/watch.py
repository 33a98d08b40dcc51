"""See the champion of a run drive: a film, a sheet of its moments, a page for browsers, or a window."""

from wm_mpi.core.cli import run_command
from wm_mpi.core.config import WatchConfig

if __name__ == "__main__":
    run_command("watch", WatchConfig)

import contextlib
from collections.abc import Iterator
from pathlib import Path

from wm_mpi.core.errors import UserError
from wm_mpi.core.files import atomic_path, check_writable
from wm_mpi.core.progress import Progress
from wm_mpi.core.seeding import EpisodeSeed
from wm_mpi.core.shipped import beside
from wm_mpi.core.terminal import shown
from wm_mpi.evolution.champion import Trained, car_world, judged_tracks, load_trained
from wm_mpi.viewer.drawing import ROAD, SIZE, Board, Moments, contact_sheet
from wm_mpi.viewer.session import DreamDrive, Drive, Sight

FRAMES_PER_SECOND = 50
"""The environment's own frames per second."""
REST_FRAMES = FRAMES_PER_SECOND
"""How long a film stands still on an episode's last picture (frames)."""


def main(config: WatchConfig) -> None:
    """Drive the tracks, and show them where the flags say."""
    video, sheet = outputs(config)
    trained = load_trained(config.run, env=None, world=config.world, max_frames=config.max_frames,
                           lap_complete_percent=config.lap_complete_percent, deterministic=config.deterministic)
    seeds = judged_tracks(config.episodes, config.tracks, trained.settings["seed"])
    for path in filter(None, (video, sheet)):
        check_writable(path)  # the car may take a minute, to compile the engine
    car = get_in(config, trained)
    if config.window:
        from wm_mpi.viewer.window import Window  # loads pygame

        Window(car, seeds, Board(title(config, trained))).run()
    if video or sheet:
        film_and_sheet(car, seeds, title(config, trained), video, sheet, trained.spec.max_frames)
    if config.serve is not None:
        from wm_mpi.viewer.web import RunSource, serve  # loads websockets

        serve(RunSource(trained), config.serve, config.host, config.origin, config.prefix)


def outputs(config: WatchConfig) -> tuple[Path | None, Path | None]:
    """Where film and sheet go; both into the run where no flag says what to show.

    Raises:
        UserError: a file name of another format.
    """
    for flag, name, ending in (("--video", config.video, ".mp4"), ("--sheet", config.sheet, ".png")):
        if name is not None and not name.endswith(ending):
            raise UserError(f"{flag} is {name}, but writes {ending[1:]} only: give a name that ends in {ending}")
    if config.video is None and config.sheet is None and config.serve is None and not config.window:
        return beside(config.run, "watch.mp4"), beside(config.run, "watch.png")
    return Path(config.video) if config.video else None, Path(config.sheet) if config.sheet else None


def get_in(config: WatchConfig, trained: Trained) -> Drive:
    """The car, on the road or in a dream.

    Raises:
        UserError: the run's environment has no pictures.
    """
    kind = DreamDrive if config.dream else Drive
    world = car_world(trained)
    car = kind(world, trained.parameters, trained.deterministic, trained.spec.max_frames,
               trained.spec.lap_complete_percent, trained.settings["width"], (ROAD[3], ROAD[2]))
    if isinstance(car, DreamDrive):
        car.temperature = config.temperature
    return car


def title(config: WatchConfig, trained: Trained) -> str:
    """What is shown, in words."""
    place = f" in M's dream, temperature {config.temperature:g}" if config.dream else ""
    path = trained.run.path.resolve()
    return shown(f"{path.parent.name}/{path.name}, generation {trained.generation}{place}")


def film_and_sheet(car: Drive, seeds: list[EpisodeSeed], title: str, video: Path | None, sheet: Path | None,
                   max_frames: int) -> None:
    """Drive all tracks once, into the files that are wanted; both are begun first, so that a bad place is said at once."""
    episodes = [Moments(f"track {seed.track}") for seed in seeds]
    board, film, unfinished = Board(title), None, None
    with Progress(None, len(seeds) * max_frames, unit="frame") as progress, contextlib.ExitStack() as files:
        if sheet:
            unfinished = files.enter_context(atomic_path(sheet))
        if video:
            from wm_mpi.viewer.mp4 import Film  # loads PyAV

            film = files.enter_context(Film(video, SIZE, FRAMES_PER_SECOND))
        for moments, sight in drive(car, seeds, episodes, progress, max_frames):
            moments.add(sight)
            if film:
                film.add(board.draw(sight, moments.title), REST_FRAMES if sight.ended else 1)
        if unfinished:
            contact_sheet(title, episodes).save(unfinished, "PNG", optimize=True)
    print(f"finished: {' and '.join(str(path) for path in (video, sheet) if path)}")


def drive(car: Drive, seeds: list[EpisodeSeed], episodes: list[Moments], progress: Progress,
          max_frames: int) -> Iterator[tuple[Moments, Sight]]:
    """Every sight of every episode, with what its moments are kept in."""
    for seed, moments in zip(seeds, episodes, strict=True):
        sight = car.reset(seed)
        while True:
            yield moments, sight
            if sight.ended:
                break
            sight = car.step()
            progress.advance()
        progress.advance(max_frames - sight.frame)
        progress.line(f"{moments.title}: {sight.total:.1f} points in {sight.frame} frames{', lap' if sight.lap else ''}")
