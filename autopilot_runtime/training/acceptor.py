"""Says whether a candidate is better than the state it came from: at its word, or by a paired test under noise."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import NormalDist
from typing import Protocol, runtime_checkable

from autopilot_runtime.training.fault import TrainingError
from autopilot_runtime.training.gate import Judged

Scores = Mapping[str, Sequence[float]]
"""Item → its values by replicate, higher is better."""

More = Callable[[int], tuple[Scores, Scores]]
"""Measures both sides until each item has so many replicates, and gives both anew: (new, old)."""


@runtime_checkable
class Acceptor(Protocol):
    """Compares two states on the same items. `noise` is the standard deviation of one measurement of one item; 0
    means that measuring again gives the same. An item that gave no score for the new state counts against it."""

    def judge(self, new: Scores, old: Scores, *, more: More, noise: float = 0.0) -> Judged: ...


class StrictAcceptor:
    """Better on average by more than `min_gain`, as measured. Right without noise; with it, luck is accepted, too."""

    def __init__(self, min_gain: float = 0.0) -> None:
        self.min_gain = float(min_gain)

    def judge(self, new: Scores, old: Scores, *, more: More, noise: float = 0.0) -> Judged:
        """Whether the mean has risen."""
        cannot = incomparable(self, new, old)
        if cannot is not None:
            return cannot
        apart = differences(new, old)
        gain = _mean(apart)
        passed = gain > self.min_gain
        return _said(self, passed, f"gain {gain:+.6g} over {len(apart)} items", gain, f"> {self.min_gain:g}")


class PairedAcceptor:
    """The gain is more than noise explains. Measures again, twice as often each time, only while it cannot tell.

    `alpha` is how often a candidate that is no better may pass, all looks together: each look gets the part of it
    by which the measurements grew. `k` sets the bound of a look in standard errors instead. A gain that would just
    pass in the end shows by now with a part of that; what lies `futile` standard errors below is given up.
    """

    def __init__(
        self,
        *,
        alpha: float = 0.05,
        k: float | None = None,
        max_replicates: int = 8,
        min_gain: float = 0.0,
        futile: float = 1.0,
    ) -> None:
        _sound(self, alpha, max_replicates)
        self.alpha, self.k, self.max_replicates = alpha, k, max_replicates
        self.min_gain, self.futile = float(min_gain), float(futile)

    def judge(self, new: Scores, old: Scores, *, more: More, noise: float = 0.0) -> Judged:
        """Whether it is better, as far as `max_replicates` can tell."""
        seen = 0
        while True:
            cannot = incomparable(self, new, old)
            if cannot is not None:
                return cannot
            have = replicates(new, old)
            gain, error = _mean(differences(new, old)), standard_error(new, old, noise)
            bound, last = self._bound(have - seen), self._bound(self.max_replicates / 2)
            if error == 0.0:
                return _said(
                    self, gain > self.min_gain, f"gain {gain:+.6g} without noise", gain, f"> {self.min_gain:g}"
                )
            z = (gain - self.min_gain) / error
            least = last * math.sqrt(have / self.max_replicates) - self.futile
            if z >= bound or z <= least or have >= self.max_replicates:
                reason = f"gain {gain:+.6g} is {z:.2f} standard errors over {len(pairs(new, old))} items x {have}"
                return _said(self, z >= bound, reason, gain, f">= {bound:.2f} standard errors")
            again = more(min(2 * have, self.max_replicates))
            if replicates(*again) <= have:
                reason = f"gain {gain:+.6g} is {z:.2f} standard errors, and nothing more could be measured"
                return _said(self, False, reason, gain, f">= {bound:.2f} standard errors")
            (new, old), seen = again, have

    def _bound(self, grown: float) -> float:
        """Of a look before which so many replicates were added."""
        if self.k is not None:
            return self.k
        return NormalDist().inv_cdf(1.0 - self.alpha * min(1.0, grown / self.max_replicates))


class WilcoxonAcceptor:
    """The signed ranks of the items' differences rise: `alpha` is the level of the one-sided test.

    Asks nothing about how scores are distributed, and says whether other items of the kind would profit, too. It
    needs at least log2(1 / alpha) items that differ. Measures again while 0.5 > p > alpha, up to `max_replicates`.
    """

    def __init__(self, alpha: float = 0.05, *, max_replicates: int = 1) -> None:
        _sound(self, alpha, max_replicates)
        self.alpha, self.max_replicates = alpha, max_replicates

    def judge(self, new: Scores, old: Scores, *, more: More, noise: float = 0.0) -> Judged:
        """Whether more and larger differences are gains than chance explains."""
        looks = 1
        while True:
            cannot = incomparable(self, new, old)
            if cannot is not None:
                return cannot
            have, apart = replicates(new, old), differences(new, old)
            p, gain = signed_rank(apart), _mean(apart)
            left = 0 if noise <= 0 else math.ceil(math.log2(max(1.0, self.max_replicates / have)))
            level = self.alpha / (looks + left)
            again = (new, old) if p <= level or p >= 0.5 or not left else more(min(2 * have, self.max_replicates))
            if replicates(*again) <= have:
                apart_in = sum(one != 0 for one in apart)
                reason = f"gain {gain:+.6g}, p {p:.4g} from {apart_in} items of {len(apart)} that differ"
                return _said(self, p <= level and gain > 0, reason, gain, f"p <= {level:.4g}")
            (new, old), looks = again, looks + 1


def pairs(new: Scores, old: Scores) -> list[tuple[Sequence[float], Sequence[float]]]:
    """The values of each item that the old state was measured on. One that failed for the old does not count."""
    return [(new[item], values) for item, values in old.items() if values]


def differences(new: Scores, old: Scores) -> list[float]:
    """New minus old, of each item's means."""
    return [_mean(after) - _mean(before) for after, before in pairs(new, old)]


