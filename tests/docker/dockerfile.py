"""Builds a Dockerfile without Docker, and runs what it built: for tests/docker/run.bash.

    python3 tests/docker/dockerfile.py show                         the steps; needs nothing
    python3 tests/docker/dockerfile.py build IMAGE [--build-arg GPU=1]
    python3 tests/docker/dockerfile.py run IMAGE [--network none] [--volume SOURCE:TARGET[:ro]] [-- COMMAND...]

IMAGE is a folder: root/ is the file system, config.json what a registry would keep beside it. FROM python:X-slim-bookworm
is a bare Debian with that Python in /usr/local; every RUN is executed in it by the user and with the variables that Docker
would use. A run gets a writable layer of its own (in memory), namespaces of its own for mounts, processes, host name and
(with a network other than host) network, no capability and no way to gain one, as Kubernetes' restricted policy asks. All
mounts live in such namespaces: none can outlast its command or be met by whoever removes the folder.

What this interpreter does not know it refuses: no heredoc, no --mount, no second FROM. Python's standard library only.
"""

import argparse
import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
BASE = re.compile(r"python:(\d+\.\d+)-slim-bookworm")
PATH = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
KNOWN = {"FROM", "ARG", "ENV", "LABEL", "RUN", "COPY", "USER", "WORKDIR", "CMD"}


class Unsupported(SystemExit):
    """One sentence, exit status 2."""

    def __init__(self, sentence: str):
        print(f"error: {sentence}", file=sys.stderr)
        super().__init__(2)


# --- the language ---

class Step(NamedTuple):
    line: int
    name: str
    argument: str


def parse(text: str) -> list[Step]:
    """Instructions with their continuation lines joined and comment lines removed, also those inside a continuation."""
    steps: list[Step] = []
    begun, parts = 0, []
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("#") or (not parts and not line.strip()):
            continue
        begun = begun or number
        parts.append(line.removesuffix("\\"))
        if line.endswith("\\"):
            continue
        name, _, argument = "".join(parts).strip().partition(" ")
        if name.upper() not in KNOWN or "<<" in argument:
            raise Unsupported(f"line {begun}: tests/docker does not know {name} as it is written there: "
                              "write it otherwise, or teach tests/docker/dockerfile.py")
        steps.append(Step(begun, name.upper(), argument.strip()))
        begun, parts = 0, []
    if not steps or steps[0].name != "FROM" or [step.name for step in steps].count("FROM") != 1:
        raise Unsupported("a Dockerfile here begins with FROM and has one")
    return steps


def expand(text: str, variables: Mapping[str, str]) -> str:
    """$NAME, ${NAME}, ${NAME:-default} and ${NAME:+other}, as in every instruction but RUN and CMD."""
    def value(match: re.Match[str]) -> str:
        name, operator, word = match[1] or match[2], match[3], match[4]
        found = variables.get(name, "")
        if operator == ":+":
            return word if found else ""
        return word if operator == ":-" and not found else found

    return re.sub(r"\$(?:(\w+)|\{(\w+)(?:(:[-+])([^}]*))?\})", value, text)


def words(argument: str) -> list[str]:
    return json.loads(argument) if argument.startswith("[") else shlex.split(argument)


def kept(context: Path) -> list[Path]:
    """The context's files relative to it, without those that .dockerignore leaves out: the last rule that fits decides."""
    ignore = context / ".dockerignore"
    lines = ignore.read_text().splitlines() if ignore.exists() else []
    rules = [(not line.startswith("!"), line.lstrip("!").strip("/")) for line in lines if line and not line.startswith("#")]

    def fits(path: Path, pattern: str) -> bool:
        below = pattern.startswith("**/")
        depth = len(Path(pattern).parts)
        names = [path, *path.parents][:-1]
        return any(fnmatch.fnmatchcase(each.name, pattern[3:]) if below else
                   len(each.parts) == depth and fnmatch.fnmatchcase(str(each), pattern) for each in names)

    def wanted(path: Path) -> bool:
        ignored = False
        for leaves_out, pattern in rules:
            if fits(path, pattern):
                ignored = leaves_out
        return not ignored

    files = (path.relative_to(context) for entry in context.iterdir() if entry.name != ".git"
             for path in (entry.rglob("*") if entry.is_dir() else [entry]) if not path.is_dir())
    return sorted(filter(wanted, files))


# --- containers ---

