"""A host that is killed again and again: run as a program, it says how many calls were lost or made twice.

python -m tests.flows.killed [--kills 25] [--store file | sqlite | URL] [--seed 1]

Each attempt is a forked child that takes up the run where the last one was killed, with SIGKILL, at a random instant.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from autopilot_runtime import Runtime, ScriptedProvider
from autopilot_runtime.core.message import Message

STEPS, CALLS = 4, 3
AGENT = """agent:
  name: Killed
  model: {provider: scripted, name: scripted}
  runtime: {work_dir: work, max_steps: 50}
  tools: [read_file, write_file]
"""
# The code looks before it repeats a call of which nobody knows how it ended, as a model is told to.
BLOCK = """import random, time
begun = time.time()
done = [] if STEP == 0 else done
for number in range(CALLS):
    name = f"STEP.{number}"
    try:
        mark(name, random.random())
    except ToolError as error:
        if "outcome unknown" not in str(error):
            raise
        if not seen(name):
            mark(name, random.random())
    done.append(name)
print("done", len(done), begun <= time.time())
write_file("STEP.txt")
"""


def reply(messages: Sequence[Message]) -> str:
    """What the model says next: a block for each step, then how much it counted."""
    step = sum(message.role == "assistant" for message in messages)
    if step == STEPS:
        said = "\n".join(message.content for message in messages)  # a resumed run may have said something since
        counted = re.findall(r"^done (\d+) True$", said, re.MULTILINE)
        return f"```completion\ncounted {counted[-1] if counted else '?'}\n```"
    code = BLOCK.replace("STEP", str(step)).replace("CALLS", str(CALLS))
    return f"Step {step}.\n\n```codepilot\n{code}```\n\n```text filename={step}.txt\nfile {step}\n```\n"


class Story:
    """One session, from its first attempt to its end."""

    def __init__(self, folder: Path, store: str, name: str) -> None:
        self.folder = folder
        self.store = store
        self.name = name
        self.marks = folder / "marks"
        self.result = folder / "result.json"
        folder.mkdir()
        self.marks.touch()
        (folder / "agent.yaml").write_text(AGENT)

    def open(self) -> Runtime:
        """The runtime of this attempt."""
        agent, provider = self.folder / "agent.yaml", ScriptedProvider(reply)
        if self.store == "file":
            runtime = Runtime(agent, "file", self.name, self.folder / "sessions", provider=provider)
        else:
            runtime = Runtime(agent, "db", self.name, db_url=self.store, provider=provider)
        runtime.hooks.clear()
        runtime.register_tool("mark", self.mark)
        runtime.register_tool("seen", self.seen)
        return runtime

    def mark(self, name: str, chance: float) -> str:
        """Leave a mark."""
        with self.marks.open("a") as file:
            file.write(f"{name}\n")
        return f"marked {name}"

    def seen(self, name: str) -> bool:
        """Whether the mark is there."""
        return name in self.marks.read_text().split()

    def attempt(self) -> None:
        """In a child: begin the run, or go on with it, to its end."""
        runtime = self.open()
        try:
            state = runtime.session.extra().get("run") or {}
            if state.get("status") == "completed":  # killed between the end of the run and the end of this
                text = state["summary"]
            elif state:
                text = runtime.resume()
            else:
                # Said once: a message that was kept is there in the next attempt, too.
                if not any("by the way" in m["content"] for m in runtime.messages) and not len(
                    runtime._async._kit.inbox
                ):
                    runtime.send_message("by the way")
                text = runtime.run("mark them all")
            status = runtime.last.status if runtime.last else state.get("status")
        except Exception as error:
            text, status = f"{type(error).__name__}: {error}", "raised"
        told = {"text": text, "status": status, "messages": runtime.messages}
        runtime.close()
        told_whole = self.result.with_suffix(".part")
        told_whole.write_text(json.dumps(told))
        told_whole.replace(self.result)

    def faults(self) -> list[str]:
        """What is not as it should be, now that the run has ended."""
        told = json.loads(self.result.read_text())
        marks = Counter(self.marks.read_text().split())
        wanted = [f"{step}.{number}" for step in range(STEPS) for number in range(CALLS)]
        faults = [f"lost: {name}" for name in wanted if not marks[name]]
        faults += [f"made {count} times: {name}" for name, count in marks.items() if count > 1]
        if told["text"] != f"counted {len(wanted)}":
            faults.append(f"ended as {told['status']} with {told['text']!r} after {told['messages'][-2]}")
        contents = [message["content"] for message in told["messages"]]
        if sum("by the way" in content for content in contents) != 1:
            faults.append("the queued message is not in the conversation once")
        if sum(message["role"] == "assistant" for message in told["messages"]) != STEPS + 1:
            faults.append("a reply is missing, or there twice")
        files = {path.name: path.read_text() for path in (self.folder / "work").iterdir()}
        if files != {f"{step}.txt": f"file {step}\n" for step in range(STEPS)}:
            faults.append(f"the files are {files}")
        return faults


def child(story: Story) -> int:
    """Fork an attempt."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), 1)
        story.attempt()
        code = 0
    finally:
        os._exit(code)


def await_end(pid: int, seconds: float) -> bool:
    """Whether the child ended by itself within that time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if os.waitpid(pid, os.WNOHANG)[0]:
            return True
        time.sleep(0.001)
    return False


def endure(root: Path, store: str, *, kills: int, chance: random.Random) -> dict[str, Any]:
    """Stories until enough attempts were killed; what came of them."""
    killed, stories, faults = 0, 0, []
    length = 1.0
    while killed < kills:
        story = Story(root / f"story-{stories}", store, f"killed {stories} {chance.random()}")
        stories, attempts = stories + 1, 0
        while not story.result.exists():
            pid, begun = child(story), time.monotonic()
            # The first one shows how long it takes; the others are killed somewhere in that time.
            # A machine that has become slower must not keep a story from ever ending.
            limit = 60.0 if stories == 1 else chance.uniform(0.0, 1.1 * length) * (1 + attempts / 10)
            attempts += 1
            if await_end(pid, limit):
                length = time.monotonic() - begun if stories == 1 else length
                continue
            os.kill(pid, signal.SIGKILL)
            killed += os.waitpid(pid, 0)[1] == signal.SIGKILL
        faults += [f"story {stories}: {fault}" for fault in story.faults()]
    return {"kills": killed, "stories": stories, "faults": faults}


def main() -> None:
    """Read the arguments, endure, tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=25)
    parser.add_argument("--store", default="file")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="autopilot-killed-"))
    store = f"sqlite:///{root / 'sessions.db'}" if given.store == "sqlite" else given.store
    try:
        told = endure(root, store, kills=given.kills, chance=random.Random(given.seed))
    finally:
        if not sys.flags.interactive:
            shutil.rmtree(root, ignore_errors=True)
    print(json.dumps(told, indent=2))
    sys.exit(1 if told["faults"] else 0)


if __name__ == "__main__":
    main()