def replicates(new: Scores, old: Scores) -> int:
    """How often every item of both was measured, at least."""
    return min(len(values) for pair in pairs(new, old) for values in pair)


def standard_error(new: Scores, old: Scores, noise: float) -> float:
    """Of the mean difference, for these very items: from the noise that is known, or that replicates show if more."""
    both = pairs(new, old)
    squares, freedom = 0.0, 0
    for values in (one for pair in both for one in pair):
        mean = _mean(values)
        squares += math.fsum((one - mean) ** 2 for one in values)
        freedom += len(values) - 1
    sigma = max(noise, math.sqrt(squares / freedom) if freedom else 0.0)
    return sigma * math.sqrt(math.fsum(1 / len(values) for pair in both for values in pair)) / len(both)


def signed_rank(apart: Sequence[float]) -> float:
    """The one-sided p of Wilcoxon's signed-rank test that differences tend to be positive. Zeros are left out.

    Exact, with ties at their mean rank, up to 60 differences; beyond that by the normal approximation.
    """
    kept = sorted((one for one in apart if one != 0.0), key=abs)
    count = len(kept)
    if not count:
        return 1.0
    doubled: list[int] = []  # twice the mean rank is a whole number
    ties = 0
    begin = 0
    while begin < count:
        end = begin
        # differences of means that ought to be equal may differ in their last bits
        while end < count and math.isclose(abs(kept[end]), abs(kept[begin]), rel_tol=1e-9):
            end += 1
        doubled += [begin + 1 + end] * (end - begin)
        ties += (end - begin) ** 3 - (end - begin)
        begin = end
    rose = sum(rank for rank, one in zip(doubled, kept, strict=True) if one > 0)
    if count <= 60:
        return _exact_tail(doubled, rose)
    mean = count * (count + 1) / 4
    spread = math.sqrt(count * (count + 1) * (2 * count + 1) / 24 - ties / 48)
    return 1.0 - NormalDist().cdf((rose / 2 - mean - 0.5) / spread)


def _exact_tail(doubled: Sequence[int], rose: int) -> float:
    """The share of all choices of signs whose positive ranks add up to at least `rose`."""
    ways = [1]
    for rank in doubled:
        longer = ways + [0] * rank
        for total, count in enumerate(ways):
            longer[total + rank] += count
        ways = longer
    return sum(ways[rose:]) / (1 << len(doubled))


def incomparable(who: object, new: Scores, old: Scores) -> Judged | None:
    """What there is to say before any comparison: nothing to compare with, items missing, no numbers."""
    measured = [item for item, values in old.items() if values]
    if not measured:
        return _said(who, True, "nothing accepted to compare with", None, "")
    missing = [item for item in measured if not new.get(item)]
    if missing:
        return _said(who, False, f"{len(missing)} of {len(measured)} items gave no score: {_few(missing)}", None, "")
    odd = [item for item in measured if not all(map(math.isfinite, (*new[item], *old[item])))]
    if odd:
        return _said(who, False, f"scores of {len(odd)} items are no finite numbers: {_few(odd)}", None, "")
    return None


def _said(who: object, passed: bool, reason: str, gain: float | None, bound: str) -> Judged:
    return Judged(type(who).__name__, passed, reason, gain, bound)


def _few(items: Sequence[str]) -> str:
    return ", ".join(items[:3]) + ("..." if len(items) > 3 else "")


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _sound(who: object, alpha: float, max_replicates: int) -> None:
    if not 0.0 < alpha < 1.0:
        raise TrainingError(f"{type(who).__name__}(alpha={alpha}): a level lies between 0 and 1, usually 0.05")
    if max_replicates < 1:
        raise TrainingError(f"{type(who).__name__}(max_replicates={max_replicates}): at least 1")
