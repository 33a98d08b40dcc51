#!/usr/bin/env bash
# An es run across two hosts whose second one is lost in the ways in which clusters lose hosts. Whatever happens, the files
# must be those of a run in one process: metrics.jsonl apart from timing, champion.h5, episodes.jsonl.
#
#   sudo -E bash tests/cluster/run.bash [SCENARIO ...]       all of them take about five minutes
#
#   across     nothing happens
#   killed     kill -9 of all ranks on node2: node1 plays on
#   cable      the cable is pulled out for good: node1 plays on, the run ends in time, and so do the ranks cut off
#   flap       the cable is out for half a minute: node1 plays on, then node2's ranks play again
#   frozen     every process on node2 stands still (SIGSTOP): node1 plays on, the run ends in time
#   crashed    kill -9 of everything on node2, mpirun's daemon too: mpirun gives up (it cannot do without), the exit status
#              is 75, "run again", and the same command on node1 alone goes on where it was
#
# Prints a line for each scenario that holds. Exit status: 0 all hold; 1 at the first that does not, with what was said;
# 77 where no two hosts can be made, see two_hosts.bash.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
[ -n "${TWO_HOSTS:-}" ] || exec bash tests/cluster/two_hosts.bash bash tests/cluster/run.bash "$@"

ES=(--env toy --popsize 32 --episodes 64 --generations 12 --eval-every 6 --eval-episodes 64 --seed 7)
LEAVING=20 # seconds from the end of the work to the end of mpirun.bash
run="" job="" scenario=""

fail() {
    echo "FAILED $scenario: $1" >&2
    [ -z "$run" ] || tail -n 25 "$run.said" >&2
    exit 1
}

node2() { nsenter --target "$NODE2" --mount --uts --ipc --net --pid "$@"; }

RANK='^[^ ]*python.* --env toy ' # what a rank looks like in ps
ranks_on_node2() { node2 pgrep "$@" --count --full "$RANK" || true; }

begin() { # begin PROGRAM...: the run of this scenario, in the background
    run="$SHARED/$scenario"
    bash jobs/mpirun.bash --hostfile "$HOSTFILE" -np 5 "$@" "${ES[@]}" --out "$run" >"$run.said" 2>&1 &
    job=$!
    reach 3
    [ "$(ranks_on_node2)" = 2 ] || fail "$(ranks_on_node2) ranks on node2 instead of 2"
}

generation() { wc -l 2>/dev/null <"$run/metrics.jsonl" || echo 0; }

reach() { # reach GENERATION, within two minutes
    local deadline=$((SECONDS + 120))
    until [ "$(generation)" -ge "$1" ]; do
        kill -0 "$job" 2>/dev/null || fail "the run ended before generation $1"
        [ "$SECONDS" -lt "$deadline" ] || fail "no generation $1 within two minutes"
        sleep 0.1
    done
}

end() { # end STATUS: the run ends by itself, soon after its work, with this status
    local deadline=$((SECONDS + 240)) finished=0 status=0
    while kill -0 "$job" 2>/dev/null; do
        [ "$SECONDS" -lt "$deadline" ] || fail "does not end"
        if grep -q '^finished: ' "$run.said"; then
            [ "$finished" -gt 0 ] || finished=$SECONDS
            [ "$((SECONDS - finished))" -le "$LEAVING" ] || fail "has not ended $LEAVING s after its work"
        fi
        sleep 0.1
    done
    wait "$job" || status=$?
    [ "$status" = "$1" ] || fail "exit status $status instead of $1"
}

same() {
    python tests/cluster/compare.py "$SHARED/serial" "$run" >>"$run.said" 2>&1 || fail "other results than a serial run"
}

said() { grep -q "$1" "$run.said" "$run/log.txt" || fail "nobody said '$1'"; }

holds() {
    printf '%-8s %s (%d s)\n' "$scenario" "$1" "$SECONDS"
    SECONDS=0
}

gone_from_node2() { # ranks and mpirun's daemon, within two minutes
    local deadline=$((SECONDS + 120)) left
    while left="$(node2 pgrep --full --list-full "$RANK|/prted " | cut -c 1-60)"; [ -n "$left" ]; do
        [ "$SECONDS" -lt "$deadline" ] || fail "left on node2: $left"
        sleep 0.2
    done
}

across() {
    begin python -m wm_mpi.es
    end 0
    same
    holds "5 ranks on two hosts gave the files of a serial run"
}

killed() {
    begin python -m wm_mpi.es
    node2 pkill -KILL --full "$RANK"
    end 0
    said "lost rank 3 on node2"
    same
    holds "all ranks of node2 killed: the others finished, same files"
}

cable() {
    begin python -m wm_mpi.es
    ip link set eth0 down
    end 0
    [ "$(ranks_on_node2)" = 2 ] || fail "the ranks of node2 were not cut off, they ended"
    same
    ip link set eth0 up
    gone_from_node2
    holds "cable pulled: node1 finished, same files; back in, the ranks cut off ended"
}

flap() {
    begin python tests/cluster/slow_es.py
    node2 ip link set eth0 down
    sleep 25
    kill -0 "$job" 2>/dev/null || fail "the run was over before the cable was back: raise PAUSE in slow_es.py"
    node2 ip link set eth0 up
    end 0
    said "rank 3 on node2 has said nothing"
    said "rank 3 on node2 speaks again"
    same
    holds "cable out for 25 s: node1 played on, then node2 again, same files"
}

frozen() {
    begin python -m wm_mpi.es
    node2 bash -c 'kill -STOP -1' # all but the first process and this one
    [ "$(ranks_on_node2 --runstates T)" = 2 ] || fail "node2 does not stand still"
    end 0
    [ "$(ranks_on_node2 --runstates T)" = 2 ] || fail "the ranks of node2 did not stand still to the end"
    node2 bash -c 'kill -KILL -1'
    same
    holds "node2 stood still: node1 finished, same files"
}

crashed() {
    begin python -m wm_mpi.es
    node2 bash -c 'kill -KILL -1'
    end 75
    local before
    before="$(generation)"
    printf 'node1 slots=3\n' >"$SHARED/node1_alone"
    HOSTFILE="$SHARED/node1_alone"
    bash jobs/mpirun.bash --hostfile "$HOSTFILE" -np 3 python -m wm_mpi.es "${ES[@]}" --out "$run" >"$run.said" 2>&1 &
    job=$!
    end 0
    [ "$(generation)" -gt "$before" ] || fail "nothing was left to do: raise --generations"
    same
    holds "node2 crashed after generation $before: exit status 75, node1 alone went on, same files"
}

[ $# -gt 0 ] || set -- across killed cable flap frozen crashed
python -m wm_mpi.es "${ES[@]}" --out "$SHARED/serial" >"$SHARED/serial.said" 2>&1 || {
    cat "$SHARED/serial.said" >&2
    exit 1
}
SECONDS=0
for scenario in "$@"; do
    case "$scenario" in
    across | killed | cable | flap | frozen | crashed) "$scenario" ;;
    *) fail "no such scenario; there are across, killed, cable, flap, frozen and crashed" ;;
    esac
done
