"""One try of a model call over HTTP, for all wire formats: the key, the post, the limits, the errors."""

from __future__ import annotations

import asyncio
import os
import re
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import urlsplit

from autopilot_runtime.core.errors import MissingKey, ProviderError
from autopilot_runtime.core.message import Message, printable
from autopilot_runtime.core.protocols import Delta, Stopped, Text, Thought, Usage, Used
from autopilot_runtime.model import fault
from autopilot_runtime.model.answer import Answer, Reply
from autopilot_runtime.model.client import Address, Clients, Refused, Sdk
from autopilot_runtime.model.compatible import Preset
from autopilot_runtime.model.prices import price
from autopilot_runtime.model.retry import ending
from autopilot_runtime.model.settings import ModelSettings
from autopilot_runtime.model.sse import Surrogates

NO_KEY_NEEDED = "no-key-needed"
_MOST_OPTIONAL_FIELDS = 8
_REFUSED = re.compile(
    r"not (?:permitted|supported|allowed|available|recogni)|unsupported|unrecogni|unknown|unexpected|extra"
    r"|additional propert|does(?: not|n't) (?:support|take|allow)|invalid (?:param|field|argument)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Request:
    """One model call, made once and posted by every try of it under the same idempotency key."""

    messages: Sequence[Message]
    system: str
    max_tokens: int
    key: str


class HttpProvider:
    """What the wire formats have in common. A subclass says the path, the body, and how events are read."""

    sdk: ClassVar[Sdk]
    path: ClassVar[str]
    optional: ClassVar[tuple[str, ...]] = ()
    """Fields of our body that are left out for good when the host refuses them."""

    def __init__(
        self, settings: ModelSettings, preset: Preset, *, base_url: str, mask: Callable[[str], str] = str
    ) -> None:
        self.name = settings.provider
        self.model = settings.name
        self.settings = settings
        self.preset = preset
        self.base_url = base_url.rstrip("/")
        host = urlsplit(self.base_url).netloc.rpartition("@")[2] or self.base_url
        key_env = settings.api_key_env or preset.key_env
        self.place = fault.Place(self.name, self.model, host, key_env, mask)
        self._clients = Clients(Address(self.sdk, self.base_url, settings.timeouts))
        self._notices: list[str] = []
        self._noted: set[str] = set()
        self._shed: set[str] = set()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}:{self.model} at {self.place.host}>"

    def stream(
        self, messages: Sequence[Message], *, system: str, max_tokens: int | None = None
    ) -> AsyncIterator[Delta]:
        """The deltas of one try; `retry.py` asks `begin` for more of them."""
        return self.begin(messages, system=system, max_tokens=max_tokens)()

    def begin(
        self, messages: Sequence[Message], *, system: str, max_tokens: int | None = None
    ) -> Callable[[], AsyncIterator[Delta]]:
        """A call that can be tried several times, always under the same idempotency key."""
        limit = max_tokens or self.settings.max_tokens
        request = Request(messages, system, limit, f"autopilot-{uuid.uuid4().hex}")
        return lambda: self._try(request)

    def notices(self) -> list[str]:
        """What should be said once to the person who runs this; empty after it was read."""
        said, self._notices = self._notices, []
        return said

    async def close(self) -> None:
        """Close every connection."""
        await self._clients.close()

    # What a wire format adds.

    def _body(self, request: Request) -> bytes:
        raise NotImplementedError

    def _reply(self) -> Reply:
        raise NotImplementedError

    def _headers(self, key: str) -> dict[str, str]:
        """Headers beside those of the SDK."""
        del key
        return {}

    # One try.

    async def _try(self, request: Request) -> AsyncIterator[Delta]:
        key = self._secret()
        answer = await self._post(request, key)
        reply = self._reply()
        surrogates = Surrogates()
        size, usage = 0, Usage()
        try:
            async with ending(answer.deltas(reply)) as deltas:
                async for delta in deltas:
                    if isinstance(delta, Used):
                        usage = delta.usage
                        continue
                    size += len(delta.text) if isinstance(delta, (Text, Thought)) else 0
                    if size > self.settings.reply_cap:
                        cap = f"{self.settings.reply_cap:,} characters"
                        raise self.place.error(f"the reply is over the cap of {cap}.", "too_long")
                    if isinstance(delta, Thought):
                        yield Thought(printable(delta.text))
                    elif isinstance(delta, Text) and (text := surrogates.feed(delta.text)):
                        yield Text(text)
            if left := surrogates.end():
                yield Text(left)
        finally:
            await answer.close()
        if answer.sse.bad_bytes or surrogates.replaced:
            self._note(f"{self.place.host} sent text that is not valid Unicode; U+FFFD stands for the bad parts.")
        yield Used(price(self.settings, usage, free=self.preset.free))
        yield reply.stopped or Stopped("end")

    async def _post(self, request: Request, key: str) -> Answer:
        for _ in range(_MOST_OPTIONAL_FIELDS):  # each round leaves out one optional field for good
            try:
                return await self._post_once(request, key)
            except ProviderError as error:
                field = self._refused(str(error)) if error.status in (400, 422) else None
                if error.kind == "context" or field is None:
                    raise
                self._shed.add(field)
                self._note(f"{self.place.host} does not take {field!r} for {self.model}: it is no longer sent.")
        raise self.place.error("one optional field after the other was refused.", "bad_request")

    def _refused(self, error: str) -> str | None:
        """The optional field that this error is about: the first one it names, others are advice."""
        said = error.partition("): ")[2]  # without our own words, which hold the name of the model
        if not _REFUSED.search(said):
            return None
        places = {field: said.find(field) for field in self.optional if self._keeps(field) and field in said}
        return min(places, key=lambda field: places[field], default=None)

    async def _post_once(self, request: Request, key: str) -> Answer:
        client = await self._clients.get(key)
        own = {
            "Accept": "text/event-stream",
            "Accept-Encoding": "identity",
            "Idempotency-Key": request.key,
        }
        options = {"headers": {**own, **self._headers(key), **self.settings.extra_headers}}
        limits = self.settings.timeouts
        seconds = limits.connect + limits.first_byte
        failed: ProviderError
        try:
            async with asyncio.timeout(seconds):
                response = await client.post(
                    self.path, content=self._body(request), cast_to=_raw(), stream=True, options=options
                )
            return Answer(response, place=self.place, settings=self.settings, key=key)
        except TimeoutError:
            failed = self.place.error(f"no answer within {seconds:g} s.", "timeout", key=key)
        except Exception as error:  # the seam: whatever the SDK raises becomes one typed error
            failed = self._translated(error, key)
        # Raised out here so that neither cause nor context holds the request with its key.
        raise failed

    def _translated(self, error: Exception, key: str) -> ProviderError:
        refused = error if isinstance(error, Refused) else error.__cause__
        if isinstance(refused, Refused):
            return fault.from_status(self.place, refused.status, headers=refused.headers, body=refused.body, key=key)
        return fault.from_exception(self.place, error, key=key)

    def _secret(self) -> str:
        """The key, read when it is needed and kept nowhere but in the SDK's client."""
        named = self.place.key_env
        if not named:
            return NO_KEY_NEEDED
        value = os.environ.get(named, "").strip()
        if not value:
            raise MissingKey(f"{self.name} needs a key: the environment variable {named} is not set.")
        return value

    def _note(self, text: str) -> None:
        if text not in self._noted:
            self._noted.add(text)
            self._notices.append(self.place.clean(text))

    def _keeps(self, field: str) -> bool:
        return field not in self._shed


def _raw() -> Any:
    import httpx2  # comes with the SDKs, which have imported it by now

    return httpx2.Response
