#!/usr/bin/env bash
# Prove the SLURM jobs on a real SLURM: two nodes, both on this machine, with daemons, ports and files of their own that are
# gone again at the end. Needs root (slurmd does) and Debian's packages:  apt-get install slurm-wlm munge
# Exits with 77 and the reason where these are missing. Otherwise one line for every scenario proven, or the first failure.
#   bash tests/slurm/run.bash                      everything, about nine minutes on two cores
#   bash tests/slurm/run.bash warned preempted     these scenarios only; their names are the functions scenario_* below
# Every interrupted run is compared with an undisturbed one outside SLURM: the same metrics, but for times, and the same
# champion. The environment with the package must be active, or .venv is made as everywhere (see jobs/setup.bash).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
root="$PWD"

skip() {
    echo "skipped: $1"
    exit 77
}
for program in slurmctld slurmd sbatch munged mungekey; do
    PATH="$PATH:/usr/sbin:/sbin" command -v "$program" >/dev/null ||
        skip "$program is not installed (Debian: apt-get install slurm-wlm munge)"
done
[ "$(id -u)" = 0 ] || skip "slurmd needs root"
PATH="$PATH:/usr/sbin:/sbin"
# A job of another SLURM, or settings for sbatch, must not reach the jobs below.
for name in $(compgen -e | grep -E '^(SLURM|SBATCH|SQUEUE|SCANCEL|OMPI|PMIX|PRTE)' || true); do
    unset "$name"
done
# shellcheck source=jobs/stages.bash
. jobs/stages.bash
use_environment mpi4py cma onnxruntime keras h5py

generations=250
es_flags=(--env toy --world None --popsize 16 --episodes 8 --max-frames 100 --generations "$generations" --eval-every 50
    --eval-episodes 8)
place="$(mktemp -d /tmp/wm_slurm.XXXXXX)" # a short path: sockets lie in it
daemons=()
trap 'tear_down "$?"' EXIT
trap 'exit 130' INT TERM

