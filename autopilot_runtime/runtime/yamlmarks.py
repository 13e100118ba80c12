"""Read YAML into plain data and keep the place of every key and value, so that errors can point at it.

Built on the parser's
events, not on its tree: depth, size and aliases are bounded while reading, so a bomb never gets built.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from autopilot_runtime.core.errors import AgentFileError
from autopilot_runtime.runtime.yamlfault import decode, point_at, syntax_fault
from autopilot_runtime.runtime.yamlplain import plain

MAX_DEPTH = 50
_TOO_DEEP = f"nested more than {MAX_DEPTH} levels deep"
# Newer parsers have a limit of their own, which they reach before they give us anything to count.
_YAMLS_OWN_DEPTH = "exceeded maximum nesting depth"
MAX_NODES = 20_000  # counted with every alias expanded

Key = tuple[str | int, ...]

_CORE = "tag:yaml.org,2002:"


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a value stands, and where its key does (for a list item both are the same). Counted from 1."""

    line: int
    column: int
    key_line: int
    key_column: int


@dataclass(frozen=True, slots=True)
class Marked:
    """Plain data, and the `Mark` of each value under its path (`("agent", "tools", 0, "name")`)."""

    data: Any
    marks: Mapping[Key, Mark]


def load_marked(raw: bytes, name: str) -> Marked:
    """Plain data with marks. Raises `AgentFileError`: `name:line:column: what`, with the line and a caret."""
    text = decode(raw, name)
    builder = _Builder(name, text)
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        for event in yaml.parse(text, Loader=loader):
            builder.take(event)
    except yaml.YAMLError as error:
        builder.problems.append(syntax_fault(error, name, text).replace(_YAMLS_OWN_DEPTH, _TOO_DEEP))
    if builder.problems:
        raise AgentFileError(builder.problems)
    return Marked(builder.root, builder.marks)


def _where(event: Event) -> tuple[int, int]:
    mark = event.start_mark
    return (mark.line + 1, mark.column + 1) if mark else (1, 1)


@dataclass(slots=True)
class _Open:
    """A mapping or list that is being read."""

    value: dict[str, Any] | list[Any]
    path: Key
    anchor: str | None
    key: str | None = None
    key_at: tuple[int, int] = (0, 0)
    seen: dict[str, tuple[int, int]] = field(default_factory=dict)
    nodes: int = 1


