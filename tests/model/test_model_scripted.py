"""The scripted model: lists, functions, files."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from autopilot_runtime.core.errors import ProviderError, SetupError
from autopilot_runtime.core.message import Message
from autopilot_runtime.core.protocols import Text, Thought
from autopilot_runtime.model.connect import connect
from autopilot_runtime.model.scripted import ScriptedProvider, ScriptedReply
from autopilot_runtime.model.settings import ModelSettings, Price, Retries
from tests.model.talk import retries, stopped, talk, text_of, used


async def test_every_form_of_a_reply() -> None:
    boom = RuntimeError("mine")
    provider = ScriptedProvider(["a", ("b", "length"), ScriptedReply("c", thought="hm"), boom])
    assert text_of(await talk(provider)) == "a"
    assert stopped(await talk(provider)).reason == "length"
    assert (await talk(provider))[0] == Thought("hm")
    with pytest.raises(RuntimeError) as caught:
        await talk(provider)
    assert caught.value is boom


async def test_a_script_that_is_over_says_so() -> None:
    provider = ScriptedProvider(["only"])
    await talk(provider)
    with pytest.raises(ProviderError, match="has 1 replies, and this is call 2") as caught:
        await talk(provider)
    assert not caught.value.retryable


async def test_a_function_is_called_off_the_loop_with_the_messages() -> None:
    threads = []

    def answer(messages: list[Message]) -> str:
        threads.append(threading.current_thread())
        return f"{len(messages)} messages"

    assert text_of(await talk(ScriptedProvider(answer))) == "1 messages"
    assert threads[0] is not threading.main_thread()


async def test_a_coroutine_function_is_awaited() -> None:
    async def answer(messages: list[Message]) -> tuple[str, str]:
        return messages[-1].content.upper(), "length"

    assert text_of(await talk(ScriptedProvider(answer))) == "HELLO"


async def test_it_streams_in_chunks_and_keeps_what_was_asked() -> None:
    provider = ScriptedProvider(["123456789"], chunk=4)
    deltas = await talk(provider, system="sys")
    assert [delta.text for delta in deltas if isinstance(delta, Text)] == ["1234", "5678", "9"]
    assert provider.calls[0].system == "sys" and provider.calls[0].messages[0].content == "hello"
    assert used(deltas).usage.cost_usd == 0.0


SCRIPTS = {
    "a.yaml": "- one\n- {text: two, stop: length, thought: hm}\n",
    "a.json": '{"replies": ["one", {"text": "two", "stop": "length", "thought": "hm"}], "chunk": 2}',
}


@pytest.mark.parametrize("name", SCRIPTS)
async def test_a_script_file_is_found_beside_the_agent_file(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(SCRIPTS[name])
    provider = connect(ModelSettings("scripted", name, folder=tmp_path))
    assert text_of(await talk(provider)) == "one"
    deltas = await talk(provider)
    assert text_of(deltas) == "two" and stopped(deltas).reason == "length" and deltas[0] == Thought("hm")


async def test_a_text_file_is_cut_at_its_marks(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("first\n```x\n```\n--- reply ---\nsecond\n")
    provider = connect(ModelSettings("scripted", "a.md", folder=tmp_path))
    assert text_of(await talk(provider)) == "first\n```x\n```\n"
    assert text_of(await talk(provider)) == "second\n"


async def test_a_scripted_fault_goes_through_the_retries(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("- {text: half, error: connection}\n- whole\n")
    provider = connect(ModelSettings("scripted", "a.yaml", folder=tmp_path, retries=Retries(first_delay=0)))
    deltas = await talk(provider)
    assert text_of(deltas) == "whole" and retries(deltas)[0].kind == "connection"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- [1]", "reply 1 is neither"),
        ("- {txt: x}", "reply 1 is neither"),
        ("- {text: x, stop: never}", "not one of end"),
        ("a: b", "unknown key 'a'"),
        ("just text", "a script is a list"),
        ("[", "a.yaml"),
    ],
)
def test_a_bad_script_is_a_clear_error(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(SetupError, match=words):
        connect(ModelSettings("scripted", "a.yaml", folder=tmp_path))


def test_broken_json_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[")
    with pytest.raises(SetupError, match=r"a\.json"):
        connect(ModelSettings("scripted", "a.json", folder=tmp_path))


def test_a_missing_script_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"cannot be read: .*nothing\.yaml"):
        connect(ModelSettings("scripted", "nothing.yaml", folder=tmp_path))


async def test_a_script_costs_what_its_price_says_and_else_nothing(tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text('["four thousand", "again"]')
    free = connect(ModelSettings("scripted", "r.json", folder=tmp_path))
    assert used(await talk(free)).usage.cost_usd == 0
    priced = connect(ModelSettings("scripted", "r.json", folder=tmp_path, price=Price(1_000_000, 0, 0, 0)))
    usage = used(await talk(priced)).usage
    assert usage.cost_usd == usage.input_total
