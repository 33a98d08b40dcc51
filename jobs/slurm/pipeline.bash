#!/usr/bin/env bash
# Submit the whole chain, each job to start when the one before it has succeeded:
#   collect -> train (GPU) -> es -> evaluate
# and print the jobs' numbers and how to watch them. Run it on the login node, anywhere:
#   PRESET=laptop bash jobs/slurm/pipeline.bash --account=project1
#   OUT=/scratch/me/cars MPI_SBATCH="--ntasks=129" GPU_SBATCH="--partition=gpu --gpus=h100:1" bash jobs/slurm/pipeline.bash
# Running it again with the same OUT resumes: what is finished says so in seconds.
#
#   options      go to sbatch, for all four jobs (--account, --partition, --qos, ...)
#   MPI_SBATCH   options of sbatch for collect, es and evaluate only
#   GPU_SBATCH   options of sbatch for train only (--gpus=0: train on CPUs)
#   COLLECT_FLAGS, ES_FLAGS, EVALUATE_FLAGS     flags of the commands
#   OUT, SEED, PRESET, MAX_RESTARTS, WM_VENV    see jobs/slurm/common.bash
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

# shellcheck source=jobs/stages.bash
. jobs/stages.bash
trap - TERM USR1 # here is nothing to checkpoint

for option in "$@"; do
    case "$option" in
        -h | --help) usage && exit ;;
        --*) ;;
        *)
            echo "error: '$option' is not an option of sbatch: write options as --name=value" >&2
            exit 2
            ;;
    esac
done
command -v sbatch >/dev/null || {
    echo "error: no sbatch on the PATH: run this on a login node of a SLURM cluster" >&2
    exit 2
}
# Made here if it is missing, not in the jobs: compute nodes often have no way to the Internet.
use_environment mpi4py cma onnxruntime keras
export OUT="${OUT:-runs/slurm}"
mkdir -p "$OUT/logs"
read -ra for_mpi <<<"${MPI_SBATCH:-}"
read -ra for_gpu <<<"${GPU_SBATCH:-}"
read -ra collect_flags <<<"${COLLECT_FLAGS:-}"
read -ra es_flags <<<"${ES_FLAGS:-}"
read -ra evaluate_flags <<<"${EVALUATE_FLAGS:-}"
common=(--parsable --output="$OUT/logs/%x-%j.out" --kill-on-invalid-dep=yes "$@")

# submit OPTION... SCRIPT FLAG...: behind the job submitted before, if there is one.
jobs=()
submit() {
    local job
    [ ${#jobs[@]} = 0 ] || set -- --dependency="afterok:${jobs[-1]}" "$@"
    job="$(sbatch "${common[@]}" "$@")" || {
        [ ${#jobs[@]} = 0 ] || scancel "${jobs[@]}"
        echo "error: SLURM takes no job like this, so nothing stays submitted: sbatch ${common[*]} $*" >&2
        exit 2
    }
    jobs+=("${job%%;*}") # "number", or "number;cluster"
}

submit "${for_mpi[@]}" jobs/slurm/collect.sbatch "${collect_flags[@]}"
submit "${for_gpu[@]}" jobs/slurm/train.sbatch
submit "${for_mpi[@]}" jobs/slurm/es.sbatch "${es_flags[@]}"
submit "${for_mpi[@]}" jobs/slurm/evaluate.sbatch "${evaluate_flags[@]}"

echo "submitted: collect ${jobs[0]} -> train ${jobs[1]} -> es ${jobs[2]} -> evaluate ${jobs[3]}; everything goes to $OUT/"
echo "  states    squeue --jobs $(IFS=, && echo "${jobs[*]}")"
printf '  logs      tail -F %q/*.out\n' "$OUT/logs"
printf '  learning  tail -F %q\n' "$OUT/es/log.txt"
echo "  warn      scancel --signal=USR1 --batch ${jobs[2]}       checkpoint now and go back into the queue"
echo "  stop      scancel ${jobs[*]}"
