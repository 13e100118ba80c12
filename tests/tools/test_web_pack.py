"""`fetch` against real servers on this machine: what it reads, what it does not reach, what cannot exhaust it."""

from __future__ import annotations

import asyncio
import gzip
import shutil
import ssl
import subprocess
import sys
import threading
import time
import tracemalloc
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from autopilot_runtime.core.errors import ToolError
from autopilot_runtime.runtime.agentschema import DEFAULT_TOOLS
from autopilot_runtime.tool.context import ToolContext
from autopilot_runtime.tool.define import Tool
from autopilot_runtime.tool.pack import load_tools
from autopilot_runtime.tool.permit import decide, parse_rules
from autopilot_runtime.tool.plain import ToolResult, plain
from autopilot_runtime.tool.webget import Answer, get
from autopilot_runtime.tool.weburl import Reach
from autopilot_runtime.tool.workspace import Workspace
from tests.web_server import Handler, Reply, Server

FETCH: Tool = load_tools("fetch", folder=Path("/nowhere"))[0]
HTML = {"Content-Type": "text/html; charset=utf-8"}
PLAIN = {"Content-Type": "text/plain"}


@pytest.fixture
def web() -> Iterator[Server]:
    with Server() as server:
        yield server


async def fetch(url: str, *, max_chars: int = 20_000, **config: Any) -> ToolResult:
    """The tool as the runtime calls it."""
    ctx = ToolContext("fetch", Workspace("."), config or {"allow_private": True})
    found = await FETCH.call(ctx, {"url": url, "max_chars": max_chars})
    assert isinstance(found, ToolResult)
    assert plain(found.value) == found.value
    return found


def to(location: str, status: int = 302) -> Reply:
    return status, {"Location": location, "Set-Cookie": "id=1; Path=/"}, b""


# ---------------------------------------------------------------- what it reads


async def test_a_page_is_read_as_text(web: Server) -> None:
    web.replies["/a/"] = 200, HTML, "<title>T</title><h1>Grüße</h1><p><a href='b'>b</a>".encode()
    found = await fetch(f"{web.url}/a/")
    text = f"# Grüße\n\n[b]({web.url}/a/b)"
    assert found.value == {"url": f"{web.url}/a/", "status": 200, "title": "T", "text": text}
    assert found.shown == f"{web.url}/a/ 200 text/html 52 bytes\ntitle: T\n{text}"


async def test_json_and_text_come_as_they_are(web: Server) -> None:
    web.replies["/json"] = 200, {"Content-Type": "application/vnd.api+json"}, b'{"a": "<b>"}'
    web.replies["/text"] = 200, PLAIN, b"<p>no page</p>\x1b[2J"
    web.replies["/none"] = 200, {}, b" <p>a page</p>"
    assert (await fetch(f"{web.url}/json")).value["text"] == '{"a": "<b>"}'
    found = await fetch(f"{web.url}/text")
    assert found.value["text"] == "<p>no page</p>\x1b[2J"
    assert str(found.shown).endswith("<p>no page</p>⟨ESC⟩[2J")
    assert (await fetch(f"{web.url}/none")).value["text"] == "a page"


@pytest.mark.parametrize(
    ("kind", "body", "text"),
    [
        ("text/plain; charset=iso-8859-1", b"caf\xe9 \x80", "café €"),
        ('text/plain; charset="UTF-16"', "café".encode("utf-16"), "café"),
        ("text/html", b"<meta charset='windows-1252'>caf\xe9", "café"),
        ("text/html", b"<meta http-equiv=x content='text/html; charset=koi8-r'>\xc1", "а"),
        ("text/plain", b"\xef\xbb\xbfcaf\xc3\xa9", "café"),
        ("text/plain; charset=utf-7", b"+ADw-", "+ADw-"),
        ("text/plain; charset=rot13", b"abc", "abc"),
        ("text/plain; charset=nonsense", b"caf\xe9", "caf�"),
    ],
)
async def test_text_is_read_in_its_encoding(web: Server, kind: str, body: bytes, text: str) -> None:
    web.replies["/"] = 200, {"Content-Type": kind}, body
    assert (await fetch(web.url)).value["text"] == text


