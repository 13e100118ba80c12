"""A server that speaks /v1/embeddings over a real socket, and fails when it is told to."""

from __future__ import annotations

import base64
import contextlib
import json
import struct
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

# One axis for each topic: a text lies where its words put it.
TOPICS = (("fire", "flame", "burn"), ("water", "rain", "wet"), ("money", "invoice", "price"))
Fault = tuple[int, Any, dict[str, str]]  # status, what is sent as JSON (bytes as they are), headers


def place(text: str) -> list[float]:
    """The vector of a text."""
    return [0.1 + sum(text.lower().count(word) for word in topic) for topic in TOPICS]


class Server(ThreadingHTTPServer):
    """Answers with `faults` first, one for each request; with `fault` always; else with vectors."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[dict[str, Any]] = []
        self.fault: tuple[int, Any] | None = None
        self.faults: list[Fault] = []
        self.as_base64 = True
        self.length = 3  # of a vector: the topics, and zeros
        self.silent = threading.Event()  # while it is set, requests are taken and never answered

    @property
    def url(self) -> str:
        """Its base_url."""
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def answer(self, asked: dict[str, Any]) -> Fault:
        """What one request gets."""
        if self.faults:
            return self.faults.pop(0)
        if self.fault:
            return (*self.fault, {})
        vectors: list[Any] = [(place(text) + [0.0] * self.length)[: self.length] for text in asked["input"]]
        if self.as_base64 and asked.get("encoding_format") == "base64":
            vectors = [base64.b64encode(struct.pack(f"<{len(one)}f", *one)).decode() for one in vectors]
        data = [{"object": "embedding", "index": n, "embedding": one} for n, one in enumerate(vectors)]
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        return 200, {"object": "list", "model": asked["model"], "data": data[::-1], "usage": usage}, {}


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Server

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.requests.append({**asked, "path": self.path, "key": self.headers["authorization"]})
        while self.server.silent.is_set():
            threading.Event().wait(0.02)
        status, answer, headers = self.server.answer(asked)
        body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        with contextlib.suppress(OSError):  # whoever asked may be gone
            self.send_response(status)
            for name, value in {"content-type": "application/json", **headers}.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return None


@contextlib.contextmanager
def serving() -> Iterator[Server]:
    """A server that is gone afterwards."""
    with Server() as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield made
        finally:
            made.silent.clear()
            made.shutdown()
            thread.join()
