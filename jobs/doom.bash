#!/usr/bin/env bash
# The paper's second half from nothing: V and M of Doom's Take Cover, a controller trained in M's dream alone, and what it scores
# in the real game. Running it again goes on where it stopped.
#
#   bash jobs/doom.bash
#
#   SEED         seed of everything (default: 0)
#   OUT          directory (default: runs/doomSEED): frames/ vae/ latents/ rnn/ world/ es/
#   EPISODES     random episodes to learn from (default: 2000; the paper: 10000)
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

play "1/8 collect random play" wm_mpi.collect --env doom --episodes "${EPISODES:-2000}" --longest-held 160 --shard-episodes 50 \
    --seed "$seed" --out "$out/frames"
timed "2/8 train V" python -m wm_mpi.train_vae --data "$out/frames" --out "$out/vae" --epochs 1 --parts 5 \
    --learning-rate 5e-4 --kl-tolerance 1 --precision "$precision" --seed "$seed"
timed "3/8 encode" python -m wm_mpi.encode --data "$out/frames" --vae "$out/vae" --out "$out/latents"
# Many small steps: M learns how fireballs move late, and the number of steps counts for that, not that of frames.
timed "4/8 train M on short pieces" python -m wm_mpi.train_rnn --data "$out/latents" --out "$out/rnn0" --steps 7500 \
    --steps-per-epoch 300 --sequence 64 --batch-size 24 --last-learning-rate 2e-4 --precision "$precision" --seed "$seed"
# Who dies has been hit before: M must remember whole lives.
timed "5/8 train M on whole lives" python -m wm_mpi.train_rnn --data "$out/latents" --init "$out/rnn0" --out "$out/rnn" \
    --steps 150 --steps-per-epoch 25 --sequence 400 --batch-size 40 --learning-rate 2e-4 --last-learning-rate 1e-4 \
    --precision "$precision" --seed "$seed"
timed "6/8 freeze" python -m wm_mpi.freeze --half --vae "$out/vae" --rnn "$out/rnn" --data "$out/frames" --out "$out/world"
play "7/8 train C in the dream" wm_mpi.es --env dream --world "$out/world" --temperature "${TEMPERATURE:-1.15}" \
    --components 64 --popsize 64 --episodes 8 --generations 200 --eval-every 5 --eval-episodes 32 --seed "$seed" --out "$out/es"
play "8/8 judge it in the real game" wm_mpi.evaluate --run "$out/es" --world "$out/world" --episodes 500 \
    --json "$out/verdict.json"
play "8/8 and in its dream" wm_mpi.evaluate --run "$out/es" --world "$out/world" --env dream --episodes 100 \
    --json "$out/verdict_dream.json"
