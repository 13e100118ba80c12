"""What flows through the loop: an item to work on, what came of it, and several of them together."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from autopilot_runtime.core.ids import new_id

_NOT_CONTENT = frozenset({"grad_fn", "_named"})
# An id that was made up keeps being one where it is given again: in a file, in a copy.
_MADE_UP = re.compile(r"d_[0-9a-f]{23}")


@dataclass(kw_only=True)
class Datum:
    """One item. Subclass it as a dataclass for fields of your own; `grad_fn` is where in the graph it came from."""

    id: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    grad_fn: Any = field(default=None, repr=False, compare=False)
    _named: bool = field(default=False, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._named = bool(self.id) and not _MADE_UP.fullmatch(self.id)
        if not self.id:
            self.id = new_id("d")

    @property
    def is_named(self) -> bool:
        """Whether somebody gave it its id."""
        return self._named

    def to_dict(self) -> dict[str, Any]:
        """Its fields, ready for JSON."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in _NOT_CONTENT}

    @property
    def digest(self) -> str:
        """Names the content: the same in every process. An id that was made up here is no part of it."""
        content = self.to_dict()
        if not self._named:
            del content["id"]
        return digest_of(content)


@dataclass
class EvalDatum(Datum):
    """What one evaluation gave. True when it was a success."""

    split: str = ""
    epoch: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    success: bool = True
    error_message: str = ""
    feedback: str = ""

    def __bool__(self) -> bool:
        return self.success


@dataclass
class Batch(Datum):
    """Items that are worked on together. A batch of one has the id of its item, and shows the item's fields."""

    items: Sequence[Any] = ()

    def __post_init__(self) -> None:
        if not self.id and len(self.items) == 1:
            self.id = getattr(self.items[0], "id", "")
        super().__post_init__()

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.items[index]

    def __bool__(self) -> bool:
        return bool(self.items)

    def __getattr__(self, name: str) -> Any:
        items = self.__dict__.get("items", ())
        if not name.startswith("_") and len(items) == 1 and hasattr(items[0], name):
            return getattr(items[0], name)
        raise AttributeError(f"a batch of {len(items)} has no attribute {name!r}; its items are in .items")

    @property
    def digest(self) -> str:
        """Names the items, in order."""
        return digest_of([item_digest(item) for item in self.items])


def id_from_content(item: Datum) -> str:
    """An id for an item that was given none: the same in every process, and known as made up."""
    return f"d_{item.digest[:23]}"


def item_digest(item: Any) -> str:
    """Names an item of any kind by its content."""
    found = getattr(item, "digest", None)
    return found if isinstance(found, str) else digest_of(item)


def digest_of(value: Any) -> str:
    """Names a value by its content: the same for equal values, in every process."""
    return hashlib.sha256(_encoder.encode(value).encode()).hexdigest()


def _plain(value: Any) -> Any:
    """Something JSON can say in place of a value it cannot."""
    if isinstance(value, Datum):
        return {"digest": value.digest}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if isinstance(value, (bytes, bytearray)):
        return {"bytes": value.hex()}
    if isinstance(value, (set, frozenset)):
        return {"set": sorted(digest_of(one) for one in value)}
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence):
        return list(value)
    state = getattr(value, "__dict__", None)
    if state is not None and not callable(value):
        return {"type": type(value).__qualname__, **state}
    raise TypeError(
        f"{type(value).__name__} cannot be told apart by its content: give the item a `digest` (a string), "
        "or make it a dataclass of plain values"
    )


_encoder = json.JSONEncoder(sort_keys=True, ensure_ascii=True, separators=(",", ":"), default=_plain)
