"""Gets one page over HTTP: from the very address that was checked, hop by hop, and no more than there is room for."""

from __future__ import annotations

import asyncio
import codecs
import importlib
import re
import socket
import zlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin

from autopilot_runtime.core.errors import ToolError
from autopilot_runtime.tool.visible import visible
from autopilot_runtime.tool.weburl import Reach, Target, target_of

MAX_BYTES = 2_000_000
MOST_HOPS = 5
_ERROR_BYTES = 20_000
_CONNECT_SECONDS = 10.0
_MOST_ADDRESSES = 4
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_HTML = ("text/html", "application/xhtml+xml")
_TEXT = re.compile(r"text/.+|application/(.+\+)?(json|xml|yaml|x-yaml|toml|javascript|x-ndjson|sql)")
_CHARSET = re.compile(r"charset\s*=\s*[\"']?([\w.:-]{1,40})", re.IGNORECASE)
_SIZE = re.compile(r"[0-9]{1,15}")
_CODECS = re.compile(r"(utf-?(8|16|32)|ascii|iso8859|cp\d|koi8|mac|gb|big5|euc|shift_jis)")
_BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_HEADERS = {
    "Accept": "text/html, application/json;q=0.9, text/*;q=0.9, */*;q=0.1",
    "Accept-Encoding": "gzip, deflate",
    "User-Agent": "autopilot-runtime",
}
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back in the end. `cut`: there was more than there is room for."""

    url: str
    status: int
    reason: str
    kind: str
    charset: str
    body: bytes
    cut: bool

    @property
    def is_html(self) -> bool:
        """Whether it is a page, not plain text."""
        return self.kind in _HTML

    @property
    def text(self) -> str:
        """The body, in the encoding it says it has."""
        return self.body.decode(_codec(self.body, self.charset, self.is_html), "replace")


async def addresses_of(host: str, port: int) -> Sequence[str]:
    """The numbers a name stands for."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ToolError(f"The host {visible(host, limit=100)} cannot be found: {error}.") from error
    return list(dict.fromkeys(str(one[4][0]) for one in found))


async def get(
    url: str, reach: Reach, *, seconds: float, max_bytes: int = MAX_BYTES, resolve: Resolve = addresses_of
) -> Answer:
    """The answer to a GET, after redirects that stay with the server."""
    target = target_of(url)
    # It comes with the SDKs of the models. Importing it takes longer than the loop should be held up.
    http = await asyncio.to_thread(importlib.import_module, "httpx2")
    # A transport knows nothing of cookies, passwords, proxies and redirects.
    transport = await asyncio.to_thread(http.AsyncHTTPTransport)
    getter = _Getter(http, transport, reach, resolve, max_bytes)
    try:
        async with asyncio.timeout(seconds):
            for _ in range(MOST_HOPS + 1):
                found = await getter.hop(target)
                if isinstance(found, Answer):
                    return found
                target = _redirected(target, found)
    except TimeoutError:
        raise ToolError(f"{target.host} did not answer in full within {seconds:g} s.") from None
    finally:
        await transport.aclose()
    raise ToolError(f"{visible(url, limit=200)} redirects more than {MOST_HOPS} times.")


def _redirected(target: Target, location: str) -> Target:
    try:
        there = target_of(urljoin(target.url, location))
    except ValueError:
        there = target_of(location)  # which says what is wrong with it
    if target.scheme == "https" and there.scheme == "http":
        raise ToolError(f"{target.url} redirects to {there.url}, which is not encrypted, so it was not followed.")
    if not target.is_home(there):
        # What was allowed is this server; another one is for the rules to judge again.
        raise ToolError(f"{target.url} redirects to another server. If you want that page, fetch {there.url!r}.")
    return there


