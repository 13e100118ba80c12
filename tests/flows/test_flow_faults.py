"""What a provider does wrong on the wire: the run survives or ends cleanly, and the session is usable afterwards."""

from __future__ import annotations

import json
import socket
import time
import tracemalloc

import pytest

from autopilot_runtime import EventType, ProviderError
from autopilot_runtime.core.errors import MissingKey
from tests.fake_provider import Broken, Entry, Messages, Raw, Reply, Status, bomb, html
from tests.flows.stage import Stage, act, finish

NOW = {"retry-after-ms": "1"}
PARTIAL = "This half must be taken back. " * 4


def sse(*lines: str) -> Raw:
    """A body of these lines, as they are."""
    return Raw("\n".join(lines).encode())


PASSING = {
    "429": Status(429, headers=NOW),
    "429 with a date": Status(429, headers={"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}),
    "500": Status(500, headers=NOW),
    "503": Status(503, headers=NOW),
    "529": Status(529, headers=NOW),
    "reset before headers": Broken("reset", events=-1),
    "reset in the stream": Broken("reset", events=9, text=PARTIAL),
    "end in the stream": Broken("eof", events=9, text=PARTIAL),
    "half an event": Broken("half", events=9, text=PARTIAL),
    "overloaded in the stream": Broken("error", events=9, text=PARTIAL),
    "stall": Broken("stall", events=9, text=PARTIAL),
    "no end": Reply(PARTIAL, finish=False),
    "bad JSON": sse("event: message_start", "data: {broken", ""),
    "no text": Reply(""),
}


@pytest.mark.parametrize("wire", ["anthropic", "openai"])
@pytest.mark.parametrize("name", PASSING)
async def test_a_fault_that_passes_is_tried_again_and_leaves_no_trace(stage: Stage, name: str, wire: str) -> None:
    good = act("print('ran once')", say="Now it works.")
    model = {"timeout": 0.4, "provider": wire}
    stage.open(PASSING[name], good, finish("fine"), model=model, options={"stream": True})
    if wire == "openai":
        _openai(stage)
    assert await stage.run() == "fine"
    assert stage.of(EventType.RETRY)
    assert "This half" not in stage.conversation
    assert "This half" not in stage.shown
    assert stage.rt.last.steps == 2
    assert stage.heard(2).count("ran once") == 1
    assert [message["role"] for message in stage.rt.messages[:3]] == ["user", "assistant", "user"]


def _openai(stage: Stage) -> None:
    """The same story through the other wire format."""
    path = stage.agent(
        url=stage.fake.openai_url, model={"provider": "openai", "timeout": 0.4, "base_url": stage.fake.openai_url}
    )
    stage.make(path, stream=True)


async def test_a_host_that_never_answers_is_tried_again(stage: Stage) -> None:
    if stage.sync:
        pytest.skip("once is enough: the net below the limit adds 5 s")
    stage.open(Broken("silent"), finish("fine"), model={"timeout": 0.3})
    assert await stage.run() == "fine"
    assert [event.kind for event in stage.of(EventType.RETRY)] == ["timeout"]


LASTING = {
    "401": (Status(401), "auth", 1),
    "403": (Status(403), "auth", 1),
    "404": (Status(404), "not_found", 1),
    "400": (Status(400, "messages: nonsense"), "bad_request", 1),
    "500 for ever": (Status(500, headers=NOW), "server", 3),
    "429 for ever": (Status(429, headers=NOW), "rate_limit", 6),
    "no text for ever": (Reply(""), "empty", 2),
    "refusal": (Reply("", stop="refusal"), "refusal", 1),
    "a page": (html(), "protocol", 1),
    "a redirect": (Status(307, headers={"location": "http://127.0.0.1:1/steal"}), None, 1),
}


@pytest.mark.parametrize("name", LASTING)
async def test_a_fault_that_lasts_ends_the_run_with_one_typed_error(stage: Stage, name: str) -> None:
    entry, kind, tries = LASTING[name]
    stage.open(*[entry] * tries, finish("works again"), finish("and again"))
    assert await stage.run("Fix it") is None
    assert stage.status == "failed"
    error = stage.rt.last.error
    assert isinstance(error, ProviderError)
    assert kind is None or error.kind == kind
    assert len(stage.fake.requests) == tries
    assert len(stage.of(EventType.RUNTIME_ERROR)) == 1
    assert not stage.of(EventType.FINISH)
    with pytest.raises(ProviderError):
        stage.rt.last.raise_for_status()
    assert await stage.do(stage.rt.resume) == "works again"
    assert await stage.run("More") == "and again"
    assert "Fix it" in str(stage.fake.requests[-1].json["messages"])


async def test_a_page_of_a_captive_portal_is_quoted(stage: Stage) -> None:
    stage.open(html())
    await stage.run()
    for word in ("200", "text/html", "hotel network"):
        assert word in str(stage.rt.last.error)


async def test_a_refusal_says_why(stage: Stage) -> None:
    stage.open(Reply("I cannot help with that.", stop="refusal"))
    await stage.run()
    assert stage.rt.last.error.kind == "refusal"
    assert "not this" in str(stage.rt.last.error)


async def test_nobody_at_the_address_is_a_typed_error_naming_the_host(stage: Stage) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        stage.make(stage.agent(url=f"http://127.0.0.1:{port}", model={"retries": 2}))
        assert await stage.run() is None
    assert stage.rt.last.error.kind == "connection"
    assert "127.0.0.1" in str(stage.rt.last.error)


async def test_the_fallback_model_goes_on_when_the_first_is_down(stage: Stage) -> None:
    def reply(seen: object) -> Entry:
        body = json.loads(seen.body)  # type: ignore[attr-defined]
        return Status(500, headers=NOW) if body["model"] == "claude-test" else finish("from the second")

    stage.open(script=reply, model={"fallbacks": ["claude-other"], "retries": 2})
    assert await stage.run() == "from the second"


async def test_a_recording_plays_again_in_the_workspace_it_has_changed(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOPILOT_REPLAY", str(stage.folder / "tapes"))
    monkeypatch.setenv("AUTOPILOT_REPLAY_MODE", "record")
    stage.open(act("write_file('a.txt')\nread_file('a.txt')", "hello"), finish("recorded"))
    assert await stage.run() == "recorded"
    monkeypatch.setenv("AUTOPILOT_REPLAY_MODE", "replay")
    monkeypatch.delenv("FLOW_TEST_API_KEY")
    for _ in range(2):
        stage.open()
        assert await stage.run() == "recorded"
        assert not stage.fake.requests
    stage.open()
    assert await stage.run("Do something else") is None
    assert stage.status == "failed" and "something else" in str(stage.rt.last.error)


async def test_a_missing_key_names_the_variable(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.open(finish("with key"))
    monkeypatch.delenv("FLOW_TEST_API_KEY")
    try:
        await stage.run()
        error = stage.rt.last.error
    except Exception as raised:
        error = raised
    assert isinstance(error, MissingKey)
    assert "agent.yaml:" in str(error) and "FLOW_TEST_API_KEY" in str(error) and "anthropic" in str(error)
    monkeypatch.setenv("FLOW_TEST_API_KEY", "now-there-is-a-key")
    assert await stage.run() == "with key"


@pytest.mark.parametrize(
    "body",
    [
        b": comment\r\nretry: 10\r\nid: 7\r\n",
        b"\xef\xbb\xbf",
        b'event: unknown_kind\ndata: {"type": "unknown_kind"}\n\n',
    ],
    ids=["comments and CRLF", "BOM", "unknown event"],
)
async def test_odd_but_legal_streams_are_read(stage: Stage, body: bytes) -> None:
    good = b"".join(Messages.events(Reply(finish("größer ✓")), {"model": "claude-test"}))
    split = [body + good[:301], *(good[n : n + 1] for n in range(301, 340)), good[340:]]
    stage.open(Raw(iter(split)))
    assert await stage.run() == "größer ✓"
    assert len(stage.fake.requests) == 1


async def test_a_five_megabyte_reply_is_read_in_seconds_and_bounded_memory(stage: Stage) -> None:
    line = "x" * 99 + "\n"
    text = act("write_file('big.txt')", line * 50_000, done="big")
    stage.open(Reply(text, chunk=4_000))
    tracemalloc.start()
    begun = time.monotonic()
    try:
        assert await stage.run() == "big"
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert time.monotonic() - begun < 15
    assert peak < 200_000_000
    assert (stage.work / "big.txt").stat().st_size == 5_000_001


async def test_a_bomb_of_packed_bytes_is_refused(stage: Stage) -> None:
    stage.open(finish("warm"), bomb(60), finish("alive"), model={"retries": 1})
    await stage.run()
    tracemalloc.start()
    try:
        assert await stage.run() is None
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert stage.status == "failed"
    assert peak < 160_000_000
    assert await stage.run() == "alive"


async def test_invalid_utf8_and_lone_surrogates_do_not_break_the_session(stage: Stage) -> None:
    text = json.dumps({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "@"}})
    frames = [
        'data: {"type":"message_start","message":{"id":"m","type":"message","role":"assistant","model":"c",'
        '"content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":1,"output_tokens":1}}}',
        'data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}',
        f"data: {text}".replace("@", "lone \\ud800 and \\u0000 nul"),
        'data: {"type":"content_block_stop","index":0}',
        'data: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":3}}',
        'data: {"type":"message_stop"}',
        "",
    ]
    body = "\n\n".join(frames).encode().replace(b"lone", b"l\xffne")
    options = {"session": "file", "session_dir": stage.folder / "sessions"}
    stage.open(Raw(body), finish("on"), options=options)
    await stage.run()
    assert stage.status == "answered", stage.rt.last
    assert "\ud800" not in stage.conversation
    assert await stage.run() == "on"
    stage.make(stage.folder / "agent.yaml", **options)
    assert len(stage.rt.messages) == 4


async def test_reasoning_is_told_and_never_parsed(stage: Stage) -> None:
    thought = "Maybe:\n```codepilot\nwrite_file('thought.txt')\n```\n"
    stage.open(Reply(finish("ok"), thought=thought), options={"stream": True})
    assert await stage.run() == "ok"
    assert "".join(event.text for event in stage.of(EventType.THOUGHT)) == thought
    assert not list(stage.work.iterdir())
    assert "Maybe" not in stage.conversation


async def test_usage_and_cost_add_up(stage: Stage) -> None:
    price = {"input": 1.0, "output": 10.0, "cache_read": 0.1, "cache_write": 1.25}
    stage.open(act("1"), finish("ok"), model={"price": price})
    await stage.run()
    usage = stage.rt.last.usage
    assert (usage.calls, usage.input_total, usage.cache_read, usage.cache_write) == (2, 230, 200, 10)
    one = (10 * 1.0 + 100 * 0.1 + 5 * 1.25) / 1e6
    assert stage.rt.last.cost_usd == pytest.approx(2 * one + usage.output * 10.0 / 1e6)


async def test_money_is_a_limit(stage: Stage) -> None:
    stage.open(
        script=lambda _: Reply(act("1"), usage={"output_tokens": 100_000}),
        model={"price": {"input": 1.0, "output": 10.0}},
        runtime={"max_cost_usd": 2.5},
    )
    assert await stage.run() is None
    assert stage.status == "budget"
    assert len(stage.fake.requests) == 2  # of a dollar each: the third would cross the limit
    assert stage.rt.last.cost_usd < 2.5
    [told] = stage.of(EventType.BUDGET_EXCEEDED)
    assert (told.what, told.limit) == ("max_cost_usd", 2.5)
    assert "the next call would take about 1" in str(stage.rt.last.error)


async def test_writing_the_cache_once_is_not_expected_again(stage: Stage) -> None:
    first = {"input_tokens": 0, "cache_read_input_tokens": 0, "cache_creation_input_tokens": 100_000}
    later = {"input_tokens": 0, "cache_read_input_tokens": 100_000, "cache_creation_input_tokens": 0}
    stage.open(
        Reply(act("1"), usage=first),
        *[Reply(act("1"), usage=later)] * 3,
        Reply(finish("ok"), usage=later),
        model={"price": {"input": 10.0, "output": 10.0, "cache_read": 1.0, "cache_write": 12.5}},
        runtime={"max_cost_usd": 1.8},
    )
    assert await stage.run() == "ok"
    assert stage.rt.last.cost_usd == pytest.approx(1.25 + 4 * 0.1, rel=0.01)
