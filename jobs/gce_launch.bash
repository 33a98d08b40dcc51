#!/usr/bin/env bash
# C's training on one big spot VM of Google Compute Engine, from a laptop: create the VM, train there, keep the results in a
# bucket, delete the VM. Needs gcloud (gcloud init), a bucket, and a world that freeze wrote. docs/cloud.md has the steps.
#
#   bash jobs/gce_launch.bash --name cars --bucket my-bucket --world runs/world --hours 12 -- --generations 300
#   bash jobs/gce_launch.bash --name cars --bucket my-bucket --hours 1 -- --env toy --preset smoke      a cheap first try
#
# What follows -- goes to python -m wm_mpi.es. The VM does everything by itself; this script only watches, and running the
# same command again attaches to the VM that is there, or goes on from the bucket. A preempted VM is created again.
# Ctrl-C and SIGTERM let the VM checkpoint and delete it. Closing the terminal (SIGHUP) leaves it running.
#
#   --name NAME          of the run: its VMs are NAME-1, NAME-2, ..., its files lie in gs://BUCKET/wm_mpi/NAME/
#   --bucket BUCKET      where the run is kept
#   --hours N            at most this many hours of VM for this run, all attempts and all launches together
#   --world DIR          world to train in: a directory, or gs://... (none for --env toy)
#   --machine TYPE       machine type (default: n2-highcpu-64)
#   --zone ZONE          (default: gcloud's compute/zone)
#   --project PROJECT    (default: gcloud's core/project)
#   --container IMAGE    run this image (see Dockerfile) instead of this clone
#   --service-account A  the VM's identity (default: the project's); see docs/cloud.md for the roles that it needs
#   --create-flag=FLAG   one more flag for gcloud compute instances create, which overrides ours (repeatable), for instance
#                        --create-flag=--boot-disk-size=100GB or --create-flag=--provisioning-model=STANDARD
#   --sync SECONDS       how often the VM saves into the bucket (default: 300)
#   --poll SECONDS       how often this script looks (default: 30)
#   --detach             create the VM and leave
#   --delete             delete the VM of this run and leave; the bucket keeps everything
#
# Exit status: 0 done, 2 bad input, 75 stopped or out of hours (run the same command again to continue, with more --hours),
# 130 Ctrl-C, 1 what needs a look; when the run itself failed, its own.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
armed="" # yes: leaving in any way but `leave` deletes the VM

# A signal only leaves a note, the exit status, which is read where nothing is half done: commands fail in odd ways in a trap.
note=""

heed() {
    [ -z "$note" ] || exit "$note"
}

leave() {
    armed=""
    exit "$1"
}

die() {
    heed # it may have failed because of a Ctrl-C
    echo "error: $1" >&2
    leave "${2:-2}"
}

say() {
    echo "$(date +%H:%M:%S) $1"
}

hours_of() {
    awk "BEGIN { printf \"%.2f\", $1 / 3600 }"
}

# nap SECONDS: or until there is a note. A trap waits for the command before it to end, so each is short.
nap() {
    local end=$(($(date +%s) + $1))
    while [ -z "$note" ] && [ "$(date +%s)" -lt "$end" ]; do
        sleep 1 || true
    done
}

# --- the command line -------------------------------------------------------------------------------------------------
name="" bucket="" hours="" world="" machine=n2-highcpu-64 zone="" project="" container="" service_account="" sync=300 poll=30
detach="" delete="" create_flags=() flags=()
while [ $# -gt 0 ]; do
    case "$1" in
        -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" && exit ;;
        --) flags=("${@:2}") && break ;;
        --detach) detach=yes ;;
        --delete) delete=yes ;;
        --name | --bucket | --hours | --world | --machine | --zone | --project | --container | --service-account | \
            --create-flag | --sync | --poll)
            [ $# -ge 2 ] || die "$1 needs a value: see bash jobs/gce_launch.bash --help"
            option="${1#--}"
            if [ "$option" = create-flag ]; then create_flags+=("$2"); else printf -v "${option//-/_}" %s "$2"; fi
            shift
            ;;
        --[a-z]*=*)
            set -- "${1%%=*}" "${1#*=}" "${@:2}"
            continue
            ;;
        *) die "unknown argument $1: see bash jobs/gce_launch.bash --help; flags of es follow a --" ;;
    esac
    shift
done
bucket="${bucket#gs://}"

