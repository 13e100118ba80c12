"""The items there are: in a list, in a file, one after another, or several sets of them as one."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, Generic, Self, TypeVar, overload

from autopilot_runtime.training.fault import TrainingError
from autopilot_runtime.training.jsonl import Row, read_items, write_items

__all__ = ["ConcatDataset", "Dataset", "IterableDataset", "ListDataset", "Row"]

T = TypeVar("T")


class Dataset(Generic[T]):
    """Items by number. Override `__getitem__` and `__len__`."""

    def __getitem__(self, index: int) -> T:
        raise NotImplementedError(f"{type(self).__name__} has no __getitem__(index)")

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__} has no __len__()")

    def __iter__(self) -> Iterator[T]:
        return (self[index] for index in range(len(self)))

    def __add__(self, other: Dataset[T]) -> ConcatDataset[T]:
        return ConcatDataset([self, other])


class IterableDataset(Dataset[T]):
    """Items one after another, when nobody knows how many there are. Override `__iter__`, which begins anew."""

    def __iter__(self) -> Iterator[T]:
        raise NotImplementedError(f"{type(self).__name__} has no __iter__()")

    def __getitem__(self, index: int) -> T:
        raise TypeError(f"the items of {type(self).__name__} come one after another: iterate over it")

    def __len__(self) -> int:
        raise TypeError(f"nobody knows how many items {type(self).__name__} has")

    def __bool__(self) -> bool:
        return True

    def __add__(self, other: Dataset[T]) -> ConcatDataset[T]:
        raise TypeError(f"{type(self).__name__} has no length, so nothing can be put behind it")


class ListDataset(Dataset[T]):
    """Items in a list."""

    def __init__(self, items: Iterable[T] = ()) -> None:
        if isinstance(items, (str, bytes, dict)) or not isinstance(items, Iterable):
            raise TrainingError(f"ListDataset takes a list of items, not one {type(items).__name__}")
        self.items: list[T] = list(items)

    @classmethod
    def from_jsonl(cls, path: str | Path, type: type[Any] | None = None) -> Self:
        """The items of a file, one a line. `type` is the Datum they are; without one, each is a `Row`."""
        return cls(read_items(path, type))

    def to_jsonl(self, path: str | Path) -> None:
        """Write them, one a line; `from_jsonl` with the same type gives the same items."""
        write_items(path, self.items)

    def subset(self, which: slice | Iterable[int] | Iterable[bool] | Callable[[T], object]) -> ListDataset[T]:
        """Some of them: their numbers, a slice, a truth value for each, or a function that says which."""
        if callable(which):
            return ListDataset(item for item in self.items if which(item))
        if isinstance(which, slice):
            return ListDataset(self.items[which])
        chosen = list(which)
        if chosen and all(isinstance(one, bool) for one in chosen):
            if len(chosen) != len(self.items):
                raise TrainingError(f"{len(chosen)} truth values for {len(self.items)} items")
            return ListDataset(item for item, wanted in zip(self.items, chosen, strict=True) if wanted)
        for one in chosen:
            if not -len(self.items) <= one < len(self.items):
                raise TrainingError(f"there is no item {one}: there are {len(self.items)}, from 0 on")
        return ListDataset(self.items[one] for one in chosen)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> ListDataset[T]: ...
    def __getitem__(self, index: int | slice) -> T | ListDataset[T]:
        return ListDataset(self.items[index]) if isinstance(index, slice) else self.items[index]

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[T]:
        return iter(self.items)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self.items)} items)"


class ConcatDataset(Dataset[T]):
    """Several as one, in order."""

    def __init__(self, datasets: Iterable[Dataset[T] | Sequence[T]]) -> None:
        self.datasets = list(datasets)
        for one in self.datasets:
            if isinstance(one, IterableDataset) or not (hasattr(one, "__len__") and hasattr(one, "__getitem__")):
                raise TrainingError(f"ConcatDataset takes sets with a length, and {type(one).__name__} has none")

    @property
    def _ends(self) -> list[int]:  # asked each time: one of them may grow
        return list(accumulate(map(len, self.datasets)))

    def __len__(self) -> int:
        return sum(map(len, self.datasets))

    def __getitem__(self, index: int) -> T:
        ends = self._ends
        size = ends[-1] if ends else 0
        if not -size <= index < size:
            raise IndexError(f"there is no item {index}: there are {size}, from 0 on")
        index %= size
        at = bisect.bisect_right(ends, index)
        return self.datasets[at][index - (ends[at - 1] if at else 0)]

    def __iter__(self) -> Iterator[T]:
        return (item for one in self.datasets for item in one)
