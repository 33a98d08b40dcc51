#!/usr/bin/env bash
# The Dockerfile without Docker: each of its steps is run for real in a bare Debian, and then what an image must be able to
# do is tried in what came out, as the image's user, without a network, without capabilities.
#
#   sudo -E bash tests/docker/run.bash                       about six minutes on two cores, 4 GB in /var/tmp meanwhile
#   sudo -E IMAGE=/var/tmp/image bash tests/docker/run.bash  keep the image there; build it only if it is not there yet
#
# How Debian's mirror and PyPI are reached is read from this machine's apt and pip. See tests/docker/dockerfile.py for what
# is like Docker and what is not. Cluster checks use pods that are namespaces: an own network, host name and writable layer
# each, keys mounted as the MPI operator mounts them. Nothing of this machine is changed: namespaces, mounts and bridges
# vanish with the processes.
# Prints a line for each check that holds. Exit status: 0 all hold; 1 at the first that does not, with what was said; 77
# where it cannot run, with the reason.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

case "${1:-}" in
"") ;;
*)
    sed -n '2,/^set /{/^set /!s/^# \{0,1\}//p}' tests/docker/run.bash
    exit 2
    ;;
esac
skip() {
    echo "skipped: $1" >&2
    exit 77
}

# --- the machine: a place, and everything else in namespaces that end with it ---
if [ -z "${WM_STAGE:-}" ]; then
    [ "$(id -u)" = 0 ] || skip "not root, and a bare Debian takes root to make"
    PATH="$PATH:/usr/sbin:/sbin"
    for tool in debootstrap unshare nsenter pgrep ip python3 apt-get ssh-keygen; do
        command -v "$tool" >/dev/null ||
            skip "no $tool (Debian: apt-get install debootstrap util-linux procps iproute2 openssh-client python3)"
    done
    work="$(mktemp -d /var/tmp/wm_mpi-image-XXXXXX)"
    inner=""
    # shellcheck disable=SC2317  # the trap calls it
    leave() {
        [ -z "$inner" ] || { kill -KILL "$inner" 2>/dev/null && wait "$inner" 2>/dev/null; } || true
        if grep -q " $work/" /proc/self/mountinfo; then # cannot be: mounts are made in namespaces only
            echo "error: something is mounted below $work: unmount it, then remove the folder" >&2
        else
            rm -rf --one-file-system "$work"
        fi
    }
    trap leave EXIT
    trap 'exit 143' TERM HUP
    trap 'exit 130' INT
    mkdir "$work"/{a,b,c,d}
    said="$(unshare --mount --uts --ipc --net --pid --fork mount -t overlay overlay \
        -o "lowerdir=$work/a,upperdir=$work/b,workdir=$work/c" "$work/d" 2>&1)" ||
        skip "this kernel or container allows no namespaces or no overlay: $said"
    export PATH WM_STAGE=build WM_WORK="$work" IMAGE="${IMAGE:-$work/image}"
    for WM_STAGE in build check; do
        alone=(--mount --pid --fork --kill-child --mount-proc)
        [ "$WM_STAGE" = build ] || alone+=(--net)
        unshare "${alone[@]}" bash tests/docker/run.bash &
        inner=$!
        wait "$inner" || exit
        inner=""
    done
    echo "all hold, in $SECONDS s"
    exit 0
fi

# --- the image ---
if [ "$WM_STAGE" = build ]; then
    if [ ! -e "$IMAGE/config.json" ]; then
        echo "building $IMAGE"
        python3 tests/docker/dockerfile.py build "$IMAGE" --build-arg EXTRAS=mpi,train >"$WM_WORK/build.txt" 2>&1 || {
            tail -n 40 "$WM_WORK/build.txt" >&2
            exit 1
        }
        grep '^\[[0-9]*/' "$WM_WORK/build.txt"
        echo "built in $SECONDS s, $(du -sh --one-file-system "$IMAGE/root" | cut -f1)"
    fi
    exit 0
fi

# --- the checks ---
runs="$WM_WORK/runs" said="$WM_WORK/said.txt" began=0 check=""
install -d -o 1000 -g 1000 "$runs"

in_image() { # in_image [options of dockerfile.py run] -- COMMAND...
    python3 tests/docker/dockerfile.py run "$IMAGE" --volume "$runs:/runs" --volume "$PWD/tests/docker:/check:ro" "$@"
}
begin() {
    check="$1" began=$SECONDS
    : >"$said"
}
fail() {
    echo "FAILED $check: $1" >&2
    tail -n 40 "$said" >&2
    exit 1
}
holds() {
    echo "ok  $check${1:+: $1} ($((SECONDS - began)) s)"
}
says() { # says STATUS PATTERN [...] -- what in_image takes: it ends with STATUS and says a line like PATTERN
    local status=0 wanted="$1" pattern="$2"
    shift 2
    in_image "$@" >"$said" 2>&1 || status=$?
    [ "$status" = "$wanted" ] || fail "exit status $status instead of $wanted"
    grep -q -- "$pattern" "$said" || fail "says no line like '$pattern'"
}

