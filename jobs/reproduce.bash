#!/usr/bin/env bash
# The reference run: from nothing (no shipped world, no shipped champion) to a verdict in Gymnasium's own CarRacing-v3.
# Running it again goes on where it stopped.
#
#   bash jobs/reproduce.bash
#
#   SEED     seed of everything (default: 0)
#   OUT      directory (default: runs/reproduceSEED); turn1/ and turn2/ have frames/ vae/ latents/ rnn/ world/ es/ each
#   RANKS    MPI ranks for playing (default: cores + 1, rank 0 only waits)
#   WM_VENV  virtual environment to use or to make (default: the active one if it has the packages, else .venv)
#
# Turn 1 learns from a random walk and drives badly; its champion's drives are what turn 2 learns from. V sees the whole
# picture, whose bar tells the speed. SIGTERM and SIGUSR1 mean: checkpoint and exit with 75.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=jobs/stages.bash
. jobs/stages.bash
usage_if_asked "$@"
seed="${SEED:-0}"
out="${OUT:-runs/reproduce$seed}"
one="$out/turn1" two="$out/turn2"
use_environment keras h5py onnxruntime mpi4py
ranks="${RANKS:-$(($(python -m wm_mpi.core.machine) + 1))}"

play "1/14 turn 1: collect a random walk" wm_mpi.collect --frame whole --episodes 160 --max-frames 600 --seed "$seed" \
    --out "$one/frames"
timed "2/14 train V" python -m wm_mpi.train_vae --data "$one/frames" --out "$one/vae" --epochs 3 --parts 3 --seed "$seed"
timed "3/14 encode" python -m wm_mpi.encode --data "$one/frames" --vae "$one/vae" --out "$one/latents"
timed "4/14 train M" python -m wm_mpi.train_rnn --data "$one/latents" --out "$one/rnn" --steps 800 --seed "$seed"
timed "5/14 freeze" python -m wm_mpi.freeze --vae "$one/vae" --rnn "$one/rnn" --data "$one/frames" --out "$one/world"
play "6/14 train C" wm_mpi.es --world "$one/world" --out "$one/es" --popsize 64 --generations 60 --eval-every 10 \
    --eval-episodes 32 --seed "$seed"

play "7/14 turn 2: collect with the champion, straying" wm_mpi.collect --policy "$one/es" --world "$one/world" \
    --exploration 2 --episodes 160 --seed "$seed" --mix "$one/frames" --mix-share 0.2 --out "$two/frames"
timed "8/14 train V on" python -m wm_mpi.train_vae --data "$two/frames" --init "$one/vae" --out "$two/vae" --epochs 4 \
    --parts 4 --seed "$seed"
timed "9/14 encode" python -m wm_mpi.encode --data "$two/frames" --vae "$two/vae" --out "$two/latents"
timed "10/14 train M on" python -m wm_mpi.train_rnn --data "$two/latents" --init "$one/rnn" --out "$two/rnn" --steps 2500 \
    --seed "$seed"
timed "11/14 freeze" python -m wm_mpi.freeze --vae "$two/vae" --rnn "$two/rnn" --data "$two/frames" --out "$two/world"
play "12/14 train C from zero" wm_mpi.es --world "$two/world" --out "$two/es0" --generations 40 --seed "$seed"
play "13/14 train it on: a smaller sigma, twice the tracks" wm_mpi.es --world "$two/world" --init "$two/es0" --sigma 0.2 \
    --episodes 4 --out "$two/es" --generations 60 --seed "$seed"
play "14/14 judge it in our engine" wm_mpi.evaluate --run "$two/es" --world "$two/world" --json "$out/verdict.json"
play "14/14 judge it in Gymnasium's" wm_mpi.evaluate --run "$two/es" --world "$two/world" --env gymnasium \
    --json "$out/verdict_gymnasium.json"
run python -m wm_mpi.export --run "$two/es" --world "$two/world" --out "$out/export"
echo
echo "== done; the model card is $out/export/README.md, the seconds of every stage are in $out/times.tsv"
