"""What a block showed, in order and bounded: the head and the tail are kept, what is between is counted."""

from __future__ import annotations

from collections import deque
from typing import Literal

from autopilot_runtime.core.message import printable
from autopilot_runtime.core.protocols import Item

ItemKind = Literal["text", "shown", "receipt", "value"]


class Transcript:
    """What a block showed, in order; of too much the head and the tail are kept, and the rest counted."""

    def __init__(self, cap: int) -> None:
        self._head: list[Item] = []
        self._tail: deque[Item] = deque()
        self._head_room = cap // 2
        self._tail_cap = cap - self._head_room
        self._tail_size = 0
        self.dropped = 0

    def add(self, kind: ItemKind, text: str, *, dropped: int = 0, source: str = "", whole: bool = False) -> None:
        """Show something. `dropped`: characters that came before it and are already gone."""
        text = printable(text)
        self.dropped += dropped
        room = 0 if dropped else self._head_room
        if room:
            self._put(self._head, Item(kind, text[:room], source, whole and len(text) <= room))
            self._head_room -= min(room, len(text))
            text, whole = text[room:], False
        if not text:
            return
        self._head_room = 0
        self._tail.append(Item(kind, text, source, whole))
        self._tail_size += len(text)
        while self._tail_size > self._tail_cap:
            self._shorten()

    def items(self) -> tuple[Item, ...]:
        """The items, with one line where characters are missing."""
        gap = [Item("text", f"\n[... {self.dropped} characters not shown ...]\n")] if self.dropped else []
        merged: list[Item] = []
        for item in (*self._head, *gap, *self._tail):
            self._put(merged, item)
        return tuple(merged)

    def _shorten(self) -> None:
        first = self._tail.popleft()
        cut = min(len(first.text), self._tail_size - self._tail_cap)
        if cut < len(first.text):
            self._tail.appendleft(Item(first.kind, first.text[cut:], first.source))
        self._tail_size -= cut
        self.dropped += cut

    @staticmethod
    def _put(items: list[Item], item: Item) -> None:
        """Printed text that follows printed text is one item; an empty result is still a result."""
        if item.kind == "text" and items and items[-1].kind == "text":
            items[-1] = Item("text", items[-1].text + item.text)
        elif item.text or item.kind != "text":
            items.append(item)
