#!/usr/bin/env -S python3 -SE
"""Stand-ins for the programs that the cloud jobs call, by the name of the link to this file, on a cloud that is a folder.

$WM_CLOUD/ holds ``bucket/`` (objects), ``vms.json``, ``calls.jsonl`` (every gcloud call) and ``plan.json`` (what is to
happen). On a "VM", $WM_SELF is its name.

plan.json: ``fail``: [{"match": words of a command line, "times": how often, "say": stderr, "apply": do it all the same}];
``lives``: what becomes of the VMs created, each a list of events, one a listing: {"tell": {words of the status object},
"vm": state of the VM or null when it is gone, "preempted": true}; ``real``: run the VM's scripts, in $WM_CLOUD/vm/NAME.
"""

import contextlib
import fcntl
import json
import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

CLOUD = Path(os.environ["WM_CLOUD"])
SELF = os.environ.get("WM_SELF")
FLAGS = {  # as the reference of the Google Cloud CLI has them
    "config get-value": set(),
    "storage buckets describe": {"format"},
    "storage cat": set(),
    "storage cp": set(),
    "storage ls": set(),
    "storage rsync": {"recursive", "delete-unmatched-destination-objects"},
    "compute instances list": {"project", "format", "filter"},
    "compute instances create": {
        "project", "zone", "machine-type", "provisioning-model", "instance-termination-action", "max-run-duration",
        "image-family", "image-project", "boot-disk-size", "labels", "scopes", "service-account", "metadata-from-file",
        "quiet", "subnet"},
    "compute instances delete": {"project", "zone", "quiet"},
    "compute instances get-serial-port-output": {"project", "zone"},
    "compute operations list": {"project", "format", "filter"},
}


def load(name: str, default: object) -> object:
    path = CLOUD / name
    return json.loads(path.read_text()) if path.exists() else default


def store(name: str, value: object) -> None:
    put(CLOUD / name, json.dumps(value).encode())


def put(target: Path, data: bytes) -> None:
    """Write a file as an object in a bucket is written: others see all of it, or what was there before."""
    partial = CLOUD / f"{target.name}.{os.getpid()}"
    partial.write_bytes(data)
    partial.replace(target)


@contextlib.contextmanager
def changing_vms() -> Iterator[dict]:
    """The VMs, for one process at a time."""
    with open(CLOUD / "lock", "a") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)
        vms = load("vms.json", {})
        yield vms
        store("vms.json", vms)


def fail(command: str, message: str) -> None:
    sys.exit(f"ERROR: (gcloud.{command.replace(' ', '.')}) {message}")


def place(name: str) -> Path:
    """Where an object, or a local file, lies."""
    return CLOUD / "bucket" / name.removeprefix("gs://") if name.startswith("gs://") else Path(name)


