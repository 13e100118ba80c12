"""Search by meaning: vectors of an OpenAI-compatible endpoint, kept beside the index. Only where configured."""

from __future__ import annotations

import math
import sqlite3
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from autopilot_runtime.core.errors import MissingExtra, ToolError
from autopilot_runtime.search.child import Clock
from autopilot_runtime.search.index import Hit, Index, Progress
from autopilot_runtime.search.reach import lossless, open_inside

MAX_PIECES = 20_000  # beyond this, embedding everything costs more than it is worth
_MAX_CHARS = 6_000  # of one piece
_BATCH_TEXTS = 64
_BATCH_CHARS = 100_000

# What can be embedded, once each. The text of a class or module ends where the first function in it begins.
_WANTED = """
SELECT p.digest, min(f.path), min(p.start), min(min(p.end,
  coalesce((SELECT min(q.start) - 1 FROM pieces q
            WHERE q.file = p.file AND q.id > p.id AND q.start >= p.start AND q.end <= p.end), p.end)))
FROM pieces p JOIN files f ON f.id = p.file LEFT JOIN vectors v ON v.model = ? AND v.digest = p.digest
WHERE v.digest IS NULL GROUP BY p.digest ORDER BY min(f.path), min(p.start)
"""
_STORED = """
SELECT f.path, p.name, p.kind, p.start, p.end, 0.0, p.id, p.digest, v.vector
FROM pieces p JOIN files f ON f.id = p.file JOIN vectors v ON v.model = ? AND v.digest = p.digest
ORDER BY f.path, p.start
"""


class Embedder:
    """Turns texts into vectors of length one, through `POST {base_url}/embeddings`."""

    def __init__(self, base_url: str, api_key: str, model: str, *, timeout: float = 60.0) -> None:
        self.base_url = base_url
        self.model = model
        self._key = api_key
        try:
            import openai  # late: it takes most of a second, and only this needs it
        except ImportError as error:
            raise MissingExtra("semantic_search with embeddings", "openai") from error
        self._sdk = openai
        self._client = openai.OpenAI(api_key=api_key, base_url=base_url, timeout=timeout, max_retries=2)

    @property
    def name(self) -> str:
        """What its vectors are kept under: another endpoint or model has others."""
        return f"{self.base_url} {self.model}"

    def embed(self, texts: Sequence[str]) -> list[bytes]:
        """One vector for each text, as float32. What goes wrong is a `ToolError` that says what to do."""
        try:
            answer = self._client.embeddings.create(input=list(texts), model=self.model)
            found = {int(one.index): one.embedding for one in answer.data}
            vectors = [_unit(found[index]) for index in range(len(texts))]
        except self._sdk.OpenAIError as error:
            raise ToolError(self._explain(error)) from error
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ToolError(
                f"{self.base_url} did not answer with embeddings ({type(error).__name__}: {error})."
            ) from error
        if len({len(one) for one in vectors}) > 1:
            raise ToolError(f"{self.base_url} answered with vectors of different lengths.")
        return vectors

    def _explain(self, error: Exception) -> str:
        status = getattr(error, "status_code", None)
        reason = " ".join(str(error).replace(self._key, "[key]").split())[:300]
        if status in (401, 403):
            return f"The embeddings endpoint {self.base_url} refused the key ({status}): {reason}"
        if status == 404:
            return f"The embeddings endpoint {self.base_url} does not know the model {self.model!r} (404): {reason}"
        if status is not None:
            return f"The embeddings endpoint {self.base_url} failed ({status}): {reason}"
        return f"The embeddings endpoint {self.base_url} cannot be reached: {reason}"

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    def __enter__(self) -> Embedder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _unit(values: Sequence[float]) -> bytes:
    length = math.sqrt(sum(value * value for value in values))
    if not values or not length or not math.isfinite(length):
        raise ValueError("an empty vector")
    return array("f", [value / length for value in values]).tobytes()


