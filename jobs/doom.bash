#!/usr/bin/env bash
# The paper's second half from nothing: V and M of Doom's Take Cover, a controller trained in M's dream alone, and what it scores
# in the real game; in four turns, each with what the controller of the one before met. Running it again goes on where it stopped.
#
#   bash jobs/doom.bash
#
#   SEED         seed of everything (default: 0)
#   OUT          directory (default: runs/doomSEED): vae/, and turn1/ to turn4/ with frames/ latents/ rnn/ world/ es/
#   TURNS        how many turns (default: 4); with more of them later, the same OUT goes on where fewer ended
#   EPISODES     random episodes to begin with (default: 2000; the paper: 10000); the second turn plays four fifths of
#                that, later ones two fifths
#   PRECISION    of V's and M's training (default: mixed_bfloat16 where the processor computes with it, else float32)
#   TEMPERATURE  of the dream (default: 1.3; the paper: 1.15)
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
episodes="${EPISODES:-2000}"

turns="${TURNS:-4}"
[[ "$turns" =~ ^[1-9][0-9]*$ ]] || { echo "error: TURNS is $turns, but must be a number of turns, 1 or more" >&2; exit 2; }
number=0 stages=$((6 * turns + 3))

# next NAME: a stage's headline, in "headline".
next() {
    number=$((number + 1))
    headline="$number/$stages $1"
}

# train_m_and_c AT SHORT LONGEST GENERATIONS FLAGS...: a turn's M, its world, and C in its dream. M gets many small steps, since
# it learns late how fireballs move, and their number counts for that, not the number of frames; then whole lives of up to
# LONGEST frames, since an M that has seen no life of a thousand frames takes who gets old for doomed.
train_m_and_c() {
    local at="$1"
    next "train M on short pieces"
    timed "$headline" python -m wm_mpi.train_rnn --data "$at/latents" --out "$at/rnn0" --steps "$2" --steps-per-epoch 300 \
        --sequence 64 --batch-size 24 --last-learning-rate 1e-4 --precision "$precision" --seed "$seed" "${@:5}"
    next "train M on whole lives"
    timed "$headline" python -m wm_mpi.train_rnn --data "$at/latents" --init "$at/rnn0" --out "$at/rnn" --steps 400 \
        --steps-per-epoch 50 --sequence "$3" --batch-size 10 --learning-rate 2e-4 --last-learning-rate 3e-5 \
        --precision "$precision" --seed "$seed"
    next "freeze"
    timed "$headline" python -m wm_mpi.freeze --half --vae "$out/vae" --rnn "$at/rnn" --data "$at/frames" --out "$at/world"
    next "train C in the dream"
    play "$headline" wm_mpi.es --env dream --world "$at/world" --temperature "${TEMPERATURE:-1.3}" --components 64 --popsize 64 \
        --episodes 8 --generations "$4" --eval-every 5 --eval-episodes 64 --seed "$seed" --out "$at/es"
}

at="$out/turn1"
next "collect random play"
play "$headline" wm_mpi.collect --env doom --episodes "$episodes" --longest-held 160 --shard-episodes 50 --seed "$seed" \
    --out "$at/frames"
next "train V"
timed "$headline" python -m wm_mpi.train_vae --data "$at/frames" --out "$out/vae" --epochs 1 --parts 5 --batch-size 32 \
    --learning-rate 5e-4 --last-learning-rate 1.5e-4 --kl-tolerance 1 --precision "$precision" --seed "$seed"
next "encode"
timed "$headline" python -m wm_mpi.encode --data "$at/frames" --vae "$out/vae" --out "$at/latents"
train_m_and_c "$at" 2400 400 20

# Who plays better meets what random play never does: later hours with more imps, and its own tricks, which M must see through.
# Much of what came before is mixed in, or random play, which alone holds one side for long, gets rare.
for turn in $(seq 2 "$turns"); do
    before="$at" at="$out/turn$turn"
    next "turn $turn: collect with that C, straying"
    play "$headline" wm_mpi.collect --env doom --policy "$before/es" --world "$before/world" --exploration 1 \
        --episodes "$((turn == 2 ? episodes * 4 / 5 : episodes * 2 / 5))" --shard-episodes 50 --seed "$((seed + turn))" \
        --mix "$before/frames" --mix-share "$([ "$turn" = 2 ] && echo 0.4 || echo 0.6)" --out "$at/frames"
    next "encode"
    timed "$headline" python -m wm_mpi.encode --data "$at/frames" --vae "$out/vae" --out "$at/latents"
    train_m_and_c "$at" "$((turn == 2 ? 7500 : 3000))" 1000 30 --init "$before/rnn" \
        --learning-rate 7e-4
done
next "judge it in the real game"
play "$headline" wm_mpi.evaluate --run "$at/es" --world "$at/world" --episodes 500 --json "$out/verdict.json"
next "and in its dream"
play "$headline" wm_mpi.evaluate --run "$at/es" --world "$at/world" --env dream --episodes 100 --json "$out/verdict_dream.json"
