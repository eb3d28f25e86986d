"""A small HTTP API that keeps what it is sent, and misbehaves when told to."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, dict[str, str], dict[str, Any]]
"""Status, headers, body."""


class Api:
    """`rows` is its table; `log` holds every request that was applied, `tries` also those that were not."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Any]] = {}
        self.log: list[dict[str, Any]] = []
        self.tries: list[tuple[str, dict[str, Any]]] = []  # (idempotency key, body)
        self.token: str | None = None
        self.trouble: list[Answer] = []  # given instead of applying, one a request
        self.apply_then: list[int] = []  # applied, but answered with this status
        self.refuses: Callable[[dict[str, Any]], bool] = lambda row: False
        self.lists_refused = True
        self.url = ""

    def post(self, body: dict[str, Any], key: str, token: str | None) -> Answer:
        self.tries.append((key, body))
        if self.token is not None and token != f"Bearer {self.token}":
            return 401, {}, {}
        if self.trouble:
            return self.trouble.pop(0)
        bad = [row[body["key"]] for row in body["rows"] if self.refuses(row)]
        if bad and not self.lists_refused:
            return 422, {}, {"error": "some row is wrong"}
        self._apply(body, set(bad))
        if self.apply_then:
            return self.apply_then.pop(0), {}, {}
        return 200, {}, {"rejected": [{"key": each, "reason": f"{each}: mail {each}@x.org bounced"} for each in bad]}

    def _apply(self, body: dict[str, Any], bad: set[str]) -> None:
        self.log.append(body)
        for row in body["rows"]:
            if body["operation"] == "remove":
                self.rows.pop(row[body["key"]], None)
            elif row[body["key"]] not in bad:
                self.rows[row[body["key"]]] = row


@contextmanager
def running_api() -> Iterator[Api]:
    api = Api()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, headers, answer = api.post(body, self.headers["Idempotency-Key"], self.headers.get("Authorization"))
            content = json.dumps(answer).encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    api.url = f"http://127.0.0.1:{server.server_port}/v1/users/batch"
    try:
        yield api
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