async def test_what_is_no_text_is_refused_with_its_kind_and_size(web: Server) -> None:
    web.replies["/x.png"] = 200, {"Content-Type": "image/png"}, b"\x89PNG" * 1_000
    with pytest.raises(ToolError, match=r"/x\.png is no text but image/png, 4,000 bytes"):
        await fetch(f"{web.url}/x.png")
    web.replies["/odd"] = lambda handler: handler.wfile.write(
        b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    )
    with pytest.raises(ToolError, match=r"/odd is no text but a/b\."):
        await fetch(f"{web.url}/odd")


async def test_only_as_much_is_shown_as_was_asked_for(web: Server) -> None:
    web.replies["/"] = 200, PLAIN, b"x" * 30_000
    for found, room in (
        (await fetch(web.url), 20_000),
        (await fetch(web.url, max_chars=100), 100),
        (await fetch(web.url, max_chars=900, allow_private=True, max_output_chars=500), 500),
    ):
        assert len(found.value["text"]) == 30_000
        lines = str(found.shown).split("\n")
        assert lines[1] == "x" * room
        assert lines[2] == f"… ({30_000 - room:,} more characters; they are in the returned text)"


async def test_an_error_of_the_server_is_an_error_with_its_words(web: Server) -> None:
    web.replies["/gone"] = 410, HTML, b"<h1>Gone</h1>" + b"<p>" + b"y" * 1_000
    with pytest.raises(ToolError, match=r"/missing answers 404 Not Found: nothing here"):
        await fetch(f"{web.url}/missing")
    with pytest.raises(ToolError, match=r"answers 410 Gone: # Gone yyy") as error:
        await fetch(f"{web.url}/gone")
    assert len(str(error.value)) < 350


# ---------------------------------------------------------------- what it may reach


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f.0.0.1", "0", "LOCALHOST."])
async def test_this_machine_is_not_reached_under_any_name(web: Server, host: str) -> None:
    with pytest.raises(ToolError, match=r"is not in the public internet|cannot be found|cannot be fetched"):
        await fetch(f"http://{host}:{web.port}/", timeout=5)
    assert web.seen == []


async def test_who_names_the_host_reaches_it_and_no_other(web: Server) -> None:
    web.replies["/"] = 200, PLAIN, b"hello"
    assert (await fetch(f"http://localhost:{web.port}/", hosts=["localhost"])).value["text"] == "hello"
    with pytest.raises(ToolError, match=r"may not reach 127\.0\.0\.1\. It may reach localhost"):
        await fetch(web.url, hosts=["localhost"])
    with pytest.raises(ToolError, match="may not reach"):
        await fetch(web.url, hosts=["localhost"], allow_private=True)


class Names:
    """A name server of the test's own, which counts."""

    def __init__(self, *addresses: Sequence[str]) -> None:
        self.answers = list(addresses)
        self.asked: list[tuple[str, int]] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append((host, port))
        return self.answers.pop(0)


async def got(url: str, names: Names, reach: Reach | None = None, seconds: float = 10) -> Answer:
    return await get(url, reach or Reach(private=True), seconds=seconds, resolve=names)


async def test_a_name_is_looked_up_once_and_that_very_address_is_asked(web: Server) -> None:
    web.replies["/x"] = 200, PLAIN, b"hello"
    names = Names(["127.0.0.1"])
    answer = await got(f"http://rebinding.test:{web.port}/x", names)
    assert answer.text == "hello"
    assert names.asked == [("rebinding.test", web.port)]
    assert web.seen[0][1]["host"] == f"rebinding.test:{web.port}"


async def test_one_private_address_among_public_ones_is_one_too_many(web: Server) -> None:
    with pytest.raises(ToolError, match=r"127\.0\.0\.1 is not in the public internet"):
        await got(f"http://two.test:{web.port}/", Names(["93.184.216.34", "127.0.0.1"]), Reach())
    assert web.seen == []


@pytest.mark.skipif(sys.platform == "darwin", reason="only Linux has all of 127.0.0.0/8")
async def test_when_one_address_is_dead_the_next_is_tried(web: Server) -> None:
    web.replies["/"] = 200, PLAIN, b"hello"
    answer = await got(f"http://two.test:{web.port}/", Names(["127.0.0.2", "127.0.0.1"]))
    assert answer.text == "hello"


async def test_redirects_of_the_same_server_are_followed_a_few_times(web: Server) -> None:
    for number in range(10):
        web.replies[f"/{number}"] = to(f"/{number + 1}", (301, 302, 303, 307, 308)[number % 5])
    web.replies["/5"] = 200, PLAIN, b"there"
    found = await fetch(f"{web.url}/0")
    assert (found.value["url"], found.value["text"]) == (f"{web.url}/5", "there")
    web.replies["/5"] = to("/6")
    with pytest.raises(ToolError, match="redirects more than 5 times"):
        await fetch(f"{web.url}/0")


