"""What is sent: bodies that providers take, made of pieces encoded once, whose beginning never changes."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from autopilot_runtime.core.errors import ProviderError
from autopilot_runtime.core.message import Message
from autopilot_runtime.model import encode
from autopilot_runtime.model.connect import connect
from autopilot_runtime.model.settings import Thinking
from tests.fake_provider import FakeModel, Reply, Status
from tests.model.talk import KEY, each_wire, retries, settings, talk, text_of, used


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_TEST_KEY", KEY)


async def sent(
    wire: str, replies: list[Any] | None = None, messages: list[Message] | None = None, **more: Any
) -> Any:
    """The last body and the notices."""
    with FakeModel(replies or ["ok"]) as fake:
        provider = connect(settings(fake, wire, **more))
        await talk(provider, messages or [Message("user", "hello")], "be good")
        said = provider.notices()  # type: ignore[attr-defined]
        await provider.close()
    return fake.requests[-1].json, said, fake.requests


def history(steps: int, size: int = 2000) -> list[Message]:
    """A conversation that ends with a user message."""
    found = [Message("user", "the task", "task")]
    for step in range(steps):
        found.append(Message("assistant", f"reply {step} " + "a" * size))
        found.append(Message("user", f"result {step} " + "b" * size))
    return found


@each_wire
async def test_the_beginning_of_the_body_stays_for_twenty_steps(wire: str) -> None:
    whole = history(20)
    with FakeModel(["ok"] * 20) as fake:
        provider = connect(settings(fake, wire, thinking=Thinking(True)))
        for step in range(20):
            await talk(provider, whole[: 2 * step + 1], "a system prompt of some length " * 20)
        await provider.close()
    bodies = [request.body for request in fake.requests]
    for before, after in pairwise(bodies):
        assert after.startswith(before[:-3]), "only the closing brackets may differ"


async def test_anthropic_gets_its_breakpoints_outside_of_the_history() -> None:
    body, _, _ = await sent("anthropic", messages=history(5, 10))
    assert body["system"][0]["cache_control"] == {"type": "ephemeral"}
    assert body["cache_control"] == {"type": "ephemeral"}
    assert all(isinstance(message["content"], str) for message in body["messages"])


@each_wire
async def test_the_history_is_never_encoded_again(wire: str, monkeypatch: pytest.MonkeyPatch) -> None:
    messages = history(30, 10)
    for message in messages:
        assert message.content_json
    sizes: list[int] = []
    real = encode.dumps
    monkeypatch.setattr(encode, "dumps", lambda value: sizes.append(len(str(value))) or real(value))
    body, _, _ = await sent(wire, messages=messages)
    assert len(body.get("messages") or body["input"]) >= 61
    assert max(sizes) < 600


async def test_temperature_is_left_out_for_todays_anthropic_and_said_once() -> None:
    with FakeModel(["a", "b"]) as fake:
        provider = connect(settings(fake, "anthropic", temperature=0.2))
        await talk(provider)
        await talk(provider)
        said = provider.notices()  # type: ignore[attr-defined]
        await provider.close()
    assert len(said) == 1 and "temperature" in said[0]
    assert all("temperature" not in request.json for request in fake.requests)


async def test_the_old_anthropic_version_has_its_header_and_a_temperature() -> None:
    body, said, requests = await sent("anthropic", temperature=0.2, api_version="2023-06-01")
    assert requests[0].headers["anthropic-version"] == "2023-06-01"
    assert body["temperature"] == 0.2 and said == []


@pytest.mark.parametrize(
    ("model", "thinking", "expected"),
    [
        ("claude-opus-5", Thinking(True, 8000), {"type": "adaptive", "display": "summarized"}),
        ("claude-opus-4-7", Thinking(True, 8000), {"type": "adaptive", "display": "summarized"}),
        ("claude-sonnet-4-5", Thinking(True, 4000), {"type": "enabled", "budget_tokens": 4000}),
        ("claude-sonnet-4-5-20250929", Thinking(True, 100), {"type": "enabled", "budget_tokens": 1024}),
        ("claude-3-7-sonnet-20250219", Thinking(True, 99_000), {"type": "enabled", "budget_tokens": 8096 - 1024}),
        ("claude-sonnet-4-20250514", Thinking(True, 4000), {"type": "enabled", "budget_tokens": 4000}),
        ("claude-opus-5", Thinking(False, 4000), None),
    ],
)
async def test_thinking_is_asked_for_in_the_way_of_the_model(model: str, thinking: Thinking, expected: Any) -> None:
    body, _, _ = await sent("anthropic", name=model, thinking=thinking)
    assert body.get("thinking") == expected


async def test_effort_goes_where_each_provider_wants_it() -> None:
    thinking = Thinking(True, effort="high")
    assert (await sent("anthropic", thinking=thinking))[0]["output_config"] == {"effort": "high"}
    assert (await sent("chat", thinking=thinking))[0]["reasoning_effort"] == "high"
    assert (await sent("responses", thinking=thinking))[0]["reasoning"]["effort"] == "high"
    routed = (await sent("chat", thinking=thinking, provider="openrouter"))[0]
    assert routed["reasoning"] == {"effort": "high"} and routed["usage"] == {"include": True}
    qwen = (await sent("chat", thinking=Thinking(True, 500), provider="alibaba"))[0]
    assert qwen["enable_thinking"] is True and qwen["thinking_budget"] == 500


async def test_responses_store_nothing() -> None:
    body, _, _ = await sent("responses")
    assert body["store"] is False
    assert body["include"] == ["reasoning.encrypted_content"]
    assert body["instructions"] == "be good"


@pytest.mark.parametrize("provider", ["ollama", "vllm", "lmstudio", "alibaba", "openrouter", "gemini"])
async def test_compatible_hosts_get_the_old_limit_field(provider: str) -> None:
    body, _, _ = await sent("chat", provider=provider)
    assert body["max_tokens"] == 8096 and "max_completion_tokens" not in body


@pytest.mark.parametrize("field", ["stream_options", "max_completion_tokens", "temperature"])
async def test_a_field_that_a_host_refuses_is_left_out_once_and_for_all(field: str) -> None:
    refusal = Status(400, f"Unrecognized request argument supplied: {field}")
    with FakeModel([refusal, "first", "second"]) as fake:
        provider = connect(settings(fake, "chat", temperature=0.5))
        deltas = await talk(provider)
        await talk(provider)
        said = provider.notices()  # type: ignore[attr-defined]
        await provider.close()
    assert text_of(deltas) == "first" and not retries(deltas)
    assert [field in request.json for request in fake.requests] == [True, False, False]
    assert field in said[0]
    if field == "max_completion_tokens":
        assert fake.requests[-1].json["max_tokens"] == 8096


async def test_the_field_that_is_named_first_is_the_one_that_is_refused() -> None:
    text = "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead."
    with FakeModel([Status(400, text), "ok"]) as fake:
        assert text_of(await talk(settings(fake, "chat", provider="vllm"))) == "ok"
    assert "max_tokens" not in fake.requests[1].json and fake.requests[1].json["max_completion_tokens"] == 8096


async def test_a_wrong_value_is_not_an_unknown_field() -> None:
    with FakeModel([Status(400, "temperature: must be between 0 and 2")]) as fake, pytest.raises(ProviderError):
        await talk(settings(fake, "chat", temperature=9))
    assert len(fake.requests) == 1


async def test_a_400_that_stays_is_an_error_at_once() -> None:
    complaint = Status(400, "stream_options is not supported")
    with FakeModel([complaint, complaint]) as fake, pytest.raises(ProviderError) as caught:
        await talk(settings(fake, "chat"))
    assert caught.value.kind == "bad_request" and len(fake.requests) == 2


@each_wire
async def test_odd_messages_are_sent_in_a_form_that_is_taken(wire: str) -> None:
    odd = [
        Message("user", "one"),
        Message("user", 'two "quoted" \n\x00'),
        Message("assistant", ""),
        Message("user", " \n"),
        Message("user", "lone \ud800 half"),
    ]
    body, _, _ = await sent(wire, messages=odd)
    turns = body.get("messages") or body["input"]
    turns = [turn for turn in turns if turn["role"] != "system"]
    assert [turn["role"] for turn in turns] == ["user", "assistant", "user"]
    assert turns[0]["content"] == 'one\n\ntwo "quoted" \n\x00'
    assert turns[1]["content"] == "(empty)"
    assert "lone" in turns[2]["content"] and "\ud800" not in turns[2]["content"]


async def test_extra_headers_and_body_are_added() -> None:
    body, _, requests = await sent("chat", extra_headers={"X-Team": "blue"}, extra_body={"top_p": 0.5})
    assert body["top_p"] == 0.5 and requests[0].headers["x-team"] == "blue"


async def test_proxies_that_read_the_old_key_header_find_it() -> None:
    _, _, requests = await sent("anthropic")
    assert requests[0].headers["x-api-key"] == KEY
    assert requests[0].headers["authorization"] == f"Bearer {KEY}"


@each_wire
async def test_usage_adds_up_in_one_form(wire: str) -> None:
    with FakeModel([Reply("four words are here", thought="12345678")]) as fake:
        usage = used(await talk(settings(fake, wire))).usage
    assert (usage.input_total, usage.cache_read, usage.output) == (115, 100, 4)
    assert usage.cost_source == "unknown" and usage.cost_usd is None


async def test_the_cost_that_a_provider_reports_is_believed() -> None:
    with FakeModel([Reply("x", usage={"cost": 0.0123})]) as fake:
        usage = used(await talk(settings(fake, "chat", provider="openrouter"))).usage
    assert usage.cost_usd == 0.0123 and usage.cost_source == "provider"


async def test_nothing_shows_the_key() -> None:
    with FakeModel(["ok"]) as fake:
        provider = connect(settings(fake, "anthropic"))
        await talk(provider)
        inner = provider.inner  # type: ignore[attr-defined]
        shown = f"{provider!r} {inner!r} {inner.place!r} {inner.settings!r} {inner._clients!r} {vars(inner)}"
        await provider.close()
    assert KEY not in shown
