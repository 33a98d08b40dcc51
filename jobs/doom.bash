#!/usr/bin/env bash
# The paper's second half from nothing: V and M of Doom's Take Cover, a controller trained in M's dream alone, and what it scores
# in the real game; in two turns, the second with what the first one's controller met. Running it again goes on where it stopped.
#
#   bash jobs/doom.bash
#
#   SEED         seed of everything (default: 0)
#   OUT          directory (default: runs/doomSEED): vae/, and turn1/ and turn2/ with frames/ latents/ rnn/ world/ es/
#   EPISODES     random episodes to begin with (default: 2000; the paper: 10000); the second turn plays four fifths of that
#   PRECISION    of V's and M's training (default: mixed_bfloat16 where the processor computes with it, else float32)
#   TEMPERATURE  of the dream (default: 1.15)
#   RANKS        MPI ranks for playing (default: cores + 1, rank 0 only waits)
#   WM_VENV      virtual environment to use or to make (default: the active one if it has the packages, else .venv)
#
# SIGTERM and SIGUSR1 mean: checkpoint and exit with 75.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=jobs/stages.bash
. jobs/stages.bash
usage_if_asked "$@"
seed="${SEED:-0}"
out="${OUT:-runs/doom$seed}"
use_environment keras h5py onnxruntime mpi4py vizdoom
quick="$(grep -q -E 'avx512_bf16|amx_bf16' /proc/cpuinfo && echo mixed_bfloat16 || echo float32)"
precision="${PRECISION:-$quick}"
ranks="${RANKS:-$(($(python -m wm_mpi.core.machine) + 1))}"

# freeze_and_dream TURN NUMBER GENERATIONS: a turn's world, and C in its dream.
freeze_and_dream() {
    local at="$out/turn$1"
    timed "$2/15 freeze" python -m wm_mpi.freeze --half --vae "$out/vae" --rnn "$at/rnn" --data "$at/frames" --out "$at/world"
    play "$(($2 + 1))/15 train C in the dream" wm_mpi.es --env dream --world "$at/world" --temperature "${TEMPERATURE:-1.15}" \
        --components 64 --popsize 64 --episodes 8 --generations "$3" --eval-every 5 --eval-episodes 32 --seed "$seed" --out "$at/es"
}

# train_m TURN NUMBER STEPS FLAGS...: many small steps, since M learns late how fireballs move, and their number counts
# for that, not the number of frames; then whole lives, since who dies has been hit before.
train_m() {
    local at="$out/turn$1"
    timed "$2/15 train M on short pieces" python -m wm_mpi.train_rnn --data "$at/latents" --out "$at/rnn0" --steps "$3" \
        --steps-per-epoch 300 --sequence 64 --batch-size 24 --last-learning-rate 2e-4 --precision "$precision" --seed "$seed" "${@:4}"
    timed "$(($2 + 1))/15 train M on whole lives" python -m wm_mpi.train_rnn --data "$at/latents" --init "$at/rnn0" --out "$at/rnn" \
        --steps 75 --steps-per-epoch 25 --sequence 400 --batch-size 40 --learning-rate 2e-4 --last-learning-rate 1e-4 \
        --precision "$precision" --seed "$seed"
}

first="$out/turn1" second="$out/turn2"
play "1/15 collect random play" wm_mpi.collect --env doom --episodes "${EPISODES:-2000}" --longest-held 160 --shard-episodes 50 \
    --seed "$seed" --out "$first/frames"
timed "2/15 train V" python -m wm_mpi.train_vae --data "$first/frames" --out "$out/vae" --epochs 1 --parts 5 --batch-size 32 \
    --learning-rate 5e-4 --last-learning-rate 1.5e-4 --kl-tolerance 1 --precision "$precision" --seed "$seed"
timed "3/15 encode" python -m wm_mpi.encode --data "$first/frames" --vae "$out/vae" --out "$first/latents"
train_m 1 4 2400
freeze_and_dream 1 6 20
# Who plays better meets what random play never does: later hours with more imps, and its own tricks, which M must see through.
play "8/15 collect with that C, straying" wm_mpi.collect --env doom --policy "$first/es" --world "$first/world" --exploration 1 \
    --episodes "$((${EPISODES:-2000} * 4 / 5))" --shard-episodes 50 --seed "$((seed + 1))" --mix "$first/frames" --mix-share 0.4 \
    --out "$second/frames"
timed "9/15 encode" python -m wm_mpi.encode --data "$second/frames" --vae "$out/vae" --out "$second/latents"
train_m 2 10 7500 --init "$first/rnn"
freeze_and_dream 2 12 100
play "14/15 judge it in the real game" wm_mpi.evaluate --run "$second/es" --world "$second/world" --episodes 500 \
    --json "$out/verdict.json"
play "15/15 and in its dream" wm_mpi.evaluate --run "$second/es" --world "$second/world" --env dream --episodes 100 \
    --json "$out/verdict_dream.json"
