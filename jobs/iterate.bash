#!/usr/bin/env bash
# One more turn of the wheel (the paper, section 5.1): the champion of a run collects, straying from its way; V and M are
# trained on with old and new data; its weights are refitted to the new latents; and C's training goes on from there.
# Running it again continues where it stopped.
#
#   FROM=runs/from_nothing bash jobs/iterate.bash [flags of es]
#   FROM=runs/from_nothing.2 bash jobs/iterate.bash     and so on
#
#   FROM         directory of the turn before: frames/ vae/ rnn/ world/ es/ (default: runs/from_nothing)
#   OUT          directory of this turn (default: FROM's name with the next number)
#   RANKS        MPI ranks for playing (default: cores + 1, rank 0 only waits)
#   EPISODES     how many the champion plays (default: 100)
#   EXPLORATION  how far it strays, see collect --help (default: 1)
#   SHARE        share of the frames that the turn before gives (default: 0.25)
#   EPOCHS       of V (default: 2)
#   STEPS        of M, a multiple of 100 (default: 1000)
#   SEED         seed of everything (default: 1)
#   WM_VENV      virtual environment to use or to make (default: the active one if it has the packages, else .venv)
#
# SIGTERM and SIGUSR1 mean: checkpoint and exit with 75.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=jobs/stages.bash
. jobs/stages.bash
usage_if_asked "$@"
from="${FROM:-runs/from_nothing}"
from="${from%/}"
number="${from##*.}"
case "$number" in
    "" | *[!0-9]*) next="$from.2" ;;
    *) next="${from%.*}.$((number + 1))" ;;
esac
out="${OUT:-$next}"
seed="${SEED:-1}"
for part in frames/frames.h5 vae/weights.h5 rnn/weights.h5 world/manifest.json es/champion.h5; do
    [ -f "$from/$part" ] || {
        echo "error: $from/$part is missing: name a directory that quickstart.bash or iterate.bash has finished with FROM=DIR" >&2
        exit 2
    }
done
use_environment keras h5py onnxruntime mpi4py
ranks="${RANKS:-$(($(python -m wm_mpi.core.machine) + 1))}"

stage "1/7 collect with the champion of $from"
run bash jobs/mpirun.bash -np "$ranks" python -m wm_mpi.collect --policy "$from/es" --world "$from/world" \
    --exploration "${EXPLORATION:-1}" --episodes "${EPISODES:-100}" --shard-episodes 10 --seed "$seed" \
    --mix "$from/frames" --mix-share "${SHARE:-0.25}" --out "$out/frames"
stage "2/7 train V on"
run python -m wm_mpi.train_vae --data "$out/frames" --init "$from/vae" --out "$out/vae" --epochs "${EPOCHS:-2}" \
    --learning-rate 5e-4 --kl-tolerance 0.5 --seed "$seed"
stage "3/7 encode"
run python -m wm_mpi.encode --data "$out/frames" --vae "$out/vae" --out "$out/latents"
stage "4/7 train M on"
run python -m wm_mpi.train_rnn --data "$out/latents" --init "$from/rnn" --out "$out/rnn" --steps "${STEPS:-1000}" \
    --steps-per-epoch 100 --batch-size 32 --sequence 150 --seed "$seed"
stage "5/7 freeze"
run python -m wm_mpi.freeze --vae "$out/vae" --rnn "$out/rnn" --data "$out/frames" --out "$out/world"
stage "6/7 refit the champion to the new latents"
run python -m wm_mpi.refit --run "$from/es" --old-world "$from/world" --world "$out/world" --data "$out/frames" \
    --out "$out/start.h5"
stage "7/7 train C from there on $ranks ranks"
run bash jobs/mpirun.bash -np "$ranks" python -m wm_mpi.es --world "$out/world" --init "$out/start.h5" --out "$out/es" \
    --deterministic --popsize 32 --episodes 4 --stuck-frames 100 --generations 40 --eval-every 10 --eval-episodes 16 --seed "$seed" "$@"
echo
printf '== done in %s s; next: python -m wm_mpi.evaluate --run %q --compare %q\n' "$SECONDS" "$out/es" "$from/es"