class Account(NamedTuple):
    uid: int
    gid: int
    home: str


def account(root: Path, user: str) -> Account:
    """A user of the image by name or number; a number that the image does not know has no home, as in Docker."""
    name, _, group = user.partition(":")
    for line in (root / "etc/passwd").read_text().splitlines():
        known, _, uid, gid, _, home, _ = line.split(":")
        if name in (known, uid):
            return Account(int(uid), int(group or gid), home)
    if not name.isdigit():
        raise Unsupported(f"the image has no user {name}")
    return Account(int(name), int(group or 0), "/")


def enter(root: Path, command: list[str], *, env: Mapping[str, str], user: str = "root", workdir: str = "/",
          network: str = "host", hostname: str = "container", volumes: list[tuple[str, str, bool]] | None = None,
          layer: Path | None = None) -> list[str]:
    """The command line that runs ``command`` inside ``root``.

    ``volumes`` are (source, target, writable). With ``layer``, an empty folder, what it writes lies in memory and is gone
    with it; without, in ``root``.
    """
    who = account(root, user)
    inside = str(root)
    script = ["set -e", "mount --make-rprivate /", f"hostname {hostname}"]
    if network != "host":
        script.append("ip link set lo up")
    if layer:
        inside = str(layer / "merged")
        script += [f"mount -t tmpfs layer {layer}", f"mkdir {layer}/upper {layer}/work {inside}",
                   f"mount -t overlay overlay -o lowerdir={root},upperdir={layer}/upper,workdir={layer}/work {inside}"]
    script += [f"mount -t proc proc {inside}/proc", f"mount -t sysfs -o ro sysfs {inside}/sys",
               f"mount -t tmpfs -o mode=755 dev {inside}/dev", f"cd {inside}/dev", "mkdir pts shm host",
               "mount -t tmpfs -o mode=1777 shm shm", "mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts pts",
               "ln -s pts/ptmx ptmx; ln -s /proc/self/fd fd",
               "for n in 0:stdin 1:stdout 2:stderr; do ln -s /proc/self/fd/${n%:*} ${n#*:}; done",
               "for n in null zero full random urandom tty; do touch $n; mount --bind /dev/$n $n; done"]
    for source, target, writable in volumes or []:
        place = shlex.quote(inside + target)
        make = "mkdir -p" if os.path.isdir(source) else "install -D /dev/null"
        script += [f"[ -e {place} ] || {make} {place}", f"mount --bind {shlex.quote(source)} {place}"]
        if not writable:
            script.append(f"mount -o remount,bind,ro {place}")
    variables = {"PATH": PATH, "HOME": who.home, "HOSTNAME": hostname, **env}
    drop = [] if who.uid == 0 else ["setpriv", f"--reuid={who.uid}", f"--regid={who.gid}", "--clear-groups",
                                    "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all"]
    script.append(shlex.join(["exec", "chroot", inside, *drop, "env", "-i", *(f"{k}={v}" for k, v in variables.items()),
                              "/bin/sh", "-c", 'cd "$0" && exec "$@"', workdir, *command]))
    outside = ["nsenter", f"--net=/run/netns/{network}"] if network not in ("host", "none") else []
    alone = ["--net"] if network == "none" else []
    return [*outside, "unshare", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child", *alone,
            "bash", "-c", "\n".join(script)]


# --- the machine that builds: how it reaches Debian and PyPI ---

def debian() -> list[str]:
    """Lines of sources.list for bookworm, from apt's own configuration where it names a mirror."""
    wanted = ("bookworm", "bookworm-updates", "bookworm-security")
    listed = subprocess.run(["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT) $(ORIGIN)",
                             "Created-By: Packages"], capture_output=True, text=True, check=False).stdout
    found = [f"deb {uri} {release} main" for uri, release, component, origin in map(str.split, listed.splitlines())
             if release in wanted and component == "main" and origin == "Debian"]
    return sorted(set(found), key=lambda line: (wanted.index(line.split()[2]), line)) if any(
        line.split()[2] == "bookworm" for line in found) else ["deb http://deb.debian.org/debian bookworm main"]


def apt_settings() -> str:
    """Proxies, certificates and checks of this machine's apt."""
    dump = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=False).stdout
    return "".join(f"{line}\n" for line in dump.splitlines() if re.match(r"Acquire::(https?|Check-|Retries|Proxy)", line))