begin "the default command says what the image can do"
says 0 "which is python -m wm_mpi.X"
holds

begin "the user is mpiuser (1000), and can write where it should and nowhere else"
# shellcheck disable=SC2016
says 0 '^1000 mpiuser$' -- bash -c 'echo "$(id -u) $(id -un)"'
# shellcheck disable=SC2016
writable='find / -xdev \( -type f -o -type d \) -writable | sed -E "s,^(/home/mpiuser|/var/cache/wm_mpi)/.*,\1," | sort -u'
in_image -- bash -c "$writable" >"$said" 2>/dev/null || true
expected="$(printf '%s\n' /home/mpiuser /run/lock /runs /tmp /tmp/.X11-unix /var/cache/wm_mpi /var/tmp)"
[ "$(cat "$said")" = "$expected" ] || fail "writable places are not $expected"
says 0 none -- bash -c 'ls /etc/ssh/*key* 2>/dev/null || echo none'
holds

for user in mpiuser 4321:4321; do
    begin "user $user on another processor plays frames, and nothing is compiled"
    says 0 "nothing compiled" --user "$user" -- python /check/frames.py znver4
    holds "$(cat "$said")"
done

begin "es, toy, mpirun with 3 ranks"
says 0 "^finished: 2 generations" -- bash jobs/mpirun.bash -np 3 python -m wm_mpi.es --env toy --preset smoke --out /runs/toy
[ "$(stat -c %u "$runs/toy/champion.h5")" = 1000 ] || fail "champion.h5 is not user 1000's"
holds

begin "es, toy, under Xvfb"
says 0 "^finished: 2 generations" -- python -m wm_mpi.es --env toy --preset smoke --display xvfb --out /runs/xvfb
holds

begin "the whole way from frames to a judged champion"
steps=(
    "bash jobs/mpirun.bash -np 3 python -m wm_mpi.collect --out frames"
    "python -m wm_mpi.train_vae --data frames --out vae"
    "python -m wm_mpi.encode --data frames --vae vae --out latents"
    "python -m wm_mpi.train_rnn --data latents --out rnn"
    "python -m wm_mpi.freeze --precision fp32 --vae vae --rnn rnn --data frames --out world"
    "bash jobs/mpirun.bash -np 3 python -m wm_mpi.es --world world --out es"
    "python -m wm_mpi.evaluate --run es"
)
for step in "${steps[@]}"; do
    read -ra words <<<"$step"
    for i in "${!words[@]}"; do
        case "${words[i]}" in frames | vae | latents | rnn | world | es) words[i]="/runs/way/${words[i]}" ;; esac
    done
    says 0 "" -- "${words[@]}" --preset smoke
done
! grep -q "compiling" "$said" || fail "the engine was compiled"
holds

