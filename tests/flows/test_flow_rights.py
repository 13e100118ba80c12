"""Who decides: permission asked once and before anything happens, questions answered, and nobody there."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autopilot_runtime import Decision, EventType, SetupError
from tests.flows.stage import Gate, Stage, act, finish

ASKING = ["read_file", "ask_user", {"name": "write_file", "config": {"require_permission": True}}]
WRITE = act("write_file('a.txt')", "hello")


def raising(**_: Any) -> bool:
    raise RuntimeError("the approval service is down")


async def refusing(**_: Any) -> bool:
    return False


def raising_exit(**_: Any) -> bool:
    raise SystemExit(1)


@pytest.mark.parametrize(
    "answer",
    [None, False, 0, 1, [], "no", "false", "yes", Decision(False, "not today"), raising, raising_exit, refusing],
    ids=lambda answer: getattr(answer, "__name__", repr(answer)[:12]),
)
async def test_only_true_is_a_yes(stage: Stage, answer: Any) -> None:
    rt = stage.open(WRITE, finish(), tools=ASKING)
    rt.hooks.register(EventType.PERMISSION_REQUEST, answer if callable(answer) else lambda **_: answer)
    await stage.run()
    assert not (stage.work / "a.txt").exists()
    assert "did not allow this write_file call" in stage.heard()
    [decided] = stage.of(EventType.PERMISSION_DECIDED)
    assert decided.allowed is False
    assert not stage.of(EventType.TOOL_CALL, EventType.FILE_CHANGED)


@pytest.mark.parametrize("kind", ["plain", "coroutine", "awaitable"])
async def test_true_lets_exactly_one_call_happen(stage: Stage, kind: str) -> None:
    asked: list[str] = []

    async def later(**_: Any) -> bool:
        asked.append("awaited")
        return True

    def gate(tool: str, description: str, **_: Any) -> Any:
        asked.append(f"{tool}: {description}")
        assert not (stage.work / "a.txt").exists()
        return True if kind == "plain" else later()

    rt = stage.open(WRITE, finish(), tools=ASKING)
    rt.hooks.register(EventType.PERMISSION_REQUEST, later if kind == "coroutine" else gate)
    await stage.run()
    assert (stage.work / "a.txt").read_text() == "hello\n"
    wanted = {"plain": ["write_file: Create a.txt"], "coroutine": ["awaited"]}
    assert asked == wanted.get(kind, ["write_file: Create a.txt", "awaited"])


async def test_without_handler_and_terminal_it_is_denied(stage: Stage) -> None:
    stage.open(WRITE, finish(), tools=ASKING)
    await stage.run()
    assert not (stage.work / "a.txt").exists()
    assert "was not allowed: nobody is there to ask" in stage.heard()


async def test_the_reason_of_a_no_reaches_the_model(stage: Stage) -> None:
    rt = stage.open(WRITE, finish(), tools=ASKING)
    rt.hooks.register(EventType.PERMISSION_REQUEST, lambda **_: Decision(False, "use b.txt instead"))
    await stage.run()
    assert "use b.txt instead" in stage.heard()


async def test_always_is_remembered_for_this_call_and_nothing_wider(stage: Stage) -> None:
    both = act("write_file('a.txt')\nwrite_file('b.txt')", "x", "y")
    rt = stage.open(WRITE, act("write_file('a.txt')", "again"), both, finish(), finish(), tools=ASKING)
    asked: list[str] = []

    def gate(description: str, **_: Any) -> Decision:
        asked.append(description)
        return Decision(True, always=True)

    rt.hooks.register(EventType.PERMISSION_REQUEST, gate)
    await stage.run()
    assert asked == ["Create a.txt", "Create b.txt"]


async def test_a_person_may_edit_the_call(stage: Stage) -> None:
    rt = stage.open(WRITE, finish(), tools=ASKING)
    rt.hooks.register(EventType.PERMISSION_REQUEST, lambda **_: Decision(True, edited={"path": "safe/b.txt"}))
    await stage.run()
    assert (stage.work / "safe/b.txt").read_text() == "hello\n"
    assert not (stage.work / "a.txt").exists()


async def test_what_is_approved_is_what_is_written(stage: Stage) -> None:
    rt = stage.open(WRITE, finish(), tools=ASKING)

    def swap(diff: str, **_: Any) -> bool:
        assert "+hello" in diff
        return True

    rt.hooks.register(EventType.PERMISSION_REQUEST, swap)
    await stage.run()
    assert (stage.work / "a.txt").read_text() == "hello\n"


async def test_rules_decide_without_asking(stage: Stage) -> None:
    rules = [{"allow": "write_file(docs/*)"}, {"deny": "write_file(*.env)"}]
    rt = stage.open(
        act("write_file('docs/a.md')", "ok"),
        act("write_file('docs/.env')", "KEY=1"),
        finish(),
        tools=ASKING,
        permissions=rules,
    )
    rt.hooks.register(EventType.PERMISSION_REQUEST, lambda **_: pytest.fail("nobody is to be asked"))
    await stage.run()
    assert (stage.work / "docs/a.md").exists()
    assert not (stage.work / "docs/.env").exists()
    assert "was not allowed" in stage.heard()


async def test_a_deny_that_only_the_preview_can_see_asks_nobody(stage: Stage) -> None:
    typed = act("execute('main', 'cat', timeout=0)\nsend_input('main', 'rm -rf x\\n', timeout=0)")
    rt = stage.open(typed, finish(), tools=["shell"], permissions=[{"deny": "execute(rm *)"}])
    rt.hooks.register(EventType.PERMISSION_REQUEST, lambda **_: pytest.fail("nobody is to be asked"))
    await stage.run()
    assert "send_input was not allowed: the rule `deny: execute(rm *)` forbids it" in stage.heard()


async def test_where_nobody_may_be_asked_what_asks_nothing_still_runs(stage: Stage) -> None:
    rules = [{"allow": "write_file(docs/*)"}]
    code = "write_file('docs/a.md')\nread_file('docs/a.md')\nwrite_file('b.md')"
    replies = [act(code, "ok", "no"), finish()]
    stage.open(*replies, tools=ASKING, permissions=rules, options={"permission_mode": "deny"})
    await stage.run()
    assert "1 | ok" in stage.heard()
    assert "requires permission, and nobody is asked in this mode" in stage.heard()
    assert not (stage.work / "b.md").exists()


async def test_a_denied_call_can_be_caught_and_the_block_goes_on(stage: Stage) -> None:
    code = "try:\n    write_file('a.txt')\nexcept Exception as e:\n    print('caught', type(e).__name__)\nprint('on')"
    stage.open(act(code, "x"), finish(), tools=ASKING)
    await stage.run()
    assert "caught" in stage.heard()
    assert "\non\n" in stage.heard()


# ---------------------------------------------------------------- questions


@pytest.mark.parametrize("slow", [False, True])
async def test_a_handler_answers_a_question(stage: Stage, slow: bool) -> None:
    async def later(question: str, **_: Any) -> str:
        return question.upper()

    rt = stage.open(act("print('I heard', ask_user('which port?'))"), finish())
    answers: Callable[..., Any] = later if slow else lambda question, **_: question.upper()
    rt.hooks.register(EventType.ASK_USER, answers)
    await stage.run()
    assert "I heard WHICH PORT?" in stage.heard()


async def test_a_question_is_answered_from_outside(stage: Stage) -> None:
    rt = stage.open(act("print('port', ask_user('which?'))"), finish(), runtime={"on_unanswered": "wait"})
    asked: asyncio.Queue[str] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    rt.hooks.register(
        EventType.ASK_USER, lambda request_id, **_: loop.call_soon_threadsafe(asked.put_nowait, request_id)
    )
    work = stage.begin()
    request = await asyncio.wait_for(asked.get(), 10)
    with pytest.raises(SetupError, match="No open request"):
        rt.answer("q_nothing", "8080")
    rt.answer(request, "8080")
    await work
    assert "port 8080" in stage.heard()


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (True, "a.txt"),
        ("yes", "a.txt"),
        ("Always", "a.txt"),
        ({"allowed": True}, "a.txt"),
        ({"allowed": True, "edited": {"path": "b.txt"}}, "b.txt"),
        ("no", None),
        (False, None),
        ("not this week", None),
        ({"allowed": False, "reason": "not this week"}, None),
    ],
)
async def test_a_permission_is_answered_from_outside_in_plain_values(
    stage: Stage, value: Any, written: str | None
) -> None:
    rt = stage.open(WRITE, WRITE, finish(), tools=ASKING, runtime={"on_unanswered": "wait"})
    asked: list[str] = []

    def hand_on(request_id: str, **_: Any) -> None:
        asked.append(request_id)
        for wrong in ({}, {"allowed": "yes"}, {"allowed": True, "edited": "b.txt"}, {"allow": True}):
            with pytest.raises(SetupError, match="only `allowed` must be there"):
                rt.answer(request_id, wrong)
        rt.answer(request_id, value)

    rt.hooks.register(EventType.PERMISSION_REQUEST, hand_on)
    await stage.run()
    assert [path.name for path in stage.work.iterdir()] == ([written] if written else [])
    assert len(asked) == (1 if value == "Always" else 2)
    assert written or ("week" in str(value)) == ("not this week" in stage.conversation)


async def test_when_nobody_answers_the_model_is_told_to_decide(stage: Stage) -> None:
    rt = stage.open(act("ask_user('Sure?')"), finish())
    rt.hooks.register(EventType.ASK_USER, lambda **_: None)
    await stage.run()
    assert "Nobody is there to answer" in stage.heard()


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a pseudo-terminal")
async def test_a_handler_that_only_shows_the_question_leaves_the_answer_to_the_terminal(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []
    rt = stage.open(act("print('driver:', ask_user('Which driver?'))"), finish())
    rt.hooks.register(EventType.ASK_USER, lambda question, **_: shown.append(question))
    master, slave = os.openpty()
    with os.fdopen(master, "w") as person, os.fdopen(os.dup(slave), "r") as keys, os.fdopen(slave, "w") as screen:
        monkeypatch.setattr("sys.stdin", keys)
        monkeypatch.setattr("sys.stdout", screen)
        person.write("asyncpg\n")
        person.flush()
        await stage.run()
        monkeypatch.undo()
    assert shown == ["Which driver?"]
    assert "driver: asyncpg" in stage.heard()


async def test_abort_while_a_question_waits(stage: Stage) -> None:
    rt = stage.open(act("ask_user('Sure?')"), finish("later"), runtime={"on_unanswered": "wait"})
    asked = Gate()
    rt.hooks.register(EventType.ASK_USER, asked.open)
    work = stage.begin()
    await asked.passed()
    rt.abort()
    assert await work is None
    assert stage.status == "aborted"
    assert await stage.run() == "later"


async def test_an_always_is_remembered_with_the_session(stage: Stage, tmp_path: Path) -> None:
    options = {"session": "file", "session_id": "kept", "session_dir": tmp_path / "sessions"}
    asked: list[str] = []

    def always(description: str, **_: Any) -> Decision:
        asked.append(description)
        return Decision(True, always=True)

    for _ in range(2):
        rt = stage.open(WRITE, finish(), tools=ASKING, options=options)
        rt.hooks.register(EventType.PERMISSION_REQUEST, always)
        assert await stage.run() is not None
        await stage.close()
    assert len(asked) == 1


async def test_a_rule_that_protects_nothing_is_said(stage: Stage) -> None:
    stage.open(finish(), permissions=[{"deny": "exekute(rm *)"}, {"deny": "execute(rm *)"}])
    assert await stage.run() is not None
    warnings = [event.message for event in stage.of(EventType.WARNING)]
    assert warnings == ["the permission rule `deny: exekute(rm *)` names no tool there is; did you mean 'execute'?"]


async def test_rules_on_commands_hold_for_a_replacement_of_execute(stage: Stage) -> None:
    ran: list[str] = []

    def execute(session_id: str, command: str, timeout: int = 10) -> str:
        """Run a command, in a way of our own."""
        ran.append(command)
        return "ran"

    rt = stage.open(
        act("execute('main', 'ls')"), act("execute('main', 'rm x')"), finish("ok"), tools=["execute"],
        permissions=[{"deny": "execute(rm *)"}],
    )  # fmt: skip
    rt.register_tool("execute", execute, replace=True)
    assert await stage.run() == "ok"
    assert ran == ["ls"]
    assert "not allowed" in stage.heard()
