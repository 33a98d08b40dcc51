#!/usr/bin/env bash
# A controller that drives, in minutes: C is trained in the world that is part of the package, and judged on unseen tracks.
#
#   bash jobs/quickstart.bash                    C alone, in V and M as they come with the package
#   FROM_NOTHING=1 bash jobs/quickstart.bash     the whole pipeline, small: first episodes, V and M too
#
# Everything goes to OUT; running it again continues where it stopped.
#   OUT    directory (default: runs/quickstart, from nothing runs/from_nothing)
#   RANKS  MPI ranks for playing (default: cores + 1, rank 0 only waits)
#   SEED   seed of everything (default 0)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
[ "${FROM_NOTHING:-0}" = 0 ] || needs=train # read by setup.bash
# shellcheck source=jobs/setup.bash
. jobs/setup.bash
setup_environment

seed="${SEED:-0}"
ranks="${RANKS:-$(($(python -m wm_mpi.core.machine) + 1))}"
started=$SECONDS

stage() {
    echo
    echo "== $1 ($((SECONDS - started)) s)"
}

if [ "${FROM_NOTHING:-0}" = 0 ]; then
    out="${OUT:-runs/quickstart}"
    world=carracing
    recipe=(--generations 15) # the champion's, as es has it unless told otherwise; 40 are a little better
else
    out="${OUT:-runs/from_nothing}"
    world="$out/world"
    recipe=(--popsize 32 --episodes 2 --max-frames 600 --generations 40 --eval-every 10 --eval-episodes 16)
    stage "collect first episodes on $ranks ranks"
    bash jobs/mpirun.bash -np "$ranks" python -m wm_mpi.collect --out "$out/frames" \
        --episodes 100 --max-frames 400 --shard-episodes 10 --seed "$seed"
    stage "train V"
    python -m wm_mpi.train_vae --data "$out/frames" --out "$out/vae" --epochs 3 --learning-rate 1e-3 \
        --kl-tolerance 0.5 --seed "$seed"
    stage "encode"
    python -m wm_mpi.encode --data "$out/frames" --vae "$out/vae" --out "$out/latents"
    stage "train M"
    python -m wm_mpi.train_rnn --data "$out/latents" --out "$out/rnn" \
        --steps 300 --steps-per-epoch 100 --batch-size 32 --sequence 100 --seed "$seed"
    stage "freeze"
    python -m wm_mpi.freeze --vae "$out/vae" --rnn "$out/rnn" --data "$out/frames" --out "$out/world"
fi
stage "train C with CMA-ES on $ranks ranks"
bash jobs/mpirun.bash -np "$ranks" python -m wm_mpi.es --world "$world" --out "$out/es" --seed "$seed" \
    "${recipe[@]}"
stage "evaluate on 16 unseen tracks"
bash jobs/mpirun.bash -np "$ranks" python -m wm_mpi.evaluate --run "$out/es" --episodes 16 --json "$out/evaluation.json"
stage "the first 4 of them again, in Gymnasium's own CarRacing"
bash jobs/mpirun.bash -np "$ranks" python -m wm_mpi.evaluate --run "$out/es" --episodes 4 --env gymnasium --width 1 \
    --json "$out/evaluation_gymnasium.json"
python - "$out" <<'END'
import json, sys
fast, gymnasium = (json.load(open(f"{sys.argv[1]}/evaluation{name}.json"))["returns"][:4] for name in ("", "_gymnasium"))
print("track by track:  fast", *(f"{value:7.1f}" for value in fast), "\n            Gymnasium", *(f"{value:7.1f}" for value in gymnasium))
END

echo
echo "== done in $((SECONDS - started)) s; everything is under $out/:"
[ "$world" = carracing ] || {
    echo "   frames/ latents/    what was played, and what V made of it"
    echo "   vae/ rnn/           the trained models, history.jsonl and tensorboard/"
    echo "   world/samples.png   frames beside their reconstructions"
}
echo "   es/                 metrics.jsonl, champion.h5, log.txt"
echo
printf 'see it drive:  . %q && python -m wm_mpi.watch --run %q --serve 8000\n' "$WM_VENV/bin/activate" "$out/es"
