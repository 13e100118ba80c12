"""SDK clients, one per event loop: a connection of a closed loop is never used again, and never leaks."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import threading
import weakref
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

from autopilot_runtime.model.settings import Timeouts

Sdk = Literal["anthropic", "openai"]
ERROR_BODY = 65_536
_KEPT = 90.0
_WARMED: set[str] = set()
_WARMING = threading.Lock()


class Refused(Exception):
    """The answer was not 2xx. Carries what of it is worth reading, read with a limit."""

    def __init__(self, status: int, *, headers: Mapping[str, str], body: bytes) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status
        self.headers = headers
        self.body = body


def warm(sdk: str) -> threading.Thread | None:
    """Import an SDK in a daemon thread, once per process, so that the first call does not wait for it."""
    with _WARMING:
        if sdk in _WARMED:
            return None
        _WARMED.add(sdk)
    thread = threading.Thread(target=_import, args=(sdk,), name=f"warm-{sdk}", daemon=True)
    thread.start()
    return thread


def _import(sdk: str) -> Any:
    # Late on purpose: the SDKs cost one to two seconds of CPU, and a process that calls no model needs none.
    return importlib.import_module(sdk)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a client connects. The key is not part of it, so that a repr cannot show one."""

    sdk: Sdk
    base_url: str
    timeouts: Timeouts


@dataclass(slots=True)
class _Held:
    key: str
    client: Any
    keeper: AsyncGenerator[None, None]


class Clients:
    """The SDK clients of one provider."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._lock = threading.Lock()
        self._gates: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = weakref.WeakKeyDictionary()
        self._held: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Held] = weakref.WeakKeyDictionary()

    async def get(self, key: str) -> Any:
        """The client of the running loop; a new one after the key has changed."""
        loop = asyncio.get_running_loop()
        with self._lock:
            held = self._held.get(loop)
            gate = self._gates.setdefault(loop, asyncio.Lock())
        if held is not None and held.key == key and not held.client.is_closed():
            return held.client
        async with gate:  # calls that start together share one client
            return await self._fresh(loop, key)

    async def _fresh(self, loop: asyncio.AbstractEventLoop, key: str) -> Any:
        with self._lock:
            held = self._held.get(loop)
        if held is not None and held.key == key and not held.client.is_closed():
            return held.client
        if held is not None:
            await held.keeper.aclose()
        # In a thread: the import and the trust store together block for a second or more the first time.
        client = await asyncio.to_thread(_connect, self._address, key)
        keeper = _close_with_loop(client)
        await anext(keeper)
        with self._lock:
            self._held[loop] = _Held(key, client, keeper)
        return client

    async def close(self) -> None:
        """Close the clients of this loop and of every other that still runs."""
        here = asyncio.get_running_loop()
        with self._lock:
            held = list(self._held.items())
            self._held.clear()
        for loop, one in held:
            if loop is here:
                await one.keeper.aclose()
            elif loop.is_running():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(
                        asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_end(one.keeper), loop)), 5
                    )


async def _end(keeper: AsyncGenerator[None, None]) -> None:
    await keeper.aclose()


async def _close_with_loop(client: Any) -> AsyncGenerator[None, None]:
    # A loop closes its open async generators when it ends (`asyncio.run` does). This one holds the client open
    # until then, so its sockets are closed by the loop they belong to, and nobody has to remember it.
    try:
        yield
    finally:
        await client.close()


def _connect(address: Address, key: str) -> Any:
    sdk = _import(address.sdk)
    http = importlib.import_module("httpx2")  # comes with the SDKs; late for the same reason
    limits = address.timeouts
    longest = max(limits.first_byte, limits.idle) + 5  # ours fire first; these are the net below
    common: dict[str, Any] = {
        "api_key": key,
        "base_url": address.base_url,
        "max_retries": 0,  # one retry budget, and it is ours (retry.py)
        "http_client": sdk.DefaultAsyncHttpxClient(
            timeout=http.Timeout(longest, connect=limits.connect),
            # A step may take a minute between two calls; the default of 5 s would cost a handshake each time.
            limits=http.Limits(max_connections=1000, max_keepalive_connections=100, keepalive_expiry=_KEPT),
            follow_redirects=False,
            event_hooks={"response": [_refuse]},
        ),
    }
    if address.sdk == "anthropic":
        # It would emit its own spans beside ours.
        tracing = {"traces": {"enabled": False}, "propagation": False}
        # The SDK sends a bearer token only; many proxies read this header. It belongs to the client: the options of
        # a single request are written into the SDK's debug log.
        proxied = "" if urlsplit(address.base_url).hostname == "api.anthropic.com" else key
        headers = {"x-api-key": proxied} if proxied else {}
        return sdk.AsyncAnthropic(open_telemetry=tracing, default_headers=headers, **common)
    return sdk.AsyncOpenAI(**common)


async def _refuse(response: Any) -> None:
    if response.is_success:
        return
    body = bytearray()
    decode = unpacker(response.headers.get("content-encoding", ""), ERROR_BODY)
    with contextlib.suppress(TooBig, ValueError):
        async for chunk in response.aiter_raw():
            body += decode(chunk)
            if len(body) > ERROR_BODY:
                break
    await response.aclose()
    raise Refused(response.status_code, headers=dict(response.headers), body=bytes(body[:ERROR_BODY]))


class TooBig(ValueError):
    """A packed answer unpacks to more than it may."""


def unpacker(encoding: str, limit: int) -> Any:
    """A function from packed to plain bytes that refuses to unpack more than `limit` in total."""
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return bytes
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise ValueError(f"content-encoding {encoding!r}, which was not asked for")
    import zlib  # only a host that packs without being asked needs it

    unpack = zlib.decompressobj(zlib.MAX_WBITS | 32)
    total = 0

    def plain(chunk: bytes) -> bytes:
        nonlocal total
        try:
            out = unpack.decompress(chunk, limit - total + 1)
        except zlib.error as error:
            raise ValueError(f"a broken {encoding} stream ({error})") from None
        total += len(out)
        if total > limit:
            raise TooBig(f"an answer that unpacks to more than {limit:,} bytes")
        return out

    return plain
