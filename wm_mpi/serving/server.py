"""HTTP and WebSocket on one port: a page of three files, and a connection a visitor at /drive.

The WebSocket side is the package ``websockets``, in its threaded form: the standard library has none, a car needs no more
than a loop in a thread of its own (the engine, ONNX Runtime and JPEG are native code), and closing, keep-alive and
malformed requests have been thought of. Nothing is read from disk for a request: what is not in ``PAGE`` does not exist.
"""

import contextlib
import ctypes
import http
import ipaddress
import logging
import socket
from importlib import resources
from urllib.parse import urlsplit

from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import Server, ServerConnection
from websockets.sync.server import serve as serve_websockets

from wm_mpi.errors import UserError, account
from wm_mpi.serving.champion import Source
from wm_mpi.serving.viewer import Viewer
from wm_mpi.serving.wishes import MESSAGE_BYTES

PAGE = {"/": ("page.html", "text/html; charset=utf-8"), "/page.css": ("page.css", "text/css; charset=utf-8"),
        "/page.js": ("page.js", "text/javascript; charset=utf-8")}
DRIVE = "/drive"
MOST_VIEWERS = 32
"""Each has a car of its own: 10 to 40 MB, and up to half a core."""
SILENCE = 10.0
"""A visitor whose page does not answer a ping for so long has gone (seconds)."""
M_ARENA_MAX = -8
"""In glibc's malloc.h."""
SECURITY = {"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
                                       "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'",
            "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}


def serve(source: Source, port: int, host: str = "127.0.0.1") -> None:
    """Serve until a signal or Ctrl-C ends the process.

    Raises:
        UserError: the port cannot be had, or the source has no car.
    """
    share_heap()
    server = open_server(source, port, host)
    try:
        warm_up(source)
    except BaseException:
        server.socket.close()
        raise
    with server:
        print(invitation(server.socket.getsockname()[1], host), flush=True)
        server.serve_forever()


def share_heap() -> None:
    """Let all threads share one heap: glibc gives each its own and keeps what went through it, 250 MB after 50 visits."""
    with contextlib.suppress(AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)


def warm_up(source: Source) -> None:
    """Compile the engine and find out whether there is a world, before the first visitor does."""
    for place in ("road", "dream"):
        source.car(source.latest(), place).reset(source.seed(0))


def invitation(port: int, host: str) -> str:
    """The page's address as a browser wants it, and the way there from another machine."""
    if not ipaddress.ip_address(socket.getaddrinfo(host, port)[0][4][0]).is_loopback:
        name = socket.gethostname() if host in ("0.0.0.0", "::") else host
        return f"watch at http://{f'[{name}]' if ':' in name else name}:{port}/ (Ctrl-C ends it)"
    return (f"watch at http://{f'[{host}]' if ':' in host else host}:{port}/ (Ctrl-C ends it); from another machine "
            f"after: ssh -L {port}:localhost:{port} {socket.gethostname()}")


def open_server(source: Source, port: int, host: str) -> Server:
    """Listen; port 0 takes a free one.

    Raises:
        UserError: in use, not allowed, or no address of this machine.
    """
    if not 0 <= port < 2**16:
        raise UserError(f"--serve is {port}, but a port is a number from 0 to 65535")
    try:
        family, *_, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listening = socket.create_server(place[:2], family=family)
    except OSError as error:
        raise UserError(f"--serve {port} cannot be had on {host} ({error.strerror or error}): give another port, or 0 for "
                        "a free one, and with --host an address of this machine") from None
    logger = logging.getLogger("wm_mpi.serving")  # visitors' malformed requests are no news to whoever started this
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    desk = _Desk(source)
    return serve_websockets(desk.receive, sock=listening, process_request=desk.answer, compression=None, logger=logger,
                            max_size=MESSAGE_BYTES, server_header="wm_mpi", ping_interval=SILENCE, ping_timeout=SILENCE,
                            close_timeout=2)


class _Desk:
    """Answers requests, and counts who watches."""

    def __init__(self, source: Source) -> None:
        self._source = source
        folder = resources.files(__package__)
        self._page = {path: (folder.joinpath(name).read_bytes(), kind) for path, (name, kind) in PAGE.items()}
        self._viewers: set[ServerConnection] = set()

    def answer(self, connection: ServerConnection, request: Request) -> Response | None:
        """The response to a request; None lets /drive become a WebSocket."""
        path = request.path.partition("?")[0]
        if path in self._page and request.method == "GET":
            body, kind = self._page[path]
            return _response(http.HTTPStatus.OK, body, kind)
        if path != DRIVE:
            return _refusal(http.HTTPStatus.METHOD_NOT_ALLOWED if path in self._page else http.HTTPStatus.NOT_FOUND)
        if not _same_origin(request.headers):
            return _refusal(http.HTTPStatus.FORBIDDEN)
        if len(self._viewers) >= MOST_VIEWERS:
            return _refusal(http.HTTPStatus.SERVICE_UNAVAILABLE)
        return None

    def receive(self, connection: ServerConnection) -> None:
        """A visitor's whole visit."""
        self._viewers.add(connection)
        visitor = connection.remote_address[0]
        print(f"{visitor} came, {len(self._viewers)} watching", flush=True)
        try:
            Viewer(connection, self._source).run()
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


def _same_origin(headers: Headers) -> bool:
    """Whether the page that asks is ours: browsers let any page open a WebSocket to anywhere."""
    origins, hosts = headers.get_all("Origin"), headers.get_all("Host")
    return not origins or (len(origins) == len(hosts) == 1 and urlsplit(origins[0]).netloc == hosts[0])


def _response(status: http.HTTPStatus, body: bytes, kind: str) -> Response:
    headers = Headers({"Content-Type": kind, "Content-Length": str(len(body)), "Connection": "close", **SECURITY})
    return Response(status.value, status.phrase, headers, body)


def _refusal(status: http.HTTPStatus) -> Response:
    return _response(status, f"{status.phrase}\n".encode(), "text/plain; charset=utf-8")


def _short(text: str) -> str:
    """What fits into a closing frame (123 bytes)."""
    return text.encode()[:120].decode(errors="ignore")
