#!/usr/bin/env bash
# C's training on one big spot VM of Google Compute Engine, from a laptop: create the VM, train there, keep the results in a
# bucket, delete the VM. Needs gcloud (gcloud init), a bucket, and a world that freeze wrote. docs/cloud.md has the steps.
#
#   bash jobs/gce_launch.bash --name cars --bucket my-bucket --world runs/world --hours 12 -- --generations 300
#   bash jobs/gce_launch.bash --name cars --bucket my-bucket --hours 1 -- --env toy --preset smoke      a cheap first try
#
# What follows -- goes to python -m wm_mpi.es. The VM does everything by itself; this script only watches, so the laptop may
# sleep or be closed. Running the same command again attaches to the VM that is there, or goes on from the bucket.
#   A preempted VM is created again while this script watches, or when it is run again.
#   Ctrl-C and SIGTERM let the VM checkpoint and delete it. Closing the terminal (SIGHUP) leaves it running.
#
#   --name NAME          of the run: its VMs are NAME-1, NAME-2, ..., its files lie in gs://BUCKET/wm_mpi/NAME/
#   --bucket BUCKET      where the run is kept
#   --hours N            at most so many hours of VM for this run, all attempts and all launches together. Kept three times:
#                        by the VM itself, by Compute Engine (--max-run-duration) and by this script
#   --world DIR          world to train in: a directory, or gs://... (none for --env toy)
#   --price X            price of an hour of the VM, only for the line that says what this costs at most
#   --machine TYPE       machine type (default: n2-highcpu-64)
#   --zone ZONE          (default: gcloud's compute/zone)
#   --project PROJECT    (default: gcloud's core/project)
#   --image-family F     of the boot disk, Debian or Ubuntu with Python 3.11 or newer (default: debian-12)
#   --image-project P    where that family is (default: debian-cloud)
#   --disk GB            size of the boot disk (default: 50)
#   --container IMAGE    run this image (see Dockerfile) instead of this clone
#   --service-account A  the VM's identity (default: the project's); it needs roles/storage.objectUser on the bucket, and
#                        roles/compute.instanceAdmin.v1 to delete its VM
#   --create-flag FLAG   one more flag for gcloud compute instances create, say --create-flag=--subnet=mine (repeatable)
#   --standard           a VM that is never preempted, at its higher price
#   --sync SECONDS       how often the VM saves into the bucket (default: 300)
#   --poll SECONDS       how often this script looks (default: 30)
#   --detach             create the VM and leave
#   --delete             delete the VM of this run and leave; the bucket keeps everything
#   --dry-run            print every command, run none
#
# Exit status: 0 done, 2 bad input, 75 stopped or out of hours (run the same command again to go on, with more --hours),
# 130 Ctrl-C, 1 what needs a look; when the run itself failed, its own.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"

# A signal only leaves a note, which is read where nothing is half done: commands fail in odd ways inside a trap.
note="" armed=""

heed() {
    case "$note" in
        "") ;;
        129) leave 129 ;;
        *) interrupted "$note" ;;
    esac
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

# --- the command line -------------------------------------------------------------------------------------------------
name="" bucket="" hours="" world="" price="" zone="" project="" container="" account=""
machine=n2-highcpu-64 family=debian-12 family_project=debian-cloud disk=50
every=300 poll=30 model=SPOT
detach="" delete="" dry=""
create_flags=() flags=()

