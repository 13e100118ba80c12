"""A folder that several processes work in, one after the other: each opens its session anew."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from autopilot_runtime import Runtime, ScriptedProvider


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


def last_request(house: House) -> str:
    return house.model.calls[-1].messages[-1].content
