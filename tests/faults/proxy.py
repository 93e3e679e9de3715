"""A proxy before an S3 server that does to a job what networks and services do: errors, resets, cut bodies, silence."""

import http.client
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

CODES = {"503": "SlowDown", "500": "InternalError", "403": "AccessDenied", "skewed": "RequestTimeTooSkewed"}
SLOW_S = 1.0


class FaultProxy:
    """Passes requests on, but for `rate` of those with a method in `methods`, which meet one of `faults`.

    The faults: `503`, `500`, `403`, `skewed` (answers of S3's kind), `reset` (the connection is reset once the request
    was passed on, so that a write is done and its answer lost), `cut` (half a body, and the connection is closed),
    `broken` (half a body, and it is reset), `slow`. While it `is_away` every connection is closed unanswered.
    `injected` counts what was done, by fault.
    """

    def __init__(self, upstream: str, seed: int = 0) -> None:
        self.upstream = urlsplit(upstream).netloc
        self.faults: tuple[str, ...] = ()
        self.methods: tuple[str, ...] = ("GET", "PUT", "DELETE", "HEAD", "POST")
        self.rate = 1.0
        self.is_away = False
        self.injected: Counter[str] = Counter()
        self._chance = random.Random(seed)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"proxy": self}))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    @contextmanager
    def serving(self) -> Iterator["FaultProxy"]:
        """Serve until the block ends."""
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    def fault_for(self, method: str) -> str | None:
        """What happens to the next request."""
        if self.is_away:
            fault = "away"
        elif method in self.methods and self.faults and self._chance.random() < self.rate:
            fault = self._chance.choice(self.faults)
        else:
            return None
        self.injected[fault] += 1
        return fault


class _Handler(BaseHTTPRequestHandler):
    proxy: FaultProxy
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        fault = self.proxy.fault_for(self.command)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if fault == "away":
            self._hang_up()
        elif fault in CODES:
            self._refuse(CODES[fault], 403 if fault in ("403", "skewed") else int(fault))
        else:
            self._pass_on(body, fault)

    do_PUT = do_DELETE = do_HEAD = do_POST = do_GET

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _pass_on(self, body: bytes, fault: str | None) -> None:
        upstream = http.client.HTTPConnection(self.proxy.upstream, timeout=60)
        try:
            upstream.request(self.command, self.path, body, dict(self.headers.items()))
            answer = upstream.getresponse()
            content = answer.read()
        finally:
            upstream.close()
        if fault == "reset":
            self._hang_up()
            return
        if fault == "slow":
            time.sleep(SLOW_S)
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "connection", "content-length", "date", "server"):
                self.send_header(name, value)
        length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(content))
        self.send_header("Content-Length", length or "0")
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if fault in ("cut", "broken") else content)
        if fault == "cut":
            self.close_connection = True
        elif fault == "broken":
            self._hang_up()

    def _refuse(self, code: str, status: int) -> None:
        body = f"<Error><Code>{code}</Code><Message>told to</Message></Error>".encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _hang_up(self) -> None:
        """Reset the connection: no end of the answer, and no polite close."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()
