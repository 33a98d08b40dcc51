"""See the champion of a run play: a film, a sheet of its moments, a page for browsers, or a window."""

from wm_mpi.core.cli import run_command
from wm_mpi.core.config import WatchConfig

if __name__ == "__main__":
    run_command("watch", WatchConfig)

import contextlib
from collections.abc import Iterator
from pathlib import Path

from wm_mpi.core.errors import UserError
from wm_mpi.core.files import atomic_path, check_writable
from wm_mpi.core.options import SHIPPED
from wm_mpi.core.progress import Progress
from wm_mpi.core.seeding import EpisodeSeed
from wm_mpi.core.shipped import PRETRAINED, beside, found
from wm_mpi.core.terminal import shown
from wm_mpi.evolution.champion import Trained, judged_track, judged_tracks, load_trained
from wm_mpi.evolution.run_list import newest_run
from wm_mpi.viewer.drawing import ROAD, Board
from wm_mpi.viewer.episode import Session, Sight
from wm_mpi.viewer.session import Part, open_session
from wm_mpi.viewer.sheet import Moments, contact_sheet

RUNS = "runs"
"""Where runs are, unless told otherwise."""
REST_SECONDS = 1
"""How long a film stands still on an episode's last picture (seconds)."""


def main(config: WatchConfig) -> None:
    """Play the episodes, and show them where the flags say."""
    run = config.run or default_run(config.serve is not None)
    video, sheet = outputs(config, run)
    trained = load_trained(run, env=None, world=config.world, max_frames=config.max_frames,
                           lap_complete_percent=config.lap_complete_percent, deterministic=config.deterministic)
    seeds = judged_tracks(config.episodes, config.tracks, trained.settings["seed"])
    for path in filter(None, (video, sheet)):
        check_writable(path)  # the car may take a minute, to compile the engine
    part = Part.of(trained, config.temperature)
    if config.window or video or sheet:
        session = open_session(part, config.dream, (ROAD[3], ROAD[2]))
        named = title(trained, part.temperature if config.dream else None)
    if config.window:
        from wm_mpi.viewer.window import Window  # loads pygame

        seed = trained.settings["seed"]
        Window(session, lambda number: judged_track(number, config.tracks, seed), Board(named, session.show)).run()
    if video or sheet:
        film_and_sheet(session, seeds, named, video, sheet, trained.spec.max_frames)
    if config.serve is not None:
        from wm_mpi.viewer.web import Runs, RunSource, Sources, serve  # loads websockets

        runs = Runs(Path(config.runs) if config.runs else root_of(trained.run.path), trained.run)
        serve(Sources(RunSource(trained, config.temperature), runs), config.serve, config.host, config.origin, config.prefix)


def default_run(growing: bool) -> str:
    """The champion that comes with the package; on a page, where runs are watched as they are ``growing``, the newest."""
    newest = newest_run(Path(RUNS)) if growing else None
    return found(SHIPPED) if newest is None else str(newest)


def root_of(run: Path) -> Path:
    """Where runs are that are listed beside a run."""
    return Path(RUNS) if run.resolve().parent == PRETRAINED.resolve() else run.resolve().parent


def outputs(config: WatchConfig, run: str) -> tuple[Path | None, Path | None]:
    """Where film and sheet go; both into the run where no flag says what to show.

    Raises:
        UserError: a file name of another format.
    """
    for flag, name, ending in (("--video", config.video, ".mp4"), ("--sheet", config.sheet, ".png")):
        if name is not None and not name.endswith(ending):
            raise UserError(f"{flag} is {name}, but writes {ending[1:]} only: give a name that ends in {ending}")
    if config.video is None and config.sheet is None and config.serve is None and not config.window:
        return beside(run, "watch.mp4"), beside(run, "watch.png")
    return Path(config.video) if config.video else None, Path(config.sheet) if config.sheet else None


def title(trained: Trained, temperature: float | None) -> str:
    """What is shown, in words; in a dream of this temperature."""
    place = "" if temperature is None else f" in M's dream, temperature {temperature:g}"
    path = trained.run.path.resolve()
    return shown(f"{path.parent.name}/{path.name}, generation {trained.generation}{place}")


def film_and_sheet(session: Session, seeds: list[EpisodeSeed], title: str, video: Path | None, sheet: Path | None,
                   max_frames: int) -> None:
    """Play all episodes once, into the files that are wanted; both are begun first, so that a bad place is said at once."""
    show = session.show
    episodes = [Moments(f"{show.look.episode} {seed.track}", show) for seed in seeds]
    board, film, unfinished = Board(title, show), None, None
    with Progress(None, len(seeds) * max_frames, unit="frame") as progress, contextlib.ExitStack() as files:
        if sheet:
            unfinished = files.enter_context(atomic_path(sheet))
        if video:
            from wm_mpi.viewer.films import Film  # loads PyAV

            film = files.enter_context(Film(video, board.size, show.look.fps))
        for moments, sight in play(session, seeds, episodes, progress, max_frames):
            moments.add(sight)
            if film:
                film.add(board.draw(sight, moments.title), REST_SECONDS * show.look.fps if sight.ended else 1)
        if unfinished:
            contact_sheet(title, episodes, show).save(unfinished, "PNG", optimize=True)
    print(f"finished: {' and '.join(str(path) for path in (video, sheet) if path)}")


def play(session: Session, seeds: list[EpisodeSeed], episodes: list[Moments], progress: Progress,
         max_frames: int) -> Iterator[tuple[Moments, Sight]]:
    """Every sight of every episode, with what its moments are kept in."""
    for seed, moments in zip(seeds, episodes, strict=True):
        sight = session.reset(seed)
        while True:
            yield moments, sight
            if sight.ended:
                break
            sight = session.step()
            progress.advance()
        progress.advance(max_frames - sight.frame)
        progress.line(f"{moments.title}: {sight.total:.1f} points in {sight.frame} frames{', lap' if sight.lap else ''}")
