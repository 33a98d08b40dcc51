"""A real Chromium without a window, driven over its DevTools protocol; for tests of pages."""

import base64
import contextlib
import itertools
import json
import os
import shutil
import subprocess
import tarfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect
from websockets.sync.server import Server

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
NPM = shutil.which("npm")
AXE = "4.14.1"
FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-extensions", "--mute-audio",
         "--disable-renderer-backgrounding", "--disable-background-timer-throttling",
         "--disable-backgrounding-occluded-windows", "--remote-debugging-port=0", "--force-color-profile=srgb"]


class Page:
    """A tab."""

    def __init__(self, line: ClientConnection) -> None:
        self._line, self._numbers = line, itertools.count(1)
        self.requests: list[str] = []
        """Addresses that the page asked for."""
        self.complaints: list[str] = []
        """What it wrote to the console as errors, and exceptions."""
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A DevTools command; gives its result."""
        number = next(self._numbers)
        self._line.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._line.recv(timeout=60))
            if message.get("id") == number:
                assert "error" not in message, f"{method}: {message['error']}"
                return message["result"]
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        match message.get("method"), message.get("params", {}):
            case "Network.requestWillBeSent", about:
                self.requests.append(about["request"]["url"])
            case "Runtime.exceptionThrown", about:
                self.complaints.append(json.dumps(about["exceptionDetails"]))
            case "Log.entryAdded", about if about["entry"]["level"] == "error":
                self.complaints.append(about["entry"]["text"])

    def open(self, address: str) -> None:
        """Go there and wait until it is loaded."""
        self.call("Page.navigate", url=address)
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def run(self, script: str) -> Any:
        """The value of an expression (or of what it promises)."""
        done = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True)
        assert "exceptionDetails" not in done, f"{script}: {done['exceptionDetails']}"
        return done["result"].get("value")

    def until(self, script: str, seconds: float = 60) -> Any:
        """Wait until an expression is true; gives it."""
        end = time.monotonic() + seconds
        while not (value := self.run(script)):
            assert time.monotonic() < end, f"never true: {script}; the page says {self.run('document.body.innerText')!r}"
            time.sleep(0.05)
        return value

    def text(self, selector: str) -> str:
        """An element's text."""
        return self.run(f"document.querySelector({selector!r}).textContent")

    def click(self, selector: str, count: int = 1) -> None:
        """A click with the mouse in the middle of an element, scrolled into view; whatever lies above it takes it."""
        x, y = self.middle(selector)
        for _ in range(count):
            for kind in ("mousePressed", "mouseReleased"):
                self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def middle(self, selector: str) -> tuple[float, float]:
        """Where an element's middle is."""
        box = self.run(f"(() => {{ const it = document.querySelector({selector!r}); it.scrollIntoView({{block: 'center'}}); "
                       "const box = it.getBoundingClientRect(); return [box.x, box.y, box.width, box.height]; })()")
        assert box[2] > 0 and box[3] > 0, f"{selector} is not to be seen"
        return box[0] + box[2] / 2, box[1] + box[3] / 2

    def key(self, code: str, down: bool) -> None:
        """Press or release a key."""
        self.call("Input.dispatchKeyEvent", type="rawKeyDown" if down else "keyUp", code=code, key=code,
                  windowsVirtualKeyCode={"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Tab": 9,
                                        "Space": 32, "KeyN": 78, "KeyR": 82}[code])

    def press(self, code: str) -> None:
        """Press a key and release it."""
        self.key(code, True)
        self.key(code, False)

    def size(self, width: int, height: int, mobile: bool = False) -> None:
        """Another viewport (CSS pixels)."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)

    def prefer(self, **features: str) -> None:
        """The visitor's preferences, such as ``color_scheme="dark"``."""
        self.call("Emulation.setEmulatedMedia", features=[
            {"name": f"prefers-{name.replace('_', '-')}", "value": value} for name, value in features.items()])

    def picture(self, path: Path) -> Path:
        """A screenshot as PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", captureBeyondViewport=False)["data"]))
        return path

    def axe(self, script: str) -> list[str]:
        """What axe-core finds that is serious or critical, once every colour has become what it was changing to."""
        self.run(script + "; 0")
        self.run("Promise.allSettled(document.getAnimations().filter((each) => each instanceof CSSTransition)"
                 ".map((each) => each.finished)).then(() => 0)")
        found = self.run("axe.run(document, {resultTypes: ['violations']}).then((found) => found.violations.map((each) => "
                         "[each.impact, each.id, each.help, each.nodes.map((node) => node.html).join(' ')]))")
        return [": ".join(each) for each in found if each[0] in ("serious", "critical")]

    def scrolls_sideways(self) -> bool:
        """Whether anything sticks out of the viewport's width."""
        return self.run("document.scrollingElement.scrollWidth > innerWidth || [...document.body.querySelectorAll('*')]"
                        ".some((each) => each.getBoundingClientRect().right > innerWidth + 0.5)")