class Gcloud:
    """One call."""

    def __init__(self, arguments: list[str]) -> None:
        self.command = next(name for name in FLAGS if arguments[:len(name.split())] == name.split())
        rest = arguments[len(self.command.split()):]
        self.flags = dict(re.match(r"--([^=]+)=?(.*)$", word, re.S).groups() for word in rest if word.startswith("--"))
        self.names = [word for word in rest if not word.startswith("--")]
        if self.flags.keys() - FLAGS[self.command]:
            fail(self.command, f"unrecognized arguments: {self.flags.keys() - FLAGS[self.command]}")

    def run(self) -> None:
        plan = load("plan.json", {})
        for rule in plan.get("fail", []):
            if rule["match"] in " ".join([self.command, *self.names]) and rule["times"] > 0:
                rule["times"] -= 1
                store("plan.json", plan)
                if rule.get("apply"):
                    self.act()
                fail(self.command, rule["say"])
        self.act()

    def act(self) -> None:
        getattr(self, self.command.replace(" ", "_").replace("-", "_"))()

    def config_get_value(self) -> None:
        print({"core/project": "test-project", "compute/zone": "test-zone1-a"}[self.names[0]])

    def storage_buckets_describe(self) -> None:
        print(self.names[0])

    def storage_cat(self) -> None:
        if not place(self.names[0]).is_file():
            fail(self.command, f"The following URLs matched no objects or files:\n{self.names[0]}")
        print(place(self.names[0]).read_text(), end="")

    def storage_ls(self) -> None:
        if not place(self.names[0]).exists():
            fail(self.command, "One or more URLs matched no objects.")

    def storage_cp(self) -> None:
        source, target = map(place, self.names)
        target.parent.mkdir(parents=True, exist_ok=True)
        put(target, source.read_bytes())

    def storage_rsync(self) -> None:
        source, target = map(place, self.names)
        if not source.is_dir():
            fail(self.command, f"Did not find existing container at: {self.names[0]}")
        wanted = {path.relative_to(source) for path in source.rglob("*") if path.is_file()}
        for name in wanted:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            put(target / name, (source / name).read_bytes())
        if "delete-unmatched-destination-objects" in self.flags:
            for path in target.rglob("*"):
                if path.is_file() and path.relative_to(target) not in wanted:
                    path.unlink()

    def compute_instances_create(self) -> None:
        plan, (name,) = load("plan.json", {}), self.names
        with changing_vms() as vms:
            if name in vms:
                fail(self.command, f"The resource 'projects/test-project/zones/test-zone1-a/instances/{name}' "
                                   "already exists")
            folder = CLOUD / "vm" / name
            folder.mkdir(parents=True)
            for entry in self.flags["metadata-from-file"].split(","):
                key, file = entry.split("=", 1)
                (folder / key).write_bytes(Path(file).read_bytes())
            lives = plan.get("lives", [])
            number = len(list((CLOUD / "vm").iterdir()))
            vms[name] = {"zone": self.flags["zone"], "state": "RUNNING", "labels": self.flags["labels"],
                         "life": lives[number - 1] if number <= len(lives) else []}
            if plan.get("real"):
                environment = {**os.environ, "WM_SELF": name, "WM_HOME": str(folder / "home"),
                               "PATH": f"{CLOUD / 'vm_bin'}:{os.environ['PATH']}"}
                import subprocess  # here, because it takes longer to load than all the rest
                with open(folder / "serial", "wb") as serial:
                    vms[name]["pid"] = subprocess.Popen(["bash", folder / "startup-script"], env=environment, cwd=folder,
                                                        stdout=serial, stderr=serial, start_new_session=True).pid

    def compute_instances_list(self) -> None:
        wanted = set(re.findall(r"labels\.(\S+=\S+)", self.flags["filter"]))
        events = []
        with changing_vms() as vms:
            for name, vm in vms.items():
                if wanted <= set(vm["labels"].split(",")) and vm["life"]:
                    events.append((name, vm["life"].pop(0)))
        for name, event in events:
            happen(name, event)
        for name, vm in load("vms.json", {}).items():
            if wanted <= set(vm["labels"].split(",")):
                print(name, vm["zone"], vm["state"], sep="\t")

    def compute_instances_delete(self) -> None:
        name, = self.names
        vms = load("vms.json", {})
        if name not in vms:
            fail(self.command, f"The resource '{name}' was not found")
        assert vms[name]["zone"] == self.flags["zone"]
        if name != SELF:
            shut_down(name)
        remove(name)

    def compute_instances_get_serial_port_output(self) -> None:
        path = CLOUD / "vm" / self.names[0] / "serial"
        print(path.read_text() if path.exists() else "booting\nwm_mpi: cannot write")

    def compute_operations_list(self) -> None:
        assert "operationType=compute.instances.preempted" in self.flags["filter"]
        for name in load("preempted.json", []):
            if f"targetLink.basename()={name}" in self.flags["filter"]:
                print(f"systemevent-{name}")


def happen(name: str, event: dict) -> None:
    """What a plan says of a VM."""
    if "tell" in event:
        status = next((CLOUD / "bucket").glob("*/wm_mpi/*/status"))
        words = dict(word.split("=") for word in status.read_text().split()) | {"vm": name} | event["tell"]
        put(status, (" ".join(f"{key}={value}" for key, value in words.items()) + "\n").encode())
    if event.get("until"):  # a real VM goes its way
        deadline = time.monotonic() + 60
        while not list(CLOUD.glob(event["until"])) and time.monotonic() < deadline:
            time.sleep(0.1)
    if event.get("preempted"):
        store("preempted.json", [*load("preempted.json", []), name])
    if "vm" in event:
        if event["vm"] is None:
            shut_down(name)
            remove(name)
        else:
            with changing_vms() as vms:
                vms[name]["state"] = event["vm"]


def shut_down(name: str) -> None:
    """Run the shutdown-script of a real VM, then end what is left on it."""
    vm = load("vms.json", {})[name]
    if "pid" in vm:
        import subprocess
        folder = CLOUD / "vm" / name
        subprocess.run(["bash", folder / "shutdown-script"], env={**os.environ, "WM_HOME": str(folder / "home")}, timeout=60)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(vm["pid"], signal.SIGKILL)


def remove(name: str) -> None:
    with changing_vms() as vms:
        vms.pop(name, None)


def gcloud(arguments: list[str]) -> None:
    with open(CLOUD / "calls.jsonl", "a") as calls:
        fcntl.lockf(calls, fcntl.LOCK_EX)
        calls.write(json.dumps({"by": SELF, "call": arguments}) + "\n")
    Gcloud(arguments).run()


def curl(arguments: list[str]) -> None:
    assert arguments[-1] == "http://metadata.google.internal/computeMetadata/v1/instance/preempted"
    assert "Metadata-Flavor: Google" in arguments
    print("TRUE" if SELF in load("preempted.json", []) else "FALSE", end="")


def shutdown(arguments: list[str]) -> None:
    assert SELF is not None
    happen(SELF, {"vm": "TERMINATED"}) if arguments == ["-h", "now"] else sys.exit("what?")


if __name__ == "__main__":
    {"gcloud": gcloud, "curl": curl, "shutdown": shutdown}[Path(sys.argv[0]).name](sys.argv[1:])
