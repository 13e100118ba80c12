"""Tells whether the data is still the same, and names what changed when it is not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from autopilot_runtime.training.datum import digest_of, item_digest
from autopilot_runtime.training.fault import TrainingError
from autopilot_runtime.training.split import item_key

_NAMED = 20_000  # items up to which each is remembered by itself; above, only all of them together
_SHOWN = 5


@dataclass(frozen=True)
class DatasetFingerprint:
    """The content of a dataset in a few words. `count` is None for data that comes one after another: nothing is
    known of that, and it differs from nothing."""

    count: int | None
    digest: str
    items: tuple[tuple[str, str], ...] = ()  # key, digest

    @classmethod
    def of(cls, data: Any) -> DatasetFingerprint:
        """The fingerprint of a dataset, a loader or a list. What can be iterated over only once is left alone.

        A dataset that knows better than its items has a `fingerprint` of its own, a text.
        """
        dataset = getattr(data, "dataset", data)
        found = getattr(dataset, "fingerprint", None)
        if isinstance(found, str):
            return cls(None, found)
        try:
            size = len(dataset)
        except TypeError:
            return cls(None, "")
        listed = dataset if isinstance(dataset, Iterable) else (dataset[number] for number in range(size))
        digests, items = [], []
        for item in listed:
            digests.append(item_digest(item))
            if size <= _NAMED:
                items.append((item_key(item)[:40], digests[-1][:16]))
        return cls(len(digests), digest_of(digests), tuple(items))

    def same_as(self, other: DatasetFingerprint) -> bool:
        """Whether the items are the same, in the same order."""
        return not self.changes(other)

    def changes(self, now: DatasetFingerprint) -> str:
        """What is different now, in words; empty for nothing."""
        if not (self.digest and now.digest) or self.digest == now.digest:
            return ""
        if self.count is None or now.count is None:
            return "another fingerprint"
        if not self.items or not now.items:
            return f"{self.count} items then, {now.count} now, and not the same"
        found = [part for part in _named(dict(self.items), dict(now.items)) if part]
        if found:
            return "; ".join(found)
        if Counter(self.items) == Counter(now.items):
            return "the same items in another order"
        return f"{self.count} items then, {now.count} now: some are there more than once"

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {"count": self.count, "digest": self.digest, "items": [list(one) for one in self.items]}

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> DatasetFingerprint:
        """What `to_dict` gave."""
        try:
            return cls(found["count"], found["digest"], tuple((key, digest) for key, digest in found["items"]))
        except (KeyError, TypeError, ValueError) as error:
            raise TrainingError(f"this is no fingerprint of a dataset: {error}") from error


def _named(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    # An item without an id is known by its content: changed, it is one gone and one added.
    return [
        _listed("added", [key for key in after if key not in before]),
        _listed("gone", [key for key in before if key not in after]),
        _listed("changed", [key for key in after if key in before and before[key] != after[key]]),
    ]


def _listed(what: str, keys: list[str]) -> str:
    more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    return f"{len(keys)} {what} ({', '.join(keys[:_SHOWN])}{more})" if keys else ""