while [ $# -gt 0 ]; do
    case "$1" in
        -h | --help)
            sed -n '2,/^[^#]/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
            exit 0
            ;;
        --)
            shift
            flags=("$@")
            break
            ;;
        --standard) model=STANDARD ;;
        --detach) detach=yes ;;
        --delete) delete=yes ;;
        --dry-run) dry=yes ;;
        --name=* | --bucket=* | --hours=* | --world=* | --price=* | --machine=* | --zone=* | --project=* | \
            --image-family=* | --image-project=* | --disk=* | --container=* | --service-account=* | \
            --create-flag=* | --sync=* | --poll=*)
            flag="${1%%=*}" value="${1#*=}"
            shift
            set -- "$flag" "$value" "$@"
            continue
            ;;
        --name | --bucket | --hours | --world | --price | --machine | --zone | --project | \
            --image-family | --image-project | --disk | --container | --service-account | --create-flag | --sync | --poll)
            [ $# -ge 2 ] || die "$1 needs a value: see bash jobs/gce_launch.bash --help"
            case "$1" in
                --name) name="$2" ;;
                --bucket) bucket="${2#gs://}" ;;
                --hours) hours="$2" ;;
                --world) world="$2" ;;
                --price) price="$2" ;;
                --machine) machine="$2" ;;
                --zone) zone="$2" ;;
                --project) project="$2" ;;
                --image-family) family="$2" ;;
                --image-project) family_project="$2" ;;
                --disk) disk="$2" ;;
                --container) container="$2" ;;
                --service-account) account="$2" ;;
                --create-flag) create_flags+=("$2") ;;
                --sync) every="$2" ;;
                --poll) poll="$2" ;;
            esac
            shift
            ;;
        *) die "unknown argument $1: see bash jobs/gce_launch.bash --help; flags of es follow a --" ;;
    esac
    shift
done

# check FLAG VALUE PATTERN WHAT: names go into commands, URLs and filters, so only harmless ones pass.
check() {
    [[ "$2" =~ ^($3)$ ]] || die "$1 is '$2', but must be $4"
}

number='[0-9]+(\.[0-9]+)?'
check --name "$name" '[a-z]([-a-z0-9]{0,48}[a-z0-9])?' "1 to 50 small letters, digits and hyphens, a letter first"
check --bucket "$bucket" '[a-z0-9][-a-z0-9_]{1,61}[a-z0-9]' "the name of a bucket: 3 to 63 small letters, digits, - and _"
check --zone "$zone" '([a-z][-a-z0-9]+)?' "a zone, say us-central1-a"
check --project "$project" '([a-z][-a-z0-9.:]+)?' "a project's id"
if [ -z "$delete" ]; then
    check --hours "$hours" "$number" "a number of hours, say 12 or 0.5"
    check --machine "$machine" '[a-z][-a-z0-9]+' "a machine type, say n2-highcpu-64"
    check --image-family "$family" '[a-z][-a-z0-9]+' "an image family, say debian-12"
    check --image-project "$family_project" '[a-z][-a-z0-9.:]+' "a project's id, say debian-cloud"
    check --disk "$disk" '[1-9][0-9]*' "a whole number of GB"
    check --container "$container" '([A-Za-z0-9][A-Za-z0-9./:_@-]*)?' "the name of a container image"
    check --service-account "$account" '([A-Za-z0-9._@-]+)?' "the e-mail address of a service account"
    check --sync "$every" '[1-9][0-9]*' "a whole number of seconds"
    check --poll "$poll" '[1-9][0-9]*' "a whole number of seconds"
    check --price "$price" "($number)?" "a number, in your currency"
    cap="$(awk "BEGIN { printf \"%d\", $hours * 3600 }")"
    { [ "$cap" -ge 900 ] && [ "$cap" -le 10368000 ]; } ||
        die "--hours is $hours, but must be 0.25 to 2880, which is the most that Compute Engine takes"
    toy="" previous=""
    for flag in ${flags[@]+"${flags[@]}"}; do
        case "$flag" in
            --out | --out=* | --world | --world=*)
                die "${flag%%=*} after -- is not yours to give: the run lies in the bucket, its world is named before the --"
                ;;
        esac
        case "$previous $flag" in "--env toy" | *" --env=toy") toy=yes ;; esac
        previous="$flag"
    done
    if [ -n "$toy" ]; then
        [ -z "$world" ] || die "--world is given, but the toy environment needs none: leave one of the two out"
    else
        case "$world" in
            gs://*) check --world "$world" 'gs://[A-Za-z0-9._/-]+' "a directory, or gs:// and a path" ;;
            *) [ -f "$world/policy.onnx" ] || die "--world is '$world', which has no policy.onnx: name the directory that \
python -m wm_mpi.freeze wrote" ;;
        esac
    fi
