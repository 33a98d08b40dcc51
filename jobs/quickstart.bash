#!/usr/bin/env bash
# The whole pipeline, small, on real CarRacing: about ten minutes on two cores, everything under runs/quickstart/.
# Running it again goes on where it stopped. RANKS sets the number of MPI ranks (default: cores + 1, rank 0 only waits).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=jobs/setup.bash
. jobs/setup.bash
setup_environment

run=runs/quickstart
ranks="${RANKS:-$(($(nproc) + 1))}"
started=$SECONDS

stage() {
    echo
    echo "== $1 ($((SECONDS - started)) s)"
}

stage "1/7 collect: first episodes on $ranks ranks"
bash jobs/mpirun.bash -np "$ranks" python -m wm_mpi.collect --out $run/frames --episodes 24 --max-frames 300 --shard-episodes 8
stage "2/7 train V"
python -m wm_mpi.train_vae --data $run/frames --out $run/vae --epochs 4 --batch-size 50 --learning-rate 1e-3
stage "3/7 encode"
python -m wm_mpi.encode --data $run/frames --vae $run/vae --out $run/latents
stage "4/7 train M"
python -m wm_mpi.train_rnn --data $run/latents --out $run/rnn --steps 200 --steps-per-epoch 50 --batch-size 16 --sequence 100
stage "5/7 freeze"
python -m wm_mpi.freeze --vae $run/vae --rnn $run/rnn --data $run/frames --out $run/world
stage "6/7 train C with CMA-ES on $ranks ranks"
bash jobs/mpirun.bash -np "$ranks" python -m wm_mpi.es --world $run/world --out $run/es \
    --popsize 16 --episodes 1 --max-frames 300 --stuck-frames 100 --generations 10 --eval-every 5 --eval-episodes 4
stage "7/7 evaluate on unseen tracks"
bash jobs/mpirun.bash -np "$ranks" python -m wm_mpi.evaluate --run $run/es --episodes 8 --json $run/evaluation.json

echo
echo "== done in $((SECONDS - started)) s; everything is under $run/:"
echo "   frames/ latents/    what was played, and what V made of it"
echo "   vae/ rnn/           the trained models, history.jsonl and tensorboard/"
echo "   world/samples.png   frames beside their reconstructions"
echo "   es/                 metrics.jsonl, champion.h5, log.txt"
