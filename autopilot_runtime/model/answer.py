"""Reads one streamed answer under limits of time and size, and gives its deltas, or one typed error."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Protocol

from autopilot_runtime.core.errors import ProviderError, ProviderFault
from autopilot_runtime.core.protocols import Delta, Stopped
from autopilot_runtime.model import fault
from autopilot_runtime.model.client import unpacker
from autopilot_runtime.model.settings import ModelSettings
from autopilot_runtime.model.sse import BadStream, SseDecoder

_DRAIN_SECONDS = 0.25
_AFTER_FINISH_SECONDS = 5.0
_PAGES = frozenset(("text/html", "application/json", "application/xhtml+xml", "text/xml", "application/xml"))


class Reply(Protocol):
    """What one wire format makes of the events of one reply."""

    stopped: Stopped | None
    """Set once the end was said."""
    done: bool
    """Set once nothing follows."""
    failure: Any
    """The error object that an event carried."""

    def feed(self, event: dict[str, Any]) -> Sequence[Delta]:
        """The deltas of one event."""
        ...

    def whole(self, answer: dict[str, Any]) -> Sequence[Delta] | None:
        """The deltas of an answer that came as one JSON object, or None when it is not one."""
        ...


class Answer:
    """A 2xx answer on its way in."""

    def __init__(self, response: Any, *, place: fault.Place, settings: ModelSettings, key: str) -> None:
        self.limits = settings.timeouts
        self.sse = SseDecoder(longest=2 * settings.reply_cap)
        self.head = b""
        self.kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        self._response = response
        self._place = place
        self._key = key
        self._cap = 4 * settings.reply_cap
        self._chunks = response.aiter_raw()
        self._plain: Callable[[bytes], bytes] | None = None

    async def deltas(self, reply: Reply) -> AsyncIterator[Delta]:
        """Every delta until the reply is whole. A stream that ends without saying so is truncated."""
        if self.kind in _PAGES:
            for delta in await self._whole(reply):
                yield delta
            return
        clock = asyncio.get_running_loop().time
        heard = clock()
        limit = self.limits.first_byte
        while not reply.done:
            try:
                chunk = await self._read(limit)
            except ProviderError:
                if reply.stopped is None:
                    raise
                return  # the end was said; how the connection ends says nothing
            if chunk is None:
                break
            before = self.sse.events
            for delta in self._events(chunk, reply):
                yield delta
            if self.sse.events > before:
                heard = clock()
            elif clock() - heard > self.limits.silence:
                raise self._fail(f"only keep-alives for {self.limits.silence:g} s.", "timeout")
            limit = min(self.limits.idle, _AFTER_FINISH_SECONDS) if reply.stopped else self.limits.idle
        if reply.stopped is None:
            raise self._unfinished()
        await self._drain()

    async def close(self) -> None:
        """Give the connection back, or end it when the answer was not read to its end."""
        await self._chunks.aclose()
        await self._response.aclose()

    def _events(self, chunk: bytes, reply: Reply) -> list[Delta]:
        deltas: list[Delta] = []
        try:
            for event in self.sse.feed(chunk):
                if isinstance(event, str):
                    reply.done = True
                    break
                deltas.extend(reply.feed(event))
                if reply.failure is not None:
                    break
        except BadStream as error:
            raise self._fail(f"the stream is broken: {error}.", "protocol", retryable=True) from None
        if reply.failure is not None:
            raise fault.from_object(self._place, reply.failure, key=self._key)
        return deltas

    async def _read(self, seconds: float) -> bytes | None:
        failed: ProviderError
        try:
            if self._plain is None:
                self._plain = unpacker(self._response.headers.get("content-encoding", ""), self._cap)
            async with asyncio.timeout(seconds):
                chunk = self._plain(await anext(self._chunks))
            if len(self.head) < 200:
                self.head = (self.head + chunk)[:200]
            return chunk
        except StopAsyncIteration:
            return None
        except TimeoutError:
            failed = self._fail(f"the stream stalled: no byte for {seconds:g} s.", "timeout")
        except ValueError as error:  # packed in a way that cannot or must not be unpacked
            failed = self._fail(f"{error}.", "protocol")
        except Exception as error:  # the seam: what the HTTP library raises becomes one typed error
            failed = fault.from_exception(self._place, error, key=self._key)
        # Raised out here so that neither cause nor context holds the request with its key.
        raise failed

    async def _whole(self, reply: Reply) -> Sequence[Delta]:
        """A host that ignores `stream` sends one JSON object. Anything else here is a page of some proxy."""
        body = bytearray()
        while (chunk := await self._read(self.limits.first_byte)) is not None:
            body += chunk
            if len(body) > (self._cap if self.kind == "application/json" else 200):
                break
        if self.kind == "application/json":
            try:
                value = json.loads(body)
            except (ValueError, RecursionError):
                value = None
            if isinstance(value, dict) and value.get("error"):
                raise fault.from_object(self._place, value["error"], key=self._key)
            deltas = reply.whole(value) if isinstance(value, dict) else None
            if deltas is not None:
                return deltas
        raise self._fail(f"this is not an event stream: {self._quote()}", "protocol")

    async def _drain(self) -> None:
        # Reading the last bytes lets the connection be used again: a TLS handshake less per step.
        for _ in range(4):
            try:
                if await self._read(_DRAIN_SECONDS) is None:
                    return
            except ProviderError:
                return

    def _unfinished(self) -> ProviderError:
        if self.sse.events:
            return self._fail("the stream ended without saying that the reply is finished.", "truncated")
        if self.head.strip() and self.kind != "text/event-stream":
            return self._fail(f"this is not an event stream: {self._quote()}", "protocol", retryable=True)
        return self._fail("the stream ended before it began.", "truncated")

    def _quote(self) -> str:
        text = self.head.decode("utf-8", "replace")
        return f"HTTP {self._response.status_code}, {self.kind or 'no content type'}: {text!r}"

    def _fail(self, what: str, kind: ProviderFault, *, retryable: bool | None = None) -> ProviderError:
        status = self._response.status_code
        return self._place.error(what, kind, key=self._key, status=status, retryable=retryable)
