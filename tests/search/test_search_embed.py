"""Embeddings over a real socket: batches, errors that can be read, and vectors that are kept."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from autopilot_runtime.core.errors import ToolError
from autopilot_runtime.search.embed import forget_other_lengths, refresh_vectors, search_vectors
from autopilot_runtime.search.endpoint import Embedder
from autopilot_runtime.search.index import Index
from tests.search.embedding_server import Fault, Server, serving


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as made:
        yield made


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


BUSY = {"error": {"message": "slow down"}}
VECTOR = {"object": "embedding", "embedding": [1.0, 0.0, 0.0]}


@pytest.mark.parametrize(
    "fault",
    [
        (429, BUSY, {"retry-after-ms": "40"}),
        (429, BUSY, {"retry-after": "0.04"}),
        (429, BUSY, {"retry-after": formatdate(time.time() - 5, usegmt=True)}),
        (500, {"error": {"message": "oops"}}, {"retry-after": "0"}),
        (503, b"<html>down</html>", {"content-type": "text/html", "retry-after": "0"}),
    ],
    ids=["429 ms", "429 s", "429 date", "500", "503 html"],
)
def test_a_passing_fault_is_waited_out_as_long_as_the_endpoint_asks(
    embedder: Embedder, server: Server, fault: Fault
) -> None:
    server.faults = [fault, fault]
    began = time.monotonic()
    assert len(embedder.embed(["fire", "rain"])) == 2
    assert len(server.requests) == 3
    assert time.monotonic() - began < 4


def test_a_wait_longer_than_there_is_time_is_not_begun(embedder: Embedder, server: Server) -> None:
    server.faults = [(429, BUSY, {"retry-after": "600"})]
    began = time.monotonic()
    with pytest.raises(ToolError, match=r"takes no more requests now \(429\).*slow down"):
        embedder.embed(["x"])
    assert time.monotonic() - began < 4
    assert len(server.requests) == 1


def test_a_lasting_fault_is_tried_three_times_and_told(embedder: Embedder, server: Server) -> None:
    server.faults = [(500, {"error": {"message": "pa-secret-key is broken"}}, {"retry-after": "0"})] * 5
    with pytest.raises(ToolError, match=r"failed \(500\).*\[key\] is broken"):
        embedder.embed(["x"])
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"<html>hello</html>", "did not answer with embeddings"),
        (b'{"data": [', "did not answer with embeddings"),
        ([1, 2], "did not answer with embeddings|No embedding data"),
        ({"data": [{"index": 0, "embedding": "!!!"}]}, "did not answer with embeddings"),
        ({"data": [{"index": 0, "embedding": [float("nan"), 1.0]}]}, "did not answer with embeddings"),
        ({"data": [{"index": 0, **VECTOR}]}, "answered with 1 vectors for 2 texts"),
        ({"data": [{"index": n, **VECTOR} for n in range(3)]}, "answered with 3 vectors for 2 texts"),
        ({"data": [{"index": n, **VECTOR} for n in (0, 0)]}, "answered with 2 vectors for 2 texts"),
        (
            {"data": [{"index": 0, **VECTOR}, {"index": 1, "object": "embedding", "embedding": [1.0]}]},
            "vectors of different lengths",
        ),
    ],
)
def test_an_answer_that_makes_no_sense_is_an_error(
    embedder: Embedder, server: Server, answer: object, says: str
) -> None:
    server.fault = (200, answer)
    with pytest.raises(ToolError, match=says):
        embedder.embed(["x", "y"])
    assert len(server.requests) == 1


def test_a_model_with_other_vectors_under_the_same_name_starts_anew(
    index: Index, embedder: Embedder, server: Server
) -> None:
    total = refresh_vectors(index, embedder, seconds=30).total
    server.length = 5
    (wanted,) = embedder.embed(["something is on fire"])
    forget_other_lengths(index, embedder, wanted)
    before = len(server.requests)
    assert refresh_vectors(index, embedder, seconds=30).done == total
    assert sum(len(one["input"]) for one in server.requests[before:]) == total
    assert search_vectors(index, embedder, "something is on fire", limit=1)[0].name == "hot"


def test_a_silent_endpoint_is_left_when_time_is_up(index: Index, server: Server) -> None:
    server.silent.set()
    began = time.monotonic()
    with Embedder(server.url, "k", "m", timeout=0.3) as embedder:
        with pytest.raises(ToolError, match=r"did not answer in 0\.3 s"):
            embedder.embed(["x"])
        assert refresh_vectors(index, embedder, seconds=30).done == 0
    assert time.monotonic() - began < 3


@pytest.mark.parametrize("waits", ["for an answer", "for another try"])
def test_a_run_that_stops_waits_no_longer(server: Server, waits: str) -> None:
    stopped = threading.Event()
    if waits == "for an answer":
        server.silent.set()
    else:
        server.faults = [(429, BUSY, {"retry-after": "20"})]
    failed: list[str] = []

    def ask() -> None:
        with Embedder(server.url, "k", "m", timeout=60, stop=stopped.is_set) as embedder:
            try:
                embedder.embed(["x"])
            except ToolError as error:
                failed.append(str(error))

    thread = threading.Thread(target=ask)
    thread.start()
    until = time.monotonic() + 20
    while not server.requests and time.monotonic() < until:
        threading.Event().wait(0.01)
    stopped.set()
    began = time.monotonic()
    thread.join(timeout=20)
    assert time.monotonic() - began < 1
    assert "was stopped" in failed[0]