def pip_settings() -> tuple[dict[str, str], list[tuple[str, str, bool]]]:
    """Variables for pip, and volumes for the local folders and the certificates that they name, below /dev/host."""
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True,
                            check=False).stdout
    settings = dict(re.findall(r"^(?:global|install)\.([\w-]+)='(.*)'$", listed, re.MULTILINE))
    env = {f"PIP_{name.upper().replace('-', '_')}": value.replace("\\n", " ").strip() for name, value in settings.items()}
    names = re.compile(r"PIP_.*|.*_proxy|.*_PROXY|SSL_CERT_FILE|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE")
    env |= {name: value for name, value in os.environ.items() if names.fullmatch(name)}
    volumes: list[tuple[str, str, bool]] = []

    def moved(match: re.Match[str]) -> str:
        path = match[0]
        source = path.removesuffix("/simple")  # an index's pages name files that lie beside it
        if not os.path.exists(source):
            return path
        target = f"/dev/host/{len(volumes)}"
        volumes.append((source, target, False))
        return path.replace(source, target)

    local = re.compile(r"(?:(?<=^)|(?<=\s)|(?<=file://))/[^\s,]+")
    return {name: local.sub(moved, value) for name, value in env.items()}, volumes


# --- building ---

class Builder:
    """Executes steps one after another in ``image``/root."""

    def __init__(self, image: Path, context: Path, arguments: Mapping[str, str]):
        self.root, self.context, self.given = image / "root", context, arguments
        self.env: dict[str, str] = {}
        self.arguments: dict[str, str] = {}
        self.labels: dict[str, str] = {}
        self.user, self.workdir, self.command = "root", "/", ["/bin/sh"]
        self.host_env, self.host_volumes = pip_settings()

    def build(self, steps: list[Step]) -> None:
        unknown = set(self.given) - {step.argument.partition("=")[0] for step in steps if step.name == "ARG"}
        if unknown:
            raise Unsupported(f"the Dockerfile has no ARG {', '.join(sorted(unknown))}")
        for number, step in enumerate(steps, 1):
            print(f"[{number}/{len(steps)}] {step.name} {' '.join(step.argument.split())[:110]}", flush=True)
            getattr(self, f"do_{step.name.lower()}")(step.argument)
        (self.root / "etc/apt/apt.conf.d/00host").unlink()
        self.round_times()
        config = {"Env": self.env, "User": self.user, "WorkingDir": self.workdir, "Cmd": self.command, "Labels": self.labels}
        (self.root.parent / "config.json").write_text(json.dumps(config, indent=2))

    def round_times(self) -> None:
        """Whole seconds, which is what is left of a time that went through a registry."""
        for folder, folders, files in os.walk(self.root):
            for name in (*folders, *files):
                path = os.path.join(folder, name)
                seconds = int(os.lstat(path).st_mtime)
                os.utime(path, (seconds, seconds), follow_symlinks=False)

    def expanded(self, text: str) -> str:
        return expand(text, {**self.arguments, **self.env})

    def inside(self, path: str) -> Path:
        """Where an absolute path of the image, or one relative to its working directory, lies here."""
        return self.root / os.path.normpath(os.path.join(self.workdir, path)).lstrip("/")

    def do_from(self, argument: str) -> None:
        version = BASE.fullmatch(argument)
        if not version:
            raise Unsupported(f"FROM {argument}: tests/docker can stand in for python:X-slim-bookworm only")
        sources = debian()
        _, mirror, suite, _ = sources[0].split()
        self.root.mkdir(parents=True)
        packages = "ca-certificates,python3,python3-venv"
        subprocess.run(["unshare", "--mount", "--pid", "--fork", "debootstrap", "--variant=minbase", f"--include={packages}",
                        suite, str(self.root), mirror], check=True, stdout=subprocess.DEVNULL)
        (self.root / "etc/apt/sources.list").write_text("\n".join(sources) + "\n")
        (self.root / "etc/apt/apt.conf.d/00host").write_text(apt_settings())
        never = self.root / "usr/sbin/policy-rc.d"  # as in Docker's images: installing a service does not start it
        never.write_text("#!/bin/sh\nexit 101\n")
        never.chmod(0o755)
        self.do_run(f"python3 -m venv /usr/local && python --version | grep -F 'Python {version[1]}.'")

    def do_arg(self, argument: str) -> None:
        name, equals, default = argument.partition("=")
        value = self.given.get(name, shlex.split(self.expanded(default))[0] if equals and default else default)
        self.arguments[name] = value

    def do_env(self, argument: str) -> None:
        self.env |= {name: self.expanded(value) for name, _, value in (word.partition("=") for word in words(argument))}

    def do_label(self, argument: str) -> None:
        self.labels |= {name: self.expanded(value) for name, _, value in (word.partition("=") for word in words(argument))}

    def do_run(self, argument: str) -> None:
        resolver = ("/etc/resolv.conf", "/etc/resolv.conf", False)
        command = enter(self.root, ["/bin/sh", "-c", argument], env={**self.host_env, **self.arguments, **self.env},
                        user=self.user, workdir=self.workdir, volumes=[resolver, *self.host_volumes])
        done = subprocess.run(command, stdin=subprocess.DEVNULL, check=False)
        if done.returncode:
            raise SystemExit(f"error: this RUN ended with status {done.returncode}: {argument}")

    def do_copy(self, argument: str) -> None:
        *sources, target = words(self.expanded(argument))
        if any(source.startswith("--") for source in sources):
            raise Unsupported(f"COPY {argument}: tests/docker knows no flags of COPY")
        into_folder = target.endswith("/") or len(sources) > 1 or self.inside(target).is_dir()
        files = kept(self.context)
        for source in sources:
            copied = [path for path in files if path.is_relative_to(source.strip("/"))]
            if not copied:
                raise Unsupported(f"COPY {source}: no such file in the context, or .dockerignore leaves it out")
            for path in copied:
                below = path.relative_to(source.strip("/"))
                if str(below) == ".":  # a file
                    place = self.inside(target) / path.name if into_folder else self.inside(target)
                else:  # a folder: its contents
                    place = self.inside(target) / below
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(self.context / path, place)
                os.chown(place, 0, 0)

    def do_user(self, argument: str) -> None:
        self.user = self.expanded(argument)
        account(self.root, self.user)

    def do_workdir(self, argument: str) -> None:
        self.workdir = os.path.join(self.workdir, self.expanded(argument))
        self.inside(self.workdir).mkdir(parents=True, exist_ok=True)

    def do_cmd(self, argument: str) -> None:
        self.command = words(argument) if argument.startswith("[") else ["/bin/sh", "-c", argument]


