"""HTTP and WebSocket on one port: pages of a few files, a connection a visitor at /drive, and how runs stand at /runs.json.

The WebSocket side is the package ``websockets``, in its threaded form: the standard library has none, a car needs no more
than a loop in a thread of its own (the engine, ONNX Runtime and JPEG are native code), and closing, keep-alive and
malformed requests have been thought of. No request names a file: what is not in ``PAGE`` does not exist, and a run has the
name under which it was found.
"""

import contextlib
import ctypes
import http
import ipaddress
import json
import logging
import socket
from collections.abc import Sequence
from importlib import resources
from typing import Any
from urllib.parse import parse_qs, urlsplit

from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import Server, ServerConnection
from websockets.sync.server import serve as serve_websockets

from wm_mpi.core.errors import UserError, account
from wm_mpi.core.ranges import origin_of
from wm_mpi.core.terminal import quoted
from wm_mpi.viewer.web.controls import MESSAGE_BYTES
from wm_mpi.viewer.web.runs import published_curve
from wm_mpi.viewer.web.source import Source, Sources
from wm_mpi.viewer.web.visit import Viewer

HTML, CSS, JS = "text/html; charset=utf-8", "text/css; charset=utf-8", "text/javascript; charset=utf-8"
PAGE = {"/": ("page.html", HTML), "/page.css": ("page.css", CSS), "/page.js": ("page.js", JS),
        "/runs": ("runs.html", HTML), "/runs.css": ("runs.css", CSS), "/runs.js": ("runs.js", JS),
        "/uplot/uPlot.iife.min.js": ("uplot/uPlot.iife.min.js", JS), "/uplot/uPlot.min.css": ("uplot/uPlot.min.css", CSS)}
