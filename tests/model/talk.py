"""Shared by the tests of the model floor: settings that point at a fake server, and reading a whole call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from autopilot_runtime.core.message import Message
from autopilot_runtime.core.protocols import Delta, Provider, Retrying, Stopped, Text, Used
from autopilot_runtime.model.connect import connect
from autopilot_runtime.model.settings import ModelSettings, Retries, Timeouts
from tests.fake_provider import FakeModel

KEY = "sk-test-0123456789abcdef"
WIRES = ("anthropic", "chat", "responses")
each_wire = pytest.mark.parametrize("wire", WIRES)
QUICK = Retries(first_delay=0.0)
HELLO = [Message("user", "hello", "task")]


def settings(fake: FakeModel, wire: str, **more: Any) -> ModelSettings:
    """Settings of one wire format at a fake server; no real waiting between tries."""
    base: dict[str, Any] = {
        "provider": "anthropic" if wire == "anthropic" else "openai",
        "name": "claude-test" if wire == "anthropic" else "gpt-test",
        "api_key_env": "MODEL_TEST_KEY",
        "base_url": fake.url if wire == "anthropic" else fake.openai_url,
        "wire_api": "auto" if wire == "anthropic" else wire,
        "retries": QUICK,
        "timeouts": Timeouts(connect=5, first_byte=5, idle=5),
    }
    return ModelSettings(**{**base, **more})


async def talk(where: ModelSettings | Provider, messages: Sequence[Message] = HELLO, system: str = "") -> list[Delta]:
    """All deltas of one call; a provider made here is closed here."""
    if not isinstance(where, ModelSettings):
        return [delta async for delta in where.stream(messages, system=system)]
    provider = connect(where)
    try:
        return [delta async for delta in provider.stream(messages, system=system)]
    finally:
        await provider.close()


def text_of(deltas: Sequence[Delta]) -> str:
    """The text that counts: what came after the last `Retrying`."""
    last = max((i for i, delta in enumerate(deltas) if isinstance(delta, Retrying)), default=-1)
    return "".join(delta.text for delta in deltas[last + 1 :] if isinstance(delta, Text))


def stopped(deltas: Sequence[Delta]) -> Stopped:
    """The end of a call."""
    assert isinstance(deltas[-1], Stopped)
    return deltas[-1]


def used(deltas: Sequence[Delta]) -> Used:
    """The usage of a call."""
    return [delta for delta in deltas if isinstance(delta, Used)][-1]


def retries(deltas: Sequence[Delta]) -> list[Retrying]:
    """What was tried again."""
    return [delta for delta in deltas if isinstance(delta, Retrying)]