# --- the commands ---

def volumes(specifications: list[str]) -> Iterator[tuple[str, str, bool]]:
    for each in specifications:
        source, target, *options = each.split(":")
        yield source, target, options != ["ro"]


def run(options: argparse.Namespace) -> int:
    image = options.image.resolve()
    config: dict[str, Any] = json.loads((image / "config.json").read_text())
    layer = image / "layer"
    layer.mkdir(exist_ok=True)
    env = config["Env"] | dict(pair.split("=", 1) for pair in options.env)
    command = enter(image / "root", options.command or config["Cmd"], env=env, user=options.user or config["User"],
                    workdir=config["WorkingDir"], network=options.network, hostname=options.hostname,
                    volumes=list(volumes(options.volume)), layer=layer)
    os.execvp(command[0], command)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="what", required=True)
    for name in ("show", "build"):
        each = commands.add_parser(name)
        each.add_argument("--file", type=Path, default=ROOT / "Dockerfile")
        if name == "build":
            each.add_argument("image", type=Path)
            each.add_argument("--context", type=Path, default=ROOT)
            each.add_argument("--build-arg", action="append", default=[], metavar="NAME=VALUE")
    each = commands.add_parser("run")
    each.add_argument("image", type=Path)
    each.add_argument("--network", default="none", help="none, host, or the name of a network namespace (ip netns)")
    each.add_argument("--hostname", default="container")
    each.add_argument("--user", help="instead of the image's")
    each.add_argument("--env", action="append", default=[], metavar="NAME=VALUE")
    each.add_argument("--volume", action="append", default=[], metavar="SOURCE:TARGET[:ro]")
    end = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    options = parser.parse_args(sys.argv[1:end])
    options.command = sys.argv[end + 1:]
    if options.what == "run":
        return run(options)
    steps = parse(options.file.read_text())
    if options.what == "show":
        for step in steps:
            print(f"{step.line:4}  {step.name:8} {' '.join(step.argument.split())}")
    else:
        image = options.image.resolve()
        Builder(image, options.context.resolve(), dict(pair.split("=", 1) for pair in options.build_arg)).build(steps)
    return 0


if __name__ == "__main__":
    sys.exit(main())
