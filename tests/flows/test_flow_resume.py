"""Runs that end before their end: killed or out of steps; and what goes on with them, here or elsewhere."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from autopilot_runtime.session.file import FileSession
from tests.flows.house import House, last_request
from tests.flows.stage import act, finish

ROOT = Path(__file__).parents[2]


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


def test_reads_that_cannot_be_given_back_end_the_block_and_not_the_run(house: House) -> None:
    waiting = {"runtime": {"work_dir": "work", "on_unanswered": "suspend"}}
    house.runtime(act("import time\nmark(time.time() > 0)\nask_user('Well?')"), sections=waiting).run("Go")
    session = FileSession("house", "House", house.folder / "sessions")
    key = next(key for key in session.extra() if key.startswith("call."))
    session.append([], extra={key: {**session.extra()[key], "reads": ["nonsense"]}})
    session.close()
    second = house.runtime(finish("Understood."))
    assert second.resume() == "Understood."
    assert "read" in last_request(house)
    assert house.marks == [True]
