"""What others do to the workspace while the agent works is told to it once; what it does itself is not."""

from __future__ import annotations

import re
from collections.abc import Callable

from autopilot_runtime import EventType
from tests.fake_provider import Seen
from tests.flows.stage import Stage, act, finish


def thinking(replies: list[str], meanwhile: dict[int, Callable[[], object]]) -> Callable[[Seen], str]:
    """A model during whose n-th thought something happens."""
    said = iter(enumerate(replies))

    def reply(_: Seen) -> str:
        number, text = next(said)
        meanwhile.get(number, lambda: None)()
        return text

    return reply


def reports(stage: Stage) -> list[str]:
    """What the model was told of its environment, with each request."""
    found = []
    for request in range(len(stage.fake.requests)):
        _, _, told = stage.heard(request).partition("[ENVIRONMENT CHANGE] ")
        found.append(told.partition("\n\nRead these files again")[0].partition("\n\n")[2])
    return found


async def test_edits_of_a_person_are_told_and_those_of_the_agent_are_not(stage: Stage) -> None:
    work = stage.work
    (work / "main.py").write_text("".join(f"line {n}\n" for n in range(1, 51)))
    (work / "old_config.py").write_text("x\n")
    (work / "untouched.py").write_text("x\n")

    def person() -> None:
        lines = (work / "main.py").read_text().splitlines(keepends=True)
        lines[0:4], lines[46] = ["1\n", "2\n", "3\n", "4\n"], "47\n"
        (work / "main.py").write_text("".join(lines))
        (work / ".env").write_text("A=1\nB=2\nC=3\n")
        (work / "old_config.py").unlink()
        (work / "untouched.py").write_text("changed, and nobody has to know\n")

    look = (
        "read_file('main.py')\nread_file('old_config.py')\ntry:\n    read_file('.env')\nexcept Exception:\n    pass"
    )
    shell = "execute('main', 'sed -i s/line/LINE/ main.py; echo y > made.py; rm -f .env')"
    stage.open(
        script=thinking([act(look), act("1 + 1"), act(shell), act("2 + 2"), finish()], {1: person}),
        tools=["read_file", "write_file", "execute"],
        options={"permission_mode": "bypass"},
    )
    await stage.run()
    told = "Modified: main.py\nChanged lines: 1-4, 47\nDeleted: old_config.py\nCreated: .env (3 lines)"
    assert reports(stage) == ["", "", told, "", ""]
    assert re.search(r"\[ENVIRONMENT CHANGE\] \d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", stage.heard(2))
    assert [event.report for event in stage.of(EventType.ENVIRONMENT_CHANGE)] == [told]


async def test_edits_between_two_runs_are_told_with_the_next_task(stage: Stage) -> None:
    (stage.work / "a.txt").write_text("one\n")
    stage.open(act("read_file('a.txt')"), finish(), finish(), finish())
    await stage.run("first")
    (stage.work / "a.txt").write_text("one\ntwo\n")
    await stage.run("second")
    await stage.run("third")
    assert reports(stage) == ["", "", "Modified: a.txt\nChanged lines: 2", ""]


async def test_a_write_of_the_agent_itself_is_never_told_as_somebody_elses(stage: Stage) -> None:
    write = "write_file('a.txt')\nwrite_file('b/c.txt')"
    edit = "write_file('a.txt', mode='edit', start_line=1)\nexecute('main', 'rm -r b')"
    stage.open(
        act(write, "one", "two"), act(edit, "ONE"), act("1 + 1"), finish(),
        tools=["read_file", "write_file", "execute"], options={"permission_mode": "bypass"},
    )  # fmt: skip
    await stage.run()
    assert (stage.work / "a.txt").read_text() == "ONE\n"
    assert not (stage.work / "b").exists()
    assert reports(stage) == ["", "", "", ""]
