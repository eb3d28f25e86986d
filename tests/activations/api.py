"""A small HTTP API that keeps what it is sent, and misbehaves when told to."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, dict[str, str], dict[str, Any]]
"""Status, headers, body."""
LATE: Answer = (0, {}, {})
"""Apply, and answer when no client waits any more."""


class Api:
    """`rows` is its table; `log` holds every request that was applied, `tries` also those that were not."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Any]] = {}
        self.log: list[dict[str, Any]] = []
        self.tries: list[tuple[str, dict[str, Any]]] = []  # (idempotency key, body)
        self.token: str | None = None
        self.trouble: list[Answer] = []  # given instead of applying, one a request
        self.apply_then: list[int] = []  # applied, but answered with this status
        self.fails_after: int | None = None  # so many requests applied, and every later one answered with 500
        self.refuses: Callable[[dict[str, Any]], bool] = lambda row: False
        self.lists_refused = True
        self.url = ""
        self.mood: random.Random | None = None  # misbehaves by chance
        self.moods: Counter[str] = Counter()
        self.answered: dict[str, Answer] = {}  # idempotency key -> what it was answered
        self.applied: Counter[str] = Counter()  # how often each key was appended
        self._one_at_a_time = threading.Lock()

    def post(self, body: dict[str, Any], key: str, token: str | None) -> Answer:
        with self._one_at_a_time:
            return self._post(body, key, token) if self.mood is None else self._moody(body, key, self.mood)

    def _moody(self, body: dict[str, Any], key: str, mood: random.Random) -> Answer:
        """A batch that was answered is recognised by its key, one that was half taken by its rows' keys."""
        if key in self.answered:
            return self.answered[key]
        name = mood.choice(["well"] * 5 + ["busy", "broken", "half", "lost", "late"])
        self.moods[name] += name != "well"
        if name == "busy":
            return 429, {"Retry-After": mood.choice(["0", "Thu, 01 Jan 2026 00:00:00 GMT"])}, {}
        if name == "broken":
            return 500, {}, {}
        if name == "half":
            self._apply(body | {"rows": body["rows"][::2]}, set())
            return 500, {}, {}
        self.answered[key] = self._post(body, key, None)
        if name == "lost":
            return 502, {}, {}
        return LATE if name == "late" else self.answered[key]

    def _post(self, body: dict[str, Any], key: str, token: str | None) -> Answer:
        self.tries.append((key, body))
        if self.token is not None and token != f"Bearer {self.token}":
            return 401, {}, {}
        if self.fails_after is not None and len(self.log) >= self.fails_after:
            return 500, {}, {}
        if self.trouble:
            return self.trouble.pop(0)
        bad = [row[body["key"]] for row in body["rows"] if self.refuses(row)]
        if bad and not self.lists_refused:
            return 422, {}, {"error": "some row is wrong"}
        rejected = [{"key": each, "reason": f"{each}: mail {each}@x.org bounced"} for each in bad]
        there = [row[body["key"]] for row in body["rows"] if row[body["key"]] in self.rows]
        answer: dict[str, Any] = {"rejected": rejected}
        if body["operation"] == "insert":
            bad, answer["repeated"] = [*bad, *there], len(there)
        elif body["operation"] == "update":
            absent = [row[body["key"]] for row in body["rows"] if row[body["key"]] not in there]
            bad, answer["rejected"] = (
                [*bad, *absent],
                [*rejected, *({"key": key, "reason": "no such user"} for key in absent)],
            )
        self._apply(body, set(bad))
        if self.apply_then:
            return self.apply_then.pop(0), {}, {}
        return 200, {}, answer

    def _apply(self, body: dict[str, Any], bad: set[str]) -> None:
        self.log.append(body)
        for row in body["rows"]:
            if body["operation"] == "remove":
                self.rows.pop(row[body["key"]], None)
            elif body["operation"] == "append" and row[body["key"]] in self.applied:
                continue  # an append is recognised by the row's key
            elif row[body["key"]] not in bad:  # a field that is not in the row is left as it is
                self.rows[row[body["key"]]] = self.rows.get(row[body["key"]], {}) | row
                self.applied[row[body["key"]]] += body["operation"] == "append"


@contextmanager
def running_api() -> Iterator[Api]:
    api = Api()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, headers, answer = api.post(body, self.headers["Idempotency-Key"], self.headers.get("Authorization"))
            if status == 0:
                time.sleep(0.5)
                self.close_connection = True
                return
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
