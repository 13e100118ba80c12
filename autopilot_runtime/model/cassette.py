"""Recorded model calls on disk: one JSON object per line, provider-neutral, without secrets."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from autopilot_runtime.core.errors import ReplayError
from autopilot_runtime.core.message import Message
from autopilot_runtime.core.protocols import Usage

VERSION = 1
# What differs between two runs of the same thing. The order matters: paths hold dates, dates hold times.
VOLATILE: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), name)
    for pattern, name in (
        (r"(?ms)^<status>.*?^</status>[^\n]*\n?|^\[STATUS[^\n]*(?:\n[ \t]+[^\n]*)*", "<status>"),
        (r"(?:/private)?/(?:tmp|var/tmp|var/folders|dev/shm)/[^\s'\"`:;,)\]}>]+", "<temp>"),
        (r"[A-Za-z]:\\[^\s'\"]*\\Temp\\[^\s'\"]+", "<temp>"),
        (r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "<uuid>"),
        (r"(?<![\w#])#[0-9a-f]{6}\b", "<tag>"),
        (r"\b(?:[a-z]+_)?[0-9a-f]{23}\b", "<id>"),
        (r"\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?\b", "<date>"),
        (r"\b\d\d:\d\d(?::\d\d(?:\.\d+)?)?\b", "<time>"),
        (r"\b\d+(?:\.\d+)? ?(?:ms|s|sec|seconds?|us|µs)\b", "<duration>"),
        (r"\b0x[0-9a-fA-F]{6,16}\b", "<address>"),
        (r"\b(pid|PID)([ =:]+)\d+\b", r"\1\2<pid>"),
    )
)


def normalise(text: str, volatile: Callable[[str], str] | None = None) -> str:
    """The text without what differs between two runs; `volatile` takes out what only its caller knows of."""
    if volatile is not None:
        text = volatile(text)
    for pattern, name in VOLATILE:
        text = pattern.sub(name, text)
    return "\n".join(line.rstrip() for line in text.splitlines()).strip()


def newest(messages: Sequence[Message]) -> tuple[int, str]:
    """(number of the model call, what is new for it): everything since the last reply.

    What came before was compared when it was new, so a call costs what is new and not the history.
    """
    fresh: list[str] = []
    for message in reversed(messages):
        if message.role == "assistant":
            break
        fresh.append(message.content)
    step = 1 + sum(1 for message in messages if message.role == "assistant")
    return step, "\n\n".join(reversed(fresh))


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a recorded reply and the milliseconds before it."""

    text: str
    after_ms: int = 0
    thought: bool = False


@dataclass(frozen=True, slots=True)
class Record:
    """One recorded model call. `prompt` is the normalised new text, kept so that a difference can be shown."""

    step: int
    prompt: str
    chunks: tuple[Chunk, ...]
    usage: Usage
    model: str
    stop: str = "end"
    detail: str = ""

    @property
    def sha(self) -> str:
        """What this record is found by."""
        return sha_of(self.prompt)

    def to_line(self) -> bytes:
        """The record as one line of a cassette."""
        chunks = [[c.text, c.after_ms, "thought"] if c.thought else [c.text, c.after_ms] for c in self.chunks]
        value = {
            "v": VERSION,
            "match": {"step": self.step, "prompt_sha": self.sha, "prompt": self.prompt},
            "chunks": chunks,
            "usage": asdict(self.usage),
            "model": self.model,
            "stop": self.stop,
            **({"detail": self.detail} if self.detail else {}),
        }
        return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace") + b"\n"

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Record:
        """The record that `to_line` wrote."""
        if not isinstance(value, dict):
            raise ValueError("not a JSON object")
        if value.get("v") != VERSION:
            raise ValueError(f"format version {value.get('v')!r}; this release reads {VERSION}")
        match, usage = value["match"], value.get("usage") or {}
        known = {key: usage[key] for key in Usage.__dataclass_fields__ if key in usage}
        chunks = tuple(Chunk(str(c[0]), int(c[1]), len(c) > 2) for c in value["chunks"])
        prompt = str(match.get("prompt", ""))
        return cls(
            int(match["step"]),
            prompt,
            chunks,
            Usage(**known),
            str(value.get("model", "")),
            str(value.get("stop", "end")),
            str(value.get("detail", "")),
        )


def sha_of(prompt: str) -> str:
    """A short digest of a normalised prompt."""
    return hashlib.sha256(prompt.encode("utf-8", "replace")).hexdigest()[:24]


class Cassette:
    """The records of one file, given out once each, the one after the last one first."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.records: list[Record] = _read(path) if path.exists() else []
        self._used: set[int] = set()
        self._next = 0

    def take(self, step: int, prompt: str) -> Record | None:
        """The record of this call, or None."""
        total = len(self.records)
        for index in chain(range(self._next, total), range(self._next)):
            record = self.records[index]
            if index not in self._used and record.step == step and record.prompt == prompt:
                self._used.add(index)
                self._next = index + 1
                return record
        return None

    def add(self, record: Record) -> None:
        """Append a record: one write of one line, readable by its owner only."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(fd, "ab") as file:
            file.write(record.to_line())
        self._used.add(len(self.records))
        self.records.append(record)
        self._next = len(self.records)

    def explain(self, step: int, prompt: str) -> str:
        """Why no record fits, with the difference to the nearest one."""
        if not self.records:
            return f"{self.path} holds no recorded call. Record it with AUTOPILOT_REPLAY_MODE=record (or auto)."
        same = [r for i, r in enumerate(self.records) if r.step == step and i not in self._used]
        if not same:
            used = any(r.step == step and r.prompt == prompt for r in self.records)
            why = "it was already replayed" if used else f"its calls are {sorted({r.step for r in self.records})}"
            return f"{self.path} has no recorded call {step} for this: {why}."
        ahead = [r for r in self.records[self._next :] if r.step == step]
        shown = difference((ahead or same)[0].prompt, prompt)
        return f"{self.path}: what call {step} asks differs from what was recorded:\n{shown}"


def difference(recorded: str, asked: str) -> str:
    """A unified diff, short enough that a person reads it to its end."""
    old, new = recorded.splitlines()[:2000], asked.splitlines()[:2000]
    diff = list(difflib.unified_diff(old, new, "recorded", "asked now", lineterm="", n=2))
    more = [f"... {len(diff) - 60} more lines"] if len(diff) > 60 else []
    return "\n".join([*(line[:200] for line in diff[:60]), *more])


def _read(path: Path) -> list[Record]:
    records = []
    for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            records.append(Record.from_dict(json.loads(line)))
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
            raise ReplayError(f"{path}:{number}: not a recorded call ({error}).") from error
    return records