fi
[ -n "$dry" ] || command -v gcloud >/dev/null ||
    die "no gcloud on the PATH: install the Google Cloud CLI, then run gcloud init"

# --- gcloud -----------------------------------------------------------------------------------------------------------
# (Every `return` below has a number: without one, bash may give the status from before a signal.)
url="gs://$bucket/wm_mpi/$name"
labels="wm-mpi-run=$name,wm-mpi-bucket=$bucket"
export CLOUDSDK_CORE_DISABLE_PROMPTS=1 # nobody may be there to answer
work=""

clean_up() {
    if [ -z "$dry" ] && [ -n "$work" ]; then
        rm -f "$work"/start "$work"/stop "$work"/status "$work"/source.tar.gz "$work"/errors
        rmdir "$work" 2>/dev/null || true
    fi
}

# Whatever ends this script, no VM is left that nobody meant to leave. A Ctrl-C goes to all processes, and the death of a
# mere `date` ends the script before the note is read. (A subshell that has just been forked can come here as well.)
ended() {
    local status=$?
    [ "${BASHPID:-$$}" = $$ ] || return 0
    case "$armed:${note:-$status}" in
        :* | yes:129) ;;
        yes:75 | yes:143) interrupted 75 ;;
        yes:*) interrupted "${note:-$status}" ;;
    esac
    clean_up
}
trap ended EXIT
[ -n "$dry" ] || work="$(mktemp -d "${TMPDIR:-/tmp}/wm_mpi.XXXXXX")"

# do_it COMMAND...: every command with an effect, or an answer from the cloud, goes through here.
do_it() {
    local word line=""
    if [ -z "$dry" ]; then
        "$@"
    else
        for word in "$@"; do
            [[ "$word" =~ ^[A-Za-z0-9_@%+=:,./-]+$ ]] || word="'${word//\'/\'\\\'\'}'"
            line="$line $word"
        done
        echo "${line# }"
    fi
}

# quietly COMMAND...: without its progress; what it printed is shown if it fails.
quietly() {
    if [ -n "$dry" ]; then
        do_it "$@"
    else
        "$@" >"$work/errors" 2>&1 || {
            cat "$work/errors" >&2
            return 1
        }
    fi
}

say() {
    echo "$(date +%H:%M:%S) $1"
}

now() {
    date +%s
}

# nap SECONDS: or until there is a note. A trap waits for the command before it to end, so each is short.
nap() {
    local end=$(($(now) + $1))
    while [ -z "$note" ] && [ "$(now)" -lt "$end" ]; do
        sleep 1 || true
    done
}

hours_of() {
    awk "BEGIN { printf \"%.2f\", $1 / 3600 }"
}

# list_vms: VMs of this run, a line each: name, zone, state. Only what this prints is ever deleted: the labels are ours.
list_vms() {
    do_it gcloud compute instances list --project="$project" --format="value(name,zone.basename(),status)" \
        --filter="labels.wm-mpi-run=$name AND labels.wm-mpi-bucket=$bucket"
}

# look: sets vms, and vm, vm_zone, vm_state from the first of them; empty where there is none.
look() {
    if [ -n "$dry" ]; then
        list_vms
        vms="" vm="" vm_zone="" vm_state=""
        return 0
    fi
    vms="$(list_vms 2>"$work/errors")" || return 1
    vm="" vm_zone="" vm_state=""
    [ -z "$vms" ] || read -r vm vm_zone vm_state <<<"$vms"
}

# read_status: sets state, status_vm, attempt, job, code and used from the status object; state is none where there is none.
read_status() {
    local text word value
    local words=()
    state=none status_vm="" attempt=0 job="" code=1 used=0
    if [ -n "$dry" ]; then
        do_it gcloud storage cat "$url/status"
        return 0
    fi
    if ! text="$(gcloud storage cat "$url/status" 2>"$work/errors")"; then
        grep -q -e "matched no objects" -e "No URLs matched" "$work/errors" || return 1
        return 0
    fi
    read -r -a words <<<"$text"
    for word in ${words[@]+"${words[@]}"}; do
        value="${word#*=}"
        case "$word" in
            state=*) state="$value" ;;
            vm=*) status_vm="$value" ;;
            job=*) job="$value" ;;
            attempt=* | exit=* | used_seconds=*)
                [[ "$value" =~ ^[0-9]{1,9}$ ]] ||
                    die "$url/status is damaged, it says $word: remove that object to begin anew" 1
                ;;
        esac
        case "$word" in
            attempt=*) attempt="$value" ;;
            exit=*) code="$value" ;;
            used_seconds=*) used="$value" ;;
        esac
    done
}