# --- pods ---
secret="$WM_WORK/secret" hostfile="$WM_WORK/hostfile" hosts="$WM_WORK/hosts"
domain=wm-es.default.svc
mkdir "$secret"
ssh-keygen -q -t ecdsa -b 521 -m PEM -N '' -C '' -f "$secret/id_rsa" # as the MPI operator makes it
cp "$secret/id_rsa.pub" "$secret/authorized_keys"
chmod 0644 "$secret"/*
echo "127.0.0.1 localhost" >"$hosts"
mount -t tmpfs tmpfs /run
mkdir /run/netns
ip link add pods type bridge
ip link set pods up
number=0
for pod in wm-es-launcher wm-es-worker-0 wm-es-worker-1; do
    ip netns add "$pod"
    ip link add "pod$number" type veth peer name eth0 netns "$pod"
    ip link set "pod$number" master pods up
    number=$((number + 1))
    ip -n "$pod" address add "10.88.0.$number/24" dev eth0
    ip -n "$pod" link set eth0 up
    ip -n "$pod" link set lo up
    echo "10.88.0.$number $pod.$domain" >>"$hosts"
    case "$pod" in *worker*) echo "$pod.$domain slots=2" >>"$hostfile" ;; esac
done

in_pod() { # in_pod NAME [options] -- COMMAND...
    in_image --network "$1" --hostname "$1" --volume "$secret:/home/mpiuser/.ssh:ro" --volume "$hosts:/etc/hosts:ro" \
        --volume "$hostfile:/etc/mpi/hostfile:ro" "${@:2}"
}
read -ra sshd <<<"$(sed -n 's|^ *command: \[\(/usr/sbin/sshd.*\)\]|\1|p' jobs/kubernetes/es.yaml | tr -d ,)"
start_worker() {
    in_pod "wm-es-worker-$1" -- "${sshd[@]}" >"$WM_WORK/worker-$1.txt" 2>&1 &
    disown
}
lose_worker() {
    ip netns pids "wm-es-worker-$1" | xargs kill -KILL
}
ES=(python -m wm_mpi.es --env toy --popsize 32 --episodes 32 --generations 40 --eval-every 20 --seed 3)
launch() { # launch OUT: the launcher pod in the background
    in_pod wm-es-launcher --env WM_WAIT=6 -- bash jobs/kubernetes/launch.bash "${ES[@]}" --out "/runs/$1" >"$said" 2>&1 &
    launcher=$!
}
reach() { # reach OUT GENERATION
    local deadline=$((SECONDS + 120))
    until [ "$(wc -l 2>/dev/null <"$runs/$1/metrics.jsonl" || echo 0)" -ge "$2" ]; do
        kill -0 "$launcher" 2>/dev/null || fail "ended before generation $2"
        [ "$SECONDS" -lt "$deadline" ] || fail "no generation $2 within two minutes"
        sleep 0.2
    done
}
ended() { # ended STATUS
    local status=0
    wait "$launcher" || status=$?
    [ "$status" = "$1" ] || fail "exit status $status instead of $1"
}
same() { # same OUT: as in one process
    cmp "$runs/one/champion.h5" "$runs/$1/champion.h5" >>"$said" 2>&1 || fail "not the champion of a run in one process"
    [ "$(wc -l <"$runs/$1/metrics.jsonl")" = 40 ] || fail "not 40 generations"
}

begin "sshd on port 2222 as mpiuser: the operator's key opens it, and the engine's settings are there"
start_worker 0
start_worker 1
sleep 1
# shellcheck disable=SC2016
remote='echo "$(id -un) $NUMBA_CPU_NAME $WM_MPI_CACHE" && python /check/frames.py znver4'
in_pod wm-es-launcher -- ssh -o BatchMode=yes "wm-es-worker-0.$domain" "$remote" >"$said" 2>&1 || fail "no login"
grep -q "^mpiuser x86-64-v3 /var/cache$" "$said" || fail "not the image's settings"
grep -q "nothing compiled" "$said" || fail "compiled"
holds

begin "without the key nobody gets in"
if in_image --network wm-es-launcher --volume "$hosts:/etc/hosts:ro" -- ssh -o BatchMode=yes "wm-es-worker-0.$domain" true \
    >"$said" 2>&1; then fail "somebody got in"; fi
grep -q "Permission denied (publickey)" "$said" || fail "refused for another reason"
holds

begin "rank 0 in the launcher pod, four in two worker pods: the same numbers as in one process"
in_image -- "${ES[@]}" --out /runs/one >"$said" 2>&1 || fail "in one process"
launch calm
ended 0
grep -q "in 2 of 2 worker pods" "$said" || fail "not in both worker pods"
same calm
holds

begin "a rank in a worker pod is lost: the others go on at once, to the same numbers"
launch rank
reach rank 5
ip netns pids wm-es-worker-1 | xargs ps -o pid=,comm= -p | awk '$2 ~ /^python/ {print $1; exit}' | xargs kill -KILL
ended 0
[ "$(grep -c "worker pods" "$said")" = 1 ] || fail "mpirun was started again"
grep -qi "lost" "$said" || fail "no rank was lost"
same rank
holds

begin "a worker pod is lost for good: the run goes on in the other one, to the same numbers"
launch lost
reach lost 5
lose_worker 1
ended 0
grep -q "in 1 of 2 worker pods" "$said" || fail "not in one worker pod"
same lost
holds

begin "the lost pod comes back within the wait: the run goes on in both"
start_worker 1
sleep 1
launch back
reach back 5
lose_worker 1
sleep 1
start_worker 1
ended 0
[ "$(grep -c "in 2 of 2 worker pods" "$said")" = 2 ] || fail "not in both worker pods again"
same back
holds

begin "SIGTERM to the launcher pod: checkpoint, 75, and the same command goes on"
launch stopped
reach stopped 5
kill -TERM "$(pgrep -P "$(pgrep -P "$launcher")")" # the first process in the pod: this shell, unshare, and then it
ended 75
[ "$(wc -l <"$runs/stopped/metrics.jsonl")" -lt 40 ] || fail "had finished already"
launch stopped
ended 0
same stopped
holds

begin "bad input: 2 at once, with its sentence"
ES+=(--sigma 0)
launch wrong
ended 2
grep -q "error: --sigma is 0" "$said" || fail "not its sentence"
[ "$(grep -c "worker pods" "$said")" = 1 ] || fail "tried again"
holds

begin "no worker pod answers: 69"
lose_worker 0
lose_worker 1
in_pod wm-es-launcher --env WM_WAIT=1 -- bash jobs/kubernetes/launch.bash "${ES[@]}" --out /runs/none >"$said" 2>&1 &
launcher=$!
ended 69
grep -q "none of the 2 worker pods" "$said" || fail "not its sentence"
holds
