# What the SLURM jobs share: each *.sbatch file sources it in the clone's root. Variables of all jobs and of pipeline.bash:
#   OUT           folder of everything that the jobs read and write (runs/slurm); on a file system that all nodes see
#   SEED          seed of everything (0)
#   PRESET        paper, laptop or smoke: every default at once (paper)
#   MAX_RESTARTS  how often a job may go back into the queue in all (100), so that nothing circles forever
#   WM_VENV       virtual environment to use or to make. Without it: the environment that is active at sbatch, if it has the
#                 packages (a venv, conda, modules; sbatch hands it on), or else .venv in the clone, made if missing
#
# How a job goes on by itself: SLURM sends SIGUSR1 two minutes before its time is over (#SBATCH --signal=B:USR1@120), and
# SIGUSR1 or SIGTERM when it is preempted. `run` hands either on as SIGUSR1, through mpirun to rank 0, which checkpoints and
# exits with 75. Then the job puts itself back into the queue, under the same number; when it starts again it runs the same
# command, which is how every command resumes.
# shellcheck shell=bash

OUT="${OUT:-runs/slurm}"
SEED="${SEED:-0}"
preset=(${PRESET:+--preset "$PRESET"})
restarts="${SLURM_RESTART_COUNT:-0}"

# However this job ends, here it is decided whether it comes back.
at_exit() {
    local status="$1"
    trap - EXIT
    trap '' USR1 TERM
    case "$status" in
        0 | 2) ;; # done, or bad input, which stays bad
        69) requeue "no worker rank is left" ;;
        75) requeue "stopped before its end, what was finished is kept" ;;
        *)
            # The signal killed the command before it could answer, while it was starting, say. What was finished is kept all
            # the same, and a true fault shows itself again after the restart.
            [ -z "${stopped:-}" ] || requeue "killed while it was to stop (status $status), what was finished is kept"
            ;;
    esac
    exit "$status"
}

# Back into the queue, unless SLURM is ending the job already: after scancel, or when a preemption has put it back. Then it
# is COMPLETING, and a requeue from here would bring a cancelled job back to life.
requeue() {
    local again="submit the same job again to go on"
    if [ "$(squeue --noheader --jobs "$SLURM_JOB_ID" --format %T 2>/dev/null)" = COMPLETING ]; then
        echo "== $1; SLURM ends this job; if it does not come back by itself, $again"
    elif [ "$restarts" -ge "${MAX_RESTARTS:-100}" ]; then
        echo "== $1; restarted $restarts times, which is MAX_RESTARTS: $again" >&2
    elif scontrol requeue "$SLURM_JOB_ID"; then
        echo "== $1; back in the queue, restart $((restarts + 1)) goes on from here"
    else
        echo "== $1; SLURM does not let this job back into the queue: $again" >&2
    fi
}

# mpi COMMAND FLAGS...: a command of wm_mpi on all ranks of the allocation, which mpirun sees by itself.
mpi() {
    use_environment mpi4py cma onnxruntime
    run bash jobs/mpirun.bash -np "$SLURM_NTASKS" python -m "wm_mpi.$1" "${preset[@]}" "${@:2}"
}

trap 'at_exit "$?"' EXIT
# shellcheck source=jobs/stages.bash
. jobs/stages.bash
echo "== $SLURM_JOB_NAME, job $SLURM_JOB_ID, restart $restarts, on $SLURM_JOB_NODELIST"