delete_vms() {
    local try one its_zone rest
    for try in 1 2 3; do
        if look; then
            [ -n "$vms" ] || return 0
            while read -r one its_zone rest; do
                say "deleting $one ($rest)"
                quietly gcloud compute instances delete "$one" --project="$project" --zone="$its_zone" --quiet </dev/null ||
                    true
            done <<<"$vms"
            look && [ -z "$vms" ] && return 0
        fi
        [ "$try" = 3 ] || nap 10
    done
    cat "$work/errors" >&2 || true
    echo "error: could not make sure that the VM is deleted; please do so by hand: gcloud compute instances list" \
        "--project=$project --filter=labels.wm-mpi-run=$name, then gcloud compute instances delete" >&2
    return 1
}

# --- one VM -----------------------------------------------------------------------------------------------------------
uploaded="" creating=""

upload() {
    [ -z "$uploaded" ] || return 0
    if [ -z "$container" ]; then
        do_it tar -C "$root" --exclude=__pycache__ -czf "$work/source.tar.gz" setup.py pyproject.toml constraints.txt \
            README.md LICENSE wm_mpi jobs || return 1
        quietly gcloud storage cp "$work/source.tar.gz" "$url/source.tar.gz" || return 1
    fi
    if [ -n "$world" ]; then
        quietly gcloud storage rsync --recursive "$world" "$url/world" || return 1
    fi
    uploaded=yes
}

