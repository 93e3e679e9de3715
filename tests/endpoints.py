"""A real HTTP server that speaks the chat completions API, and misbehaves as tests want."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def reply(content="Hi", finish_reason="stop", usage=None, **message):
    usage = usage or {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
    choice = {"index": 0, "message": {"role": "assistant", "content": content, **message}}
    return {
        "id": "c1",
        "object": "chat.completion",
        "created": 0,
        "model": "m",
        "choices": [{**choice, "finish_reason": finish_reason}],
        "usage": usage,
    }


def error(message, code=None, kind="invalid_request_error", param=None):
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


class Server(ThreadingHTTPServer):
    """Answers chat completions with `answer(body)`: status, JSON body, headers. Keeps what was asked."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer: Callable = lambda body: (200, reply(), {})
        self.models = (200, {"object": "list", "data": [{"id": "m", "object": "model"}]}, {})
        self.drip_s = 0.0
        """Seconds before each byte of a chat's answer."""
        self.bodies: list[dict] = []
        self.keys: set[str | None] = set()
        self.now = self.most_at_once = 0
        self.lock = threading.Lock()

    @property
    def base_url(self):
        return f"http://127.0.0.1:{self.server_port}/v1"

    def answers(self, *answers):
        """Give these answers in turn, the last one for ever."""
        left = list(answers)
        self.answer = lambda body: left.pop(0) if len(left) > 1 else left[0]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self):
        self.send(*self.server.models)

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.bodies.append(body)
            self.server.keys.add(self.headers["Authorization"])
            self.server.now += 1
            self.server.most_at_once = max(self.server.most_at_once, self.server.now)
            answer = self.server.answer
        try:
            status, payload, headers = answer(body)
        finally:
            with self.server.lock:
                self.server.now -= 1
        self.send(status, payload, headers)

    def send(self, status, payload, headers):
        payload = payload if isinstance(payload, str | bytes) else json.dumps(payload)
        data = payload if isinstance(payload, bytes) else payload.encode()
        try:
            self.send_response(status)
            headers = {"Content-Type": "application/json", "Content-Length": str(len(data)), **headers}
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            drip_s = float(headers.get("Drip-S", self.server.drip_s if self.command == "POST" else 0))
            for piece in [data] if not drip_s else [data[at : at + 1] for at in range(len(data))]:
                time.sleep(drip_s)
                self.wfile.write(piece)
            self.close_connection = "Connection" in headers
        except (BrokenPipeError, ConnectionResetError):
            return  # the client gave up waiting, as some tests want

    def log_message(self, *_):
        return


@contextmanager
def served() -> Iterator[Server]:
    """A server for the block."""
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()