async def test_each_hop_is_checked_again(web: Server) -> None:
    web.replies["/"] = to(f"http://moving.test:{web.port}/next")
    web.replies["/next"] = 200, PLAIN, b"secret"
    names = Names(["127.0.0.1"], ["127.0.0.1"])
    with pytest.raises(ToolError, match=r"moving\.test: 127\.0\.0\.1 is not in the public internet"):
        await got(f"http://www.moving.test:{web.port}/", names, Reach(hosts=("www.moving.test", "*.test")))
    assert [path for path, _ in web.seen] == ["/"]


@pytest.mark.parametrize(
    ("location", "told"),
    [
        ("http://127.0.0.1:{other}/", "redirects to another server"),
        ("http://169.254.169.254/latest/meta-data/", "redirects to another server"),
        ("//localhost:{other}/", "redirects to another server"),
        ("file:///etc/passwd", "only http:// and https://"),
        ("http://a:b@localhost/", "a user or password"),
        ("http://[", "cannot be fetched"),
    ],
)
async def test_a_redirect_elsewhere_is_not_followed(web: Server, location: str, told: str) -> None:
    with Server() as other:
        web.replies["/"] = to(location.format(other=other.port))
        with pytest.raises(ToolError, match=told):
            await fetch(f"http://localhost:{web.port}/", hosts=["localhost"])
        assert other.seen == []


async def test_nothing_of_the_host_goes_along(web: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login ada password secret\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    web.replies["/"] = to("/next")
    web.replies["/next"] = 200, PLAIN, b"ok"
    await fetch(web.url)
    assert [path for path, _ in web.seen] == ["/", "/next"]
    for _, headers in web.seen:
        assert set(headers) <= {"host", "accept", "accept-encoding", "user-agent", "connection"}


# ---------------------------------------------------------------- TLS


def certificate(folder: Path, name: str) -> ssl.SSLContext:
    """A server's context with a certificate for one name, which is also its own authority."""
    key, cert = folder / f"{name}.key", folder / f"{name}.pem"
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, "-days", "2"]
    subprocess.run(
        [*words, "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"], check=True, capture_output=True
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return context


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make a certificate")
async def test_a_certificate_must_be_the_names_although_a_number_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str | None] = []
    context = certificate(tmp_path, "pinned.test")
    context.sni_callback = lambda _, name, __: asked.append(name)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "pinned.test.pem"))
    with Server(context) as server:
        server.replies["/"] = 200, PLAIN, b"hello"
        server.replies["/down"] = to(f"http://pinned.test:{server.port}/")
        url = f"https://pinned.test:{server.port}"
        assert (await got(f"{url}/", Names(["127.0.0.1"]))).text == "hello"
        assert asked == ["pinned.test"]
        with pytest.raises(ToolError, match="certificate"):
            await got(f"https://other.test:{server.port}/", Names(["127.0.0.1"]))
        with pytest.raises(ToolError, match="certificate"):
            await fetch(f"{server.url}/")
        with pytest.raises(ToolError, match="is not encrypted, so it was not followed"):
            await got(f"{url}/down", Names(["127.0.0.1"]))
        monkeypatch.delenv("SSL_CERT_FILE")
        with pytest.raises(ToolError, match="certificate"):
            await got(f"{url}/", Names(["127.0.0.1"]))


# ---------------------------------------------------------------- what cannot exhaust it


async def test_packed_answers_are_unpacked(web: Server) -> None:
    web.replies["/gzip"] = 200, {**PLAIN, "Content-Encoding": "gzip"}, gzip.compress(b"hello")
    web.replies["/deflate"] = 200, {**PLAIN, "Content-Encoding": "deflate"}, zlib.compress(b"hello")
    web.replies["/br"] = 200, {**PLAIN, "Content-Encoding": "br"}, b"hello"
    web.replies["/broken"] = 200, {**PLAIN, "Content-Encoding": "gzip"}, b"hello"
    assert (await fetch(f"{web.url}/gzip")).value["text"] == "hello"
    assert (await fetch(f"{web.url}/deflate")).value["text"] == "hello"
    with pytest.raises(ToolError, match="packed in a way that was not asked for: br"):
        await fetch(f"{web.url}/br")
    with pytest.raises(ToolError, match="packed, and broken"):
        await fetch(f"{web.url}/broken")