# vm_script ROLE SECONDS: jobs/gce_vm.bash with its settings in front.
vm_script() {
    echo '#!/usr/bin/env bash'
    printf '%s=%q\n' WM_ROLE "$1" WM_SECONDS "$2" WM_URL "$url" WM_VM "$vm" WM_ZONE "$zone" WM_PROJECT "$project" \
        WM_ATTEMPT "$attempt" WM_JOB "$this_job" WM_USED "$used" WM_SYNC "$every" WM_CONTAINER "$container" \
        WM_WORLD "${world:+yes}"
    printf 'WM_FLAGS=('
    [ ${#flags[@]} = 0 ] || printf '%q ' "${flags[@]}"
    echo ')'
    cat "$root/jobs/gce_vm.bash"
}

# What this script itself has seen of the VM's time counts too: a VM that cannot reach its bucket cannot tell.
since=0 base=0 seen=0

watched_from() {
    since="$(now)" base="$1" seen="$1"
}

# create_vm: a VM with the time that is left; returns 1 where the zone has none to give, ends the script on other faults.
create_vm() {
    local left=$((cap - used)) status=0 problem beginning
    [ "$left" -ge 600 ] || leave_out_of_hours
    upload || die "could not write to gs://$bucket (gcloud's words are above); no VM was created" 1
    attempt=$((attempt + 1))
    vm="$name-$attempt"
    say "creating $vm, attempt $attempt, for at most $(hours_of "$left") h"
    if [ -z "$dry" ]; then
        beginning="state=creating vm=$vm attempt=$attempt job=$this_job exit=0 used_seconds=$((used + every))"
        { vm_script start "$left" >"$work/start" && vm_script stop "$left" >"$work/stop" &&
            echo "$beginning" >"$work/status"; } ||
            die "could not write into $work; no VM was created" 1
    fi
    quietly gcloud storage cp "$work/status" "$url/status" || die "could not write $url/status; no VM was created" 1
    creating=yes
    watched_from "$used"
    quietly gcloud compute instances create "$vm" --project="$project" --zone="$zone" --machine-type="$machine" \
        --provisioning-model="$model" --instance-termination-action=DELETE --max-run-duration="${left}s" \
        --image-family="$family" --image-project="$family_project" --boot-disk-size="${disk}GB" \
        --labels="$labels" --scopes=cloud-platform ${account:+--service-account="$account"} \
        --metadata-from-file="startup-script=$work/start,shutdown-script=$work/stop" --quiet \
        ${create_flags[@]+"${create_flags[@]}"} || status=1
    if [ "$status" != 0 ]; then
        problem="$(cat "$work/errors")"
        # It may have said so and be there all the same (a lost connection), or be someone else's VM of that name.
        look || die "could not create $vm, and could not look whether it is there: run the same command again" 1
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

leave_out_of_hours() {
    say "$(hours_of "$used") of $hours h are used, too few are left for a VM; the same command with more --hours goes on"
    results
    leave 75
}

# interrupted STATUS: also called by the EXIT trap, so it tidies up itself.
interrupted() {
    trap '' INT TERM HUP
    note="" armed=""
    say "stopping: the VM checkpoints, saves and goes (Compute Engine gives it half a minute)"
    # A VM that was being created shows up a moment later.
    [ -z "$creating" ] || nap 10
    if delete_vms; then
        say "nothing is running; the same command goes on"
        results
    else
        set -- 1
    fi
    clean_up
    exit "$1"
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
    echo "error: the run failed with status $code on $status_vm; its log is above, the VM is deleted" >&2
    [ "$code" -ge 1 ] && [ "$code" -le 255 ] || code=1
    leave "$code"
}

was_preempted() {
    local found
    [ "$state" != preempted ] || return 0
    found="$(gcloud compute operations list --project="$project" --format="value(name)" \
        --filter="operationType=compute.instances.preempted AND targetLink.basename()=$status_vm")" && [ -n "$found" ]
}

# --- watching ---------------------------------------------------------------------------------------------------------
report() {
    local line
    line="$state $used"
    if [ "$line" != "$told" ]; then
        told="$line" told_at="$(now)"
        say "$vm is $vm_state, the run is $state, $(hours_of "$used") of $hours h used"
        gcloud storage cat "$url/run/log.txt" 2>/dev/null | tail -n 1 || true
    elif [ $(($(now) - told_at)) -gt $((3 * every + 600)) ]; then
        told_at="$(now)"
        say "warning: $vm has not saved for a while; see gcloud compute instances get-serial-port-output $vm --zone=$vm_zone"
    fi
}

# The VM is off. It does that where it cannot delete itself, cannot reach its bucket, or cannot save its last results.
is_off() {
    case "$state" in
        running)
            die "$vm is off, with results on its disk that it could not save: start it (gcloud compute instances start $vm \
--zone=$vm_zone --project=$project) and it goes on from its disk, or give them up with --delete" 1
            ;;
        creating)
            gcloud compute instances get-serial-port-output "$vm" --project="$project" --zone="$vm_zone" 2>/dev/null |
                grep -A 20 "wm_mpi: " || true
            delete_vms || leave 1
            die "$vm could not begin (its last words, if any, are above), and is deleted; most often its service account \
may not write to gs://$bucket: grant it roles/storage.objectUser" 1
            ;;
        *) delete_vms || leave 1 ;;
    esac
}

