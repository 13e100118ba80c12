"""The stage of every story here: a folder, a local model server, and a Runtime of either kind, driven alike."""

from __future__ import annotations

import asyncio
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from autopilot_runtime import AsyncRuntime, Event, EventType, Runtime
from tests.fake_provider import Entry, FakeModel, Script

KEY = "flow-key-0123456789abcdef"
KEY_ENV = "FLOW_TEST_API_KEY"
PATIENCE = 20.0


def act(code: str, *payloads: str, say: str = "I do it.", done: str | None = None) -> str:
    """A reply with a control block, payload blocks, and a completion when `done` is given."""
    parts = [say, f"```codepilot\n{textwrap.dedent(code).strip()}\n```"]
    parts += [f"```text\n{payload}\n```" for payload in payloads]
    parts += [finish(done)] if done is not None else []
    return "\n\n".join(parts) + "\n"


def finish(text: str = "All done.") -> str:
    """A completion block."""
    return f"```completion\n{text}\n```"


class Gate:
    """Something to wait for in a thread or on a loop: opened once, never waited for without a limit."""

    def __init__(self) -> None:
        self._open = threading.Event()

    def open(self, *_: Any, **__: Any) -> None:
        """Let everybody through."""
        self._open.set()

    def wait(self) -> None:
        """Wait in a thread."""
        assert self._open.wait(PATIENCE), "nobody opened the gate"

    async def passed(self) -> None:
        """Wait on a loop."""
        await asyncio.to_thread(self.wait)


class Stage:
    """One story. `door` says which Runtime it is lived with; everything opened here is closed with it."""

    def __init__(self, door: str, folder: Path) -> None:
        self.door = door
        self.folder = folder
        self.work = folder / "work"
        self.work.mkdir()
        self._opened: list[Any] = []
        self._fakes: list[FakeModel] = []
        self._events: list[Event] = []

    @property
    def sync(self) -> bool:
        """Whether this is the story of `Runtime`."""
        return self.door == "sync"

    def agent(self, *, url: str, **sections: Any) -> Path:
        """Write agent.yaml; `sections` replace or widen what is usual."""
        model = {"provider": "anthropic", "name": "claude-test", "api_key_env": KEY_ENV, "base_url": url}
        agent = {
            "name": "Flow",
            "model": {**model, **sections.pop("model", {})},
            "runtime": {"work_dir": "work", **sections.pop("runtime", {})},
            "tools": ["read_file", "write_file", "ask_user"],
            **sections,
        }
        path = self.folder / "agent.yaml"
        path.write_text(yaml.safe_dump({"agent": agent}, sort_keys=False), encoding="utf-8")
        return path

    def open(self, *replies: Entry, script: Script | None = None, options: Any = None, **sections: Any) -> Any:
        """A runtime whose model answers with these replies, one for each request."""
        fake = FakeModel(script if script is not None else list(replies)).__enter__()
        self._fakes.append(fake)
        return self.make(self.agent(url=fake.url, **sections), **(options or {}))

    def make(self, path: Any, **options: Any) -> Any:
        """A runtime of this story's kind."""
        self.rt = (Runtime if self.sync else AsyncRuntime)(path, **options)
        self._opened.append(self.rt)
        self._feed = self.core.open_feed(0)
        self._events = []
        return self.rt

    @property
    def core(self) -> AsyncRuntime:
        """The async runtime behind the door."""
        return self.rt._async if self.sync else self.rt

    @property
    def fake(self) -> FakeModel:
        """The newest model server."""
        return self._fakes[-1]

    async def do(self, call: Callable[..., Any], *args: Any) -> Any:
        """A method of the runtime that a sync user waits for and an async user awaits."""
        async with asyncio.timeout(PATIENCE * 2):
            return await (asyncio.to_thread(call, *args) if self.sync else call(*args))

    async def run(self, task: str = "Do it") -> str | None:
        """`run(task)` on the newest runtime."""
        return await self.do(self.rt.run, task)

    def begin(self, task: str = "Do it") -> asyncio.Task[str | None]:
        """The same, going on in the background."""
        return asyncio.create_task(self.run(task))

    async def close(self) -> None:
        """Close every runtime, then every server."""
        for runtime in self._opened:
            await (asyncio.to_thread(runtime.close) if self.sync else runtime.close())
        for fake in self._fakes:
            fake.__exit__()

    # ------------------------------------------------------------ what can be seen

    @property
    def events(self) -> list[Event]:
        """Every event of the newest runtime so far."""
        while (event := self._feed.get(0)) is not None:
            self._events.append(event)
        return self._events

    def of(self, *kinds: EventType) -> list[Event]:
        """The events of these types."""
        return [event for event in self.events if event.type in kinds]

    @property
    def status(self) -> str | None:
        """How the last run ended."""
        return self.rt.last.status if self.rt.last else None

    @property
    def shown(self) -> str:
        """What a person was shown and what was not taken back by a RETRY."""
        texts: list[str] = []
        for event in self.events:
            if event.type is EventType.STEP:
                texts.append("")
            elif event.type is EventType.RETRY:
                texts[-1] = ""
            elif event.type is EventType.STREAM:
                texts[-1] += event.text
        return "".join(texts)

    def heard(self, request: int = -1) -> str:
        """The newest message the model got with that request."""
        return self.fake.requests[request].text

    @property
    def conversation(self) -> str:
        """The whole conversation as text."""
        return "\n".join(message["content"] for message in self.rt.messages)
