"""An agent and its helpers are interrupted: at every moment that was kept, and while a helper waits for a person."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import shutil
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import create_async_engine

from autopilot_runtime import AsyncRuntime
from autopilot_runtime.session.file import FileSession
from tests.fake_provider import Reply
from tests.flows.crew import calling, helper, told
from tests.flows.stage import Stage, act, finish

USAGE = {"input_tokens": 200, "output_tokens": 50, "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0}
CALL = 'r = delegate("helper", "Do one")\nprint("got", r["summary"])'
CALL_BOTH = 'both = delegate_all([("helper", "Do two"), ("helper", "Do three")])\n'
CALL_BOTH += 'print("got", r["summary"], *(one["summary"] for one in both))'
TOOLS = ["write_file", calling()]


_ONE_AT_A_TIME = threading.Lock()


def _copy(source: str, target: str) -> None:
    with contextlib.suppress(FileNotFoundError):  # a helper at work has just put it in its place
        shutil.copy2(source, target)


class Watched(FileSession):
    """A session that has a picture taken of the whole folder each time something is kept."""

    pictures: Path

    def append(
        self, messages: Sequence[Mapping[str, Any]], *, extra: Mapping[str, Any] | None = None, durable: bool = True
    ) -> None:
        """Keep it, after a picture: that has what was kept before, and what has happened since."""
        self.take_picture()
        super().append(messages, extra=extra, durable=durable)

    def take_picture(self) -> None:
        """What another process would find, were this one killed now."""
        with _ONE_AT_A_TIME:
            number = sum(1 for _ in self.pictures.iterdir())
            shutil.copytree(self.folder.parent, self.pictures / f"{number:03d}", copy_function=_copy)

    def _another(self, session_id: str, *, parent: str | None = None) -> FileSession:
        made = Watched(session_id, self.agent_name, self.folder, clock=self._clock, parent=parent)
        made.pictures = self.pictures
        return made


def lead(seen: Any) -> Reply:
    """Call one helper, then two at the same time, then say what they said."""
    messages = seen.json["messages"]
    step = sum(one["role"] == "assistant" for one in messages)
    said = re.findall(r"^got (.*)$", json.dumps(messages).replace("\\n", "\n"), re.MULTILINE)
    texts = [act(CALL), act(CALL_BOTH), finish(f"counted {said[-1] if said else ''}")]
    return Reply(texts[step], usage=USAGE)


def helping(seen: Any) -> Reply:
    """Leave a mark of one's own twice, then say so."""
    messages = seen.json["messages"]
    [name] = re.findall(r"Do (\w+)", json.dumps(messages[0]))
    step = sum(one["role"] == "assistant" for one in messages)
    mark = act(f'write_file("marks-{name}.txt", mode="a")', f"{name} {step}")
    return Reply(mark if step < 2 else finish(name), usage=USAGE)


def replies(folder: Path) -> int:
    """How many replies there are in all sessions of the folder."""
    store = FileSession("s", "Flow", folder / "sessions")
    stores = [FileSession(one["session_id"], "", store.folder) for one in store.list_sessions(nested=True)]
    return sum(message["role"] == "assistant" for one in stores for message in one.load())


@pytest.mark.parametrize("stage", ["async"], indirect=True)
async def test_killed_at_any_moment_helpers_are_neither_repeated_nor_forgotten_nor_charged_twice(
    stage: Stage, tmp_path: Path
) -> None:
    stage.folder = tmp_path / "original"
    (stage.folder / "sessions").mkdir(parents=True)
    helper(stage, script=helping)
    session = Watched("s", "Flow", stage.folder / "sessions")
    session.pictures = tmp_path / "pictures"
    session.pictures.mkdir()
    stage.open(script=lead, options={"session": session}, tools=TOOLS)
    assert await stage.run() == "counted one two three"
    assert stage.rt.last.usage.calls == replies(stage.folder) == 12
    faults = []
    for folder in sorted(session.pictures.iterdir()):
        faults += [f"{folder.name}: {fault}" for fault in await _gone_on_with(folder)]
    assert faults == []
    assert len(list(session.pictures.iterdir())) >= 40


async def _gone_on_with(folder: Path) -> list[str]:
    runtime = AsyncRuntime(folder / "agent.yaml", "file", "s", folder / "sessions")
    runtime.hooks.clear()
    async with runtime:
        begun = runtime.session.extra().get("run")
        text = await (runtime.resume() if begun else runtime.run("Do it"))
    faults = [] if text == "counted one two three" else [f"it ended with {text!r}: {runtime.last}"]
    for name in ("one", "two", "three"):
        marks = (folder / "work" / f"marks-{name}.txt").read_text()
        if marks != f"{name} 0\n{name} 1\n":
            faults.append(f"the marks are {marks!r}")
    usage, found = runtime.last.usage if runtime.last else None, replies(folder)
    if usage is None or (usage.calls, usage.input_total) != (12, 2400) or found != 12:
        faults.append(f"{usage} for {found} replies")
    return faults


