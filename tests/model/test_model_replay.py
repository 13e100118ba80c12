"""Cassettes: record with any provider, replay without one, and say clearly where two conversations part."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from autopilot_runtime.core.errors import ReplayError, SetupError
from autopilot_runtime.core.message import Message
from autopilot_runtime.core.protocols import Thought
from autopilot_runtime.model.cassette import normalise
from autopilot_runtime.model.connect import connect
from autopilot_runtime.model.replay import ReplayProvider
from autopilot_runtime.model.retry import Retry
from autopilot_runtime.model.scripted import ScriptedProvider, ScriptedReply
from autopilot_runtime.model.settings import ModelSettings, Retries
from tests.fake_provider import FakeModel
from tests.model.talk import KEY, QUICK, settings, stopped, talk, text_of, used

TASK = [Message("user", "fix the bug", "task")]
NEXT = [*TASK, Message("assistant", "looking"), Message("user", "result: 3 failed in 0.12s")]


async def record(place: Path, *replies: object) -> None:
    taping = ReplayProvider(place, mode="record", inner=ScriptedProvider(list(replies)))  # type: ignore[arg-type]
    await talk(taping, TASK, "system one")
    if len(replies) > 1:
        await talk(taping, NEXT, "system one")


async def test_what_was_recorded_is_replayed_chunk_by_chunk(tmp_path: Path) -> None:
    place = tmp_path / "a.jsonl"
    await record(
        place, ScriptedReply("looking at it, this takes more than one chunk", thought="hm"), ("cut", "length")
    )
    replay = ReplayProvider(place)
    first = await talk(replay, TASK, "another system prompt")
    assert text_of(first) == "looking at it, this takes more than one chunk"
    assert first[0] == Thought("hm") and len(first) > 4
    assert stopped(await talk(replay, NEXT)).reason == "length"


async def test_the_file_has_the_documented_form_and_is_private(tmp_path: Path) -> None:
    place = tmp_path / "deep" / "a.jsonl"
    await record(place, "looking")
    (line,) = place.read_text().splitlines()
    value = json.loads(line)
    assert value["v"] == 1 and value["match"]["step"] == 1 and len(value["match"]["prompt_sha"]) == 24
    assert value["chunks"][0][0] == "looking" and isinstance(value["chunks"][0][1], int)
    assert value["usage"]["output"] > 0 and value["model"] == "scripted"
    assert stat.S_IMODE(place.stat().st_mode) == 0o600


async def test_replaying_costs_nothing_and_says_what_it_cost_once(tmp_path: Path) -> None:
    place = tmp_path / "a.jsonl"
    await record(place, "looking")
    value = json.loads(place.read_text())
    value["usage"].update(cost_usd=0.018)
    place.write_text(json.dumps(value))
    replay = ReplayProvider(place)
    usage = used(await talk(replay, TASK)).usage
    assert usage.cost_usd == 0.0 and usage.output and replay.recorded_cost == pytest.approx(0.018)


async def test_what_differs_between_two_runs_does_not_matter(tmp_path: Path) -> None:
    place = tmp_path / "a.jsonl"
    await record(place, "looking", "done")
    replay = ReplayProvider(place)
    await talk(replay, TASK)
    later = [*NEXT[:2], Message("user", "result: 3 failed in 17.9s")]
    assert text_of(await talk(replay, later)) == "done"


async def test_a_difference_is_shown_and_nothing_is_invented(tmp_path: Path) -> None:
    place = tmp_path / "a.jsonl"
    await record(place, "looking", "done")
    replay = ReplayProvider(place)
    await talk(replay, TASK)
    with pytest.raises(ReplayError) as caught:
        await talk(replay, [*NEXT[:2], Message("user", "result: 4 failed in 0.12s")])
    text = str(caught.value)
    assert "call 2" in text and "-result: 3 failed" in text and "+result: 4 failed" in text


async def test_a_call_too_many_is_an_error(tmp_path: Path) -> None:
    place = tmp_path / "a.jsonl"
    await record(place, "looking")
    replay = ReplayProvider(place)
    await talk(replay, TASK)
    with pytest.raises(ReplayError, match="already replayed"):
        await talk(replay, TASK)
    with pytest.raises(ReplayError, match=r"no recorded call 2 for this: its calls are \[1\]"):
        await talk(replay, NEXT)


async def test_one_cassette_holds_several_conversations(tmp_path: Path) -> None:
    place = tmp_path / "a.jsonl"
    await record(place, "looking", "first done")
    inner = ScriptedProvider(["other look", "second done"])
    taping = ReplayProvider(place, mode="record", inner=inner)
    other = [Message("user", "another task")]
    await talk(taping, other)
    await talk(taping, [*other, *NEXT[1:]])
    replay = ReplayProvider(place)
    assert text_of(await talk(replay, other)) == "other look"
    assert text_of(await talk(replay, [*other, *NEXT[1:]])) == "second done"
    assert text_of(await talk(replay, TASK)) == "looking"
    assert text_of(await talk(replay, NEXT)) == "first done"


async def test_auto_asks_the_model_only_for_what_is_new(tmp_path: Path) -> None:
    place = tmp_path / "a.jsonl"
    await record(place, "looking")
    inner = ScriptedProvider(["done"])
    both = ReplayProvider(place, mode="auto", inner=inner)
    assert text_of(await talk(both, TASK)) == "looking" and inner.calls == []
    assert text_of(await talk(both, NEXT)) == "done" and len(inner.calls) == 1
    assert text_of(await talk(ReplayProvider(place), TASK)) == "looking"


async def test_a_failed_try_is_not_recorded(tmp_path: Path) -> None:
    place = tmp_path / "a.jsonl"
    inner = Retry(ScriptedProvider([ScriptedReply("void", error="connection"), "good"]), Retries(first_delay=0))
    await talk(ReplayProvider(place, mode="record", inner=inner), TASK)
    assert "void" not in place.read_text()
    assert text_of(await talk(ReplayProvider(place), TASK)) == "good"


async def test_secrets_are_masked_also_across_chunks(tmp_path: Path) -> None:
    place = tmp_path / "a.jsonl"
    inner = ScriptedProvider([f"your key is {KEY} right"], chunk=5)
    taping = ReplayProvider(place, mode="record", inner=inner, mask=lambda text: text.replace(KEY, "***"))
    deltas = await talk(taping, [Message("user", f"what is {KEY}?")])
    assert KEY in text_of(deltas)
    assert KEY not in place.read_text()
    assert text_of(await talk(ReplayProvider(place, mask=taping._mask), [Message("user", f"what is {KEY}?")])) == (
        "your key is *** right"
    )


async def test_the_caller_may_know_more_that_is_volatile(tmp_path: Path) -> None:
    place = tmp_path / "a.jsonl"

    def volatile(text: str) -> str:
        return text.split("build")[0]

    taping = ReplayProvider(place, mode="record", inner=ScriptedProvider(["x"]), volatile=volatile)
    await talk(taping, [Message("user", "go build 17")])
    assert text_of(await talk(ReplayProvider(place, volatile=volatile), [Message("user", "go build 18")])) == "x"


async def test_pace_replays_as_slowly_as_it_was(tmp_path: Path) -> None:
    place = tmp_path / "a.jsonl"
    line = {"v": 1, "match": {"step": 1, "prompt": "fix the bug"}, "chunks": [["a", 100], ["b", 300]], "model": "m"}
    place.write_text(json.dumps(line))
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    await talk(ReplayProvider(place, pace=0.5, sleep=sleep), TASK)
    assert slept == [0.05, 0.15]


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"v": 2}', '{"v": 1}', '{"v": 1, "match": {"step": "x"}, "chunks": []}']
)
def test_a_damaged_cassette_is_named_with_its_line(tmp_path: Path, text: str) -> None:
    place = tmp_path / "a.jsonl"
    place.write_text("\n" + text + "\n")
    with pytest.raises(ReplayError, match=r"a\.jsonl:2"):
        ReplayProvider(place)


async def test_the_environment_puts_a_cassette_before_any_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODEL_TEST_KEY", KEY)
    monkeypatch.setenv("AUTOPILOT_REPLAY", str(tmp_path / "tapes"))
    monkeypatch.setenv("AUTOPILOT_REPLAY_MODE", "record")
    with FakeModel(["from the wire"]) as fake:
        chosen = settings(fake, "anthropic")
        provider = connect(chosen, agent="My Agent")
        assert text_of(await talk(provider, TASK)) == "from the wire"
        await provider.close()
    assert (tmp_path / "tapes" / "my-agent.jsonl").exists()
    monkeypatch.delenv("AUTOPILOT_REPLAY_MODE")
    monkeypatch.delenv("MODEL_TEST_KEY")
    other = ModelSettings("openai", "quite-another-model", retries=QUICK)
    assert text_of(await talk(connect(other, agent="My Agent"), TASK)) == "from the wire"
    assert text_of(await talk(connect(other, agent="somebody else"), TASK)) == "from the wire"


async def test_an_agent_file_may_name_a_cassette_as_its_model(tmp_path: Path) -> None:
    await record(tmp_path / "demo.jsonl", "looking")
    provider = connect(ModelSettings("replay", "demo.jsonl", folder=tmp_path))
    assert provider.name == "replay" and text_of(await talk(provider, TASK)) == "looking"


def test_mistakes_are_said_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SetupError, match="no cassette"):
        ReplayProvider(tmp_path / "none.jsonl")
    with pytest.raises(SetupError, match="needs a real model"):
        ReplayProvider(tmp_path / "none.jsonl", mode="auto")
    monkeypatch.setenv("AUTOPILOT_REPLAY", str(tmp_path))
    with pytest.raises(SetupError, match="in the folder: nothing"):
        connect(ModelSettings("openai", "m"))
    monkeypatch.setenv("AUTOPILOT_REPLAY_MODE", "rewind")
    with pytest.raises(SetupError, match="rewind"):
        connect(ModelSettings("openai", "m"))


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("at 2026-11-21T10:00:00Z", "at 2026-11-22 11:30:59.123+01:00"),
        ("/tmp/pytest-1/x.py:3", "/tmp/other/deep/x9.py:3"),
        ("ran 0.12s", "ran 17 seconds"),
        ("[USER MESSAGE #a1b2c3] hi", "[USER MESSAGE #0f0f0f] hi"),
        ("pid 123 is up", "pid 99 is up"),
        ("<obj at 0x7f0011223344>", "<obj at 0x7f9911223300>"),
        ("run_0123456789abcdef0123456 x", "run_0123456789abcdef0123999 x"),
        ("id 123e4567-e89b-12d3-a456-426614174000", "id 123e4567-e89b-12d3-a456-426614174999"),
        ("trailing  \nspace", "trailing\nspace  "),
    ],
)
def test_volatile_parts_are_alike(one: str, two: str) -> None:
    assert normalise(one) == normalise(two)


@pytest.mark.parametrize(
    ("one", "two"), [("exit 0", "exit 1"), ("3 failed", "4 failed"), ("a.py", "b.py"), ("#1", "#2"), ("v1.2", "v1.3")]
)
def test_what_matters_is_not_hidden(one: str, two: str) -> None:
    assert normalise(one) != normalise(two)
