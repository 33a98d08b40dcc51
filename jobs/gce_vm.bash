#!/usr/bin/env bash
# What a VM of jobs/gce_launch.bash does from boot to its own deletion. The launcher puts its settings in front of these
# lines (WM_URL=gs://..., WM_SECONDS=..., ...) and hands them to the VM twice: as startup-script (WM_ROLE=start) and as
# shutdown-script (WM_ROLE=stop). Not to be run by hand; it takes no arguments.
#
#   restore the run from the bucket -> jobs/gce_train.bash, with a sync every few minutes -> last sync -> delete this VM
#
# The object WM_URL/status says how it stands, in one line of words (see tell). Its states:
#   creating                    written by the launcher
#   running                     written at each sync; used_seconds then holds what the next sync will have cost
#   done, failed                the run has ended by itself, with exit=STATUS
#   limit, preempted, stopped   checkpointed and saved: the next VM goes on from there
set -euo pipefail
if [ $# -gt 0 ] || [ -z "${WM_ROLE:-}" ]; then
    sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"
    case "${1:-}" in "" | -h | --help) exit ;; esac
    echo "error: nothing to do with '$*': jobs/gce_launch.bash runs this on a VM, it is not for running by hand" >&2
    exit 2
fi

home="${WM_HOME:-/var/lib/wm_mpi}" # where everything lies on the VM
export HOME="${HOME:-/root}"       # gcloud and compile caches need one, and startup scripts have none
export CLOUDSDK_CORE_DISABLE_PROMPTS=1
export CLOUDSDK_STORAGE_PARALLEL_COMPOSITE_UPLOAD_ENABLED=False # it needs more rights on the bucket
boot=90                            # what passed before this script began (seconds, taken as this much)
margin=300                         # how long before its end the VM stops training, to save in peace (seconds)
started="$(date +%s)"
[ "$margin" -le $((WM_SECONDS / 2)) ] || margin=$((WM_SECONDS / 2))
reason="" # why the run is to stop: limit, preempted, stopped

say() {
    echo "$(date '+%F %T') $1"
}

elapsed() {
    echo $((boot + $(date +%s) - started))
}

# tell STATE EXIT AHEAD: write the status object; AHEAD seconds are counted as used before they are.
tell() {
    say "state $1, exit $2"
    echo "state=$1 vm=$WM_VM attempt=$WM_ATTEMPT job=$WM_JOB exit=$2 used_seconds=$((WM_USED + $(elapsed) + $3))" >status
    gcloud storage cp status "$WM_URL/status"
}

# --- the results, into the bucket -------------------------------------------------------------------------------------
# es writes while this reads, so what goes up is a copy, made in an order that keeps it whole: a run resumes from a
# checkpoint with a newer journal and newer metrics (it cuts them back), not from one with older ones. Hence the checkpoints
# are copied first and uploaded last.

# copy FROM TO FLAG...: tar ends with 1 when a file changed or went away meanwhile, which is fine here.
copy() {
    mkdir -p "$2"
    tar -C "$1" --exclude='.wm_mpi-*' --exclude=./lock "${@:3}" -cf - . | tar -C "$2" -xf - || [ $? = 1 ]
}

# save: everything new goes up; the checkpoints in a second step, since one step does them in any order, and old ones leave
# the bucket in a third, once the new ones are there.
save() {
    [ -d run ] || return 0
    rm -rf saved/checkpoint
    mkdir -p saved/checkpoint
    if [ -d run/checkpoint ]; then
        copy run/checkpoint saved/checkpoint || return 1
    fi
    copy run saved/run --exclude=./checkpoint || return 1
    cp log.txt saved/log.txt || return 1
    gcloud storage rsync --recursive saved/run "$WM_URL/run" || return 1
    if [ -n "$(find saved/checkpoint -name '*.ckpt')" ]; then
        gcloud storage rsync --recursive saved/checkpoint "$WM_URL/run/checkpoint" || return 1
        case "$reason" in
            preempted | stopped) ;; # with seconds left, the next VM tidies up
            *) gcloud storage rsync --recursive --delete-unmatched-destination-objects saved/checkpoint \
                "$WM_URL/run/checkpoint" || return 1 ;;
        esac
    fi
    gcloud storage cp saved/log.txt "$WM_URL/log/$WM_VM.txt"
}

# --- the end ----------------------------------------------------------------------------------------------------------
# A VM that is off costs no more than its disk. The launcher reads the serial console, says why, and deletes it.
power_off() {
    say "$1: powering off"
    (echo "wm_mpi: $1" && tail -n 20 log.txt) >&3 2>/dev/null || true
    shutdown -h now
    exit 1
}

# SIGTERM comes from the shutdown-script, see stop below.
going_down() {
    [ -z "$reason" ] || return 0
    reason=stopped
    [ "$(curl --silent --fail --max-time 2 --header 'Metadata-Flavor: Google' \
        http://metadata.google.internal/computeMetadata/v1/instance/preempted || true)" != TRUE ] || reason=preempted
    say "this VM is being $reason"
}

