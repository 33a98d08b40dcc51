#!/usr/bin/env bash
# V and M on one GPU machine, in order: train V, encode the frames, train M, freeze both into a world. Running it again goes
# on where it stopped.
#
#   DATA=runs/frames OUT=runs/gpu bash jobs/gpu_jobs.bash
#   PRESET=laptop DATA=runs/frames bash jobs/gpu_jobs.bash     smaller sizes; PRESET=smoke only shows that it works
#
#   DATA           directory that collect wrote (default: runs/frames)
#   OUT            vae/ latents/ rnn/ world/ go there (default: runs/gpu)
#   PRESET         paper, laptop or smoke (default: paper)
#   SEED           seed of everything (default: 0)
#   PRECISION      what V and M train in: float32, or mixed_bfloat16 on GPUs that have it (default: float32)
#   DEVICES        GPUs that share each batch; more than 1 needs KERAS_BACKEND=jax (default: 1)
#   KERAS_BACKEND  tensorflow, jax or torch (default: Keras's own choice)
#   WM_VENV        virtual environment to use or to make (default: the active one if it has the packages, else .venv)
#
# For a GPU, activate an environment with the GPU build of the backend, say pip install 'tensorflow[and-cuda]': the .venv
# that is made here trains on CPUs. Afterwards OUT/world is all that C's training needs; bring it to the CPU machines.
# It takes no flags. SIGTERM and SIGUSR1 mean: checkpoint and exit with 75.
set -euo pipefail
case "${1:-}" in
    "") ;;
    -h | --help) ;;
    *)
        echo "error: unknown argument $1: sizes and places are variables here, see bash jobs/gpu_jobs.bash --help" >&2
        exit 2
        ;;
esac
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=jobs/stages.bash
. jobs/stages.bash
[ $# = 0 ] || { usage && exit 0; }

data="${DATA:-runs/frames}"
out="${OUT:-runs/gpu}"
preset=(--preset "${PRESET:-paper}")
training=("${preset[@]}" --seed "${SEED:-0}" --precision "${PRECISION:-float32}"
    --devices "${DEVICES:-1}")
[ -f "$data/frames.h5" ] || {
    echo "error: $data has no frames.h5: name the directory that python -m wm_mpi.collect wrote with DATA=DIR" >&2
    exit 2
}
use_environment keras h5py onnxruntime

device="$(python -c 'from wm_mpi.models.training import backend; print(backend())')"
echo "V and M train with $device"
case "$device" in
    *cpu*) echo "warning: no GPU is seen, and CPUs are far slower: does nvidia-smi show one, is this a GPU build?" >&2 ;;
esac
stage "1/4 train V"
run python -m wm_mpi.train_vae "${training[@]}" --data "$data" --out "$out/vae"
stage "2/4 encode"
run python -m wm_mpi.encode "${preset[@]}" --data "$data" --vae "$out/vae" --out "$out/latents"
stage "3/4 train M"
run python -m wm_mpi.train_rnn "${training[@]}" --data "$out/latents" --out "$out/rnn"
stage "4/4 freeze"
run python -m wm_mpi.freeze "${preset[@]}" --vae "$out/vae" --rnn "$out/rnn" --data "$data" --out "$out/world"
echo
printf '== done in %s s; next: WORLD=%q bash jobs/gce_train.bash\n' "$SECONDS" "$out/world"
