#!/usr/bin/env bash
# All of C's training on one big machine, cloud or not: check the machine, train with CMA-ES on every core, judge the
# champion. Running it again continues where it stopped.
#
#   WORLD=runs/world OUT=runs/es bash jobs/gce_train.bash [flags of python -m wm_mpi.es]
#   WORLD=runs/world bash jobs/gce_train.bash --generations 300 --seed 1
#   bash jobs/gce_train.bash --env toy --preset smoke          seconds, needs no world: try this first
#
#   WORLD          directory that freeze wrote (none for --env toy)
#   OUT            directory of the run (default: runs/es)
#   RANKS          MPI ranks (default: cores + 1, rank 0 only waits)
#   EVAL_EPISODES  unseen tracks to judge on (default: that of evaluate)
#   DOCTOR=no      do not check the machine first
#   WM_VENV        virtual environment to use or to make (default: the active one if it has the packages, else .venv)
#
# Everything draws in memory. An X server is needed by nothing here, unless you ask for it: --display xvfb (install xvfb).
# SIGTERM and SIGUSR1 mean: checkpoint and exit with 75. Exit status otherwise: that of the command that failed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=jobs/stages.bash
. jobs/stages.bash

out="${OUT:-runs/es}"
for_doctor=() for_evaluate=() # flags of es that they need as well
previous=
for flag in "$@"; do
    case "$flag" in
        -h | --help) usage && exit 0 ;;
        --world | --world=* | --out | --out=*)
            name="${flag%%=*}"
            variable="$(echo "${name#--}" | tr '[:lower:]' '[:upper:]')"
            echo "error: $name is set by a variable here: $variable=DIR bash jobs/gce_train.bash ..." >&2
            exit 2
            ;;
        --*=*) pair=("$flag") ;;
        --*) pair=() ;;
        *) pair=("$previous" "$flag") ;;
    esac
    case "${pair[0]-}" in
        --preset | --preset=* | --display | --display=*) for_doctor+=("${pair[@]}") for_evaluate+=("${pair[@]}") ;;
        --env | --env=* | --width | --width=*) for_doctor+=("${pair[@]}") ;;
    esac
    previous="$flag"
done

use_environment mpi4py cma onnxruntime
ranks="${RANKS:-$(($(python -m wm_mpi.core.machine) + 1))}"

mpi() {
    run bash jobs/mpirun.bash -np "$ranks" python -m "wm_mpi.$1" "${@:2}"
}

if [ "${DOCTOR:-yes}" != no ] && [ -f wm_mpi/doctor.py ]; then
    stage "1/3 doctor: is this machine fit for $ranks ranks?"
    mpi doctor ${WORLD:+--world "$WORLD"} --out "$out" "${for_doctor[@]}"
fi
stage "2/3 train C with CMA-ES on $ranks ranks"
mpi es ${WORLD:+--world "$WORLD"} --out "$out" "$@"
stage "3/3 evaluate"
# By content: a finished es that is started again writes the same champion anew.
judged="$out/evaluation.sha256"
if sha256sum --check --status "$judged" 2>/dev/null; then
    echo "this champion is judged already"
else
    mpi evaluate --run "$out" ${EVAL_EPISODES:+--episodes "$EVAL_EPISODES"} "${for_evaluate[@]}" \
        --json "$out/evaluation.json"
    sha256sum "$out/champion.h5" "$out/evaluation.json" >"$judged"
fi
echo
echo "== done in $SECONDS s: champion in $out/champion.h5, its score in $out/evaluation.json, progress in $out/metrics.jsonl"