DRIVE = "/drive"
RUNS = "/runs.json"
MOST_CURVES, QUERY_CHARACTERS = 16, 4096
"""Runs of which a request may ask for the generations (count), and how much of its query is read."""
ORIGIN_CHARACTERS = 270
"""Longest origin that is answered: a host has at most 253 characters (count)."""
MOST_ORIGINS = 100
"""How many different refused origins are reported (count)."""
MOST_VIEWERS = 32
"""Each has a car of its own: 10 to 40 MB, and up to half a core."""
PING_SECONDS = 10.0
"""A visitor whose page does not answer a ping for this long has gone (seconds)."""
M_ARENA_MAX = -8
"""In glibc's malloc.h."""
TEXT = "text/plain; charset=utf-8"
SECURITY = {"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
                                       "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'",
            "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}


def serve(sources: Sources, port: int, host: str = "127.0.0.1", origins: Sequence[str] = (), prefix: str = "/") -> None:
    """Serve until a signal or Ctrl-C ends the process.

    Args:
        sources: where cars come from.
        port: 0 takes a free one.
        host: address to listen on.
        origins: whose pages may drive, beside the page's own as this server sees it: a proxy may show it under another.
        prefix: path under which a proxy shows the page, if it passes that on.

    Raises:
        UserError: the port cannot be had, or the source has no car.
    """
    share_heap()
    server = open_server(sources, port, host, origins, prefix)
    try:
        warm_up(sources.first)
    except BaseException:
        server.socket.close()
        raise
    with server:
        print(invitation(server.socket.getsockname()[1], host, prefix), flush=True)
        server.serve_forever()


def share_heap() -> None:
    """Let all threads share one heap: glibc gives each its own and keeps what went through it, 250 MB after 50 visits."""
    with contextlib.suppress(AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)


def warm_up(source: Source) -> None:
    """Compile the engine and find out whether there is a world, before the first visitor does."""
    road = source.car(source.latest(), "road")
    road.reset(source.seed(0))
    if road.show.views:  # it has V and M, and so it can dream
        source.car(source.latest(), "dream").reset(source.seed(0))


def invitation(port: int, host: str, prefix: str = "/") -> str:
    """The page's address as a browser wants it, and the way there from another machine."""
    local = ipaddress.ip_address(socket.getaddrinfo(host, port)[0][4][0]).is_loopback
    name = socket.gethostname() if host in ("0.0.0.0", "::") else host
    return (f"watch at http://{f'[{name}]' if ':' in name else name}:{port}{prefix.rstrip('/')}/ (Ctrl-C ends it)"
            + (f"; from another machine after: ssh -L {port}:localhost:{port} {socket.gethostname()}" if local else ""))


def open_server(sources: Sources, port: int, host: str, origins: Sequence[str] = (), prefix: str = "/") -> Server:
    """Listen; port 0 takes a free one.

    Raises:
        UserError: in use, not allowed, or no address of this machine.
    """
    try:
        family, *_, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listening = socket.create_server(place[:2], family=family)
    except OSError as error:
        raise UserError(f"--serve {port} cannot be had on {host} ({error.strerror or error}): give another port, or 0 for "
                        "a free one, and with --host an address of this machine") from None
    logger = logging.getLogger("wm_mpi.viewer.web")  # visitors' malformed requests are no news to whoever started this
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    desk = _Desk(sources, origins, prefix)
    return serve_websockets(desk.receive, sock=listening, process_request=desk.answer, compression=None, logger=logger,
                            max_size=MESSAGE_BYTES, server_header="wm_mpi", ping_interval=PING_SECONDS,
                            ping_timeout=PING_SECONDS, close_timeout=2)


class _Desk:
    """Answers requests, and counts who watches."""

    def __init__(self, sources: Sources, origins: Sequence[str], prefix: str) -> None:
        self._sources = sources
        self._origins, self._refused = {origin_of(each) for each in origins}, set[str]()
        self._prefix = prefix.rstrip("/")
        folder = resources.files(__package__)
        self._page = {path: (folder.joinpath(name).read_bytes(), kind) for path, (name, kind) in PAGE.items()}
        self._viewers: set[ServerConnection] = set()

    def answer(self, connection: ServerConnection, request: Request) -> Response | None:
        """The response to a request; None lets /drive become a WebSocket.

        A page that gets no WebSocket sends a POST there, to be told why: browsers hide that from it.
        """
        path, _, query = request.path.partition("?")
        path = path.removeprefix(self._prefix)
        if not path:  # what the page loads lies beside it, below the slash
            return _response(http.HTTPStatus.TEMPORARY_REDIRECT, b"", TEXT, Location=f"{self._prefix}/")
        if path in self._page and request.method == "GET":
            body, kind = self._page[path]
            return _response(http.HTTPStatus.OK, body, kind)
        if path == RUNS and request.method == "GET" and self._sources.runs is not None:
            return self._how_runs_stand(query)
        if path != DRIVE:
            return _refusal(http.HTTPStatus.METHOD_NOT_ALLOWED if path in self._page else http.HTTPStatus.NOT_FOUND)
        if not self._may_drive(request.headers):
            return _refusal(http.HTTPStatus.FORBIDDEN, self._stranger(request.headers))
        if len(self._viewers) >= MOST_VIEWERS:
            return _refusal(http.HTTPStatus.SERVICE_UNAVAILABLE, f"{MOST_VIEWERS} are watching already, which is the most")
        try:
            self._wanted(query)
        except UserError as error:
            return _refusal(http.HTTPStatus.NOT_FOUND, str(error))
        return _response(http.HTTPStatus.OK, b"", TEXT) if request.method == "POST" else None

    def _how_runs_stand(self, query: str) -> Response:
        """The answer to ``?have=EDITION.COUNT.NAME&...``, a field for each run whose curves are shown."""
        assert self._sources.runs is not None
        have = {}
        for field in _fields(query, "have"):
            edition, count, name = [*field.split(".", 2), "", ""][:3]
            have[name] = (int(edition), int(count)) if f"{edition}{count}".isdecimal() and edition and count else (-1, 0)
        told: dict[str, Any] = self._sources.runs.told(have)
        if _fields(query, "published"):
            told["published"] = published_curve()
        return _response(http.HTTPStatus.OK, json.dumps(told, allow_nan=False).encode(), "application/json")

    def _wanted(self, query: str) -> Source:
        """The source of ``?run=NAME``, or the first.

        Raises:
            UserError: there is no such run, or it cannot be shown.
        """
        names = _fields(query, "run")
        return self._sources.named(names[0]) if names else self._sources.first

    def _may_drive(self, headers: Headers) -> bool:
        """Whether the page that asks is ours: browsers let any page open a WebSocket to anywhere."""
        origins, hosts = headers.get_all("Origin"), headers.get_all("Host")
        return not origins or (len(origins) == 1 and origins[0] in self._origins) or (
            len(origins) == len(hosts) == 1 and urlsplit(origins[0]).netloc == hosts[0])

    def _stranger(self, headers: Headers) -> str:
        """The sentence on a page that is not ours; said here, too, once for each origin."""
        origin = ", ".join(headers.get_all("Origin"))[:ORIGIN_CHARACTERS]
        fix = "" if origin_of(origin) is None else f": if that is a proxy of yours, give watch --origin {quoted(origin)}"
        sentence = f"pages of {origin} may not drive here{fix}"
        if sentence not in self._refused and len(self._refused) < MOST_ORIGINS:
            self._refused.add(sentence)
            print(f"refused: {sentence}", flush=True)
        return sentence

    def receive(self, connection: ServerConnection) -> None:
        """A visitor's whole visit."""
        self._viewers.add(connection)
        visitor = connection.remote_address[0]
        print(f"{visitor} came, {len(self._viewers)} watching", flush=True)
        try:
            assert connection.request is not None
            Viewer(connection, self._wanted(connection.request.path.partition("?")[2])).run()
        except ConnectionClosed:
            pass
        except (ValueError, UserError) as error:  # a client of somebody's own, or a world that has gone
            connection.close(1008, _short(str(error)))
        except Exception as error:
            print(account(error, f"{visitor}: ")[0], flush=True)
            connection.close(1011, "the server has made a mistake and printed it")
        finally:
            self._viewers.discard(connection)
            print(f"{visitor} left, {len(self._viewers)} watching", flush=True)


def _fields(query: str, name: str) -> list[str]:
    """The values of a field of a query; none of a query that is too long."""
    try:
        return parse_qs(query[:QUERY_CHARACTERS], max_num_fields=MOST_CURVES + 1).get(name, [])
    except ValueError:
        return []


def _response(status: http.HTTPStatus, body: bytes, kind: str, **more: str) -> Response:
    headers = Headers({"Content-Type": kind, "Content-Length": str(len(body)), "Connection": "close", **SECURITY, **more})
    return Response(status.value, status.phrase, headers, body)


def _refusal(status: http.HTTPStatus, why: str = "") -> Response:
    return _response(status, f"{why or status.phrase}\n".encode(), TEXT)


def _short(text: str) -> str:
    """What fits into a closing frame (123 bytes)."""
    return text.encode()[:120].decode(errors="ignore")
