"""Search by meaning: vectors of an OpenAI-compatible endpoint, kept beside the index. Only where configured."""

from __future__ import annotations

import sqlite3
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from autopilot_runtime.search.child import Clock
from autopilot_runtime.search.endpoint import Embedder, Late
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
            try:
                vectors = embedder.embed([text for _, text in batch])
            except Late:
                break
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


def forget_other_lengths(index: Index, embedder: Embedder, like: bytes) -> None:
    """Drop vectors of another length than this one: the endpoint has another model under the same name now."""
    with index.open() as connection:
        connection.execute("DELETE FROM vectors WHERE model = ? AND length(vector) != ?", (embedder.name, len(like)))


def search_vectors(index: Index, embedder: Embedder, query: str, *, limit: int = 5) -> list[Hit]:
    """The pieces nearest in meaning to the query."""
    return nearest(index, embedder, embedder.embed([query])[0], limit=limit)


def nearest(index: Index, embedder: Embedder, wanted: bytes, *, limit: int) -> list[Hit]:
    """The pieces whose vectors are nearest to this one."""
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
