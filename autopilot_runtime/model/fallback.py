"""The next model when one is down, and a while of not asking the one that is."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence

from autopilot_runtime.core.errors import ProviderError, ProviderFault, SetupError
from autopilot_runtime.core.message import Message
from autopilot_runtime.core.protocols import Delta, Provider, Retrying
from autopilot_runtime.model.retry import ending, notices

# Not among them: a wrong key, an unknown model, a bad request. Those are mistakes, and a mistake must be loud.
_DOWN: frozenset[ProviderFault] = frozenset(
    ("rate_limit", "overloaded", "server", "connection", "timeout", "truncated", "protocol")
)


class Fallback:
    """Several providers as one; the first is preferred. `name` and `model` are those of the last one asked."""

    def __init__(
        self,
        providers: Sequence[Provider],
        *,
        cooldown: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not providers:
            raise SetupError("A fallback needs at least one provider.")
        self._providers = tuple(providers)
        self._cooldown = cooldown
        self._clock = clock
        self._down_until = [0.0] * len(providers)
        self.name = providers[0].name
        self.model = providers[0].model

    def notices(self) -> list[str]:
        """What the providers want said once."""
        return [text for provider in self._providers for text in notices(provider)]

    async def close(self) -> None:
        """Close all of them."""
        for provider in self._providers:
            await provider.close()

    async def stream(
        self, messages: Sequence[Message], *, system: str, max_tokens: int | None = None
    ) -> AsyncIterator[Delta]:
        """The deltas of the first provider that is up."""
        order = self._order()
        for place, index in enumerate(order):
            provider = self._providers[index]
            self.name, self.model = provider.name, provider.model
            try:
                stream = provider.stream(messages, system=system, max_tokens=max_tokens)
                async with ending(stream) as deltas:
                    async for delta in deltas:
                        yield delta
                self._down_until[index] = 0.0
                return
            except ProviderError as error:
                if error.kind not in _DOWN or place + 1 == len(order):
                    raise
                failed = error
            self._down_until[index] = self._clock() + self._cooldown
            following = self._providers[order[place + 1]]
            text = f"{failed} Next: {following.name} ({following.model})."
            yield Retrying(place + 1, 0.0, text, failed.kind)

    def _order(self) -> list[int]:
        """Those that are up in their order, then the others: when all are down, each still gets its chance."""
        now = self._clock()
        return sorted(range(len(self._providers)), key=lambda index: self._down_until[index] > now)
