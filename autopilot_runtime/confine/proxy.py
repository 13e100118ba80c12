"""The one door of a wall to the internet: an HTTP proxy that connects to the hosts on a list, and to no other."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import re
import socket
from collections.abc import Awaitable, Iterable
from urllib.parse import urlsplit

_HEAD_BYTES = 65_536
_HEAD_SECONDS = 30.0
_CONNECT_SECONDS = 20.0
_IDLE_SECONDS = 600.0
_CHUNK = 65_536
_MOST_OPEN = 256
_NAME = re.compile(r"[A-Za-z0-9._-]+")


class AllowList:
    """Which hosts may be reached: `host`, `host:port`, `*.domain` (its subdomains), or an address."""

    def __init__(self, hosts: Iterable[str]) -> None:
        self._hosts = [_split(host.lower().rstrip(".")) for host in hosts]

    def allows(self, host: str, port: int) -> bool:
        """Whether a connection to this name may be asked for."""
        name = host.lower().rstrip(".")
        if not _NAME.fullmatch(name) and not _is_number(name):
            return False
        return any(_fits(name, pattern) and wanted in (None, port) for pattern, wanted in self._hosts)

    def mentions(self, host: str) -> bool:
        """Whether the list has this host, for some port or all."""
        return any(pattern == host for pattern, _ in self._hosts)

    def names(self, host: str) -> bool:
        """Whether the list says this very host, not only a kind of it."""
        return any(pattern == host.lower().rstrip(".") for pattern, _ in self._hosts)


def _is_number(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _split(host: str) -> tuple[str, int | None]:
    if host.startswith("["):
        name, _, rest = host[1:].partition("]")
        return name, int(rest[1:]) if rest.startswith(":") and rest[1:].isdigit() else None
    name, colon, port = host.rpartition(":")
    return (name, int(port)) if colon and port.isdigit() and ":" not in name else (host, None)


def _fits(name: str, pattern: str) -> bool:
    return (
        name.endswith(pattern[1:]) and len(name) > len(pattern[1:]) if pattern.startswith("*.") else name == pattern
    )


class Refused(Exception):
    """What the program is told, with its HTTP status."""

    def __init__(self, status: str, why: str) -> None:
        super().__init__(why)
        self.status = status


class Proxy:
    """Serves one listener. Every connection is judged by name, then made to the very address that was judged."""

    def __init__(self, listener: socket.socket, hosts: Iterable[str]) -> None:
        self._listener = listener
        self._list = AllowList(hosts)
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        """Begin to serve, on the running loop."""
        self._server = await asyncio.start_server(self._serve, sock=self._listener, limit=_HEAD_BYTES)

    async def close(self) -> None:
        """End the server and every connection."""
        if self._server is not None:
            self._server.close()
        for writer in list(self._open):
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._open) >= _MOST_OPEN:
            writer.close()  # the descriptors are those of the whole program that embeds us
            return
        self._open.add(writer)
        try:
            await self._one(reader, writer)
        except Refused as error:
            body = f"{error}\n".encode()
            head = f"HTTP/1.1 {error.status}\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n"
            writer.write(f"{head}X-Proxy-Error: blocked-by-sandbox\r\nConnection: close\r\n\r\n".encode() + body)
            with contextlib.suppress(OSError):
                await writer.drain()
        except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            # A client that went away or does not speak HTTP: closing is all that can be said to it.
            return
        finally:
            self._open.discard(writer)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(_HEAD_SECONDS):
            head = await reader.readuntil(b"\r\n\r\n")
        line, _, fields = head.partition(b"\r\n")
        method, target, version = line.decode("latin-1").split(" ")
        if version not in ("HTTP/1.0", "HTTP/1.1") or not _NAME.fullmatch(method):
            raise Refused("400 Bad Request", "This is no HTTP/1 request.")
        if method == "CONNECT":
            far_reader, far_writer = await self._connect(*_split_target(target))
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            url = urlsplit(target)
            if url.scheme != "http" or not url.hostname:
                raise Refused("400 Bad Request", "This proxy speaks CONNECT, and http with a whole address.")
            far_reader, far_writer = await self._connect(url.hostname, url.port or 80)
            path = f"{url.path or '/'}{'?' + url.query if url.query else ''}"
            far_writer.write(f"{method} {path} {version}\r\n".encode("latin-1") + _one_request(fields, url.netloc))
        self._open.add(far_writer)
        try:
            await _relay((reader, far_writer), (far_reader, writer))
        finally:
            self._open.discard(far_writer)
            far_writer.close()

    async def _connect(self, host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if not self._list.allows(host, port):
            why = f"{host}:{port} is not among the hosts of runtime.sandbox.network; the connection was not made."
            raise Refused("403 Forbidden", why)
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
                for *_, address in found:
                    self._judge(host, str(address[0]))
                return await asyncio.open_connection(str(found[0][4][0]), port)
        except (OSError, TimeoutError, UnicodeError) as error:
            raise Refused(
                "502 Bad Gateway", f"{host}:{port} could not be reached: {error or 'no answer'}."
            ) from error

    def _judge(self, host: str, address: str) -> None:
        """A name may not lead back to this machine unless the list says so in so many words."""
        found = ipaddress.ip_address(address.partition("%")[0])
        found = getattr(found, "ipv4_mapped", None) or found
        own = found.is_loopback or found.is_link_local or found.is_unspecified or found.is_multicast
        # A name on the list may be one of the own network; one of this machine has to be meant as such.
        meant = self._list.names(host) and (not own or _is_number(host) or host == "localhost")
        if (own or found.is_private) and not meant:
            raise Refused("403 Forbidden", f"{host} leads to {address}, an address of this machine or its network.")


def _split_target(target: str) -> tuple[str, int]:
    host, port = _split(target)
    if port is None:
        raise Refused("400 Bad Request", "CONNECT needs host:port.")
    return host, port


def _one_request(fields: bytes, host: str) -> bytes:
    """The header fields of one request: the next one on this connection would be for another host."""
    ours = (b"proxy-", b"connection:", b"host:")
    kept = [line for line in fields.split(b"\r\n") if line and not line.lower().startswith(ours)]
    named = b"Host: " + host.encode("latin-1")
    return b"\r\n".join([named, *kept, b"Connection: close", b"", b""])


async def _relay(*ways: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
    async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while True:
            async with asyncio.timeout(_IDLE_SECONDS):
                data = await source.read(_CHUNK)
            if not data:
                break
            target.write(data)
            await target.drain()
        if target.can_write_eof():
            target.write_eof()

    async with asyncio.TaskGroup() as group:
        for source, target in ways:
            group.create_task(_quiet(copy(source, target)))


async def _quiet(work: Awaitable[None]) -> None:
    with contextlib.suppress(OSError, TimeoutError):
        await work
