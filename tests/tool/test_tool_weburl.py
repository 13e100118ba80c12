"""Addresses: one spelling for each, odd ones refused, and every disguise of a private number seen through."""

from __future__ import annotations

import pytest

from autopilot_runtime.core.errors import ToolError
from autopilot_runtime.tool.weburl import Reach, is_public, target_of

PUBLIC = "93.184.216.34"


@pytest.mark.parametrize(
    ("given", "spelt"),
    [
        ("HTTPS://Docs.Python.ORG", "https://docs.python.org/"),
        ("https://docs.python.org:443/3/#top", "https://docs.python.org/3/"),
        ("http://example.com:80/a?b=c d".replace(" ", "%20"), "http://example.com/a?b=c%20d"),
        ("http://example.com:8080/", "http://example.com:8080/"),
        ("https://example.com./x", "https://example.com/x"),
        ("https://example.com/public/../private", "https://example.com/private"),
        ("https://example.com/public/%2e%2E/private/", "https://example.com/private/"),
        ("https://example.com/../../x/.", "https://example.com/x/"),
        ("https://example.com/a//b", "https://example.com/a//b"),
        ("https://example.com/ä?ö=ü", "https://example.com/%C3%A4?%C3%B6=%C3%BC"),
        ("https://bücher.example/", "https://xn--bcher-kva.example/"),
        ("http://[2606:2800:220:1::1]:8080/", "http://[2606:2800:220:1::1]:8080/"),
        ("  https://example.com/  ", "https://example.com/"),
    ],
)
def test_every_address_has_one_spelling(given: str, spelt: str) -> None:
    assert target_of(given).url == spelt
    assert target_of(spelt).url == spelt


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd", "ftp://example.com/", "gopher://example.com/", "javascript:alert(1)", "data:text/x,y",
        "example.com", "//example.com/", "http://", "http:///path", "https://user@example.com/",
        "https://user:pass@example.com/", "https://good.example\\@evil.example/", "https://evil.example\\.good.example/",
        "http://exa mple.com/", "http://example.com/\r\nHost: x", "http://example.com/\x00", "http://example.com:99999/",
        "http://example.com:x/", "http://[::1", "http://[fe80::1%25eth0]/", "http://.example.com/", "http://*.example/",
        "http://example.com/public\\..\\private",
        "https://example.com/" + "x" * 5_000, "http://example.com/\u202egnp.exe",
    ],
)  # fmt: skip
def test_odd_addresses_are_refused(url: str) -> None:
    with pytest.raises(ToolError, match="cannot be fetched"):
        target_of(url)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.8.8", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
        "192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "::", "::1", "fe80::1",
        "fe80::1%eth0", "fc00::1", "fd12::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:a9fe:a9fe",
        "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2002:a00:1::1", "::127.0.0.1", "2001:db8::1",
        "2001:0:4136:e378:8000:63bf:80ff:fffe", "no number",
    ],
)  # fmt: skip
def test_no_disguise_of_a_private_number_passes(address: str) -> None:
    assert not is_public(address)
    with pytest.raises(ToolError, match="is not in the public internet"):
        Reach().check(target_of("http://example.com/"), [PUBLIC, address])


@pytest.mark.parametrize("address", [PUBLIC, "8.8.8.8", "2606:4700::1111", f"::ffff:{PUBLIC}", "64:ff9b::808:808"])
def test_public_numbers_pass(address: str) -> None:
    Reach().check(target_of("http://example.com/"), [address])


def test_a_list_of_hosts_is_all_there_is() -> None:
    reach = Reach.of({"hosts": ["docs.example", "*.wiki.example", "local.example:8080"]})
    for url in ("http://docs.example/", "https://en.wiki.example/", "http://docs.example:81/"):
        reach.check(target_of(url), [PUBLIC])
    for url in (
        "http://other.example/",
        "http://wiki.example/",
        "http://docs.example.evil/",
        "http://local.example/",
    ):
        with pytest.raises(ToolError, match=r"may not reach .*It may reach docs\.example, "):
            reach.check(target_of(url), [PUBLIC])
    with pytest.raises(ToolError, match="may not reach"):
        Reach.of({"hosts": []}).check(target_of("http://docs.example/"), [PUBLIC])


def test_who_names_a_host_in_full_means_it_wherever_it_is() -> None:
    reach = Reach.of({"hosts": ["docs.example", "*.wiki.example", "local.example:8080"]})
    reach.check(target_of("http://docs.example/"), ["10.0.0.1"])
    reach.check(target_of("http://local.example:8080/"), ["127.0.0.1"])
    with pytest.raises(ToolError, match="is not in the public internet"):
        reach.check(target_of("http://en.wiki.example/"), ["127.0.0.1"])
    Reach.of({"allow_private": True}).check(target_of("http://any.example/"), ["127.0.0.1", "::1"])


@pytest.mark.parametrize("config", [{"hosts": "docs.example"}, {"hosts": 3}, {"allow_private": "yes"}])
def test_wrong_settings_open_nothing(config: dict[str, object]) -> None:
    with pytest.raises(ToolError, match="settings of fetch are wrong"):
        Reach.of(config)
