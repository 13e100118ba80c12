"""Answers kept as they come, one JSON line each: what was asked before a kill is not asked again."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from autopilot_runtime.training.fault import TrainingError

log = logging.getLogger("autopilot_runtime.training")


class AnswerLog:
    """A file of answers by key. Without a path they are kept in memory only."""

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self.path = None if path is None else Path(path)
        self._lock = threading.Lock()
        self._known: dict[str, Any] = {}
        if self.path is not None and self.path.exists():
            self._known = dict(self._read(self.path))

    def __contains__(self, key: object) -> bool:
        return key in self._known

    def __len__(self) -> int:
        return len(self._known)

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return iter(tuple(self._known.items()))

    def get(self, key: str) -> Any:
        """The answer; None when there is none yet."""
        return self._known.get(key)

    def put(self, key: str, answer: Any) -> None:
        """Keep an answer; it is on disk when this returns. The first one under a key stays."""
        line = json.dumps({"key": key, "answer": answer}, ensure_ascii=False)
        with self._lock:
            if key in self._known:
                return
            if self.path is not None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                with self.path.open("ab") as file:
                    file.write(line.encode("utf-8", "backslashreplace") + b"\n")
                    file.flush()
                    os.fsync(file.fileno())
            self._known[key] = json.loads(line)["answer"]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_lock": None}  # a lock belongs to one process

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())

    def _read(self, path: Path) -> Iterator[tuple[str, Any]]:
        raw = path.read_bytes()
        whole, _, torn = raw.rpartition(b"\n")
        for number, line in enumerate(whole.split(b"\n") if whole else [], 1):
            if not line.strip():
                continue
            try:
                entry = json.loads(line)
                yield entry["key"], entry["answer"]
            except (ValueError, KeyError, TypeError) as error:
                raise TrainingError(
                    f"{path}:{number} is damaged ({error}). Mend it, or remove it: what it held is then asked anew."
                ) from error
        if torn:
            # A kill in the middle of a line: it is cut off, so that the next line does not become part of it.
            log.warning("%s ends in the middle of a line: that answer is asked anew", path)
            with path.open("r+b") as file:
                file.truncate(len(raw) - len(torn))
