"""What may be spent, what was, and what is set aside for model calls under way: of a run, a session, a caller."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from autopilot_runtime.core.errors import AutopilotError
from autopilot_runtime.core.protocols import Usage
from autopilot_runtime.runtime.notes import budget_line

LEAST_REPLY = 16  # tokens: a reply that may be no longer is not worth its input


class BudgetSpent(AutopilotError):
    """A limit of the agent file was reached, or the next model call would cross it; `what` is its key."""

    def __init__(self, what: str, spent: float, limit: float, *, coming: float = 0.0) -> None:
        more = "" if spent >= limit else f", and the next call would take about {coming:g}"
        super().__init__(f"The run stopped at its limit {what} = {limit:g} ({spent:g} used{more}).")
        self.what = what
        self.spent = spent
        self.limit = limit


@dataclass(frozen=True, slots=True)
class Amount:
    """Dollars, as far as prices are known, and tokens in and out."""

    usd: float = 0.0
    tokens: int = 0

    @classmethod
    def of(cls, usage: Usage) -> Amount:
        """What a model call took."""
        return cls(usage.cost_usd or 0.0, size(usage))

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.usd + other.usd, self.tokens + other.tokens)

    def __sub__(self, other: Amount) -> Amount:
        return Amount(self.usd - other.usd, self.tokens - other.tokens)


class Purse:
    """One budget. What is spent or set aside here is so in every purse `above`, too: none of them is ever crossed."""

    def __init__(
        self,
        *,
        usd: float | None = None,
        tokens: int | None = None,
        seconds: float | None = None,
        elapsed: Callable[[], float] = float,
        above: tuple[Purse, ...] = (),
        kind: str = "",
    ) -> None:
        self.usd, self.tokens, self.seconds = usd, tokens, seconds
        self.spent = Amount()
        self.aside = Amount()  # for calls that have begun and are not on the bill yet
        self._elapsed = elapsed
        self._above = above
        self._kind = kind

    def check(self, coming: Amount) -> None:
        """Raise `BudgetSpent` when something is used up, or would not last for `coming`."""
        used = self.spent + self.aside
        limits = (
            ("max_cost_usd", used.usd, coming.usd, self.usd),
            ("max_tokens_total", used.tokens, coming.tokens, self.tokens),
            ("timeout_s", self._elapsed(), 0.0, self.seconds),
        )
        for what, spent, more, limit in limits:
            if limit is not None and (spent >= limit or spent + more > limit):
                raise BudgetSpent(self._kind + what, spent, limit, coming=more)
        for purse in self._above:
            purse.check(coming)

    def room(self, coming: Amount, *, per_token: float) -> int | None:
        """How many tokens a reply may have, after `coming` for its input; None where nothing limits it.

        `per_token` is the price of one; 0 when it is not known. Raises `BudgetSpent` when there is none to speak of.
        """
        rooms = []
        for purse in self._all():
            used = purse.spent + purse.aside
            if purse.tokens is not None:
                rooms.append((purse.tokens - used.tokens - coming.tokens, purse, "max_tokens_total"))
            if purse.usd is not None and per_token:
                rooms.append((int((purse.usd - used.usd - coming.usd) / per_token), purse, "max_cost_usd"))
        if not rooms:
            return None
        least, tight, what = min(rooms, key=lambda one: one[0])
        if least < LEAST_REPLY:
            used = tight.spent + tight.aside
            spent, limit, more = (
                (used.tokens, tight.tokens, coming.tokens + LEAST_REPLY)
                if what == "max_tokens_total"
                else (used.usd, tight.usd, coming.usd + LEAST_REPLY * per_token)
            )
            raise BudgetSpent(tight._kind + what, spent, limit or 0.0, coming=more)
        return least

    def spend(self, amount: Amount) -> None:
        """Put it on every bill."""
        for purse in self._all():
            purse.spent += amount

    @contextmanager
    def set_aside(self, amount: Amount) -> Iterator[None]:
        """Hold this much back while a call is under way: others that share the budget cannot spend it."""
        self.check(amount)
        purses = self._all()
        for purse in purses:
            purse.aside += amount
        try:
            yield
        finally:
            for purse in purses:
                purse.aside -= amount

    def seconds_left(self) -> float | None:
        """The least time that is left here and above."""
        return min((p.seconds - p._elapsed() for p in self._all() if p.seconds is not None), default=None)

    def tightest_clock(self) -> BudgetSpent:
        """The error for the clock that ran out first."""
        timed = [p for p in self._all() if p.seconds is not None]
        first = min(timed, key=lambda p: (p.seconds or 0.0) - p._elapsed())
        return BudgetSpent(f"{first._kind}timeout_s", first._elapsed(), first.seconds or 0.0)

    def replies(self, coming: Amount) -> int | None:
        """For how many more model calls like `coming` it will last; None where nothing limits that."""
        lasting = []
        for purse in self._all():
            if purse.tokens is not None and coming.tokens:
                lasting.append(int((purse.tokens - purse.spent.tokens) // coming.tokens))
            if purse.usd is not None and coming.usd:
                lasting.append(int((purse.usd - purse.spent.usd) / coming.usd))
        return min(lasting, default=None)

    def line(self, *, spent: float | None, coming: Amount) -> str:
        """What is used and what is left of the tightest limit of each kind, in one line.

        `spent`: of this run, where nothing limits it. `coming`: the next model call.
        """
        purses = self._all()
        usd = min(((p.usd - p.spent.usd, p) for p in purses if p.usd is not None), key=_first, default=None)
        tokens = min(
            ((p.tokens - p.spent.tokens, p) for p in purses if p.tokens is not None), key=_first, default=None
        )
        clock = min(
            ((p.seconds - p._elapsed(), p) for p in purses if p.seconds is not None), key=_first, default=None
        )
        dollars = (usd[1].spent.usd, usd[1].usd) if usd else (spent, None) if spent else None
        return budget_line(
            usd=dollars,
            tokens=(tokens[1].spent.tokens, tokens[1].tokens or 0) if tokens else None,
            seconds=(clock[1]._elapsed(), clock[1].seconds or 0.0) if clock else None,
            replies=self.replies(coming),
        )

    def _all(self) -> list[Purse]:
        found = [self]
        for purse in self._above:
            found += [one for one in purse._all() if one not in found]
        return found


def _first(one: tuple[float, Purse]) -> float:
    return one[0]


def size(usage: Usage) -> int:
    """Tokens in and out, as far as they are known."""
    return (usage.input_total or 0) + (usage.output or 0)