watch() {
    local asked=yes # the user has just typed the command: whatever became of the last VM, go on
    local missing=0
    told="" told_at=0
    while :; do
        heed
        if ! { look && read_status; }; then
            [ "$since" != 0 ] || {
                cat "$work/errors" >&2
                die "could not look at the VMs and at gs://$bucket (gcloud's words are above)" 1
            }
            heed
            say "warning: gcloud does not answer; the VM looks after itself, trying again"
            nap "$poll"
            continue
        fi
        if [ -n "$vm" ]; then
            [ "$status_vm" = "$vm" ] || state=creating
            [ "$since" != 0 ] || {
                say "attached to $vm"
                [ "$job" = "$this_job" ] || say "warning: it runs with other flags or another world than these"
                watched_from "$used"
            }
            asked="" missing=0
            seen=$((base + $(now) - since))
            report
            [ -z "$detach" ] || {
                say "leaving $vm to itself; the same command without --detach attaches to it"
                leave 0
            }
            case "$state:$vm_state" in
                done:* | failed:*) finish ;;
                *:TERMINATED | *:STOPPED) is_off ;;
                *)
                    if [ "$seen" -ge $((cap + 120)) ]; then
                        say "$vm is over its time; deleting it"
                        delete_vms || leave 1
                        used="$cap"
                        leave_out_of_hours
                    fi
                    nap "$poll"
                    ;;
            esac
            continue
        fi
        # No VM.
        [ "$used" -ge "$seen" ] || used="$seen"
        case "$state" in
            done)
                if [ -z "$asked" ] || [ "$job" = "$this_job" ]; then finish; fi
                ;;
            failed) [ -n "$asked" ] || finish ;;
            limit) ;; # of its own hours; --hours may be more by now
            stopped)
                [ -n "$asked" ] || {
                    say "someone stopped the VM; its results are saved, the same command goes on"
                    leave 75
                }
                ;;
            *)
                if [ -z "$asked" ] && ! was_preempted; then
                    missing=$((missing + 1)) # a list can be late
                    [ "$missing" -ge 3 ] || {
                        nap "$poll"
                        continue
                    }
                    die "the VM is gone, and was not preempted: someone deleted it, or it never came up. The \
same command goes on from what is in the bucket" 1
                fi
                [ -n "$asked" ] || say "$status_vm was preempted"
                ;;
        esac
        if create_vm; then
            asked=""
        else
            heed
            say "zone $zone has no $machine to give right now; trying again in 5 minutes (or Ctrl-C, and another --zone)"
            asked=yes
            nap 300
        fi
    done
}

# --- here it begins ---------------------------------------------------------------------------------------------------
if [ -z "$project" ]; then
    project="$(do_it gcloud config get-value core/project 2>/dev/null)" || project=""
    [ -z "$dry" ] || { echo "$project" && project=PROJECT; }
    [ -n "$project" ] || die "no project: give --project, or gcloud config set core/project PROJECT"
fi
if [ -n "$delete" ]; then
    delete_vms || exit 1
    say "no VM of run $name is left; the bucket keeps $url"
    exit 0
fi
if [ -z "$zone" ]; then
    zone="$(do_it gcloud config get-value compute/zone 2>/dev/null)" || zone=""
    [ -z "$dry" ] || { echo "$zone" && zone=ZONE; }
    [ -n "$zone" ] || die "no zone: give --zone, or gcloud config set compute/zone ZONE"
fi

# What the run is to do, in a number: a finished run that is started again with other flags goes on.
what_to_do() {
    printf '%s\n' "$container" ${flags[@]+"${flags[@]}"}
    case "$world" in
        "") ;;
        gs://*) echo "$world" ;;
        *) cat "$world/policy.onnx" ;;
    esac
}
this_job="$(what_to_do | cksum | cut -d ' ' -f 1)"

if [ -n "$price" ]; then
    cost="$(awk "BEGIN { printf \"%s x %s = %.2f at most\", \"$hours\", \"$price\", $hours * $price }")"
    cost="$cost, disk and bucket not counted"
else
    cost="--price X gives a sum"
fi
echo "run $name: at most $hours h of $machine ($model); $cost"

if [ -n "$dry" ]; then
    work=WORK
    do_it gcloud storage buckets describe "gs://$bucket" --format="value(name)"
    look
    read_status
    create_vm
    echo "# every $poll s, until the status says done or failed (after a preemption the same again):"
    look
    read_status
    echo "# at the end, and on Ctrl-C:"
    do_it gcloud compute instances delete "$name-1" --project="$project" --zone="$zone" --quiet
    results
    exit 0
fi
trap 'note=130' INT
trap 'note=75' TERM
trap 'note=129' HUP
armed=yes
quietly gcloud storage buckets describe "gs://$bucket" --format="value(name)" ||
    die "there is no bucket gs://$bucket for you: make it with gcloud storage buckets create gs://$bucket --location=REGION"
watch