# --- a SLURM of our own -----------------------------------------------------------------------------------------------
tear_down() {
    local daemon
    trap - EXIT
    set +e
    if [ ${#daemons[@]} -gt 1 ]; then
        timeout 20 scancel --user root 2>/dev/null
        for _ in {1..60}; do
            [ -n "$(timeout 20 squeue --noheader 2>/dev/null)" ] || break
            sleep 0.5
        done
    fi
    for ((daemon = ${#daemons[@]} - 1; daemon >= 0; daemon--)); do
        kill "${daemons[daemon]}" 2>/dev/null
        wait "${daemons[daemon]}" 2>/dev/null
    done
    if [ -n "${KEEP:-}" ]; then
        echo "left for you to look at: $place" >&2
    else
        rm -rf "$place"
    fi
    exit "$1"
}

fail() {
    echo "FAILED: $scenario: $1" >&2
    tail -n 30 "$place/slurmctld.log" "$place"/slurmd.*.log >"$place/daemons" 2>/dev/null || true
    tail -n 15 "$place"/out/"$scenario"*.out "$place/daemons" >&2 || true
    echo "(KEEP=1 keeps the folder of logs and results)" >&2
    exit 1
}

set_up() {
    local host ports
    host="$(hostname -s)"
    read -ra ports <<<"$(python -c 'import socket
free = [socket.socket() for _ in range(3)]
[one.bind(("127.0.0.1", 0)) for one in free]
print(*(one.getsockname()[1] for one in free))')"
    mkdir -p "$place"/{munge,state,out}
    chmod 755 "$place"
    mungekey --create --keyfile="$place/munge/key"
    start munged --foreground --key-file="$place/munge/key" --socket="$place/munge/socket" --pid-file="$place/munge/pid" \
        --log-file="$place/munge/log" --seed-file="$place/munge/seed"
    # cred_expire is also how long a requeued job must wait (at least 5 s; 120 s where a site says nothing).
    # config_overrides: more CPUs than the machine has, so that a job's ranks fit; the jobs are small.
    cat >"$place/slurm.conf" <<END
ClusterName=wm_test
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=${ports[0]}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$place/munge/socket,cred_expire=5
StateSaveLocation=$place/state
SlurmdSpoolDir=$place/spool.%n
SlurmctldPidFile=$place/slurmctld.pid
SlurmdPidFile=$place/slurmd.%n.pid
SlurmctldLogFile=$place/slurmctld.log
SlurmdLogFile=$place/slurmd.%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmctldParameters=preempt_send_user_signal
SchedulerParameters=sched_interval=1,bf_interval=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
KillWait=10
NodeName=node1 NodeHostname=$host NodeAddr=127.0.0.1 Port=${ports[1]} CPUs=8 RealMemory=4000
NodeName=node2 NodeHostname=$host NodeAddr=127.0.0.1 Port=${ports[2]} CPUs=8 RealMemory=4000
PartitionName=low Nodes=ALL Default=YES PriorityTier=1 PreemptMode=REQUEUE
PartitionName=grace Nodes=ALL PriorityTier=1 PreemptMode=REQUEUE GraceTime=30
PartitionName=high Nodes=ALL PriorityTier=2 PreemptMode=OFF
END
    export SLURM_CONF="$place/slurm.conf"
    start slurmctld -D
    start slurmd -D -N node1
    start slurmd -D -N node2
    for _ in {1..100}; do
        [ "$(sinfo --noheader --partition low --format '%T %D' 2>/dev/null)" != "idle 2" ] || return 0
        sleep 0.3
    done
    scenario="set up" fail "SLURM's nodes are not idle after 30 s: $(sinfo 2>&1)"
}

start() {
    "$@" >>"$place/daemons.out" 2>&1 &
    daemons+=("$!")
    sleep 0.5
}

# --- what the scenarios are made of -----------------------------------------------------------------------------------
# sbatch one of our jobs with the toy environment's flags; its results and log carry the scenario's name. Sets `job`.
submit_es() {
    job="$(OUT="$place/out/$scenario" sbatch --parsable --ntasks=3 --mem-per-cpu=200 --time=5 \
        --output="$place/out/$scenario.out" "$@" jobs/slurm/es.sbatch "${es_flags[@]}")" || fail "sbatch refused the job"
}

field() { # field JOB Name: what scontrol shows as Name=...
    scontrol show job --oneliner "$1" | grep -o " $2=[^ ]*" | head -n 1 | cut -d= -f2
}

generations_done() {
    wc -l 2>/dev/null <"$place/out/$scenario/es/metrics.jsonl" || echo 0
}

until_true() { # until_true SECONDS "what is awaited" command...
    local deadline=$((SECONDS + $1)) what="$2"
    shift 2
    while ! "$@"; do
        [ $SECONDS -lt "$deadline" ] || fail "still not so: $what ($(scontrol show job --oneliner "$job" | cut -c 1-400))"
        sleep 0.1
    done
}

# What until_true awaits.
is_midway() { [ "$(generations_done)" -ge 40 ]; }
was_restarted() { [ "$(field "$job" Restarts)" -ge "$1" ]; }
queue_is_empty() { [ -z "$(squeue --noheader)" ]; }
is_over() { [[ "$(field "$job" JobState)" =~ COMPLETED|FAILED|CANCELLED|TIMEOUT|NODE_FAIL ]]; }

# processes JOB[.STEP] NODE: the ids of those that it has there.
processes() {
    scontrol listpids "$1" "$2" | awk 'NR > 1 && $1 > 1 { print $1 }'
}

kill_now() { # kill_now ID...: kill -9; some end with their parents
    [ $# -gt 0 ] || fail "there are no processes to kill"
    kill -9 "$@" 2>/dev/null || true
}

until_midway() {
    until_true 60 "40 of $generations generations are done" is_midway
    [ "$(generations_done)" -lt "$generations" ] || fail "the run was over before it could be disturbed"
}

until_restarted() { # until_restarted TIMES [SECONDS]: the job was put back into the queue so often, before its run's end
    until_true "${2:-60}" "SLURM restarts the job" was_restarted "$1"
    [ "$(generations_done)" -lt "$generations" ] || fail "the run was over before it was interrupted"
}

until_over() { # until_over STATE
    until_true 180 "job $job has ended" is_over
    [ "$(field "$job" JobState)" = "$1" ] || fail "job $job ended as $(field "$job" JobState), not as $1"
}

log_says() {
    grep -q -- "$1" "$place/out/$scenario.out" || fail "the job's log does not say '$1'"
}

# The run's metrics, but for times, and its champion are those of the run outside SLURM.
same_as_outside() {
    python - "$place/outside" "$place/out/$scenario/es" <<'END' || fail "results differ from the run outside SLURM"
import json, sys
import h5py, numpy

def timeless(path):
    keep = ("generation", "frames", "episodes", "frames_total", "sigma")
    rows = [json.loads(line) for line in open(f"{path}/metrics.jsonl")]
    return [{name: row[name] for name in row if name in keep or name.startswith(("return_", "eval_"))} for row in rows]

def champion(path):
    with h5py.File(f"{path}/champion.h5") as file:
        found = {}
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
        return found

one, other = (timeless(path) for path in sys.argv[1:])
assert len(one) > 0 and all("return_mean" in row and "sigma" in row for row in one), "no metrics"
for left, right in zip(one, other):
    assert left == right, f"metrics differ:\n{left}\n{right}"
assert len(one) == len(other), f"{len(one)} and {len(other)} generations"
one, other = (champion(path) for path in sys.argv[1:])
assert one.keys() == other.keys() and one, f"champions hold {sorted(one)} and {sorted(other)}"
for name in one:
    assert numpy.array_equal(one[name], other[name]), f"champions differ in {name}"
END
}

proven() {
    echo "ok  $scenario: $1"
}

# --- scenarios --------------------------------------------------------------------------------------------------------
scenario_straight() {
    submit_es
    until_over COMPLETED
    same_as_outside
    proven "es.sbatch runs to its end, as outside SLURM"
}

scenario_warned() {
    submit_es
    until_midway
    scancel --signal=USR1 --batch "$job"
    until_restarted 1
    local stopped_at
    stopped_at="$(generations_done)"
    log_says "== stopped before its end, .*; back in the queue"
    until_over COMPLETED
    same_as_outside
    proven "SIGUSR1 -> checkpoint at generation $stopped_at, requeued, resumed, finished, same files"
}

scenario_two_nodes() {
    submit_es --nodes=2 --ntasks-per-node=2 --ntasks=4
    until_midway
    scancel --signal=USR1 --batch "$job"
    until_restarted 1
    log_says "== stopped before its end, .*; back in the queue"
    until_over COMPLETED
    same_as_outside
    proven "the same with ranks on two nodes"
}

scenario_time_limit() {
    # SLURM counts limits in minutes, looks at them twice a minute, and may warn a minute early.
    es_flags+=(--generations 4000)
    submit_es --time=1 --signal=B:USR1@30
    until_restarted 1
    log_says "== stopped before its end, .*; back in the queue"
    scancel "$job"
    until_over CANCELLED
    proven "the warning before the time limit -> checkpoint, requeued"
}

scenario_requeued() {
    submit_es
    until_midway
    scontrol requeue "$job"
    until_restarted 1
    until_over COMPLETED
    same_as_outside
    proven "scontrol requeue (SIGTERM, as when a node is drained) -> resumed, finished, same files"
}

scenario_preempted() {
    local high
    submit_es --exclusive --nodes=2
    until_midway
    high="$(sbatch --parsable --partition=high --nodes=2 --exclusive --time=1 --output=/dev/null --wrap="sleep 2")"
    until_restarted 1
    until_over COMPLETED
    [ "$(field "$high" JobState)" = COMPLETED ] || fail "the job of the higher partition did not run"
    same_as_outside
    proven "preempted by a job of higher priority -> requeued by SLURM, resumed, finished, same files"
}

scenario_grace() {
    local high
    submit_es --partition=grace --exclusive --nodes=2
    until_midway
    high="$(sbatch --parsable --partition=high --nodes=2 --exclusive --time=1 --output=/dev/null --wrap="sleep 2")"
    until_restarted 1
    log_says "== stopping: checkpoint"
    until_over COMPLETED
    [ "$(field "$high" JobState)" = COMPLETED ] || fail "the job of the higher partition did not run"
    same_as_outside
    proven "preempted with a time of grace -> warned, checkpoint, requeued, resumed, finished, same files"
}

scenario_steps() {
    submit_es --nodes=2 --ntasks-per-node=2 --ntasks=4
    until_midway
    # To the job's steps, which are mpirun's daemons: so does a preemption with grace without preempt_send_user_signal.
    scancel --signal=TERM "$job"
    until_restarted 1
    until_over COMPLETED
    same_as_outside
    proven "SIGTERM to mpirun's daemons only -> not taken for finished, requeued, resumed, finished, same files"
}

scenario_daemons() {
    submit_es --nodes=2 --ntasks-per-node=2 --ntasks=4
    until_midway
    # shellcheck disable=SC2046  # ids, a word each; step 0 is what mpirun started
    kill_now $(processes "$job.0" node1) $(processes "$job.0" node2)
    until_restarted 1
    log_says "== stopped before its end, .*; back in the queue"
    until_over COMPLETED
    same_as_outside
    proven "kill -9 of mpirun's daemons on the nodes -> not taken for finished, requeued, resumed, finished, same files"
}

scenario_workers() {
    local id workers=()
    submit_es
    until_midway
    for id in $(processes "$job" "$(field "$job" BatchHost)"); do
        ! tr '\0' '\n' <"/proc/$id/environ" 2>/dev/null | grep -q '^OMPI_COMM_WORLD_RANK=[12]$' || workers+=("$id")
    done
    kill_now "${workers[@]}"
    until_restarted 1
    log_says "== no worker rank is left; back in the queue"
    until_over COMPLETED
    same_as_outside
    proven "kill -9 of all workers -> status 69, requeued, resumed, finished, same files"
}

scenario_restarts() {
    MAX_RESTARTS=0 submit_es
    until_midway
    scancel --signal=USR1 --batch "$job"
    until_over FAILED
    [ "$(field "$job" ExitCode)" = 75:0 ] || fail "the exit code is $(field "$job" ExitCode), not 75:0"
    log_says "which is MAX_RESTARTS"
    proven "a job that has used up its restarts ends with 75 and says how to go on"
}

scenario_killed() {
    submit_es
    until_midway
    # shellcheck disable=SC2046
    kill_now $(processes "$job" "$(field "$job" BatchHost)")
    until_over FAILED
    [ "$(generations_done)" -lt "$generations" ] || fail "the run was over before it was killed"
    submit_es
    until_over COMPLETED
    same_as_outside
    proven "kill -9 of all its processes -> the same sbatch again resumes, finished, same files"
}

scenario_cancelled() {
    submit_es
    until_midway
    scancel "$job"
    until_over CANCELLED
    sleep 6
    [ "$(field "$job" JobState)" = CANCELLED ] || fail "scancel did not hold: $(field "$job" JobState)"
    [ "$(generations_done)" -lt "$generations" ] || fail "the run was over before it was cancelled"
    submit_es
    until_over COMPLETED
    same_as_outside
    proven "scancel ends the job for good; the same sbatch again resumes, same files"
}

scenario_refused() {
    submit_es
    until_over COMPLETED
    es_flags+=(--popsize 32)
    submit_es
    until_over FAILED
    [ "$(field "$job" ExitCode)" = 2:0 ] || fail "the exit code is $(field "$job" ExitCode), not 2:0"
    [ "$(field "$job" Restarts)" = 0 ] || fail "bad input was put back into the queue"
    log_says "error: .*another configuration"
    job="$(cd /tmp && sbatch --parsable --ntasks=1 --mem-per-cpu=100 --output="$place/out/$scenario.2.out" \
        "$root/jobs/slurm/es.sbatch")"
    until_over FAILED
    grep -q "error: /tmp is not a clone of wm_mpi" "$place/out/$scenario.2.out" || fail "no sentence about the wrong folder"
    proven "bad input and a wrong folder end with status 2 and a sentence, and are not requeued"
}

scenario_pipeline() {
    local out="$place/out/$scenario" jobs number before=""
    OUT="$out" PRESET=smoke MPI_SBATCH="--ntasks=3 --mem-per-cpu=500" GPU_SBATCH="--gpus=0 --cpus-per-task=2 --mem=3G" \
        bash jobs/slurm/pipeline.bash --time=20 >"$out.out" 2>&1 || fail "pipeline.bash failed"
    read -ra jobs <<<"$(sed -n '/^submitted: /{s/;.*//;s/[^0-9 ]//g;p}' "$out.out")"
    [ ${#jobs[@]} = 4 ] || fail "pipeline.bash did not name four jobs"
    for number in "${jobs[@]}"; do
        [ -z "$before" ] || [[ "$(field "$number" Dependency)" == "afterok:$before"* ]] ||
            fail "job $number waits for $(field "$number" Dependency), not for afterok:$before"
        before="$number"
    done
    before=""
    for job in "${jobs[@]}"; do
        until_true 400 "job $job has ended" is_over
        if [ "$(field "$job" JobState)" != COMPLETED ]; then
            cat "$out"/logs/*.out >>"$out.out"
            fail "job $job ended as $(field "$job" JobState)"
        fi
        [[ -z "$before" || ! "$(field "$job" StartTime)" < "$(field "$before" EndTime)" ]] ||
            fail "job $job started before job $before had ended"
        before="$job"
    done
    python -c 'import json, sys; assert len(json.load(open(sys.argv[1]))["returns"]) == 4' "$out/evaluation.json" ||
        fail "evaluation.json does not hold the four episodes of the smoke preset"
    proven "collect -> train -> es -> evaluate, each after the one before, to evaluation.json"

    # A job that fails takes those behind it along, instead of leaving them in the queue for ever.
    OUT="$out.2" PRESET=smoke COLLECT_FLAGS="--episodes 0" MPI_SBATCH="--ntasks=1 --mem-per-cpu=500" \
        GPU_SBATCH="--gpus=0 --cpus-per-task=2 --mem=3G" \
        bash jobs/slurm/pipeline.bash --time=20 >"$out.out" 2>&1 || fail "pipeline.bash failed"
    job="$(sed -n 's/^submitted: .* evaluate \([0-9]*\);.*/\1/p' "$out.out")"
    until_over CANCELLED
    proven "when collect fails, the jobs behind it are cancelled"

    ! OUT="$out.3" MPI_SBATCH="--ntasks=1 --mem-per-cpu=500" GPU_SBATCH="--gpus=0 --mem=9000G" \
        bash jobs/slurm/pipeline.bash >"$out.out" 2>&1 || fail "pipeline.bash did not notice that sbatch refused a job"
    grep -q "^error: SLURM takes no job like this, so nothing stays submitted" "$out.out" || fail "no sentence about it"
    until_true 20 "the queue is empty" queue_is_empty
    proven "when SLURM refuses a job of the chain, those before it are taken back"
}

# --- all of it --------------------------------------------------------------------------------------------------------
everything="straight warned two_nodes requeued preempted grace steps daemons workers restarts killed cancelled refused
    time_limit pipeline"
read -ra chosen <<<"${*:-${everything//$'\n'/ }}"
for scenario in "${chosen[@]}"; do
    declare -F "scenario_$scenario" >/dev/null || {
        echo "error: there is no scenario '$scenario', but:" "$(declare -F | sed -n 's/.* scenario_//p' | tr '\n' ' ')" >&2
        exit 2
    }
done
set_up
scenario=outside
bash jobs/mpirun.bash -np 3 python -m wm_mpi.es --out "$place/outside" --seed 0 "${es_flags[@]}" \
    >"$place/out/outside.out" 2>&1 || fail "the run outside SLURM failed"
flags=("${es_flags[@]}")
for scenario in "${chosen[@]}"; do
    es_flags=("${flags[@]}")
    "scenario_$scenario"
done