async def test_a_small_answer_that_unpacks_to_a_huge_one_is_stopped(web: Server) -> None:
    bomb = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    body = b"".join(bomb.compress(b"x" * 1_000_000) for _ in range(300)) + bomb.flush()
    assert len(body) < 400_000
    web.replies["/"] = 200, {**PLAIN, "Content-Encoding": "gzip"}, body
    tracemalloc.start()
    found = await fetch(web.url)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found.value["text"]) == 2_000_000
    assert "(The page is longer; only its first 2,000,000 bytes were read.)" in str(found.shown)
    assert peak < 50_000_000


def endless(piece: bytes, pause: float) -> Reply:
    def write(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "text/plain")
        handler.end_headers()
        while True:
            handler.wfile.write(piece)
            time.sleep(pause)

    return write


async def test_an_answer_without_end_is_cut(web: Server) -> None:
    web.replies["/"] = endless(b"x" * 100_000, 0)
    assert len((await fetch(web.url)).value["text"]) == 2_000_000


async def test_an_answer_that_drips_ends_in_time(web: Server) -> None:
    web.replies["/body"] = endless(b"x", 0.05)
    web.replies["/head"] = lambda handler: [handler.wfile.write(b"H") for _ in iter(lambda: time.sleep(0.05), 1)]
    for path in ("/body", "/head"):
        began = time.monotonic()
        with pytest.raises(ToolError, match=r"did not answer in full within 0\.5 s"):
            await fetch(web.url + path, allow_private=True, timeout=0.5)
        assert time.monotonic() - began < 5


async def test_a_cancelled_fetch_hangs_up(web: Server) -> None:
    began, ended = threading.Event(), threading.Event()

    def write(handler: Handler) -> None:
        began.set()
        try:
            endless(b"x", 0.01)(handler)  # type: ignore[operator]
        finally:
            ended.set()

    web.replies["/"] = write
    work = asyncio.create_task(fetch(web.url))
    assert await asyncio.to_thread(began.wait, 10)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert await asyncio.to_thread(ended.wait, 10)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 90_000,
    ],
)
async def test_an_answer_that_is_no_http_is_an_error(web: Server, answer: bytes) -> None:
    web.replies["/"] = lambda handler: handler.wfile.write(answer)
    with pytest.raises(ToolError, match="did not answer as it should"):
        await fetch(web.url)


async def test_a_server_that_is_not_there_is_an_error() -> None:
    with Server() as server:
        port = server.port
    with pytest.raises(ToolError, match=rf"127\.0\.0\.1:{port} did not answer as it should"):
        await fetch(f"http://127.0.0.1:{port}/")
    with pytest.raises(ToolError, match=r"The host no-such-host\.invalid cannot be found"):
        await fetch("http://no-such-host.invalid/")


# ---------------------------------------------------------------- permission


def verdict(url: str, *rules: str) -> str:
    preview = FETCH.preview(ToolContext("fetch", Workspace(".")), {"url": url, "max_chars": 9})
    return decide(parse_rules(rules), FETCH.request(preview)).action


def test_rules_judge_the_address_that_is_fetched() -> None:
    rules = ("allow: fetch(https://docs.python.org/3/*)", "deny: fetch(https://evil.example/*)", "ask: fetch")
    assert verdict("https://docs.python.org/3/library/?a=1&b=2;c", *rules) == "allow"
    assert verdict("HTTPS://DOCS.python.org:443/3/x", *rules) == "allow"
    for url in (
        "https://docs.python.org/3/../2/", "https://docs.python.org/3/%2e%2e/2/", "http://docs.python.org/3/x",
        "https://docs.python.org.evil.test/3/", "https://docs.python.org:8443/3/x",
    ):  # fmt: skip
        assert verdict(url, *rules) == "ask"
    for url in (
        "https://evil.example",
        "https://EVIL.example./x",
        "https://evil.example:443/x",
        "https://evil%2Eexample/",
    ):
        try:
            assert verdict(url, *rules) == "deny"
        except ToolError as error:
            assert "cannot be fetched" in str(error)
    assert FETCH.label({"url": "https://docs.python.org/3/"}) == "Fetching https://docs.python.org/3/"


def test_an_agent_has_it_only_when_its_file_says_so() -> None:
    assert "fetch" not in DEFAULT_TOOLS