class _Builder:
    """Takes parser events one by one and builds data, marks and the list of problems."""

    def __init__(self, name: str, text: str) -> None:
        self.name, self.text = name, text
        self.root: Any = None
        self.marks: dict[Key, Mark] = {}
        self.problems: list[str] = []
        self._open: list[_Open] = []
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._nodes = 0
        self._documents = 0

    def take(self, event: Event) -> None:
        action = _BY_KIND.get(type(event))
        if action:
            action(self, event)

    def _stop(self, event: Event, what: str) -> AgentFileError:
        line, column = _where(event)
        return AgentFileError([*self.problems, point_at(self.name, self.text, line, column=column, what=what)])

    def _document(self, event: DocumentStartEvent) -> None:
        self._documents += 1
        if self._documents > 1:
            raise self._stop(event, "a second document (`---`); one file holds one document")

    def _count(self, event: Event, nodes: int) -> None:
        self._nodes += nodes
        if self._nodes > MAX_NODES:
            raise self._stop(event, f"more than {MAX_NODES:,} values (aliases count as often as they are used)")

    def _scalar(self, event: ScalarEvent) -> None:
        self._count(event, 1)
        if self._wants_key():
            self._key(event)
            return
        value = self._resolve(event)
        if event.anchor:
            self._anchors[event.anchor] = (value, 1)
        self._place(event, value, 1)

    def _resolve(self, event: ScalarEvent) -> Any:
        tag = event.tag
        if tag is None or tag == "!":
            return plain(event.value) if event.implicit[0] else event.value
        kind = tag.removeprefix(_CORE)
        if kind == "str":
            return event.value
        value = plain(event.value)
        wanted = {"int": int, "float": float, "bool": bool, "null": type(None)}.get(kind)
        if wanted is None or tag == kind:
            raise self._stop(event, f"the tag {_shown_tag(tag)} is not allowed; only plain data is read")
        if wanted is float and type(value) is int:
            value = float(value)
        if type(value) is not wanted:
            raise self._stop(event, f"{event.value[:40]!r} is not a {kind}")
        return value

    def _alias(self, event: AliasEvent) -> None:
        if self._wants_key():
            raise self._stop(event, "an alias as a key; write the key out")
        anchor = event.anchor or ""
        if anchor not in self._anchors:
            inside = any(o.anchor == anchor for o in self._open)
            what = "an alias to the value it stands in" if inside else "an alias to an anchor that is not defined"
            raise self._stop(event, f"*{anchor[:40]}: {what}")
        value, nodes = self._anchors[anchor]
        self._count(event, nodes)
        self._place(event, value, nodes)

    def _start(self, event: SequenceStartEvent | MappingStartEvent) -> None:
        mapping = isinstance(event, MappingStartEvent)
        if event.tag not in (None, "!", _CORE + ("map" if mapping else "seq")):
            raise self._stop(event, f"the tag {_shown_tag(event.tag or '')} is not allowed; only plain data is read")
        if self._wants_key():
            raise self._stop(event, "a list or mapping as a key; keys are plain text")
        if len(self._open) >= MAX_DEPTH:
            raise self._stop(event, _TOO_DEEP)
        self._count(event, 1)
        value: dict[str, Any] | list[Any] = {} if mapping else []
        path = self._place(event, value, 1)
        self._open.append(_Open(value, path, event.anchor))

    def _end(self, event: Event) -> None:
        done = self._open.pop()
        if done.anchor:
            self._anchors[done.anchor] = (done.value, done.nodes)
        if self._open:
            self._open[-1].nodes += done.nodes - 1

    def _wants_key(self) -> bool:
        return bool(self._open) and isinstance(self._open[-1].value, dict) and self._open[-1].key is None

    def _key(self, event: ScalarEvent) -> None:
        top, key = self._open[-1], event.value
        at = _where(event)
        if event.tag not in (None, "!", _CORE + "str"):
            raise self._stop(event, f"the tag {_shown_tag(event.tag)} on a key is not allowed")
        if key == "<<" and event.implicit[0]:
            raise self._stop(event, "merge keys (`<<`) are not read; write the keys out")
        if key in top.seen:
            first = top.seen[key]
            what = f"the key {key[:60]!r} is given twice: on line {first[0]} and on line {at[0]}; keep one"
            self.problems.append(point_at(self.name, self.text, at[0], column=at[1], what=what))
        top.seen[key] = at
        top.key, top.key_at = key, at

    def _place(self, event: NodeEvent, value: Any, nodes: int) -> Key:
        """Put a value into what is open, note its mark, and return its path."""
        line, column = _where(event)
        if not self._open:
            self.root = value
            self.marks[()] = Mark(line, column, line, column)
            return ()
        top = self._open[-1]
        top.nodes += nodes
        if isinstance(top.value, list):
            path: Key = (*top.path, len(top.value))
            top.value.append(value)
            self.marks[path] = Mark(line, column, line, column)
        else:
            key = top.key or ""
            path = (*top.path, key)
            top.value[key] = value
            self.marks[path] = Mark(line, column, *top.key_at)
            top.key = None
        return path


_BY_KIND: Mapping[type[Event], Callable[[_Builder, Any], None]] = {
    ScalarEvent: _Builder._scalar,
    AliasEvent: _Builder._alias,
    SequenceStartEvent: _Builder._start,
    MappingStartEvent: _Builder._start,
    SequenceEndEvent: _Builder._end,
    MappingEndEvent: _Builder._end,
    DocumentStartEvent: _Builder._document,
}


def _shown_tag(tag: str) -> str:
    return ("!!" + tag.removeprefix(_CORE) if tag.startswith(_CORE) else tag)[:60]
