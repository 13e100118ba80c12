"""Agents that an agent of a story may call, and the entry in its file that lets it."""

from __future__ import annotations

from typing import Any

import yaml

from tests.fake_provider import Entry, FakeModel, Script
from tests.flows.stage import KEY_ENV, Stage, act

ASK_FIRST = {"name": "write_file", "config": {"require_permission": True}}
PRICE = {"input": 10.0, "output": 10.0}
CALL = act("r = delegate('helper', 'Write a.txt')\nprint(r)")
WRITE = act("write_file('a.txt')", "by the helper")


def helper(
    stage: Stage, *replies: Entry, name: str = "helper", script: Script | None = None, **more: Any
) -> FakeModel:
    """Write the file of an agent that answers with `replies`; gives its model."""
    fake = FakeModel(script if script is not None else list(replies)).__enter__()
    stage._fakes.append(fake)
    model = {"provider": "anthropic", "name": "claude-test", "api_key_env": KEY_ENV, "base_url": fake.url}
    agent = {
        "name": name.title(),
        "role": f"The {name}.",
        "model": {**model, **more.pop("model", {})},
        "tools": ["read_file", "write_file", "ask_user"],
        **more,
    }
    (stage.folder / f"{name}.yaml").write_text(yaml.safe_dump({"agent": agent}, sort_keys=False), encoding="utf-8")
    return fake


def calling(*names: str, tool: str = "delegate", **config: Any) -> dict[str, Any]:
    """The entry of `tools:` that lets an agent call these."""
    return {"name": tool, "config": {"agents": {name: f"./{name}.yaml" for name in names or ("helper",)}, **config}}


def told(fake: FakeModel, request: int = -1) -> str:
    """The newest message that a model got with a request."""
    return fake.requests[request].text
