"""Embeddings over a real socket: batches, errors that can be read, and vectors that are kept."""

from __future__ import annotations

import base64
import json
import struct
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from autopilot_runtime.core.errors import ToolError
from autopilot_runtime.search.embed import Embedder, refresh_vectors, search_vectors
from autopilot_runtime.search.index import Index

# One axis for each topic: a text lies where its words put it.
TOPICS = (("fire", "flame", "burn"), ("water", "rain", "wet"), ("money", "invoice", "price"))


def place(text: str) -> list[float]:
    return [0.1 + sum(text.lower().count(word) for word in topic) for topic in TOPICS]


class Server(ThreadingHTTPServer):
    """An endpoint that speaks the protocol; `fault` makes it answer otherwise."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[dict[str, Any]] = []
        self.fault: tuple[int, Any] | None = None
        self.as_base64 = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.requests.append({**asked, "path": self.path, "key": self.headers["authorization"]})
        status, answer = self.server.fault or (200, None)
        if answer is None:
            vectors: list[Any] = [place(text) for text in asked["input"]]
            if self.server.as_base64:
                vectors = [base64.b64encode(struct.pack("<3f", *one)).decode() for one in vectors]
            data = [{"object": "embedding", "index": n, "embedding": one} for n, one in enumerate(vectors)]
            answer = {
                "object": "list",
                "model": asked["model"],
                "data": data[::-1],
                "usage": {"prompt_tokens": 1, "total_tokens": 1},
            }
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return None


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield made
        made.shutdown()
        thread.join()


@pytest.fixture
def embedder(server: Server) -> Iterator[Embedder]:
    with Embedder(server.url, "pa-secret-key", "code-3", timeout=5) as made:
        yield made


@pytest.fixture
def index(tmp_path: Path) -> Index:
    root = tmp_path / "work"
    root.mkdir()
    (root / "a.py").write_text("def hot():\n    burn(flame)\n\ndef moist():\n    return rain + water\n")
    (root / "b.py").write_text("class Bill:\n    price = 1\n    def pay(self):\n        return invoice\n")
    made = Index(root, folder=tmp_path / "cache")
    made.refresh()
    return made


@pytest.mark.parametrize("as_base64", [True, False], ids=["base64", "numbers"])
def test_the_nearest_in_meaning_comes_first(
    index: Index, embedder: Embedder, server: Server, as_base64: bool
) -> None:
    server.as_base64 = as_base64
    state = refresh_vectors(index, embedder, seconds=30)
    assert state.done == state.total > 3
    assert search_vectors(index, embedder, "something is on fire", limit=1)[0].name == "hot"
    best = search_vectors(index, embedder, "wet", limit=2)
    assert best[0].name == "moist"
    assert 1.0 >= best[0].score > best[1].score
    assert {hit.name for hit in search_vectors(index, embedder, "money", limit=2)} == {"Bill", "Bill.pay"}
    assert server.requests[0]["path"] == "/v1/embeddings"
    assert server.requests[0]["key"] == "Bearer pa-secret-key"
    assert server.requests[0]["model"] == "code-3"


def test_what_has_a_vector_is_not_sent_again(index: Index, embedder: Embedder, server: Server) -> None:
    refresh_vectors(index, embedder, seconds=30)
    before = len(server.requests)
    refresh_vectors(index, embedder, seconds=30)
    assert len(server.requests) == before
    Path(index.root, "a.py").write_text("def hot():\n    burn(flame)\n\ndef moist():\n    return rain + rain\n")
    index.refresh()
    refresh_vectors(index, embedder, seconds=30)
    (sent,) = server.requests[before:]
    assert sent["input"] == ["def moist():\n    return rain + rain"]


def test_another_model_has_its_own_vectors(index: Index, embedder: Embedder, server: Server) -> None:
    refresh_vectors(index, embedder, seconds=30)
    with Embedder(server.url, "pa-secret-key", "other", timeout=5) as other:
        assert search_vectors(index, other, "fire") == []


def test_much_is_sent_in_batches_and_kept_batch_by_batch(index: Index, embedder: Embedder, server: Server) -> None:
    Path(index.root, "many.py").write_text("\n".join(f"def f{n}():\n    return {n}" for n in range(150)))
    index.refresh()
    told: list[tuple[int, int]] = []
    state = refresh_vectors(
        index, embedder, seconds=30, stop=lambda: len(told) == 1, progress=lambda *n: told.append(n)
    )
    assert told == [(64, state.total)]
    rest = refresh_vectors(index, embedder, seconds=30)
    assert rest.done == rest.total == state.total
    assert max(len(one["input"]) for one in server.requests) == 64


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ((401, {"error": {"message": "bad key pa-secret-key"}}), r"refused the key \(401\).*bad key \[key\]"),
        ((404, {"error": {"message": "no such model"}}), r"does not know the model 'code-3'"),
        ((400, {"error": {"message": "too long"}}), r"failed \(400\).*too long"),
        ((200, {"object": "list", "data": []}), "did not answer with embeddings|No embedding data"),
        ((200, {"hello": "world"}), "did not answer with embeddings|No embedding data"),
        ((200, {"data": [{"index": 0, "embedding": [0.0, 0.0]}]}), "did not answer with embeddings"),
    ],
)
def test_errors_can_be_read_and_hold_no_key(
    embedder: Embedder, server: Server, fault: tuple[int, Any], says: str
) -> None:
    server.fault = fault
    with pytest.raises(ToolError, match=says) as caught:
        embedder.embed(["x"])
    assert "pa-secret-key" not in str(caught.value)


def test_an_endpoint_that_is_not_there_is_named() -> None:
    with (
        Embedder("http://127.0.0.1:9/v1", "k", "m", timeout=1) as embedder,
        pytest.raises(ToolError, match=r"127\.0\.0\.1:9"),
    ):
        embedder.embed(["x"])
