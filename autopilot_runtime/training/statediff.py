"""What differs between two commits: parameter by parameter, and file by file where a parameter is files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from autopilot_runtime.block.diff import unified_diff
from autopilot_runtime.core.errors import ObjectDamaged
from autopilot_runtime.store.objects import Store
from autopilot_runtime.store.tree import MAGIC, State, difference

if TYPE_CHECKING:
    from autopilot_runtime.training.record import Commit, Record


@dataclass(frozen=True, slots=True)
class Changed:
    """One text (or file) that is another one. `path` is empty where the parameter is a single value."""

    parameter: str
    path: str
    diff: str

    @property
    def name(self) -> str:
        """What it is called."""
        return f"{self.parameter}: {self.path}" if self.path else self.parameter


def changes(record: Record, before: Commit | None, after: Commit) -> list[Changed]:
    """Everything that differs, in the order of names. A content that is damaged is said to be."""
    old = dict(before.parameters) if before is not None else {}
    found: list[Changed] = []
    for name in sorted({*old, *after.parameters}):
        was, now = old.get(name), after.parameters.get(name)
        if was == now:
            continue
        try:
            found += _changed(record.store, name, _digest(was), _digest(now))
        except ObjectDamaged as error:
            found.append(Changed(name, "", f"(cannot be shown: {error})\n"))
    return found


def _digest(text: str | None) -> bytes | None:
    return None if text is None else bytes.fromhex(text)


def _changed(store: Store, name: str, was: bytes | None, now: bytes | None) -> Iterator[Changed]:
    before = b"" if was is None else store.get(was)
    after = b"" if now is None else store.get(now)
    if _is_tree(before, after):
        try:
            yield from list(_files(store, name, was if before else None, now if after else None))
            return
        except ObjectDamaged:
            if any(one.startswith(MAGIC + b"\0") for one in (before, after)):
                raise
    yield Changed(name, "", unified_diff(_lines(before), _lines(after), name))


def _is_tree(before: bytes, after: bytes) -> bool:
    """Whether both are folders; one that is not there yet is none."""
    return all(one.startswith(MAGIC) for one in (before, after) if one) and bool(before or after)


def _files(store: Store, name: str, was: bytes | None, now: bytes | None) -> Iterator[Changed]:
    for path, (old, new) in sorted(difference(store, was, now).items()):
        shown = path.decode("utf-8", "backslashreplace")
        diff = unified_diff(_content(store, old), _content(store, new), shown)
        yield Changed(name, shown, "".join([*_about(old, new), diff]))


def _content(store: Store, state: State | None) -> bytes:
    return store.get(state.digest) if state is not None and state.kind in ("file", "link") else b""


def _about(old: State | None, new: State | None) -> Iterator[str]:
    """What a diff of contents does not say."""
    if old is None and new is not None:
        yield f"(new {new.kind})\n"
    elif new is None and old is not None:
        yield f"({old.kind} deleted)\n"
    elif old is not None and new is not None:
        if old.kind != new.kind:
            yield f"({old.kind} became a {new.kind})\n"
        elif old.mode != new.mode:
            yield f"(mode {old.mode:o} -> {new.mode:o})\n"


def _lines(data: bytes) -> bytes:
    """A document that was kept on one line, on many: so that a change in it is seen."""
    if not data.startswith((b"{", b"[")):
        return data
    try:
        value = json.loads(data)
        compact = json.dumps(value, separators=(",", ":")).encode()
    except (ValueError, RecursionError):
        return data
    return json.dumps(value, indent=2).encode() + b"\n" if compact == data else data
