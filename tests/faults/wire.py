"""Stands between whoever uses an object store and its server, and lets requests go wrong on the way."""

from __future__ import annotations

import hashlib
import http.client
import random
import socket
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

LOST, BEFORE, HALF, UNANSWERED, BUSY, CHANGED, STALE, CUT, TURNED = (
    "reported, not stored",
    "broken before",
    "broken half way",
    "stored, not answered",
    "server busy",
    "stored with a bit turned",
    "listed as it was",
    "read to its half",
    "read with a bit turned",
)
WRITES = (LOST, BEFORE, HALF, UNANSWERED, BUSY, CHANGED)
READS = (STALE, CUT, TURNED)
_HOP = ("connection", "transfer-encoding", "content-length", "keep-alive", "date", "server")


class Wire:
    """A proxy on loopback.

    Attributes:
        url: Where it listens.
        did: How many requests went wrong, by how.
    """

    def __init__(self, endpoint: str) -> None:
        place = urlsplit(endpoint)
        self.host, self.port = str(place.hostname), int(place.port or 80)
        self.did: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._lists: dict[str, tuple[int, list[tuple[str, str]], bytes]] = {}
        self._how, self._from, self._to, self._seen = "", 0, 0, 0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True
        ).start()

    def spoil(self, how: str, first: int, count: int) -> None:
        """Let so many requests go wrong, beginning with the first of those that can."""
        with self._lock:
            self._how, self._from, self._to, self._seen = how, first, first + count, 0
            self._lists.clear()

    def heal(self) -> int:
        """Let all requests pass; gives how many went wrong since `spoil`."""
        with self._lock:
            wrong = max(0, min(self._seen, self._to) - self._from) if self._how else 0
            self._how = ""
            return wrong

    def close(self) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._server.server_close()

    def fault(self, method: str, path: str) -> str:
        """What shall happen to a request; nothing, for most."""
        place, _, query = path.partition("?")
        listing = method == "GET" and "list-type=2" in query
        key = place.strip("/").partition("/")[2]
        writing = method == "PUT" and bool(key) and "owners/" not in key
        reading = method == "GET" and bool(key) and not listing
        with self._lock:
            can = {STALE: listing, CUT: reading, TURNED: reading}.get(self._how, writing)
            if not self._how or not can:
                return ""
            self._seen += 1
            if not self._from < self._seen <= self._to:
                return ""
            self.did[self._how] += 1
            return self._how

    def ask(
        self, method: str, path: str, headers: Any, body: bytes
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        """What the server answers."""
        link = http.client.HTTPConnection(self.host, self.port, timeout=60)
        try:
            link.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in headers.items():
                if name.lower() not in ("transfer-encoding", "content-length", "connection", "expect"):
                    link.putheader(name, value)
            link.putheader("Content-Length", str(len(body)))
            link.endheaders(body)
            answer = link.getresponse()
            content = answer.read()
            dropped = _HOP if method != "HEAD" else tuple(n for n in _HOP if n != "content-length")
            return answer.status, [h for h in answer.getheaders() if h[0].lower() not in dropped], content
        finally:
            link.close()

    def listed(self, path: str, how: str, fresh: Any) -> Any:
        """An answer that was given to the same question before, where there is one and it shall be so."""
        with self._lock:
            if how == STALE and path in self._lists:
                return self._lists[path]
        answer = fresh()
        with self._lock:
            self._lists.setdefault(path, answer)
        return answer


def turned(content: bytes, chance: random.Random) -> bytes:
    """One bit is another."""
    if not content:
        return content
    place = chance.randrange(len(content))
    return content[:place] + bytes([content[place] ^ (1 << chance.randrange(8))]) + content[place + 1 :]


def _handler(wire: Wire) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def _body(self) -> bytes:
            if "chunked" in self.headers.get("Transfer-Encoding", ""):
                parts = []
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(parts)
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))

        def _break(self) -> None:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

        def _answer(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            if self.command != "HEAD":  # whose length is that of what it does not have
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def _do(self) -> None:
            try:
                self._pass()
            except (OSError, http.client.HTTPException):
                self.close_connection = True

        def _pass(self) -> None:
            how = wire.fault(self.command, self.path)
            if how == BEFORE:
                return self._break()
            if how == HALF:
                self.rfile.read(int(self.headers.get("Content-Length") or 0) // 2)
                return self._break()
            body = self._body()
            if how == BUSY:
                return self._answer(503, [], b"<Error><Code>SlowDown</Code></Error>")
            if how == LOST:
                return self._answer(200, [("ETag", f'"{hashlib.md5(body).hexdigest()}"')], b"")
            if how == CHANGED:
                body = turned(body, random.Random(len(body)))

            def ask() -> Any:
                return wire.ask(self.command, self.path, self.headers, body)

            answer = wire.listed(self.path, how, ask) if "list-type=2" in self.path else ask()
            if how == UNANSWERED:
                return self._break()
            status, headers, content = answer
            if how == TURNED:
                content = turned(content, random.Random(len(content)))
            if how == CUT:
                self.send_response(status)
                for name, value in headers:
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content[: len(content) // 2])
                return self._break()
            return self._answer(status, headers, content)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _do

    return Handler