@dataclass(frozen=True, slots=True)
class _Getter:
    http: Any
    transport: Any
    reach: Reach
    resolve: Resolve
    max_bytes: int

    async def hop(self, target: Target) -> Answer | str:
        """One request: an answer, or where it redirects to."""
        addresses = await self.resolve(target.host, target.port)
        self.reach.check(target, addresses)
        try:
            response = await self._sent(target, addresses)
            try:
                location = response.headers.get("location")
                if response.status_code in _REDIRECTS and location:
                    return str(location)
                return await self._answer(response, target)
            finally:
                await response.aclose()
        except (self.http.HTTPError, self.http.InvalidURL) as error:
            why = visible(str(error).rstrip(".") or type(error).__name__, limit=300)
            raise ToolError(f"{target.authority} did not answer as it should: {why}.") from error

    async def _sent(self, target: Target, addresses: Sequence[str]) -> Any:
        """Ask at the checked address. Its name goes into the request, and the certificate must be the name's."""
        tries = list(addresses[:_MOST_ADDRESSES])
        waits = {"connect": _CONNECT_SECONDS, "read": None, "write": None, "pool": None}
        while True:
            request = self.http.Request(
                "GET",
                target.at(tries.pop(0)),
                headers={"Host": target.authority, **_HEADERS},
                extensions={"sni_hostname": target.host, "timeout": waits},
            )
            try:
                return await self.transport.handle_async_request(request)
            except (self.http.ConnectError, self.http.ConnectTimeout):
                if not tries:
                    raise

    async def _answer(self, response: Any, target: Target) -> Answer:
        kind, _, options = str(response.headers.get("content-type", "")).partition(";")
        kind, failed = kind.strip().lower(), response.status_code >= 400
        if kind not in _HTML and kind and not _TEXT.fullmatch(kind) and not failed:
            size = response.headers.get("content-length", "")
            told = f"{visible(kind, limit=80)}{f', {int(size):,} bytes' if _SIZE.fullmatch(size) else ''}"
            raise ToolError(f"{target.url} is no text but {told}. fetch reads pages, text, JSON and XML.")
        body, cut = await self._body(response, _ERROR_BYTES if failed else self.max_bytes)
        if not kind:
            kind = "text/html" if body.lstrip()[:1] == b"<" else "text/plain"
        found = _CHARSET.search(options)
        reason = visible(response.reason_phrase, limit=80)
        return Answer(target.url, response.status_code, reason, kind, found[1] if found else "", body, cut)

    async def _body(self, response: Any, limit: int) -> tuple[bytes, bool]:
        """The unpacked body. A small answer can unpack to a huge one: not a byte more than `limit` is unpacked."""
        encoding = str(response.headers.get("content-encoding", "")).strip().lower()
        if encoding not in ("", "identity", "gzip", "x-gzip", "deflate"):
            raise ToolError(f"The answer is packed in a way that was not asked for: {visible(encoding, limit=80)}.")
        unpack = zlib.decompressobj(zlib.MAX_WBITS | 32) if encoding not in ("", "identity") else None
        body = bytearray()
        try:
            async for chunk in response.aiter_raw():
                room = limit + 1 - len(body)
                body += chunk[:room] if unpack is None else unpack.decompress(chunk, room)
                if len(body) > limit:
                    break
        except zlib.error as error:
            raise ToolError(f"The answer is packed, and broken: {error}.") from error
        return bytes(body[:limit]), len(body) > limit


def _codec(body: bytes, charset: str, is_html: bool) -> str:
    """The name of an encoding that is one of text; what a page does not say, or says wrongly, is UTF-8."""
    for mark, name in _BOMS:
        if body.startswith(mark):
            return name
    if not charset and is_html:
        found = _CHARSET.search(body[:2_000].decode("ascii", "replace"))
        charset = found[1] if found else ""
    try:
        name = codecs.lookup(charset or "utf-8").name
    except LookupError:
        return "utf-8"
    # On the web the first of these names means the second.
    return "cp1252" if name == "iso8859-1" else name if _CODECS.match(name) else "utf-8"