class Browser:
    """A running Chromium."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._lines = contextlib.ExitStack()

    def page(self) -> Page:
        """A new tab, in a window of its own: it is never in the background."""
        with connect(self._ask("version")["webSocketDebuggerUrl"], max_size=None) as line:
            line.send(json.dumps({"id": 1, "method": "Target.createTarget",
                                  "params": {"url": "about:blank", "newWindow": True, "width": 1280, "height": 900}}))
            target = json.loads(line.recv(timeout=60))["result"]["targetId"]
        return Page(self._lines.enter_context(connect(f"ws://127.0.0.1:{self._port}/devtools/page/{target}", max_size=None)))

    def _ask(self, what: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/json/{what}", timeout=60) as answer:
            return json.load(answer)

    def close(self) -> None:
        """Leave all tabs."""
        self._lines.close()


@contextlib.contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """A Chromium with a profile of its own in ``folder``; skips the test where there is none."""
    if CHROMIUM is None:
        pytest.skip("there is no Chromium: apt-get install chromium")
    profile = folder / "profile"
    with open(folder / "chromium.log", "wb") as log:
        process = subprocess.Popen([CHROMIUM, *FLAGS, f"--user-data-dir={profile}"], stdout=log, stderr=log,
                                   start_new_session=True, env={**os.environ, "HOME": str(folder)})
    try:
        told, end = profile / "DevToolsActivePort", time.monotonic() + 60
        while not (told.exists() and told.read_text().count("\n")):
            assert process.poll() is None and time.monotonic() < end, (folder / "chromium.log").read_text()
            time.sleep(0.1)
        chromium = Browser(int(told.read_text().split()[0]))
        yield chromium
        chromium.close()
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


@contextlib.contextmanager
def answering(server: Server) -> Iterator[int]:
    """Let a server answer in a thread of its own; gives its port."""
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.socket.getsockname()[1]
    finally:
        server.shutdown()
        thread.join(20)


def fetch_axe(folder: Path) -> None:
    """Put axe.min.js there, from npm (or the file that $WM_MPI_AXE names); skips the test where it cannot be had."""
    if "WM_MPI_AXE" in os.environ:
        shutil.copy(os.environ["WM_MPI_AXE"], folder / "axe.min.js")
        return
    if NPM is None:
        pytest.skip("there is no npm to get axe-core with: apt-get install npm")
    got = subprocess.run([NPM, "pack", f"axe-core@{AXE}", "--silent"], cwd=folder, capture_output=True, text=True,
                         timeout=120, check=False)
    if got.returncode:
        pytest.skip(f"npm does not give axe-core: {got.stderr.strip()[-200:]}")
    with tarfile.open(folder / got.stdout.split()[-1]) as archive:
        script = archive.extractfile("package/axe.min.js")
        assert script is not None
        (folder / "axe.min.js").write_bytes(script.read())
