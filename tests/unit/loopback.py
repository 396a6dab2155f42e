"""A small HTTP server on this machine whose answers go wrong as a script says, for tests of downloads.

::

    with Loopback(folder) as server:
        server.faults["sub-01/x.bdf"] = [status(503), drop(1000)]
        # the first request for x.bdf gets a 503, the second one a broken connection, all others the file
        requests.get(f"{server.url}/sub-01/x.bdf")
        assert server.requests == ["sub-01/x.bdf"]

A fault is a function of the request handler and the bytes of the file. Paths are those of the files below the folder,
not quoted.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

Fault = Callable[["Handler", bytes], None]


class Handler(BaseHTTPRequestHandler):
    """Answers one request: by the next fault of its path, else by the file."""

    server: _Server
    # HTTP/1.0: each answer ends its connection, so that a fault meets one request only.

    def do_GET(self) -> None:
        owner = self.server.owner
        name = unquote(urlsplit(self.path).path).lstrip("/")
        file = owner.folder / name
        with owner.lock:
            owner.requests.append(name)
            waiting = owner.faults.get(name)
            fault = waiting.pop(0) if waiting else None
        content = file.read_bytes() if file.is_file() else None
        if fault is not None:
            fault(self, content or b"")
        elif content is None:
            status(404)(self, b"")
        else:
            self.send(200, content)

    def send(self, code: int, body: bytes, length: int | None = -1, headers: Mapping[str, str] | None = None) -> None:
        """Answer with that body; ``length`` is what the header says of it (-1: the truth, None: nothing)."""
        self.send_response(code)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        if length is not None:
            self.send_header("Content-Length", str(len(body) if length < 0 else length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """No lines in the output of tests."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    owner: Loopback

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is part of the game."""


class Loopback:
    """Serves a folder; see the module.

    Attributes
    ----------
    url : str
        Base URL, without a slash at its end.
    faults : dict
        Path to faults, used up request by request.
    requests : list of str
        Paths asked for, in order.
    """

    def __init__(self, folder: Path, faults: Mapping[str, list[Fault]] | None = None):
        self.folder = folder
        self.faults: dict[str, list[Fault]] = dict(faults or {})
        self.requests: list[str] = []
        self.lock = threading.Lock()
        self.ended = threading.Event()  # what sleeps in an answer wakes up by it
        self.server = _Server(("127.0.0.1", 0), Handler)
        self.server.owner = self
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self) -> Loopback:
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.server.shutdown()
        self.server.server_close()

    def count(self, path: str) -> int:
        """How often a path was asked for."""
        with self.lock:
            return self.requests.count(path)


# --------------------------------------------------------------------------------------------------- faults


def drop(after: int) -> Fault:
    """The connection breaks (reset) after so many bytes of the body."""

    def fault(handler: Handler, content: bytes) -> None:
        handler.send(200, content[:after], length=len(content))
        handler.wfile.flush()
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        handler.connection.close()

    return fault


def truncate(after: int, declared: bool = True) -> Fault:
    """The body ends in an orderly way after so many bytes, with the full length in the header or with none."""

    def fault(handler: Handler, content: bytes) -> None:
        handler.send(200, content[:after], length=len(content) if declared else None)

    return fault


def wrong() -> Fault:
    """As many bytes as the file has, but others."""

    def fault(handler: Handler, content: bytes) -> None:
        handler.send(200, bytes(255 - byte for byte in content))

    return fault


def status(code: int, **headers: str) -> Fault:
    """An error of HTTP; ``Retry_After="2"`` becomes the header ``Retry-After``."""

    def fault(handler: Handler, content: bytes) -> None:
        handler.send(code, f"error {code}".encode(), headers={k.replace("_", "-"): v for k, v in headers.items()})

    return fault


def page(body: bytes = b"<!DOCTYPE html>\n<html><body>Please log in.</body></html>\n") -> Fault:
    """Another content, with status 200."""

    def fault(handler: Handler, content: bytes) -> None:
        handler.send(200, body)

    return fault


def slow(pieces: int, pause_s: float) -> Fault:
    """The whole file in so many pieces with a pause before each."""

    def fault(handler: Handler, content: bytes) -> None:
        handler.send(200, b"", length=len(content))
        step = -(-len(content) // pieces)
        for start in range(0, len(content), step):
            if handler.server.owner.ended.wait(pause_s):
                return
            handler.wfile.write(content[start : start + step])

    return fault


def stall(after: int, longest_s: float = 60.0) -> Fault:
    """So many bytes, then silence on an open connection, until the server ends or the time is over."""

    def fault(handler: Handler, content: bytes) -> None:
        handler.send(200, content[:after], length=len(content))
        handler.wfile.flush()
        handler.server.owner.ended.wait(longest_s)

    return fault
