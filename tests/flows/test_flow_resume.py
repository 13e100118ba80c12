"""Runs that end before their end: killed, suspended, out of steps; and what goes on with them, here or elsewhere."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from autopilot_runtime import AsyncRuntime, EventType, Runtime, ScriptedProvider, SetupError
from autopilot_runtime.session.file import FileSession
from tests.flows.stage import act, finish

ROOT = Path(__file__).parents[2]


class House:
    """A folder with an agent file, and runtimes of one session in it, one after the other."""

    def __init__(self, folder: Path, **runtime: Any) -> None:
        self.folder = folder
        self.marks: list[Any] = []
        agent = {
            "name": "House",
            "model": {"provider": "scripted", "name": "scripted"},
            "runtime": {"work_dir": "work", **runtime},
            "tools": ["read_file", "write_file", "ask_user"],
        }
        self.file = folder / "agent.yaml"
        self.file.write_text(json.dumps({"agent": agent}))
        self._open: list[Runtime] = []

    def runtime(self, *replies: str, sections: dict[str, Any] | None = None, **options: Any) -> Runtime:
        """A runtime as another process would open it."""
        self.close()
        if sections:
            agent = json.loads(self.file.read_text())
            agent["agent"].update(sections)
            self.file.write_text(json.dumps(agent))
        self.model = ScriptedProvider(list(replies))
        where = options.pop("session", "file")
        runtime = Runtime(self.file, where, "house", self.folder / "sessions", provider=self.model, **options)
        runtime.hooks.clear()
        runtime.register_tool("mark", self.mark)
        self._open.append(runtime)
        return runtime

    def mark(self, what: Any) -> str:
        """Leave a mark."""
        self.marks.append(what)
        return f"marked {what}"

    def close(self) -> None:
        while self._open:
            self._open.pop().close()


@pytest.fixture
def house(tmp_path: Path) -> Any:
    made = House(tmp_path)
    yield made
    made.close()


def last_request(house: House) -> str:
    return house.model.calls[-1].messages[-1].content


# ---------------------------------------------------------------- suspended


ASKING = """
names = []
for n in range(3):
    mark(n)
    if n == 1:
        names.append(ask_user("Which colour?"))