# --- the run ----------------------------------------------------------------------------------------------------------
restore() {
    [ ! -d run ] || return 0 # this disk has the run already, newer than the bucket: the VM was started again
    mkdir -p restored
    if gcloud storage ls "$WM_URL/run/" >/dev/null 2>errors.txt; then
        gcloud storage rsync --recursive "$WM_URL/run" restored
    elif ! grep -q "matched no objects" errors.txt; then
        cat errors.txt
        return 1
    fi
    # A VM that went between its first two uploads left metrics without a checkpoint, which es refuses: the journal alone is
    # good to begin with, and gives the same numbers.
    [ -n "$(find restored -name '*.ckpt')" ] || rm -f restored/metrics.jsonl
    mv restored run
}

install() {
    apt-get -o DPkg::Lock::Timeout=300 update
    DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install --yes --no-install-recommends "$@"
}

# prepare: everything that the job needs.
prepare() {
    restore
    mkdir -p world source
    [ "$WM_WORLD" != yes ] || gcloud storage rsync --recursive "$WM_URL/world" world
    if [ -n "$WM_CONTAINER" ]; then
        command -v docker >/dev/null || install docker.io
        case "$WM_CONTAINER" in *.pkg.dev/*) gcloud auth configure-docker "${WM_CONTAINER%%/*}" --quiet ;; esac
        docker pull "$WM_CONTAINER"
        chown -R 1000 run # the image's user; it only reads the world
    else
        python3 -c 'import ensurepip, venv' 2>/dev/null || install python3-venv
        gcloud storage cp "$WM_URL/source.tar.gz" source.tar.gz
        tar -C source -xzf source.tar.gz
    fi
}

# train: the job, to its end.
train() {
    export OUT="$home/run" WORLD=""
    [ "$WM_WORLD" != yes ] || WORLD="$home/world"
    say "starting: jobs/gce_train.bash ${WM_FLAGS[*]-}"
    if [ -n "$WM_CONTAINER" ]; then
        exec docker run --rm --init --ipc=host --volume "$home/run:$home/run" --volume "$home/world:$home/world:ro" \
            --env "OUT=$OUT" --env "WORLD=$WORLD" \
            "$WM_CONTAINER" bash /opt/wm_mpi/jobs/gce_train.bash ${WM_FLAGS[@]+"${WM_FLAGS[@]}"}
    fi
    exec bash source/jobs/gce_train.bash ${WM_FLAGS[@]+"${WM_FLAGS[@]}"}
}

start() {
    local status=0 job synced pause patience state
    mkdir -p "$home"
    cd "$home"
    # The log must outlive the program that started this script, so it is a file; descriptor 3 is the serial console.
    exec 3>&1 >>log.txt 2>&1
    echo $$ >pid
    trap going_down TERM
    command -v gcloud >/dev/null || power_off "this image has no gcloud; Compute Engine's Debian and Ubuntu images have"
    # Told before anything else: a VM that cannot write to its bucket must not train.
    tell running 0 "$WM_SYNC" || power_off "cannot write $WM_URL (its service account needs roles/storage.objectUser there)"
    (trap - TERM; prepare; train) </dev/null &
    job=$!
    synced="$(date +%s)"
    while kill -0 "$job" 2>/dev/null && [ -z "$reason" ]; do
        sleep 1 || true
        if [ "$(elapsed)" -ge $((WM_SECONDS - margin)) ]; then
            say "the VM's time is almost over"
            reason="${reason:-limit}"
        elif [ $(($(date +%s) - synced)) -ge "$WM_SYNC" ]; then
            synced="$(date +%s)"
            { save && tell running 0 "$WM_SYNC"; } || say "the bucket did not take the results; training goes on"
        fi
    done
    patience=12 # of the 30 s that a spot VM has
    [ "$reason" != limit ] || patience=60
    [ -z "$reason" ] || kill -s TERM "$job" 2>/dev/null || true
    while kill -0 "$job" 2>/dev/null && [ "$patience" -gt 0 ]; do
        sleep 1 || true
        patience=$((patience - 1))
    done
    if kill -0 "$job" 2>/dev/null; then
        say "the run did not stop in time; saving what it has"
    else
        wait "$job" || status=$?
    fi
    case "$reason:$status" in
        preempted:* | stopped:*)
            { save && tell "$reason" "$status" 0; } || say "the bucket did not take the last results"
            return 0 # the VM is going down by itself
            ;;
        *:0) state="done" ;;
        limit:*) state=limit ;;
        *) state=failed ;;
    esac
    # The last one must get through: what is not in the bucket goes with the VM.
    for pause in 0 5 15 30 60 120 240 off; do
        [ "$pause" != off ] || power_off "could not save the last results to $WM_URL; they are on this VM's disk, in $home/run"
        sleep "$pause"
        { save && tell "$state" "$status" 0; } && break
        say "the bucket did not take the results; trying again"
    done
    say "deleting this VM"
    gcloud compute instances delete "$WM_VM" --project="$WM_PROJECT" --zone="$WM_ZONE" --quiet ||
        power_off "this VM's service account may not delete it (roles/compute.instanceAdmin.v1)"
}

# The shutdown-script: Compute Engine runs it as the VM goes down, for whatever reason, and waits about 30 s for it.
stop() {
    local pid
    pid="$(cat "$home/pid" 2>/dev/null)" || exit 0
    kill -s TERM "$pid" 2>/dev/null || exit 0
    for _ in $(seq 56); do
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.5
    done
}

"$WM_ROLE"
