"""Which addresses of the web may be reached: one spelling for each, and no way into a private network. Pure."""

from __future__ import annotations

import ipaddress
import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from autopilot_runtime.core.errors import ToolError
from autopilot_runtime.tool.visible import visible

_LONGEST = 4_000
_PORTS = {"http": 80, "https": 443}
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_PATH, _QUERY = "/%:@!$&'()*+,;=~-._", "/%:@!$&'()*+,;=~-._?[]"
_SPECIAL = ("is_private", "is_loopback", "is_link_local", "is_multicast", "is_reserved", "is_unspecified")
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Target:
    """An address in its one spelling: no fragment, no `..`, no default port, a host in lower case."""

    scheme: str
    host: str
    port: int
    rest: str  # path and query

    @property
    def authority(self) -> str:
        """The host as a request names it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The whole address."""
        return f"{self.scheme}://{self.authority}{self.rest}"

    def at(self, address: str) -> str:
        """The same, with the number of the machine instead of its name."""
        return f"{self.scheme}://{f'[{address}]' if ':' in address else address}:{self.port}{self.rest}"

    def is_home(self, other: Target) -> bool:
        """Whether a redirect from here to there stays with the same server."""
        same_port = self.port == other.port or (self.port, other.port) == (80, 443)
        return same_port and self.host.removeprefix("www.") == other.host.removeprefix("www.")


def target_of(url: str) -> Target:
    """The target of an http or https address; anything odd in it is refused."""
    text = url.strip()
    if not text.isprintable() or " " in text or "\\" in text or len(text) > _LONGEST:
        raise _refused(url, "it has spaces, backslashes or hidden characters, or is too long")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise _refused(url, str(error)) from None
    if parts.scheme not in _PORTS:
        raise _refused(url, "only http:// and https:// addresses are fetched")
    if "@" in parts.netloc:
        raise _refused(url, "an address with a user or password in it is not fetched")
    path = quote(_straight(parts.path), safe=_PATH)
    query = f"?{quote(parts.query, safe=_QUERY)}" if parts.query else ""
    return Target(parts.scheme, _host(url, host), _PORTS[parts.scheme] if port is None else port, path + query)


def _host(url: str, host: str) -> str:
    if ":" in host and "%" not in host:
        return host  # the number of a machine
    try:
        name = host.encode("idna").decode("ascii").lower().rstrip(".")
    except UnicodeError:
        name = ""
    if not re.fullmatch(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?", name):
        raise _refused(url, "it names no host")
    return name


def _straight(path: str) -> str:
    """A path without `.` and `..`, however they are spelt, so that a rule about a folder holds."""
    path = re.sub("%2e", ".", path, flags=re.IGNORECASE) or "/"
    if not re.search(r"/\.\.?(/|$)", path):
        return path
    end = "/" if path.endswith(("/", "/.", "/..")) else ""
    return posixpath.normpath("/" + path.lstrip("/")).rstrip("/") + end or "/"


def _refused(url: str, why: str) -> ToolError:
    return ToolError(f"{visible(url, limit=200)!r} cannot be fetched: {why}.")


@dataclass(frozen=True, slots=True)
class Reach:
    """What the agent file lets `fetch` reach: `hosts` is a list of all there is, `private` opens the own network."""

    hosts: tuple[str, ...] | None = None
    private: bool = False

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Reach:
        """From the settings of the tool."""
        hosts, private = config.get("hosts"), config.get("allow_private", False)
        plain = hosts is None or (isinstance(hosts, Sequence) and not isinstance(hosts, str))
        if not plain or not isinstance(private, bool):
            raise ToolError("The settings of fetch are wrong: hosts is a list of names, allow_private true or false.")
        return cls(None if hosts is None else tuple(str(host).lower() for host in hosts), private)

    def check(self, target: Target, addresses: Sequence[str]) -> None:
        """Refuse a target that is not on the list, or is in a private network without being named there."""
        named = {target.host, f"{target.host}:{target.port}"}
        if self.hosts is not None and not any(_fits(host, named) for host in self.hosts):
            raise ToolError(f"fetch may not reach {target.host}. It may reach {', '.join(self.hosts) or 'nothing'}.")
        if self.private or not named.isdisjoint(self.hosts or ()):
            return
        for address in addresses:
            if not is_public(address):
                raise ToolError(
                    f"fetch does not reach {target.host}: {address} is not in the public internet. A person can name "
                    "the host in the agent file (`hosts:` of fetch), or set `allow_private: true` there."
                )


def _fits(pattern: str, named: set[str]) -> bool:
    if pattern.startswith("*."):
        return any(name.endswith(pattern[1:]) for name in named)
    return pattern in named


def is_public(address: str) -> bool:
    """Whether a number means a machine in the open internet, also where it is wrapped in another kind of number."""
    try:
        number: Address = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(number, ipaddress.IPv6Address):
        if number in _NAT64 or number.ipv4_mapped is not None:
            return is_public(str(ipaddress.IPv4Address(int(number) & 0xFFFFFFFF)))
        tunnelled = number.sixtofour or (number.teredo[1] if number.teredo else None)
        if tunnelled is not None and not is_public(str(tunnelled)):
            return False
    return number.is_global and not any(getattr(number, kind) for kind in _SPECIAL)
