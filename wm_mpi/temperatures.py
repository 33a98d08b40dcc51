"""Train a controller in M's dream at several temperatures, and judge each in its dream and in the real game."""

from wm_mpi.core.cli import run_command
from wm_mpi.core.config import TemperaturesConfig

if __name__ == "__main__":
    run_command("temperatures", TemperaturesConfig)

from pathlib import Path

from wm_mpi.core.config import EsConfig
from wm_mpi.core.files import append_jsonl, whole_lines, write_json, write_text
from wm_mpi.core.progress import Progress, log
from wm_mpi.core.schema import Evaluation
from wm_mpi.envs import DREAM, EnvSpec, display, game_of
from wm_mpi.evolution.champion import judged_tracks, load_trained
from wm_mpi.evolution.judging import Contestant, judge, recorded_in
from wm_mpi.evolution.scores import Result
from wm_mpi.evolution.training import dreaming, train
from wm_mpi.pool import Pool, Several, open_pool
from wm_mpi.reporting import temperature_table
from wm_mpi.rollout.worker import make_rollout
from wm_mpi.world.manifest import load_manifest, played_in, real

REAL = 0
"""The number of a rank's worker that plays the real game; the dreams follow, in the order of their temperatures."""


def main(config: TemperaturesConfig) -> None:
    """Train and judge, one temperature after the other, each on all ranks; rank 0 writes the table."""
    manifest = load_manifest(Path(config.world))
    runs = [dreaming(run_at(config, temperature), manifest) for temperature in config.temperatures]

    def build() -> Several:
        places = [real(runs[0][1], manifest), *(spec for _, spec in runs)]
        return Several([make_rollout(spec, config.world, config.width, True) for spec in places])

    with open_pool(build, lambda: display(config.display)) as pool:
        if pool is None:
            return
        rows = []
        for number, (run, spec) in enumerate(runs, REAL + 1):
            log.info(f"temperature {run.temperature:g} ({number} of {len(runs)}): {run.out}")
            train(run, pool, spec, manifest, (number, REAL))
            rows.append({"temperature": run.temperature, "run": run.out, "dream": judged(config, pool, run, number, DREAM),
                         "real": judged(config, pool, run, REAL, None)})
    keep(config, played_in(manifest), rows)


def run_at(config: TemperaturesConfig, temperature: float) -> EsConfig:
    """The options of es at a temperature."""
    return EsConfig(env=DREAM, world=config.world, out=str(Path(config.out) / f"{temperature:g}"), temperature=temperature,
                    popsize=config.popsize, episodes=config.episodes, generations=config.generations,
                    components=config.components, eval_every=config.eval_every, eval_episodes=config.eval_episodes,
                    max_frames=config.max_frames, width=config.width, seed=config.seed, display=config.display)


def judged(config: TemperaturesConfig, pool: Pool, run: EsConfig, worker: int, env: str | None) -> Result:
    """The verdict on a run's champion in its dream or, with ``env`` None, in the real game: found, or played now."""
    trained = load_trained(run.out, env=env, world=config.world, max_frames=run.max_frames, lap_complete_percent=None,
                           deterministic=None)
    seeds = judged_tracks(config.test_episodes, None, config.seed)
    recorded = recorded_in(trained)
    for row in whole_lines(recorded, Evaluation):
        if same(row, trained.spec, trained.generation, [seed.track for seed in seeds]):
            return dict(row)
    with Progress(None, len(seeds), name=f"judging in {'the dream' if env else 'the real game'}") as progress:
        result = judge(pool, Contestant(trained, worker, "mean"), seeds, progress)
    append_jsonl(recorded, result)
    return result


def same(row: Evaluation, spec: EnvSpec, generation: int, tracks: list[int]) -> bool:
    """Whether a recorded verdict is of this champion, on these tracks."""
    return row["env"] == spec.describe() and row.get("generation") == generation and row.get("tracks") == tracks


def keep(config: TemperaturesConfig, game: str, rows: list[Result]) -> None:
    """Print the table, and write it as JSON, as Markdown for a model card, and as a figure."""
    table = temperature_table.describe(rows)
    path, card, picture = (Path(config.out) / f"temperatures.{ending}" for ending in ("json", "md", "png"))
    write_json(path, {"world": config.world, "game": game_of(game).identity(), "rows": rows})
    write_text(card, temperature_table.markdown(rows, game))
    temperature_table.draw_picture(rows, game, picture)
    print(f"{table}\nfinished: {path}, {card} and {picture}")
