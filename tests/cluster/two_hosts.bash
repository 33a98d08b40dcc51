#!/usr/bin/env bash
# Two hosts on one machine, to try what needs a cluster: runs COMMAND on "node1", from where ssh and mpirun reach "node2".
#
#   sudo -E bash tests/cluster/two_hosts.bash COMMAND ...
#   sudo -E bash tests/cluster/two_hosts.bash bash        a shell on node1; in it, try for example
#       bash jobs/mpirun.bash --hostfile "$HOSTFILE" -np 5 hostname       node1 three times, node2 twice
#       ip link set eth0 down                                             pull the cable out; "up" puts it back
#
# The hosts are namespaces of the Linux kernel: each has its own network, host name, processes, shared memory, TMPDIR and
# /etc/hosts. A cable joins them (a veth pair), sshd runs on node2 with keys of its own, and both see the same files, as on
# a cluster with a shared home directory. COMMAND finds in its environment
#   HOSTFILE     node1 slots=3, node2 slots=2
#   SHARED       a directory for files that both hosts see; removed at the end
#   SSH_CONFIG   for ssh -F "$SSH_CONFIG" node2; mpirun uses it by itself
#   NODE2        process id of node2's first process:
#                nsenter --target "$NODE2" --mount --uts --ipc --net --pid COMMAND     runs COMMAND on node2, cable or not
# Nothing of the machine is changed: namespaces vanish with their processes, and these end with COMMAND, however it ends.
# Exit status: COMMAND's; 77 with the reason where no two hosts can be made (not root, no sshd, no namespaces).
set -euo pipefail

skip() {
    echo "skipped: $1" >&2
    exit 77
}
namespaces=(--mount --uts --ipc --net --pid)

case "${TWO_HOSTS:-}" in
"") # the machine: check, make a place, and become node1
    [ $# -gt 0 ] || {
        sed -n '2,/^set /{/^set /!s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
        exit 2
    }
    [ "$(id -u)" = 0 ] || skip "not root, and making network namespaces takes root"
    PATH="$PATH:/usr/sbin:/sbin"
    for tool in ip unshare nsenter pgrep sshd ssh ssh-keygen; do
        command -v "$tool" >/dev/null || skip "no $tool (Debian: apt-get install iproute2 util-linux procps openssh-server)"
    done
    said="$(unshare "${namespaces[@]}" --fork ip link add eth0 type veth peer name eth1 2>&1)" ||
        skip "this kernel or container allows no namespaces or no veth pair: $said"
    SHARED="$(mktemp -d)"
    TWO_HOSTS=node1
    export PATH SHARED TWO_HOSTS
    trap 'rm -rf "$SHARED"' EXIT
    trap 'kill -KILL "$node1" 2>/dev/null; exit 143' TERM HUP
    trap 'kill -KILL "$node1" 2>/dev/null; exit 130' INT
    unshare "${namespaces[@]}" --fork --kill-child --mount-proc bash "${BASH_SOURCE[0]}" "$@" <&0 &
    node1=$!
    status=0
    wait "$node1" || status=$?
    exit "$status"
    ;;
node1) address=10.99.0.1 ;;
node2) address=10.99.0.2 ;;
esac

# Both hosts from here on.
export TMPDIR="$SHARED/$TWO_HOSTS"
mkdir -p "$TMPDIR"
hostname "$TWO_HOSTS"
printf '127.0.0.1 localhost\n10.99.0.1 node1\n10.99.0.2 node2\n' >"$TMPDIR/hosts"
mount --bind "$TMPDIR/hosts" /etc/hosts
mount -t tmpfs tmpfs /dev/shm
ip link set lo up

if [ "$TWO_HOSTS" = node2 ]; then
    mount -t tmpfs tmpfs /run
    mkdir /run/sshd
    until ip link show eth0 >/dev/null 2>&1; do sleep 0.05; done
    ip addr add "$address/24" dev eth0
    ip link set eth0 up
    while true; do # started again when killed: a host that comes back
        "$(command -v sshd)" -D -e -f "$SHARED/sshd_config" || sleep 0.2
    done
fi

ssh-keygen -q -t ed25519 -N '' -f "$SHARED/host_key"
ssh-keygen -q -t ed25519 -N '' -f "$SHARED/key"
cat >"$SHARED/sshd_config" <<END
HostKey $SHARED/host_key
AuthorizedKeysFile $SHARED/key.pub
StrictModes no
UsePAM no
PermitRootLogin prohibit-password
PidFile none
SetEnv TMPDIR=$SHARED/node2
END
export SSH_CONFIG="$SHARED/ssh_config" HOSTFILE="$SHARED/hostfile"
cat >"$SSH_CONFIG" <<END
Host *
    IdentityFile $SHARED/key
    StrictHostKeyChecking no
    UserKnownHostsFile /dev/null
    LogLevel ERROR
END
printf 'node1 slots=3\nnode2 slots=2\n' >"$HOSTFILE"
export PRTE_MCA_plm_ssh_agent="ssh -F $SSH_CONFIG" OMPI_MCA_plm_rsh_agent="ssh -F $SSH_CONFIG"

TWO_HOSTS=node2 unshare "${namespaces[@]}" --fork --kill-child --mount-proc \
    bash "${BASH_SOURCE[0]}" >"$SHARED/node2.log" 2>&1 &
until NODE2="$(pgrep --parent "$!")"; do sleep 0.05; done
export NODE2
ip link add eth0 type veth peer name eth0 netns "$NODE2"
ip addr add "$address/24" dev eth0
ip link set eth0 up
for attempt in {1..50}; do
    ssh -F "$SSH_CONFIG" -o ConnectTimeout=5 node2 true 2>"$SHARED/ssh.log" && break
    [ "$attempt" -lt 50 ] || {
        cat "$SHARED/node2.log" "$SHARED/ssh.log" >&2
        echo "error: node2 does not answer to ssh" >&2
        exit 1
    }
    sleep 0.2
done
"$@"