@dataclass(frozen=True, slots=True)
class Embedded:
    """How far the vectors reach: `done` of `total` pieces have one."""

    done: int
    total: int


def refresh_vectors(
    index: Index,
    embedder: Embedder,
    *,
    seconds: float,
    stop: Callable[[], bool] = bool,
    progress: Progress | None = None,
) -> Embedded:
    """Embed the pieces that have no vector yet. Each batch is kept, so a second call goes on where this one ended."""
    clock = Clock(seconds, stop)
    with index.open() as connection:
        total = int(connection.execute("SELECT count(DISTINCT digest) FROM pieces").fetchone()[0])
        if total > MAX_PIECES:
            return Embedded(0, total)
        wanted = connection.execute(_WANTED, (embedder.name,)).fetchall()
        done = total - len(wanted)
        for batch in _batches(_texts(index.root, wanted)):
            if clock.left <= 0:
                break
            vectors = embedder.embed([text for _, text in batch])
            connection.executemany(
                "INSERT OR REPLACE INTO vectors (model, digest, vector) VALUES (?, ?, ?)",
                [(embedder.name, digest, vector) for (digest, _), vector in zip(batch, vectors, strict=True)],
            )
            done += len(batch)
            if progress is not None:
                progress(done, total)
    return Embedded(done, total)


def _texts(root: str, wanted: Sequence[tuple[bytes, str, int, int]]) -> Iterator[tuple[bytes, str]]:
    for digest, path, start, end in wanted:
        lines = read_lines(root, path, start, end)
        yield digest, "\n".join(lines)[:_MAX_CHARS].strip() or path


def read_lines(root: str, path: str, start: int, end: int) -> list[str]:
    """Lines of a file of the workspace, none when it cannot be read any more."""
    try:
        with open_inside(root, path) as raw:
            data = raw.read(1 << 20)
    except OSError:
        return []
    text = data.decode("utf-16", "replace") if data[:2] in (b"\xff\xfe", b"\xfe\xff") else lossless(data)
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    return list(islice(text.split("\n"), start - 1, end))


def _batches(texts: Iterator[tuple[bytes, str]]) -> Iterator[list[tuple[bytes, str]]]:
    batch: list[tuple[bytes, str]] = []
    size = 0
    for one in texts:
        if batch and (len(batch) == _BATCH_TEXTS or size + len(one[1]) > _BATCH_CHARS):
            yield batch
            batch, size = [], 0
        batch.append(one)
        size += len(one[1])
    if batch:
        yield batch


def search_vectors(index: Index, embedder: Embedder, query: str, *, limit: int = 5) -> list[Hit]:
    """The pieces nearest in meaning to the query."""
    (wanted,) = embedder.embed([query])
    with index.open() as connection:
        return _nearest(connection, embedder.name, wanted, limit)


def _nearest(connection: sqlite3.Connection, model: str, wanted: bytes, limit: int) -> list[Hit]:
    rows = [row for row in connection.execute(_STORED, (model,)) if len(row[8]) == len(wanted)]
    scores = _products([row[8] for row in rows], wanted)
    best = sorted(range(len(rows)), key=lambda at: -scores[at])[:limit]
    return [replace(Hit(*rows[at][:8]), score=scores[at]) for at in best]


def _products(vectors: Sequence[bytes], wanted: bytes) -> list[float]:
    """The cosine of each with `wanted`: all have length one."""
    try:
        import numpy  # type: ignore[import-not-found,unused-ignore]  # optional: a hundred times as fast
    except ImportError:
        target = array("f", wanted)
        return [sum(map(float.__mul__, array("f", one), target)) for one in vectors]
    matrix: Any = numpy.frombuffer(b"".join(vectors), dtype="float32").reshape(len(vectors), -1) if vectors else None
    return [] if matrix is None else [float(one) for one in matrix @ numpy.frombuffer(wanted, dtype="float32")]
