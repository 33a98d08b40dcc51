#!/usr/bin/env bash
# An Atari game through the whole pipeline, from its first random episode to a verdict: an example of a game that nobody here has
# prepared. Running it again goes on where it stopped.
#
#   bash jobs/atari.bash
#
#   GAME     id of ale-py (default: ALE/Boxing-v5)
#   SEED     seed of everything (default: 0)
#   OUT      directory (default: runs/, the game's name and the seed): frames/ vae/ latents/ rnn/ world/ es/
#   RANKS    MPI ranks for playing (default: cores + 1, rank 0 only waits)
#   WM_VENV  virtual environment to use or to make (default: the active one if it has the packages, else .venv)
#
# SIGTERM and SIGUSR1 mean: checkpoint and exit with 75.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=jobs/stages.bash
. jobs/stages.bash
usage_if_asked "$@"
game="${GAME:-ALE/Boxing-v5}"
seed="${SEED:-0}"
name="${game##*/}"
name="${name%-v*}"
out="${OUT:-runs/${name,,}$seed}"
use_environment keras h5py onnxruntime mpi4py ale_py
ranks="${RANKS:-$(($(python -m wm_mpi.core.machine) + 1))}"

play "1/8 collect random play, whose returns are the score to beat" wm_mpi.collect --env "$game" --episodes 240 \
    --shard-episodes 20 --seed "$seed" --out "$out/frames"
timed "2/8 train V" python -m wm_mpi.train_vae --data "$out/frames" --out "$out/vae" --epochs 1 --parts 4 --batch-size 32 \
    --seed "$seed"
timed "3/8 encode" python -m wm_mpi.encode --data "$out/frames" --vae "$out/vae" --out "$out/latents"
timed "4/8 train M" python -m wm_mpi.train_rnn --data "$out/latents" --out "$out/rnn" --steps 1200 --last-learning-rate 1e-4 \
    --seed "$seed"
timed "5/8 freeze" python -m wm_mpi.freeze --vae "$out/vae" --rnn "$out/rnn" --data "$out/frames" --out "$out/world"
play "6/8 train C" wm_mpi.es --env "$game" --world "$out/world" --components 64 --popsize 64 --episodes 2 --generations 30 \
    --eval-every 5 --eval-episodes 32 --seed "$seed" --out "$out/es"
play "7/8 judge it, as long as it was trained" wm_mpi.evaluate --run "$out/es" --world "$out/world" --json "$out/verdict.json"
# ale-py ends a game after 108,000 pictures, of which it shows every fourth; most are over by themselves long before.
play "8/8 and over whole games, as others count" wm_mpi.evaluate --run "$out/es" --world "$out/world" --max-frames 27000 \
    --json "$out/verdict_whole.json"
