#!/usr/bin/env bash
# What the launcher pod of es.yaml runs: rank 0 here, the other ranks in the worker pods that answer over ssh.
#   bash jobs/kubernetes/launch.bash python -m wm_mpi.es --world WORLD --out RUN ...
#
# A rank that dies is made up for by the others (jobs/mpirun.bash). A pod that goes takes with it the daemon that mpirun
# started there, and Open MPI 5 ends without it. Then this starts mpirun again: the command goes on where it was, in all
# worker pods if they are back within WM_WAIT, else in those that answer. Results do not depend on how many these are.
#   WM_HOSTFILE  worker pods, "NAME slots=N" a line (default: /etc/mpi/hostfile, which the MPI operator writes)
#   WM_WAIT      how long to wait for all worker pods; for the first one ten times as long (seconds, default 60)
# SIGTERM: checkpoint and exit with 75. Exit status: the command's; 69 when no worker pod answers; what mpirun ended with
# when that happened five times running within a minute of its start.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

case "${1:-}" in
"" | -h | --help)
    sed -n '2,/^set /{/^set /!s/^# \{0,1\}//p}' jobs/kubernetes/launch.bash
    exit 0
    ;;
esac
listed="${WM_HOSTFILE:-/etc/mpi/hostfile}"
wait_for="${WM_WAIT:-60}"
[ -s "$listed" ] || {
    echo "error: $listed lists no worker pod: the MPI operator mounts it in a launcher pod; elsewhere set WM_HOSTFILE" >&2
    exit 2
}
hosts="$(mktemp)"
trap 'rm -f "$hosts"' EXIT
job="" stopped=""
stop() {
    stopped=yes
    [ -z "$job" ] || kill -TERM "$job" 2>/dev/null || true
}
trap stop TERM USR1 INT

# All at once: a pod that is gone costs its time-out, but only once.
answering() {
    local host slots
    while read -r host slots; do
        { ssh -n -o BatchMode=yes -o ConnectTimeout=5 "$host" true 2>/dev/null && echo "$host $slots"; } &
    done <"$listed"
    wait || true
}

# Writes $hosts: rank 0 in this pod, where nothing but the loss of this pod can end it.
find_workers() {
    local all found waited began=$SECONDS
    all="$(grep -c . "$listed")"
    while true; do
        { echo "localhost slots=1" && answering | sort; } >"$hosts"
        found=$(($(wc -l <"$hosts") - 1)) waited=$((SECONDS - began))
        [ -z "$stopped" ] || exit 75
        if [ "$found" -eq "$all" ] || { [ "$found" -gt 0 ] && [ "$waited" -ge "$wait_for" ]; }; then
            echo "rank 0 here, the others in $found of $all worker pods" >&2
            return
        fi
        [ "$waited" -lt $((10 * wait_for)) ] || {
            echo "error: none of the $all worker pods in $listed answers over ssh: see what they say (kubectl logs)" >&2
            exit 69
        }
        sleep 2 &
        wait $! || true
    done
}

short=0
while true; do
    find_workers
    began=$SECONDS
    ranks="$(awk -F= '{ranks += $2} END {print ranks}' "$hosts")"
    bash jobs/mpirun.bash --hostfile "$hosts" -np "$ranks" "$@" &
    job=$!
    while true; do # a signal interrupts wait, not the job
        wait "$job" && status=0 || status=$?
        kill -0 "$job" 2>/dev/null || break
    done
    job=""
    case "$status" in 0 | 1 | 2 | 130) exit "$status" ;; esac
    [ -z "$stopped" ] || exit "$status"
    if [ $((SECONDS - began)) -ge 60 ]; then
        short=0
    elif [ $((short += 1)) -ge 5 ]; then
        echo "error: mpirun ended with $status five times running within a minute: its messages above say why" >&2
        exit "$status"
    fi
    echo "mpirun ended with $status: going on in the worker pods that answer" >&2
done