# check FLAG VALUE PATTERN WHAT: names go into commands, URLs and filters, so only harmless ones pass.
check() {
    [[ "$2" =~ ^($3)$ ]] || die "$1 is '$2', but must be $4"
}
check --name "$name" '[a-z]([-a-z0-9]{0,48}[a-z0-9])?' "1 to 50 small letters, digits and hyphens, a letter first"
check --bucket "$bucket" '[a-z0-9][-a-z0-9_]{1,61}[a-z0-9]' "the name of a bucket: 3 to 63 small letters, digits, - and _"
check --zone "$zone" '([a-z][-a-z0-9]+)?' "a zone, such as us-central1-a"
check --container "$container" '([A-Za-z0-9][A-Za-z0-9./:_@-]*)?' "the name of a container image"
check --sync "$sync" '[1-9][0-9]*' "a whole number of seconds"
check --poll "$poll" '[1-9][0-9]*' "a whole number of seconds"
if [ -z "$delete" ]; then
    check --hours "$hours" '[0-9]+(\.[0-9]+)?' "a number of hours, such as 12 or 0.5"
    cap="$(awk "BEGIN { printf \"%d\", $hours * 3600 }")"
    { [ "$cap" -ge 900 ] && [ "$cap" -le 10368000 ]; } ||
        die "--hours is $hours, but must be 0.25 to 2880, which is the most that Compute Engine takes"
    case " ${flags[*]-} " in
        *" --out "* | *" --out="* | *" --world "* | *" --world="*)
            die "--out after -- is not yours to give, nor is --world: the run lies in the bucket, its world is named before the --"
            ;;
        *" --env toy "* | *" --env=toy "*)
            [ -z "$world" ] || die "--world is given, but the toy environment needs none: leave one of the two out" ;;
        *)
            [[ "$world" =~ ^gs://[A-Za-z0-9._/-]+$ ]] || [ -f "$world/policy.onnx" ] ||
                die "--world is '$world', which has no policy.onnx: name the directory that python -m wm_mpi.freeze wrote" ;;
    esac
fi
command -v gcloud >/dev/null || die "no gcloud on the PATH: install the Google Cloud CLI, then run gcloud init"
export CLOUDSDK_CORE_DISABLE_PROMPTS=1 # nobody may be there to answer
project="${project:-$(gcloud config get-value core/project 2>/dev/null)}" || true
[ -n "$project" ] || die "no project: give --project, or gcloud config set core/project PROJECT"
zone="${zone:-$(gcloud config get-value compute/zone 2>/dev/null)}" || true
[ -n "$zone" ] || die "no zone: give --zone, or gcloud config set compute/zone ZONE"

# --- gcloud -----------------------------------------------------------------------------------------------------------
url="gs://$bucket/wm_mpi/$name"
work="$(mktemp -d "${TMPDIR:-/tmp}/wm_mpi.XXXXXX")"

# quietly COMMAND...: without its progress; what it printed is shown if it fails.
quietly() {
    "$@" >"$work/errors" 2>&1 || {
        cat "$work/errors" >&2
        return 1
    }
}

# list_vms: sets vms (lines of name, zone, state), and vm, vm_zone, vm_state from the first. Only what it finds is ever
# deleted: the labels are ours.
list_vms() {
    vms="$(gcloud compute instances list --project="$project" --format="value(name,zone.basename(),status)" \
        --filter="labels.wm-mpi-run=$name AND labels.wm-mpi-bucket=$bucket" 2>"$work/errors")" || return 1
    read -r vm vm_zone vm_state <<<"$vms"
}

# read_status: the status object (jobs/gce_vm.bash has its states); state is none where there is none.
read_status() {
    local text form='^state=([a-z]+) vm=([-a-z0-9]+) attempt=([0-9]+) job=([0-9]+) exit=([0-9]+) used_seconds=([0-9]+)$'
    state=none status_vm="" attempt=0 job="" code=1 used=0
    if text="$(gcloud storage cat "$url/status" 2>"$work/errors")"; then
        [[ "$text" =~ $form ]] || die "$url/status is damaged, it says $text: remove that object to begin anew" 1
        state="${BASH_REMATCH[1]}" status_vm="${BASH_REMATCH[2]}" attempt="${BASH_REMATCH[3]}" job="${BASH_REMATCH[4]}"
        code="${BASH_REMATCH[5]}" used="${BASH_REMATCH[6]}"
    else
        grep -q -e "matched no objects" -e "No URLs matched" "$work/errors"
    fi
}

delete_vms() {
    local one its_zone its_state
    for _ in 1 2 3; do
        if list_vms; then
            [ -n "$vms" ] || return 0
            while read -r one its_zone its_state; do
                say "deleting $one ($its_state)"
                quietly gcloud compute instances delete "$one" --project="$project" --zone="$its_zone" --quiet </dev/null || true
            done <<<"$vms"
            if list_vms && [ -z "$vms" ]; then return 0; fi
        fi
        nap 10
    done
    cat "$work/errors" >&2
    echo "error: could not make sure that the VM is deleted; please do so by hand: gcloud compute instances list" \
        "--project=$project --filter=labels.wm-mpi-run=$name, then gcloud compute instances delete" >&2
    return 1
}

# --- one VM -----------------------------------------------------------------------------------------------------------
uploaded="" creating=""

upload() {
    [ -z "$uploaded" ] || return 0
    if [ -z "$container" ]; then
        tar -C "$root" --exclude=__pycache__ -czf "$work/source.tar.gz" setup.py pyproject.toml constraints.txt README.md \
            LICENSE wm_mpi jobs || return 1
        quietly gcloud storage cp "$work/source.tar.gz" "$url/source.tar.gz" || return 1
    fi
    [ -z "$world" ] || quietly gcloud storage rsync --recursive "$world" "$url/world" || return 1
    uploaded=yes
}

# vm_script ROLE SECONDS: jobs/gce_vm.bash with its settings in front.
vm_script() {
    echo '#!/usr/bin/env bash'
    printf '%s=%q\n' WM_ROLE "$1" WM_SECONDS "$2" WM_URL "$url" WM_VM "$vm" WM_ZONE "$zone" WM_PROJECT "$project" \
        WM_ATTEMPT "$attempt" WM_JOB "$this_job" WM_USED "$used" WM_SYNC "$sync" WM_CONTAINER "$container" \
        WM_WORLD "${world:+yes}"
    printf 'WM_FLAGS=('
    [ ${#flags[@]} = 0 ] || printf '%q ' "${flags[@]}"
    echo ')'
    cat "$root/jobs/gce_vm.bash"
}

out_of_hours() {
    say "$(hours_of "$used") of $hours h are used, too few are left for a VM; the same command with more --hours goes on"
    results
    leave 75
}

# create_vm: a VM with the time that is left; returns 1 where the zone has none to give, ends the script on other faults.
create_vm() {
    local left=$((cap - used)) problem
    [ "$left" -ge 600 ] || out_of_hours
    upload || die "could not write to gs://$bucket (gcloud's words are above); no VM was created" 1
    attempt=$((attempt + 1))
    vm="$name-$attempt"
    say "creating $vm, attempt $attempt, for at most $(hours_of "$left") h"
    { vm_script start "$left" >"$work/start" && vm_script stop "$left" >"$work/stop" && echo "state=creating vm=$vm" \
        "attempt=$attempt job=$this_job exit=0 used_seconds=$((used + sync))" >"$work/status"; } ||
        die "could not write into $work; no VM was created" 1
    quietly gcloud storage cp "$work/status" "$url/status" || die "could not write $url/status; no VM was created" 1
    creating=yes
    if ! quietly gcloud compute instances create "$vm" --project="$project" --zone="$zone" --machine-type="$machine" \
        --provisioning-model=SPOT --instance-termination-action=DELETE --max-run-duration="${left}s" \
        --image-family=debian-12 --image-project=debian-cloud --boot-disk-size=50GB \
        --labels="wm-mpi-run=$name,wm-mpi-bucket=$bucket" --scopes=cloud-platform \
        ${service_account:+--service-account="$service_account"} \
        --metadata-from-file="startup-script=$work/start,shutdown-script=$work/stop" --quiet \
        ${create_flags[@]+"${create_flags[@]}"}; then
        problem="$(cat "$work/errors")"
        # It may be there all the same (a lost connection), or be someone else's VM of that name.
        list_vms || die "could not create $vm, and could not look whether it is there: run the same command again" 1
        if [ -z "$vms" ]; then
            creating=""
            case "$problem" in *ZONE_RESOURCE_POOL_EXHAUSTED* | *"not have enough resources"*) return 1 ;; esac
            die "could not create $vm (gcloud's words are above); nothing is running" 1
        fi
    fi
    creating=""
}

# --- the ways out -----------------------------------------------------------------------------------------------------
results() {
    echo "results: gcloud storage rsync --recursive $url/run DIR"
}

finish() {
    delete_vms || leave 1
    if [ "$state" = "done" ]; then
        say "done, with $(hours_of "$used") h of VM; nothing is running"
        results
        leave 0
    fi
    echo "--- the end of $url/log/$status_vm.txt:"
    gcloud storage cat "$url/log/$status_vm.txt" 2>/dev/null | tail -n 20 || true
    [ "$code" -ge 1 ] && [ "$code" -le 255 ] || code=1
    die "the run failed with status $code on $status_vm; its log is above, the VM is deleted" "$code"
}

# Whatever ends this script, no VM is left that nobody meant to leave. A Ctrl-C goes to all processes, and the death of a
# mere `date` ends the script before the note is read; a subshell that has just been forked can come here as well.
ended() {
    local status="${note:-$?}"
    [ "${BASHPID:-$$}" = $$ ] || return 0
    trap '' INT TERM HUP
    note=""
    [ "$status" != 143 ] || status=75
    if [ -n "$armed" ] && [ "$status" != 129 ]; then
        say "stopping: the VM checkpoints, saves and goes (Compute Engine gives it half a minute)"
        [ -z "$creating" ] || nap 10 # it shows up a moment later
        if delete_vms; then say "nothing is running; the same command continues" && results; else status=1; fi
    fi
    rm -r "$work"
    exit "$status"
}

# The VM is off: it could not delete itself, could not reach its bucket, or could not save its last results.
is_off() {
    [ "$state" != running ] || die "$vm is off, with results on its disk that it could not save: start it (gcloud compute \
instances start $vm --zone=$vm_zone --project=$project) and it goes on from its disk, or give them up with --delete" 1
    if [ "$state" = creating ]; then
        gcloud compute instances get-serial-port-output "$vm" --project="$project" --zone="$vm_zone" 2>/dev/null |
            grep -A 20 "wm_mpi: " || true
    fi
    delete_vms || leave 1
    [ "$state" != creating ] || die "$vm could not begin (its last words, if any, are above), and is deleted; most often its \
service account may not write to gs://$bucket: grant it roles/storage.objectUser" 1
}

# A VM that had no time to say so in its status is looked up; such lists can be late.
was_preempted() {
    for _ in 1 2 3; do
        [ "$state" != preempted ] || return 0
        [ -z "$(gcloud compute operations list --project="$project" --format="value(name)" \
            --filter="operationType=compute.instances.preempted AND targetLink.basename()=$status_vm")" ] || state=preempted
        [ "$state" = preempted ] || nap "$poll"
    done
    return 1
}

# --- watching ---------------------------------------------------------------------------------------------------------
told="" told_at=0

report() {
    if [ "$state $used" != "$told" ]; then
        told="$state $used" told_at="$(date +%s)"
        say "$vm is $vm_state, the run is $state, $(hours_of "$used") of $hours h used"
        gcloud storage cat "$url/run/log.txt" 2>/dev/null | tail -n 1 || true
    elif [ $(($(date +%s) - told_at)) -gt $((3 * sync + 600)) ]; then
        told_at="$(date +%s)"
        say "warning: $vm has not saved for a while; see gcloud compute instances get-serial-port-output $vm --zone=$vm_zone"
    fi
}

watch() {
    local fresh=yes # the user has just typed the command: whatever became of the last VM, go on
    while :; do
        heed
        if ! { list_vms && read_status; }; then
            [ -z "$fresh" ] || die "could not look at the VMs and at gs://$bucket: $(cat "$work/errors")" 1
            heed
            say "warning: gcloud does not answer; the VM looks after itself, trying again"
            nap "$poll"
        elif [ -n "$vm" ]; then
            [ "$status_vm" = "$vm" ] || state=creating
            if [ -n "$fresh" ]; then
                say "attached to $vm"
                [ "$job" = "$this_job" ] || say "warning: it runs with other flags or another world than these"
                fresh=""
            fi
            report
            if [ -n "$detach" ]; then
                say "leaving $vm to itself; the same command without --detach attaches to it"
                leave 0
            fi
            case "$state:$vm_state" in
                done:* | failed:*) finish ;;
                *:TERMINATED | *:STOPPED) is_off ;;
                *) nap "$poll" ;;
            esac
        else
            case "${fresh:-no}:$state" in
                no:done | no:failed) finish ;;
                yes:done) [ "$job" != "$this_job" ] || finish ;;
                yes:* | no:limit) ;;
                no:stopped)
                    say "someone stopped the VM; its results are saved, the same command continues"
                    leave 75
                    ;;
                *)
                    was_preempted || die "the VM is gone, and was not preempted: its hours are over, someone deleted it, or it \
never came up. The same command continues from what is in the bucket" 1
                    say "$status_vm was preempted"
                    ;;
            esac
            fresh=""
            create_vm || {
                heed
                say "zone $zone has no $machine to give right now; trying again in 5 minutes (or Ctrl-C, and another --zone)"
                fresh=yes
                nap 300
            }
        fi
    done
}

trap ended EXIT
if [ -n "$delete" ]; then
    delete_vms || exit 1
    say "no VM of run $name is left; the bucket keeps $url"
    exit 0
fi
# What the run is to do, in a number: a finished run that is started again with other flags goes on.
this_job="$({
    printf '%s\n' "$container" ${flags[@]+"${flags[@]}"}
    if [ -d "$world" ]; then cat "$world/policy.onnx"; else echo "$world"; fi
} | cksum | cut -d ' ' -f 1)"
echo "run $name: at most $hours h of $machine"
trap 'note=130' INT
trap 'note=75' TERM
trap 'note=129' HUP
armed=yes
quietly gcloud storage buckets describe "gs://$bucket" --format="value(name)" ||
    die "there is no bucket gs://$bucket for you: make it with gcloud storage buckets create gs://$bucket --location=REGION"
watch
