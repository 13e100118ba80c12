"""Who is trained on and who is held out: decided once for every item, and never again when more items come."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autopilot_runtime.core.files import write_atomic
from autopilot_runtime.training.dataset import ListDataset
from autopilot_runtime.training.datum import Datum, digest_of, item_digest
from autopilot_runtime.training.fault import TrainingError, meant

_FORMAT = 1
_NAMES = ("train", "val", "test")


def item_key(item: Any) -> str:
    """What an item is known by: the id it was given, else its content."""
    if isinstance(item, Datum) and item.is_named:
        return item.id
    given = item.get("id") if isinstance(item, Mapping) else None
    return str(given) if isinstance(given, (str, int)) and given != "" else item_digest(item)


@dataclass(frozen=True)
class SplitAssignment:
    """Item → split. `save` and `load` keep it beside the data."""

    items: Mapping[str, str] = field(default_factory=dict)
    ratios: Mapping[str, float] = field(default_factory=dict)
    seed: int = 0

    def of(self, item: Any) -> str:
        """The split of an item."""
        try:
            return self.items[item_key(item)]
        except KeyError:
            raise TrainingError(
                f"item {getattr(item, 'id', item_key(item))!r} is in no split: extend the assignment by the dataset"
            ) from None

    def select(self, dataset: Iterable[Any], split: str) -> ListDataset[Any]:
        """The items of a dataset that are in `split`, in their order."""
        self._check(split)
        return ListDataset(item for item in dataset if self.of(item) == split)

    def datasets(self, dataset: Iterable[Any]) -> dict[str, ListDataset[Any]]:
        """All splits of a dataset."""
        return {name: self.select(dataset, name) for name in self.splits}

    def __getitem__(self, split: str) -> list[str]:
        self._check(split)
        return [key for key, name in self.items.items() if name == split]

    def __len__(self) -> int:
        return len(self.items)

    @property
    def splits(self) -> list[str]:
        """The names there are."""
        return list(dict.fromkeys([*self.ratios, *self.items.values()]))

    @property
    def counts(self) -> dict[str, int]:
        """How many items each split has."""
        counted = Counter(self.items.values())
        return {name: counted[name] for name in self.splits}

    def _check(self, split: str) -> None:
        if split not in self.splits:
            raise TrainingError(f"there is no split {split!r}.{meant(split, self.splits)}")

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {"format": _FORMAT, "seed": self.seed, "ratios": dict(self.ratios), "items": dict(self.items)}

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> SplitAssignment:
        """What `to_dict` gave."""
        if found.get("format") != _FORMAT:
            raise TrainingError(
                f"this assignment has format {found.get('format')!r}, and this version reads {_FORMAT}"
            )
        try:
            items = {str(key): str(name) for key, name in found["items"].items()}
            return cls(items, {str(name): float(one) for name, one in found["ratios"].items()}, int(found["seed"]))
        except (KeyError, AttributeError, TypeError, ValueError) as error:
            raise TrainingError(f"this is no assignment: {type(error).__name__}: {error}") from error

    def save(self, path: str | Path) -> None:
        """Keep it in a file, whole or not at all."""
        write_atomic(Path(path), (json.dumps(self.to_dict(), indent=1) + "\n").encode(), mode=0o644)

    @classmethod
    def load(cls, path: str | Path) -> SplitAssignment:
        """Read what `save` kept."""
        try:
            found = json.loads(Path(path).read_bytes())
        except OSError as error:
            raise TrainingError(f"{path} cannot be read: {error.strerror or error}") from error
        except ValueError as error:
            raise TrainingError(f"{path} is damaged, it is no JSON: {error}") from error
        try:
            return cls.from_dict(found)
        except (TrainingError, AttributeError) as error:
            raise TrainingError(f"{path}: {error}") from error


class IncrementalSplitter:
    """Splits by ratio. The same items and seed give the same splits, in whatever order the items come."""

    def __init__(self, ratios: Mapping[str, float] | Sequence[float] = (0.8, 0.2), seed: int = 0) -> None:
        self.ratios, self.seed = _checked(ratios), seed

    def split(self, dataset: Iterable[Any], previous: SplitAssignment | None = None) -> SplitAssignment:
        """A split for every item. What `previous` says stays as it is, also of items that are gone."""
        before = dict(previous.items) if previous is not None else {}
        for name in sorted(set(before.values()) - self.ratios.keys()):
            raise TrainingError(
                f"items are in split {name!r}, for which there is no ratio.{meant(name, self.ratios)}"
            )
        strata: dict[str, list[str]] = {}
        for item in dataset:
            strata.setdefault(self.stratum(item), []).append(item_key(item))
        return SplitAssignment(_assigned(strata, before, self.ratios, self.seed), dict(self.ratios), self.seed)

    def extend(self, assignment: SplitAssignment, dataset: Iterable[Any]) -> SplitAssignment:
        """The same assignment, and a split for every item that is new."""
        return self.split(dataset, assignment)

    def stratum(self, item: Any) -> str:
        """Items of one stratum are split by the ratios among themselves."""
        return ""


class StratifiedSplitter(IncrementalSplitter):
    """Splits so that each kind of item is in each split by its ratio. `by` names a field, or is a function."""

    def __init__(
        self,
        ratios: Mapping[str, float] | Sequence[float] = (0.8, 0.2),
        by: str | Callable[[Any], Any] = "label",
        seed: int = 0,
    ) -> None:
        super().__init__(ratios, seed)
        self.by = by

    def stratum(self, item: Any) -> str:
        if callable(self.by):
            return digest_of(self.by(item))
        fields = item if isinstance(item, Mapping) else item.to_dict() if isinstance(item, Datum) else vars(item)
        for place in (fields, fields.get("metadata") or {}):
            if self.by in place:
                return digest_of(place[self.by])
        known = [*fields, *(fields.get("metadata") or {})]
        raise TrainingError(f"item {getattr(item, 'id', '')!r} has no field {self.by!r}.{meant(self.by, known)}")


def _checked(ratios: Mapping[str, float] | Sequence[float]) -> dict[str, float]:
    if not isinstance(ratios, Mapping):
        if not 1 <= len(ratios) <= len(_NAMES):
            raise TrainingError(f"{len(ratios)} ratios without names: give a dict of split name and ratio")
        ratios = dict(zip(_NAMES, ratios, strict=False))
    for name, ratio in ratios.items():
        if not _is_ratio(ratio):
            raise TrainingError(f"the ratio of {name!r} is {ratio!r}, and a ratio is a number from 0 on")
    total = math.fsum(ratios.values())
    parts = total > 0 and all(isinstance(ratio, int) for ratio in ratios.values())  # 8 to 1 to 1
    if not parts and not math.isclose(total, 1, abs_tol=1e-6):
        raise TrainingError(f"the ratios add up to {total:g}, not to 1: {dict(ratios)}")
    return {str(name): ratio / total for name, ratio in ratios.items()}


def _is_ratio(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


def _assigned(
    strata: Mapping[str, Sequence[str]], before: Mapping[str, str], ratios: Mapping[str, float], seed: int
) -> dict[str, str]:
    """Each new item goes where most is lacking: in its stratum first, then in all."""
    used = {name: ratio for name, ratio in ratios.items() if ratio > 0}
    present = {key for found in strata.values() for key in found}
    total = Counter(before[key] for key in present & before.keys())
    left = len(present - before.keys())
    assigned = dict(before)
    for stratum in sorted(strata):
        keys = set(strata[stratum])
        here = Counter(assigned[key] for key in keys & assigned.keys())
        wanted = {name: ratio * len(keys) for name, ratio in used.items()}
        for key in sorted(keys - assigned.keys(), key=lambda one: _rank(seed, one)):
            empty = {name: ratio for name, ratio in used.items() if not total[name]}
            # A held-out set of nobody helps nobody: the last items fill what would else be empty.
            choice = _most_lacking(empty if empty and left <= len(empty) else used, wanted, here, total)
            assigned[key] = choice
            here[choice] += 1
            total[choice] += 1
            left -= 1
    return assigned


def _rank(seed: int, key: str) -> bytes:
    return hashlib.sha256(f"{seed}/{key}".encode("utf-8", "surrogatepass")).digest()


def _most_lacking(
    ratios: Mapping[str, float], wanted: Mapping[str, float], here: Counter[str], total: Counter[str]
) -> str:
    """Whole items that the stratum lacks come first, then parts of one; among equals, what is lacking in all."""
    count = sum(total.values()) + 1

    def lack(name: str) -> tuple[bool, bool, float, float]:
        whole = here[name] < math.floor(wanted[name] + 1e-9)
        part = here[name] < math.ceil(wanted[name] - 1e-9)
        return whole, part, ratios[name] * count - total[name], ratios[name]

    return max(ratios, key=lack)
