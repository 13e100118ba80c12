"""Takes items together in batches, epoch after epoch, in an order that can be had again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from autopilot_runtime.training.datum import Batch
from autopilot_runtime.training.fault import TrainingError
from autopilot_runtime.training.sampler import (
    BatchSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    call,
    grouped,
    positive,
)


def collated(items: Sequence[Any]) -> Batch:
    """What the items of a batch become when nothing else is said."""
    return Batch(items=items)


class DataLoader:
    """Batches of a dataset. `batch_size=None` gives the items themselves; `shuffle` has another order each epoch.

    The order of epoch n depends on `seed` and n alone; iterating without `set_epoch` counts the epochs itself.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None = 1,
        *,
        shuffle: bool = False,
        sampler: Sampler | Iterable[int] | None = None,
        batch_sampler: BatchSampler | Iterable[Sequence[int]] | None = None,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        drop_last: bool = False,
        seed: int = 0,
    ) -> None:
        self.dataset, self.drop_last, self.collate_fn = dataset, drop_last, collate_fn or collated
        self.batch_size = None if batch_size is None else positive(batch_size, "batch_size")
        self.numbered = _is_numbered(dataset)
        self.sampler: Any = sampler
        self.batch_sampler: Any = batch_sampler
        self._check(shuffle)
        if self.numbered and batch_sampler is None:
            self.sampler = sampler if sampler is not None else _in_order(dataset, shuffle, seed)
            if self.batch_size is not None:
                self.batch_sampler = BatchSampler(self.sampler, self.batch_size, drop_last)
        self._refuse_nothing()

    def _check(self, shuffle: bool) -> None:
        self._refuse_what_ends()
        orders = [shuffle, self.sampler is not None, self.batch_sampler is not None]
        if self.batch_sampler is not None and (sum(orders) > 1 or self.drop_last or self.batch_size not in (None, 1)):
            raise TrainingError("a batch_sampler says it all: give no batch_size, shuffle, sampler or drop_last")
        if sum(orders) > 1:
            raise TrainingError("a sampler says the order, and so does shuffle=True: give one of them")
        if any(orders) and not self.numbered:
            raise TrainingError(
                f"the items of {type(self.dataset).__name__} come one after another: nothing can be shuffled or "
                "sampled there. Put them into a ListDataset"
            )
        if self.batch_size is None and self.drop_last:
            raise TrainingError("drop_last leaves out a short batch, and batch_size=None makes no batches")

    def _refuse_what_ends(self) -> None:
        given = {"sampler": self.sampler, "batch_sampler": self.batch_sampler, "dataset": self.dataset}
        for name, one in given.items():
            if isinstance(one, Iterator):
                raise TrainingError(f"the {name} is used up after one epoch: give a list, or something to begin anew")

    def _refuse_nothing(self) -> None:
        if not self.numbered:
            return
        weights = getattr(self.sampler, "weights", None)
        if weights is not None and len(weights) != len(self.dataset):
            raise TrainingError(f"{len(weights)} weights for {len(self.dataset)} items")
        if not len(self.dataset):
            raise TrainingError(f"the {type(self.dataset).__name__} is empty: there is nothing to iterate over")
        if self.drop_last and not len(self):
            raise TrainingError(
                f"drop_last leaves nothing: {len(self.sampler)} items do not fill one batch of {self.batch_size}"
            )

    def __iter__(self) -> Iterator[Any]:
        self._refuse_nothing()
        if not self.numbered:
            return self._one_after_another()
        if self.batch_sampler is None:
            return (self._item(number) for number in self.sampler)
        return (self.collate_fn([self._item(number) for number in batch]) for batch in self.batch_sampler)

    def _one_after_another(self) -> Iterator[Any]:
        if self.batch_size is None:
            yield from self.dataset
            return
        batches = 0
        for items in grouped(self.dataset, self.batch_size, drop_last=self.drop_last):
            batches += 1
            yield self.collate_fn(items)
        if not batches:
            few = f", or fewer items than one batch of {self.batch_size}" if self.drop_last else ""
            raise TrainingError(f"{type(self.dataset).__name__} gave no item{few}: is its __iter__ used up?")

    def _item(self, number: Any) -> Any:
        try:
            return self.dataset[number]
        except Exception as error:
            error.add_note(f"item {number!r} of {type(self.dataset).__name__}, of {len(self.dataset)} items")
            raise

    def __len__(self) -> int:
        if not self.numbered:
            raise TypeError(f"nobody knows how many items {type(self.dataset).__name__} has")
        return len(self.sampler if self.batch_sampler is None else self.batch_sampler)

    def __bool__(self) -> bool:
        return True

    def set_epoch(self, epoch: int) -> None:
        """The next iteration is this epoch's."""
        for one in (self._order, self.dataset):
            call(one, "set_epoch", epoch)

    def state_dict(self) -> dict[str, Any]:
        """What it must remember to go on elsewhere."""
        return {"sampler": call(self._order, "state_dict"), "dataset": call(self.dataset, "state_dict")}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` said."""
        for name, one in (("sampler", self._order), ("dataset", self.dataset)):
            if state.get(name) is not None:
                call(one, "load_state_dict", state[name])

    @property
    def _order(self) -> Any:
        return self.batch_sampler if self.batch_sampler is not None else self.sampler

    def __repr__(self) -> str:
        size = f"{len(self.dataset)} items" if self.numbered else "items one after another"
        return f"DataLoader({size}, batch_size={self.batch_size})"


def _is_numbered(dataset: Any) -> bool:
    """Whether its items have numbers, and their count is known."""
    odd = isinstance(dataset, (str, bytes, Mapping))
    if odd or not (isinstance(dataset, Iterable) or hasattr(dataset, "__getitem__")):
        raise TrainingError(f"DataLoader takes a Dataset or a list of items, not {type(dataset).__name__}")
    if not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
        return False
    try:
        len(dataset)
    except TypeError:
        return False
    return True


def _in_order(dataset: Any, shuffle: bool, seed: int) -> Sampler:
    return RandomSampler(dataset, seed=seed) if shuffle else SequentialSampler(dataset)
