"""In which order items are taken. An order is made from a seed and the number of the epoch, and nothing else."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from typing import Any

from autopilot_runtime.training.fault import TrainingError


class Sampler:
    """Gives the numbers of the items of one epoch. Override `order`, and `__len__`.

    Each iteration is one epoch and makes the next one's order another; `set_epoch` says which epoch comes next.
    """

    seed: int = 0
    epoch: int = 0

    def order(self, epoch: int) -> Iterable[Any]:
        """The numbers, for this epoch: the same whenever it is asked."""
        raise NotImplementedError(f"{type(self).__name__} has no order(epoch)")

    def __iter__(self) -> Iterator[Any]:
        epoch, self.epoch = self.epoch, self.epoch + 1
        return iter(self.order(epoch))

    def __len__(self) -> int:
        raise TypeError(f"nobody knows how many {type(self).__name__} gives")

    def set_epoch(self, epoch: int) -> None:
        """The next iteration is this epoch's."""
        self.epoch = epoch

    def state_dict(self) -> dict[str, Any]:
        """What it must remember to go on elsewhere."""
        return {"seed": self.seed, "epoch": self.epoch}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` said."""
        self.seed, self.epoch = int(state["seed"]), int(state["epoch"])

    def chance(self, epoch: int) -> random.Random:
        """The randomness of one epoch."""
        # Seeded with a text: what comes of it is the same in every process and version of Python.
        return random.Random(f"{self.seed}/{epoch}")


class SequentialSampler(Sampler):
    """From first to last."""

    def __init__(self, data_source: Sized) -> None:
        self.data_source = data_source

    def order(self, epoch: int) -> Iterable[int]:
        return range(len(self.data_source))

    def __len__(self) -> int:
        return len(self.data_source)


class RandomSampler(Sampler):
    """Shuffled, anew for each epoch. With `replacement`, an item may come twice and another not at all."""

    def __init__(
        self, data_source: Sized, replacement: bool = False, num_samples: int | None = None, *, seed: int = 0
    ) -> None:
        self.data_source, self.replacement, self.seed = data_source, replacement, seed
        self._wanted = None if num_samples is None else positive(num_samples, "num_samples")

    @property
    def num_samples(self) -> int:
        """How many it gives in an epoch."""
        return len(self.data_source) if self._wanted is None else self._wanted

    def order(self, epoch: int) -> Iterable[int]:
        size, chance = len(self.data_source), self.chance(epoch)
        if not size and self._wanted:
            raise TrainingError(f"there is no item that {self._wanted} could be taken from")
        if self.replacement:
            return [chance.randrange(size) for _ in range(self.num_samples)]
        numbers: list[int] = []
        while len(numbers) < self.num_samples:  # more than there are: another round of all
            numbers += chance.sample(range(size), size)
        return numbers[: self.num_samples]

    def __len__(self) -> int:
        return self.num_samples


class WeightedSampler(Sampler):
    """By weight: an item of twice the weight comes twice as often (without `replacement`: earlier)."""

    def __init__(
        self, weights: Iterable[float], num_samples: int | None = None, replacement: bool = True, *, seed: int = 0
    ) -> None:
        self.weights = [float(weight) for weight in weights]
        for at, weight in enumerate(self.weights):
            if not (math.isfinite(weight) and weight >= 0):
                raise TrainingError(f"weight {at} is {weight:g}, and a weight is a number from 0 on")
        self.replacement, self.seed = replacement, seed
        self.num_samples = len(self.weights) if num_samples is None else positive(num_samples, "num_samples")
        heavy = sum(weight > 0 for weight in self.weights)
        if not heavy:
            raise TrainingError("no weight is above 0, so nothing could ever be taken")
        if not replacement and self.num_samples > heavy:
            raise TrainingError(
                f"{self.num_samples} different items are wanted, and {heavy} have a weight above 0: "
                "set num_samples, or replacement=True"
            )

    def order(self, epoch: int) -> Iterable[int]:
        chance, numbers = self.chance(epoch), range(len(self.weights))
        if self.replacement:
            return chance.choices(numbers, self.weights, k=self.num_samples)
        # The time until an event whose rate is the weight: the earliest are a draw without replacement.
        waits = {at: chance.expovariate(1.0) / self.weights[at] for at in numbers if self.weights[at] > 0}
        return sorted(waits, key=waits.__getitem__)[: self.num_samples]

    def __len__(self) -> int:
        return self.num_samples


class BatchSampler(Sampler):
    """Takes the numbers of another sampler together, in lists."""

    def __init__(self, sampler: Sampler | Sequence[int], batch_size: int, drop_last: bool = False) -> None:
        self.sampler = sampler
        self.batch_size = positive(batch_size, "batch_size")
        self.drop_last = drop_last

    def __iter__(self) -> Iterator[list[int]]:
        return grouped(self.sampler, self.batch_size, drop_last=self.drop_last)

    def __len__(self) -> int:
        size = len(self.sampler)
        return size // self.batch_size if self.drop_last else -(-size // self.batch_size)

    def set_epoch(self, epoch: int) -> None:
        call(self.sampler, "set_epoch", epoch)

    def state_dict(self) -> dict[str, Any]:
        return {"sampler": call(self.sampler, "state_dict")}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if state.get("sampler") is not None:
            call(self.sampler, "load_state_dict", state["sampler"])


def grouped(things: Iterable[Any], size: int, *, drop_last: bool = False) -> Iterator[list[Any]]:
    """Things in lists of one size; the last may be shorter, or is left out."""
    batch: list[Any] = []
    for thing in things:
        batch.append(thing)
        if len(batch) == size:
            yield batch
            batch = []
    if batch and not drop_last:
        yield batch


def call(thing: Any, name: str, *values: Any) -> Any:
    """Call a method that a user's own sampler or set need not have."""
    method = getattr(thing, name, None)
    return method(*values) if callable(method) else None


def positive(value: Any, name: str) -> int:
    """A whole number from 1 on; raises for another value."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise TrainingError(f"{name} must be a whole number from 1 on, not {value!r}")
    return value