print(names, len(names))
"""


@pytest.fixture
def asking(tmp_path: Path) -> Any:
    made = House(tmp_path, on_unanswered="suspend")
    yield made
    made.close()


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


# ---------------------------------------------------------------- gone on with


def test_variables_of_finished_blocks_come_back(house: House) -> None:
    first = act("total = 40\nimport random, time\nbegun = (random.random(), time.time())\nmark('one')\nprint(begun)")
    then = act("mark('two')\nprint(total + 2, begun)")
    stopped = house.runtime(first, then, sections={"runtime": {"work_dir": "work", "max_steps": 1}})
    assert stopped.run("Count") is None
    shown = stopped.messages[-1]["content"]
    begun = shown[shown.index("(0.") : shown.index(")") + 1]
    again = house.runtime(then, finish("42"), sections={"runtime": {"work_dir": "work", "max_steps": 9}})
    assert again.resume() == "42"
    assert f"42 {begun}" in last_request(house)
    assert house.marks == ["one", "two"]


def test_a_block_that_takes_another_way_is_stopped_and_says_so(house: House) -> None:
    changing = act("for n in range(3):\n    mark(level())\nask_user('Well?')")
    first = house.runtime(changing, sections={"runtime": {"work_dir": "work", "on_unanswered": "suspend"}})
    first.register_tool("level", lambda: 1)
    first.run("Go")
    assert house.marks == [1, 1, 1]
    session = FileSession("house", "House", house.folder / "sessions")
    key = next(key for key in session.extra() if key.endswith("00002"))
    entry = session.extra()[key]
    entry["outcome"]["value"] = 7  # what the call gave is another thing now: so is the way from there
    session.append([], extra={key: entry})
    session.close()
    second = house.runtime(finish("Understood."))
    second.register_tool("level", lambda: 1)
    assert second.resume() == "Understood."
    told = last_request(house)
    assert "took another way" in told
    assert "mark(7)" in told
    assert house.marks == [1, 1, 1]


def test_steps_and_costs_go_on_where_they_stood(house: House) -> None:
    suspend = {"runtime": {"work_dir": "work", "on_unanswered": "suspend", "max_steps": 7}}
    first = house.runtime(act("mark(1)"), act("mark(ask_user('Go on?'))"), sections=suspend)
    first.run("Go")
    assert first.last is not None
    assert first.last.steps == 2
    second = house.runtime(act("mark(3)"), finish("Done."))
    second.answer(first.open_requests[0]["request_id"], "2")
    assert second.last is not None
    assert second.last.steps == 4
    assert second.last.run_id == first.last.run_id
    assert (second.last.usage.input_total or 0) > (first.last.usage.input_total or 0)
    assert house.marks == [1, "2", 3]


def test_a_run_that_was_completed_leaves_nothing_to_replay(house: House) -> None:
    runtime = house.runtime(act("mark(1)"), finish())
    runtime.run("Go")
    extra = runtime.session.extra()
    assert not [key for key in extra if key.startswith(("call.", "block."))]
    assert extra["run"]["status"] == "completed"


# ---------------------------------------------------------------- what cannot be given back


def dies_in(house: House, code: str, *payloads: str, tools: Any = MappingProxyType({})) -> None:
    """Leave the folder as a process that was killed in the first `mark` of this block would."""
    runtime, aside = house.runtime(act(code, *payloads), finish()), house.folder / "aside"
    for name, tool in tools.items():
        runtime.register_tool(name, tool)

    def die(what: Any) -> str:
        """What is in the folder now is all there is."""
        if not aside.exists():
            for part in ("sessions", "work"):
                shutil.copytree(house.folder / part, aside / part)
        return house.mark(what)

    runtime.register_tool("mark", die, replace=True)
    runtime.run("Go")
    house.close()
    for part in ("sessions", "work"):
        shutil.rmtree(house.folder / part)
        (aside / part).rename(house.folder / part)


def test_a_value_with_a_secret_is_not_kept_and_what_was_done_with_it_is_told(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THEIR_API_TOKEN", "not-for-any-disk-0123456789")
    used: list[str] = []
    tools = {"fetch": lambda: "token=not-for-any-disk-0123456789", "use": used.append}
    dies_in(house, "found = fetch()\nuse(found)\nmark(1)", tools=tools)
    assert used == ["token=not-for-any-disk-0123456789"]
    assert not [p for p in (house.folder / "sessions").iterdir() if "not-for-any-disk" in p.read_text()]
    second = house.runtime(finish("Understood."))
    for name, tool in tools.items():
        second.register_tool(name, tool)
    assert second.resume() == "Understood."
    told = last_request(house)
    assert "its value could not be kept: it holds a secret" in told
    assert '- use("token=[secret masked]")\n- mark(1): outcome unknown' in told
    assert len(used) == 1  # no masked value was used in the place of the real one


def test_what_a_block_had_done_is_told_when_it_cannot_come_to_it_again(house: House) -> None:
    dies_in(house, 'write_file("a.txt")\nmark(1)\nwrite_file("b.txt")', "AAA", "BBB")
    second = house.runtime(finish("Understood."), sections={"tools": ["ask_user"]})
    assert second.resume() == "Understood."
    assert '- write_file("a.txt")\n- mark(1): outcome unknown' in last_request(house)


def test_payload_blocks_nobody_took_are_named_by_their_place_in_the_reply(house: House) -> None:
    runtime = house.runtime(act('write_file("a.txt")\nmark(missing)\nwrite_file("b.txt")', "AAA", "BBB"), finish())
    runtime.run("Go")
    assert "they were not written: block 2 of 2." in last_request(house)


def test_variables_that_cannot_be_brought_back_are_told_to_the_model(house: House) -> None:
    limits = {"work_dir": "work", "max_steps": 1}
    house.runtime(act("level = mark(1)\nmark(level)"), sections={"runtime": limits}).run("Go")
    session = FileSession("house", "House", house.folder / "sessions")
    key = next(key for key in session.extra() if key.endswith(".00000"))
    entry = session.extra()[key]
    entry["outcome"] = {"shown": None, "note": "", "lost": "it holds a secret"}
    session.append([], extra={key: entry})
    session.close()
    second = house.runtime(finish("Understood."), sections={"runtime": {"work_dir": "work", "max_steps": 9}})
    assert second.resume() == "Understood."
    assert "Variables of earlier blocks of this run are lost" in last_request(house)


# ---------------------------------------------------------------- killed


@pytest.mark.parametrize("store", ["file", "sqlite"])
def test_a_host_that_is_killed_again_and_again_loses_and_repeats_nothing(store: str) -> None:
    command = [sys.executable, "-m", "tests.flows.killed", "--kills", "15", "--store", store, "--seed", "7"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert done.stdout, done.stderr
    told = json.loads(done.stdout)
    assert told["faults"] == []
    assert told["kills"] >= 15


KILLED = """
import os, sys
from autopilot_runtime import Runtime, ScriptedProvider
code = "write_file('a.txt')\\ndie()\\nwrite_file('b.txt')\\nwrite_file('c.txt')\\n"
replies = ["```codepilot\\n" + code + "```\\n" + "```\\n1\\n```\\n" * 4]
def die() -> None:
    'Be killed.'
    os._exit(9)
runtime = Runtime(sys.argv[1], "file", "house", sys.argv[2], provider=ScriptedProvider(replies))
runtime.register_tool("die", die)
runtime.run("Go")
"""


def test_what_a_killed_run_had_written_is_among_its_files_and_payloads_keep_their_numbers(house: House) -> None:
    command = [sys.executable, "-c", KILLED, str(house.file), str(house.folder / "sessions")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 9, done.stderr
    second = house.runtime(finish("As far as it came."))
    second.register_tool("die", lambda: None)
    assert second.resume() == "As far as it came."
    assert second.last is not None
    assert second.last.files_changed == ("a.txt",)
    told = last_request(house)
    assert "outcome unknown: die()" in told
    assert "not written: block 2 of 4, block 3 of 4, block 4 of 4." in told
    assert "Calls whose outcome was recorded were not made again." in told
