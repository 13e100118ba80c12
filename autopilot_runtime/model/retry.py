"""The one retry budget of a model call: tries again what may pass, says so, and gives up with one typed error."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Protocol, runtime_checkable

from autopilot_runtime.core.errors import ProviderError
from autopilot_runtime.core.message import Message
from autopilot_runtime.core.protocols import Delta, Provider, Retrying, Stopped, Text
from autopilot_runtime.model.settings import Retries


@runtime_checkable
class Repeatable(Protocol):
    """A provider whose call is prepared once and tried several times."""

    def begin(
        self, messages: Sequence[Message], *, system: str, max_tokens: int | None = None
    ) -> Callable[[], AsyncIterator[Delta]]: ...


class Retry:
    """A provider that tries another one again."""

    def __init__(
        self,
        inner: Provider,
        retries: Retries | None = None,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.name = inner.name
        self.model = inner.model
        self.inner = inner
        self._retries = retries or Retries()
        self._sleep = sleep
        self._chance = chance

    def notices(self) -> list[str]:
        """What the inner provider wants said once."""
        return notices(self.inner)

    async def close(self) -> None:
        """Close the inner provider."""
        await self.inner.close()

    async def stream(
        self, messages: Sequence[Message], *, system: str, max_tokens: int | None = None
    ) -> AsyncIterator[Delta]:
        """The deltas of the first try that works, with a `Retrying` after each that did not."""
        again = self._call(messages, system, max_tokens=max_tokens)
        tries, waited, empties = 0, 0.0, 0
        while True:
            tries += 1
            failed: ProviderError | None = None
            seen = _Seen()
            try:
                async with ending(again()) as deltas:
                    async for delta in deltas:
                        if not isinstance(delta, Stopped):
                            seen.note(delta)
                            yield delta
                        elif delta.reason == "end" and not seen.text:
                            empties += 1
                            failed = self._empty(again_too=empties == 1)
                        else:
                            yield _judged(delta, seen)
                            return
            except ProviderError as error:
                failed = error
            if failed is None:
                failed = self._unfinished()
            delay = self._delay(failed, tries=tries, waited=waited)
            if delay is None:
                raise _given_up(failed, tries)
            yield Retrying(tries, delay, str(failed), failed.kind)
            waited += delay
            await self._sleep(delay)

    def _call(
        self, messages: Sequence[Message], system: str, *, max_tokens: int | None
    ) -> Callable[[], AsyncIterator[Delta]]:
        if isinstance(self.inner, Repeatable):
            return self.inner.begin(messages, system=system, max_tokens=max_tokens)
        return lambda: self.inner.stream(messages, system=system, max_tokens=max_tokens)

    def _delay(self, error: ProviderError, *, tries: int, waited: float) -> float | None:
        """Seconds to wait before the next try, or None when there is none."""
        plan = self._retries
        most = plan.attempts
        if error.kind == "rate_limit" and plan.attempts > 1:
            most = max(plan.attempts, plan.rate_limited)
        if not error.retryable or tries >= most:
            return None
        if error.retry_after is not None:
            delay = min(error.retry_after, plan.longest_asked)
        else:
            delay = min(plan.first_delay * 2 ** (tries - 1), plan.longest_delay)
            delay *= 1 - 0.25 * self._chance()
        return delay if waited + delay <= plan.seconds else None

    def _empty(self, *, again_too: bool) -> ProviderError:
        return ProviderError(
            f"{self.name} ({self.model}): the reply was empty.",
            kind="empty",
            provider=self.name,
            model=self.model,
            retryable=again_too,
        )

    def _unfinished(self) -> ProviderError:
        return ProviderError(
            f"{self.name} ({self.model}): the stream ended without saying that the reply is finished.",
            kind="truncated",
            provider=self.name,
            model=self.model,
            retryable=True,
        )


class _Seen:
    """Whether a try gave any text, and any that is not white space."""

    def __init__(self) -> None:
        self.text = False
        self.ink = False

    def note(self, delta: Delta) -> None:
        if isinstance(delta, Text) and delta.text:
            self.text = True
            self.ink = self.ink or not delta.text.isspace()


def _judged(stopped: Stopped, seen: _Seen) -> Stopped:
    if stopped.reason == "end" and not seen.ink:
        return Stopped("refusal", "the reply was only white space")
    return stopped


def _given_up(error: ProviderError, tries: int) -> ProviderError:
    if tries == 1:
        return error
    return ProviderError(
        f"{error} Gave up after {tries} tries.",
        kind=error.kind,
        status=error.status,
        provider=error.provider,
        model=error.model,
        retryable=error.retryable,
        retry_after=error.retry_after,
    )


def notices(provider: object) -> list[str]:
    """What a provider wants said once, if it has such a thing."""
    ask = getattr(provider, "notices", None)
    return list(ask()) if callable(ask) else []


@contextlib.asynccontextmanager
async def ending(stream: AsyncIterator[Delta]) -> AsyncIterator[AsyncIterator[Delta]]:
    """The stream, closed at the end of the block whether or not it was read to its end."""
    try:
        yield stream
    finally:
        close = getattr(stream, "aclose", None)
        if close is not None:
            await close()
