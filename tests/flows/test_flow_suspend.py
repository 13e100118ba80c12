"""Runs that end before their end: suspended with a question or permission, and answered from elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from autopilot_runtime import AsyncRuntime, EventType, ScriptedProvider, SetupError
from tests.flows.house import House, last_request
from tests.flows.stage import act, finish

ROOT = Path(__file__).parents[2]


# ---------------------------------------------------------------- suspended


ASKING = """
names = []
for n in range(3):
    mark(n)
    if n == 1:
        names.append(ask_user("Which colour?"))
print(names, len(names))
"""


def test_a_question_in_a_loop_ends_the_run_and_is_answered_by_another_process(asking: House) -> None:
    first = asking.runtime(act(ASKING), finish("never said"))
    seen: list[Any] = []
    first.hooks.register(EventType.SUSPENDED, lambda request_id, **_: seen.append(request_id))
    assert first.run("Ask in the middle") is None
    assert first.last is not None
    assert first.last.status == "suspended"
    assert asking.marks == [0, 1]
    [request] = first.open_requests
    assert request["kind"] == "ask_user"
    assert request["question"] == "Which colour?"
    assert seen == [request["request_id"]]

    second = asking.runtime(finish("It is blue."))
    assert second.open_requests == [request]
    assert second.answer(request["request_id"], "blue") == "It is blue."
    assert asking.marks == [0, 1, 2]
    assert "['blue'] 1" in last_request(asking)
    assert "did not come to" not in last_request(asking)
    assert second.last is not None
    assert second.last.status == "completed"
    assert second.open_requests == []
    assert second.resume() == "It is blue."  # of what has gone on already, it gives the end
    with pytest.raises(SetupError, match="no run to resume"):
        second.resume()


def test_an_answer_alone_is_kept_and_resume_goes_on(asking: House) -> None:
    asking.runtime(act(ASKING)).run("Ask")
    [request] = asking.runtime().open_requests
    assert asking.runtime().answer(request["request_id"], "red", resume=False) is None
    third = asking.runtime(finish("Red it is."))
    assert third.open_requests == []
    assert third.resume() == "Red it is."
    assert asking.marks == [0, 1, 2]
    assert "['red'] 1" in last_request(asking)


def test_a_block_that_goes_on_finds_its_terminal_in_the_folder_it_was_in(asking: House) -> None:
    """What is typed after an answer counts on the `cd` before the question, in this block or an earlier one."""
    (asking.folder / "work" / "deep").mkdir(parents=True)
    (asking.folder / "work" / "keep.txt").write_text("keep")
    enter = act("execute('main', 'mkdir -p deep/er && cd deep && export KIND=prod')")
    clear = "execute('main', 'cd er')\nask_user('Sure?')\nr = execute('main', 'pwd; rm -f *.txt')\nprint(r['output'])"
    sections = {"tools": ["ask_user", "shell"]}
    first = asking.runtime(enter, act(clear), sections=sections)
    assert first.run("Clear it") is None
    assert first.last is not None
    assert str(first.last.error).count("q_") == 1  # one question waits, and it is named once
    [request] = first.open_requests
    second = asking.runtime(act("execute('main', 'pwd')"), finish("Cleared."))
    assert second.answer(request["request_id"], "yes") == "Cleared."
    assert "work/deep/er\n" in asking.model.calls[0].messages[-1].content
    assert (asking.folder / "work" / "keep.txt").exists()
    assert "work/deep/er\n" in last_request(asking)
    assert "this is a fresh one" not in last_request(asking)


def test_a_terminal_that_a_later_block_needs_stands_where_the_earlier_left_it(asking: House) -> None:
    (asking.folder / "work" / "deep").mkdir(parents=True)
    first = asking.runtime(
        act("execute('main', 'cd deep')"), act("ask_user('Well?')"), sections={"tools": ["ask_user", "shell"]}
    )
    first.run("Go in, and ask")
    second = asking.runtime(act("execute('main', 'pwd')"), finish("There."))
    assert second.answer(first.open_requests[0]["request_id"], "yes") == "There."
    assert "work/deep" in last_request(asking)
    assert "the terminal of before is gone, with its variables and jobs" in last_request(asking)


def test_resume_without_an_answer_asks_again_under_the_same_number(asking: House) -> None:
    first = asking.runtime(act(ASKING))
    first.run("Ask")
    before = first.open_requests[0]["request_id"]
    second = asking.runtime()
    assert second.resume() is None
    assert second.last is not None
    assert second.last.status == "suspended"
    assert second.open_requests[0]["request_id"] == before
    assert asking.marks == [0, 1]
    third = asking.runtime(finish("Now."))
    third.hooks.register(EventType.ASK_USER, lambda **_: "green")
    assert third.resume() == "Now."
    assert "['green'] 1" in last_request(asking)


def test_a_permission_waits_for_its_answer_and_nothing_has_happened_before(asking: House) -> None:
    rules = {"permissions": [{"ask": "write_file(*)"}]}
    write = act('mark("before")\nwrite_file("a.txt")\nmark("after")', "hello")
    first = asking.runtime(write, sections=rules)
    first.run("Write")
    target = asking.folder / "work" / "a.txt"
    assert asking.marks == ["before"]
    assert not target.exists()
    [request] = first.open_requests
    assert request["kind"] == "permission_request"
    assert request["tool"] == "write_file"
    assert "+hello" in request["diff"]
    second = asking.runtime(finish("Written."))
    assert second.answer(request["request_id"], True) == "Written."
    assert target.read_text() == "hello\n"
    assert asking.marks == ["before", "after"]


def test_a_permission_that_is_refused_is_an_error_the_block_sees(asking: House) -> None:
    rules = {"permissions": [{"ask": "write_file(*)"}]}
    first = asking.runtime(act('write_file("a.txt")', "hello"), sections=rules)
    first.run("Write")
    second = asking.runtime(finish("Not written."))
    second.answer(first.open_requests[0]["request_id"], "not on a Friday")
    assert "not on a Friday" in last_request(asking)
    assert not (asking.folder / "work" / "a.txt").exists()


@pytest.mark.parametrize("odd", [None, 0, ["yes"], b"yes", {"allowed": "yes"}])
def test_a_permission_answered_with_something_else_still_waits(asking: House, odd: Any) -> None:
    rules = {"permissions": [{"ask": "write_file(*)"}]}
    runtime = asking.runtime(act('write_file("a.txt")', "hello"), finish("Written."), sections=rules)
    runtime.run("Write")
    [request] = runtime.open_requests
    with pytest.raises(SetupError, match="A permission is answered with"):
        runtime.answer(request["request_id"], odd)
    assert runtime.open_requests == [request]
    assert runtime.answer(request["request_id"], True) == "Written."


def test_a_permission_for_another_change_is_asked_anew(asking: House) -> None:
    rules = {"permissions": [{"ask": "write_file(*)"}]}
    first = asking.runtime(act('write_file("a.txt")', "hello"), sections=rules)
    first.run("Write")
    request = first.open_requests[0]["request_id"]
    (asking.folder / "work" / "a.txt").write_text("somebody else's\n")
    second = asking.runtime(finish("Too late."))
    assert second.answer(request, True) is None
    assert second.last is not None
    assert second.last.status == "suspended"
    assert "somebody else's" in second.open_requests[0]["diff"]
    assert (asking.folder / "work" / "a.txt").read_text() == "somebody else's\n"


def test_a_tool_that_swallows_the_suspension_is_suspended_all_the_same(asking: House) -> None:
    tried: list[int] = []

    async def stubborn(ctx: Any) -> str:
        """Ask, whatever happens."""
        tried.append(1)
        try:
            return str(await ctx.ask("Well?"))
        except Exception:
            return "went on"

    from autopilot_runtime import ToolContext

    stubborn.__annotations__["ctx"] = ToolContext
    first = asking.runtime(act("print(stubborn())"))
    first.register_tool("stubborn", stubborn)
    first.run("Ask")
    assert first.last is not None
    assert first.last.status == "suspended"
    second = asking.runtime(finish("Yes."))
    second.register_tool("stubborn", stubborn)
    assert second.answer(first.open_requests[0]["request_id"], "so be it") == "Yes."
    assert "so be it" in last_request(asking)
    assert tried == [1, 1]


def test_a_new_task_lets_go_of_a_suspended_one_and_says_what_it_had_done(asking: House) -> None:
    asking.runtime(act(ASKING)).run("Ask")
    second = asking.runtime(finish("Something else."))
    assert second.run("Never mind, do something else") == "Something else."
    told = last_request(asking)
    assert "interrupted" in told
    assert "mark(1)" in told
    assert second.open_requests == []
    assert not [key for key in second.session.extra() if key.startswith(("call.", "request.", "answer."))]


def test_an_unknown_request_is_named_with_those_that_wait(asking: House) -> None:
    first = asking.runtime(act(ASKING))
    first.run("Ask")
    with pytest.raises(SetupError, match=first.open_requests[0]["request_id"]):
        first.answer("q_nothing", "x")


async def test_an_answer_can_be_awaited(tmp_path: Path) -> None:
    house = House(tmp_path, on_unanswered="suspend")
    model = ScriptedProvider([act('print(ask_user("Which?"))'), finish("There.")])
    async with AsyncRuntime(house.file, provider=model) as runtime:
        runtime.hooks.clear()
        assert await runtime.run("Ask") is None
        [request] = runtime.open_requests
        assert await runtime.answer(request["request_id"], "this") == "There."
        assert runtime.last is not None
        assert runtime.last.status == "completed"