# ---------------------------------------------------------------- a helper asks


ASKING = {"runtime": {"on_unanswered": "suspend"}}


def kept(stage: Stage) -> dict[str, Any]:
    return {"session": "file", "session_id": "s", "session_dir": stage.folder / "sessions"}


async def test_a_helper_that_asks_suspends_the_whole_tree_and_goes_on_in_its_very_call(stage: Stage) -> None:
    ask = 'write_file("a.txt", mode="a")\ncolour = ask_user("Which?")\nwrite_file("a.txt", mode="a")\nprint(colour)'
    fake = helper(stage, Reply(act(ask, "before", "after"), usage=USAGE), Reply(finish("helped"), usage=USAGE))
    stage.open(Reply(act(CALL), usage=USAGE), options=kept(stage), tools=TOOLS, **ASKING)
    assert await stage.run() is None
    assert stage.status == "suspended"
    assert (stage.work / "a.txt").read_text() == "before\n"
    [request] = stage.rt.open_requests
    assert request["question"] == "helper: Which?"
    assert stage.rt.last.usage.calls == 2
    await stage.do(stage.rt.close)
    stage.open(Reply(finish("Done."), usage=USAGE), options=kept(stage), tools=TOOLS, **ASKING)
    assert await stage.do(stage.rt.answer, request["request_id"], "blue") == "Done."
    assert (stage.work / "a.txt").read_text() == "before\nafter\n"
    assert "blue" in told(fake)
    assert "got helped" in stage.heard()
    # Each call is on the bill once, whoever made it, in whichever process.
    assert (stage.rt.last.usage.calls, stage.rt.last.usage.input_total) == (4, 800)
    assert stage.rt.last.files_changed == ("a.txt",)


async def test_two_helpers_that_ask_at_the_same_time_are_answered_one_after_the_other(stage: Stage) -> None:
    def script(seen: Any) -> str:
        [name] = set(re.findall(r"Do (\w+)", json.dumps(seen.json["messages"][0])))
        asked = any(one["role"] == "assistant" for one in seen.json["messages"])
        answered = re.findall(r"answered (\w+)", json.dumps(seen.json["messages"][-1]))
        return finish(answered[0]) if asked else act(f'print("answered", ask_user("{name}?"))')

    helper(stage, script=script)
    stage.open(act("r = {'summary': 'none'}\n" + CALL_BOTH), options=kept(stage), tools=TOOLS, **ASKING)
    await stage.run()
    requests = stage.rt.open_requests
    assert sorted(one["question"] for one in requests) == ["helper: three?", "helper: two?"]
    for count, request in zip(itertools.count(1), requests, strict=False):
        await stage.do(stage.rt.close)
        stage.open(finish("Done."), options=kept(stage), tools=TOOLS, **ASKING)
        name = request["question"].removeprefix("helper: ").rstrip("?")
        done = await stage.do(stage.rt.answer, request["request_id"], f"<{name}>".strip("<>"))
        assert done == ("Done." if count == 2 else None)
        assert len(stage.rt.open_requests) == 2 - count
    assert "got none two three" in stage.heard()
    assert stage.rt.last.usage.calls == 6


async def test_a_budget_holds_over_helpers_and_restarts(stage: Stage) -> None:
    fake = helper(
        stage, script=lambda seen: Reply(act('print(ask_user("More?"))'), usage=USAGE), runtime={"max_steps": 50}
    )
    limits = {"runtime": {"on_unanswered": "suspend", "max_tokens_total": 2_000}}
    requests, leads = [], 0
    for _ in range(12):
        stage.open(script=lambda _: Reply(act(CALL), usage=USAGE), options=kept(stage), tools=TOOLS, **limits)
        if requests:
            await stage.do(stage.rt.answer, requests[0]["request_id"], "more")
        else:
            await stage.run()
        requests = stage.rt.open_requests
        leads += len(stage.fake.requests)
        if stage.status != "suspended":
            break
        await stage.do(stage.rt.close)
    assert stage.status == "budget"
    assert 1_500 <= 250 * (len(fake.requests) + leads) <= 2_000


@pytest.mark.parametrize("stage", ["async"], indirect=True)
async def test_on_an_applications_engine_a_helper_goes_on_as_well(stage: Stage, tmp_path: Path) -> None:
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path / 'application.db'}")
    kept_there = {"session": "db", "session_id": "s", "db": engine}
    helper(stage, act('print(ask_user("Which?"))'), finish("helped"))
    stage.open(act(CALL), options=kept_there, tools=TOOLS, **ASKING)
    await stage.run()
    [request] = stage.rt.open_requests
    await stage.rt.close()
    stage.open(finish("Done."), options=kept_there, tools=TOOLS, **ASKING)
    assert await stage.rt.answer(request["request_id"], "blue") == "Done."
    assert "got helped" in stage.heard()
    assert stage.rt.last.usage.calls == 4
    await stage.rt.reset()
    assert await stage.rt.session.list_sessions(nested=True) == []
    await engine.dispose()
