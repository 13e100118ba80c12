"""What goes wrong on the wire, through the real SDKs against a local server."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from email.utils import formatdate

import pytest

from autopilot_runtime.core.errors import ProviderError, SetupError
from autopilot_runtime.core.message import Message
from autopilot_runtime.core.protocols import Text
from autopilot_runtime.model.connect import connect
from autopilot_runtime.model.settings import ModelSettings, Retries, Timeouts
from tests.fake_provider import WIRES, Broken, FakeModel, Raw, Reply, Status, bomb, html
from tests.model.talk import HELLO, KEY, each_wire, retries, settings, stopped, talk, text_of, used

GOOD = "the good reply"


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_TEST_KEY", KEY)


@each_wire
@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 529])
async def test_one_bad_moment_is_retried_under_the_same_key(wire: str, status: int) -> None:
    with FakeModel([Status(status), GOOD]) as fake:
        deltas = await talk(settings(fake, wire))
    assert text_of(deltas) == GOOD
    assert len(retries(deltas)) == 1
    first, second = fake.requests
    assert first.body == second.body
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]


@each_wire
async def test_a_provider_that_is_down_for_good_is_asked_three_times(wire: str) -> None:
    with (
        FakeModel(lambda _: Status(500)) as fake,
        pytest.raises(ProviderError, match="Gave up after 3 tries") as caught,
    ):
        await talk(settings(fake, wire))
    assert len(fake.requests) == 3
    assert (caught.value.kind, caught.value.status) == ("server", 500)


async def test_a_rate_limit_gets_more_patience_but_not_for_ever() -> None:
    with FakeModel(lambda _: Status(429)) as fake, pytest.raises(ProviderError) as caught:
        await talk(settings(fake, "chat"))
    assert len(fake.requests) == 6
    assert caught.value.kind == "rate_limit"


async def test_an_empty_purse_is_not_retried() -> None:
    with (
        FakeModel([Status(429, "You exceeded your current quota", "insufficient_quota")]) as fake,
        pytest.raises(ProviderError, match="quota"),
    ):
        await talk(settings(fake, "chat"))
    assert len(fake.requests) == 1


@each_wire
@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_key_is_one_error_that_names_the_variable_and_never_the_key(wire: str, status: int) -> None:
    with (
        FakeModel([Status(status, f"Incorrect API key provided: {KEY}. Bearer {KEY}")]) as fake,
        pytest.raises(ProviderError, match="MODEL_TEST_KEY") as caught,
    ):
        await talk(settings(fake, wire))
    error = caught.value
    assert len(fake.requests) == 1
    assert error.kind == "auth" and not error.retryable
    assert error.provider in str(error) and error.model in str(error)
    assert KEY not in repr(error) and KEY not in str(error) and "[secret masked]" in str(error)
    # Neither holds the request, in which the key is: crash reporters walk these.
    assert error.__cause__ is None and error.__context__ is None


async def test_an_unknown_model_is_one_error_that_names_it() -> None:
    with (
        FakeModel([Status(404, "model: claude-test")]) as fake,
        pytest.raises(ProviderError, match="Check the model name 'claude-test'") as caught,
    ):
        await talk(settings(fake, "anthropic"))
    assert caught.value.kind == "not_found" and len(fake.requests) == 1


async def test_a_missing_key_is_said_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MODEL_TEST_KEY")
    with FakeModel() as fake:
        provider = connect(settings(fake, "anthropic"))
        with pytest.raises(SetupError, match=r"anthropic needs a key: .* MODEL_TEST_KEY is not set"):
            await talk(provider)
    assert fake.requests == []


@each_wire
@pytest.mark.parametrize(
    "text",
    [
        "prompt is too long: 210000 tokens > 200000 maximum",
        "This model's maximum context length is 128000 tokens. However, your messages resulted in 130001 tokens.",
    ],
)
async def test_a_conversation_that_is_too_long_is_told_apart(wire: str, text: str) -> None:
    with FakeModel([Status(400, text)]) as fake, pytest.raises(ProviderError, match="tokens") as caught:
        await talk(settings(fake, wire))
    assert caught.value.kind == "context" and len(fake.requests) == 1


@each_wire
async def test_a_refused_connection_names_the_host(wire: str) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{held.getsockname()[1]}"
        with FakeModel() as fake:
            there = settings(fake, wire, base_url=url)
        with pytest.raises(ProviderError, match=url.removeprefix("http://")) as caught:
            await talk(there)
    assert caught.value.kind == "connection" and "3 tries" in str(caught.value)


async def test_a_host_that_does_not_exist_is_named() -> None:
    with FakeModel() as fake:
        there = settings(fake, "chat", base_url="http://no-such-host.invalid/v1", retries=Retries(attempts=1))
    with pytest.raises(ProviderError, match=r"no-such-host\.invalid") as caught:
        await talk(there)
    assert caught.value.kind == "connection"


@each_wire
@pytest.mark.parametrize("how", ["reset", "eof", "half"])
@pytest.mark.parametrize("events", [-1, 0, 3, 5])
async def test_a_broken_stream_is_void_and_tried_again(wire: str, how: str, events: int) -> None:
    with FakeModel([Broken(how, events), GOOD]) as fake:
        deltas = await talk(settings(fake, wire))
    assert text_of(deltas) == GOOD
    assert next(retry.kind for retry in retries(deltas)) in ("connection", "truncated")
    assert used(deltas).usage.calls == 1


@each_wire
async def test_a_reply_without_its_end_is_never_whole(wire: str) -> None:
    with FakeModel(lambda _: Reply("looks finished", finish=False)) as fake, pytest.raises(ProviderError) as caught:
        await talk(settings(fake, wire))
    assert caught.value.kind == "truncated" and len(fake.requests) == 3


@each_wire
async def test_an_overload_in_the_middle_of_a_stream_is_retried(wire: str) -> None:
    with FakeModel([Broken("error", 4), GOOD]) as fake:
        deltas = await talk(settings(fake, wire))
    assert text_of(deltas) == GOOD
    assert retries(deltas)[0].kind == "overloaded"


@each_wire
@pytest.mark.parametrize("fault", [Broken("stall", 4), Broken("silent")])
async def test_silence_ends_in_a_timeout_and_another_try(wire: str, fault: Broken) -> None:
    quick = Timeouts(connect=0.2, first_byte=0.3, idle=0.2)
    with FakeModel([fault, GOOD]) as fake:
        deltas = await talk(settings(fake, wire, timeouts=quick))
    assert text_of(deltas) == GOOD
    (retry,) = retries(deltas)
    assert retry.kind == "timeout" and ("no byte for 0.2 s" in retry.error or "within 0.5 s" in retry.error)


async def test_a_slow_drip_is_not_killed() -> None:
    drip = Reply("twenty characters!!!", chunk=1, pause=0.02)
    with FakeModel([drip]) as fake:
        deltas = await talk(settings(fake, "anthropic", timeouts=Timeouts(5, 0.3, 0.3)))
    assert text_of(deltas) == drip.text and not retries(deltas)


async def test_keep_alives_alone_do_not_keep_a_call_alive() -> None:
    pings = Raw(b": ping\n\n" for _ in iter(lambda: time.sleep(0.01), 1))
    with FakeModel([pings]) as fake:
        quick = Timeouts(connect=5, first_byte=5, idle=5, silence=0.1)
        with pytest.raises(ProviderError, match="only keep-alives") as caught:
            await talk(settings(fake, "chat", timeouts=quick, retries=Retries(attempts=1)))
    assert caught.value.kind == "timeout"


async def test_cancelling_a_stalled_stream_ends_at_once() -> None:
    with FakeModel([Broken("stall", 5)]) as fake:
        provider = connect(settings(fake, "anthropic"))
        got = asyncio.Event()

        async def read() -> None:
            async for _ in provider.stream(HELLO, system=""):
                got.set()

        task = asyncio.create_task(read())
        await asyncio.wait_for(got.wait(), 10)
        started = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await provider.close()
    assert time.monotonic() - started < 1


@each_wire
@pytest.mark.parametrize("form", ["seconds", "milliseconds", "date"])
async def test_retry_after_is_what_is_waited(wire: str, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    headers = {
        "seconds": {"retry-after": "7"},
        "milliseconds": {"retry-after-ms": "7000", "retry-after": "99"},
        "date": {"retry-after": formatdate(time.time() + 8, usegmt=True)},
    }[form]
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    with FakeModel([Status(429, headers=headers), GOOD]) as fake:
        provider = connect(settings(fake, wire))
        monkeypatch.setattr(provider, "_sleep", sleep)
        assert text_of(await talk(provider)) == GOOD
        await provider.close()
    assert 6 <= waited[0] <= 8


@each_wire
async def test_an_empty_reply_is_asked_once_more(wire: str) -> None:
    with FakeModel([Reply(""), GOOD]) as fake:
        assert text_of(await talk(settings(fake, wire))) == GOOD
    with FakeModel([Reply(""), Reply(""), GOOD]) as fake, pytest.raises(ProviderError, match="empty") as caught:
        await talk(settings(fake, wire))
    assert caught.value.kind == "empty" and len(fake.requests) == 2


@each_wire
async def test_a_refusal_is_reported_with_its_reason_and_not_retried(wire: str) -> None:
    with FakeModel([Reply("I will not", stop="refusal")]) as fake:
        end = stopped(await talk(settings(fake, wire)))
    assert end.reason == "refusal" and end.detail and len(fake.requests) == 1


@each_wire
async def test_white_space_is_no_reply(wire: str) -> None:
    with FakeModel([Reply(" \n\n ")]) as fake:
        end = stopped(await talk(settings(fake, wire)))
    assert end.reason == "refusal" and "white space" in end.detail


@each_wire
async def test_a_reply_that_was_cut_says_so(wire: str) -> None:
    with FakeModel([Reply("cut he", stop="length")]) as fake:
        assert stopped(await talk(settings(fake, wire))).reason == "length"


@pytest.mark.parametrize(
    ("reason", "ours"),
    [("model_context_window_exceeded", "context"), ("pause_turn", "length"), ("stop_sequence", "end")],
)
async def test_the_stop_reasons_of_anthropic(reason: str, ours: str) -> None:
    with FakeModel([Reply("x", stop=reason)]) as fake:
        assert stopped(await talk(settings(fake, "anthropic"))).reason == ours


@each_wire
async def test_a_page_of_some_proxy_is_quoted(wire: str) -> None:
    with (
        FakeModel([html()]) as fake,
        pytest.raises(ProviderError, match=r"HTTP 200, text/html: .*hotel network") as caught,
    ):
        await talk(settings(fake, wire))
    assert caught.value.kind == "protocol" and len(fake.requests) == 1


@each_wire
async def test_a_gzip_bomb_is_not_unpacked(wire: str) -> None:
    with FakeModel([bomb(200)]) as fake:
        there = settings(fake, wire, reply_cap=1_000_000)
        await talk_once(there)  # so that imports are not measured
    with FakeModel([bomb(200)]) as fake:
        there = settings(fake, wire, reply_cap=1_000_000)
        tracemalloc.start()
        error = await talk_once(there)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert error.kind == "protocol"
    assert peak < 60_000_000


async def talk_once(there: ModelSettings) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        await talk(replace(there, retries=Retries(attempts=1)))
    return caught.value


async def test_a_packed_error_page_is_not_unpacked_either() -> None:
    raw = bomb(200)
    with FakeModel([Raw(raw.body, status=400, headers=raw.headers)]) as fake:
        tracemalloc.start()
        error = await talk_once(settings(fake, "anthropic"))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert error.kind == "bad_request" and peak < 60_000_000


@each_wire
async def test_a_very_long_reply_passes_and_a_longer_one_is_a_clear_error(wire: str) -> None:
    with FakeModel([Reply("x" * 5_000_000, chunk=50_000)]) as fake:
        assert len(text_of(await talk(settings(fake, wire)))) == 5_000_000
    with FakeModel([Reply("x" * 20_000)]) as fake, pytest.raises(ProviderError, match="10,000 characters") as caught:
        await talk(settings(fake, wire, reply_cap=10_000))
    assert caught.value.kind == "too_long" and len(fake.requests) == 1


@each_wire
@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_key_never_follows_a_redirect(wire: str, status: int) -> None:
    with FakeModel([GOOD]) as other, FakeModel() as fake:
        fake.add(Status(status, headers={"location": f"{other.url}/v1/messages"}))
        with pytest.raises(ProviderError, match="redirects to") as caught:
            await talk(settings(fake, wire))
    assert other.requests == [] and caught.value.kind == "protocol"


def chat_stream(*events: bytes) -> Raw:
    return Raw(list(events))


def part(text: str, reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": reason}
    return json.dumps({"choices": [choice]}).encode()


@pytest.mark.parametrize(
    ("name", "pieces"),
    [
        ("crlf", [b"data: " + part("ok") + b"\r\n\r\ndata: " + part("", "stop") + b"\r\n\r\n"]),
        ("cr only", [b"data: " + part("ok") + b"\r\rdata: " + part("", "stop") + b"\r\r"]),
        ("a bom", [b"\xef\xbb\xbfdata: " + part("ok") + b"\n\ndata: " + part("", "stop") + b"\n\n"]),
        ("no space", [b"data:" + part("ok") + b"\n\ndata:" + part("", "stop") + b"\n\n"]),
        ("comments, ids", [b": hi\nid: 1\nretry: 9\ndata: " + part("ok", "stop") + b"\n\n: bye\n\n"]),
        ("no blank line", [b"data: " + part("ok") + b"\ndata: " + part("", "stop") + b"\n\n"]),
        ("unknown event", [b"event: news\ndata: {}\n\ndata: " + part("ok", "stop") + b"\n\n"]),
        ("a second finish", [b"data: " + part("ok", "stop") + b"\n\ndata: " + part("", "length") + b"\n\n"]),
        ("no choices", [b'data: {"choices": []}\n\ndata: ' + part("ok", "stop") + b"\n\n"]),
        (
            "null content",
            [b'data: {"choices":[{"delta":{"content":null}}]}\n\ndata: ' + part("ok", "stop") + b"\n\n"],
        ),
    ],
)
async def test_odd_but_readable_streams_are_read(name: str, pieces: list[bytes]) -> None:
    whole = b"".join(pieces)
    with FakeModel([Raw(whole), Raw([bytes([b]) for b in whole])]) as fake:
        for _ in range(2):
            deltas = await talk(settings(fake, "chat"))
            assert text_of(deltas) == "ok" and stopped(deltas).reason == "end" and not retries(deltas)
    assert used(deltas).usage.input_total is None and used(deltas).usage.cost_usd is None


@pytest.mark.parametrize(
    "bad",
    [
        b"data: {broken\n\n",
        b"data: " + part("lost"),
        part("no prefix") + b"\n\n",
        b"data: [1]\n\n",
        b"data: " + part("x")[:-9] + b"\n\n",
    ],
)
async def test_unreadable_streams_are_tried_again(bad: bytes) -> None:
    good = b"data: " + part("good", "stop") + b"\n\ndata: [DONE]\n\n"
    with FakeModel([Raw(b"data: " + part("half") + b"\n\n" + bad), Raw(good)]) as fake:
        deltas = await talk(settings(fake, "chat"))
    assert text_of(deltas) == "good" and len(retries(deltas)) == 1


async def test_a_stream_of_nonsense_is_never_mistaken_for_a_reply() -> None:
    with (
        FakeModel(lambda _: Raw(b"hello I am a web server\n\n", content_type="text/plain")) as fake,
        pytest.raises(ProviderError, match="I am a web server") as caught,
    ):
        await talk(settings(fake, "chat"))
    assert caught.value.kind == "protocol"


async def test_bad_bytes_are_replaced_and_said_once() -> None:
    body = b'data: {"choices":[{"delta":{"content":"a\xffb"},"finish_reason":"stop"}]}\n\n'
    with FakeModel([Raw(body)]) as fake:
        provider = connect(settings(fake, "chat"))
        assert text_of(await talk(provider)) == "a\ufffdb"
        assert "not valid Unicode" in provider.notices()[0]  # type: ignore[attr-defined]
        assert provider.notices() == []  # type: ignore[attr-defined]
        await provider.close()


async def test_half_characters_are_joined_or_replaced() -> None:
    halves = rb'data: {"choices":[{"delta":{"content":"\ud83d"}}]}' + b"\n\n"
    halves += rb'data: {"choices":[{"delta":{"content":"\ude00 \udc00 \ud83d"},"finish_reason":"stop"}]}' + b"\n\n"
    with FakeModel([Raw(halves)]) as fake:
        deltas = await talk(settings(fake, "chat"))
    assert text_of(deltas) == "😀 \ufffd \ufffd"
    assert all(delta.text.encode() for delta in deltas if isinstance(delta, Text))


@each_wire
async def test_a_host_that_ignores_streaming_is_understood(wire: str) -> None:
    path = {"anthropic": "/messages", "chat": "/chat/completions", "responses": "/responses"}[wire]
    whole = json.dumps(WIRES[path].whole(Reply(GOOD), {"model": "m"})).encode()
    with FakeModel([Raw(whole, content_type="application/json")]) as fake:
        deltas = await talk(settings(fake, wire))
    assert text_of(deltas) == GOOD and stopped(deltas).reason == "end"
    assert used(deltas).usage.input_total == 115


@each_wire
async def test_an_error_object_with_status_200_is_an_error(wire: str) -> None:
    body = b'{"error": {"type": "overloaded_error", "message": "busy"}}'
    with FakeModel([Raw(body, content_type="application/json"), GOOD]) as fake:
        deltas = await talk(settings(fake, wire))
    assert text_of(deltas) == GOOD and retries(deltas)[0].kind == "overloaded"


@each_wire
async def test_one_connection_serves_many_calls(wire: str) -> None:
    with FakeModel(["a", "b", "c"]) as fake:
        provider = connect(settings(fake, wire))
        for expected in "abc":
            assert text_of(await talk(provider)) == expected
        await provider.close()
    assert fake.connections == 1


@each_wire
def test_a_connection_of_a_closed_loop_is_not_used_again(wire: str) -> None:
    with FakeModel(["a", "b", "c"]) as fake:
        provider = connect(settings(fake, wire))
        got = [text_of(asyncio.run(talk(provider))) for _ in range(3)]
    assert got == ["a", "b", "c"]
    assert len(fake.requests) == 3 and fake.connections == 3


def test_two_loops_that_run_at_once_share_no_connection() -> None:
    with FakeModel(lambda seen: Reply(f"echo {seen.text}", pause=0.01)) as fake:
        provider = connect(settings(fake, "anthropic"))
        barrier = threading.Barrier(2)

        async def chat(name: str) -> list[str]:
            await talk(provider, [Message("user", "warm up")])
            barrier.wait(10)
            calls = [talk(provider, [Message("user", f"{name}{n}")]) for n in range(5)]
            return [text_of(deltas) for deltas in await asyncio.gather(*calls)]

        with ThreadPoolExecutor(2) as pool:
            found = list(pool.map(lambda name: asyncio.run(chat(name)), ["a", "b"]))
    assert found == [[f"echo {name}{n}" for n in range(5)] for name in "ab"]
    assert len(fake.requests) == 12, "nothing had to be tried again"


def test_each_loop_has_its_own_client_and_closes_it() -> None:
    with FakeModel() as fake:
        clients = connect(settings(fake, "anthropic")).inner._clients  # type: ignore[attr-defined]
        barrier = threading.Barrier(2)

        async def client() -> object:
            first = await clients.get("k")
            barrier.wait(10)
            assert await clients.get("k") is first
            barrier.wait(10)
            return first

        with ThreadPoolExecutor(2) as pool:
            one, two = pool.map(lambda _: asyncio.run(client()), range(2))
    assert one is not two
    assert one.is_closed() and two.is_closed()


async def test_a_tls_failure_is_a_connection_failure() -> None:
    with FakeModel() as fake:
        there = settings(fake, "chat", base_url=fake.openai_url.replace("http:", "https:"))
        error = await talk_once(there)
    assert error.kind == "connection" and "SSL" in str(error)


async def test_an_error_text_cannot_play_with_the_terminal() -> None:
    with FakeModel([Status(400, "\x1b]52;c;cm0=\x07 \u202e evil \ud800")]) as fake:
        error = await talk_once(settings(fake, "chat"))
    assert "evil" in str(error) and str(error).encode()
    assert not {"\x1b", "\x07", "\u202e"} & set(str(error))


async def test_a_routers_error_inside_of_a_chunk_keeps_its_status() -> None:
    chunk = b'data: {"error": {"code": 429, "message": "slow down"}, "choices": [{"finish_reason": "error"}]}\n\n'
    with FakeModel([Raw(chunk), GOOD]) as fake:
        deltas = await talk(settings(fake, "chat", provider="openrouter"))
    assert text_of(deltas) == GOOD and retries(deltas)[0].kind == "rate_limit"


async def test_many_calls_at_once_do_not_mix() -> None:
    with FakeModel(lambda seen: Reply(f"echo {seen.text} " * 5)) as fake:
        provider = connect(settings(fake, "anthropic"))
        calls = [talk(provider, [Message("user", f"n{number}")]) for number in range(20)]
        got = [text_of(deltas) for deltas in await asyncio.gather(*calls)]
        await provider.close()
    assert got == [f"echo n{number} " * 5 for number in range(20)]
