"""What every session store must do; each backend runs the same stories."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from autopilot_runtime.core.protocols import SessionStore
from autopilot_runtime.session.create import create_session

HELLO = {"role": "user", "content": "hello", "kind": "task", "task": 1}
REPLY = {"role": "assistant", "content": "hi \0 \ud800 \r\n 🙂", "kind": "reply", "task": 1}
Make = Callable[[], SessionStore]


@pytest.fixture(params=["memory", "file"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    return lambda: create_session(request.param, "team/a", "agent", tmp_path)


def test_a_new_session_is_empty(make: Make) -> None:
    session = make()
    assert session.session_id == "team/a"
    assert session.load() == []
    assert session.extra() == {}


def test_appended_messages_are_loaded_in_order(make: Make) -> None:
    session = make()
    session.append([HELLO])
    session.append([REPLY, HELLO])
    assert session.load() == [HELLO, REPLY, HELLO]


def test_a_save_replaces_messages_and_keeps_the_extra_state(make: Make) -> None:
    session = make()
    session.append([HELLO, REPLY], extra={"memory_state": {"archived": [1]}})
    session.save([REPLY])
    assert session.load() == [REPLY]
    assert session.extra() == {"memory_state": {"archived": [1]}}
    session.append([HELLO], extra={"memory_state": None, "tag": "#1"})
    assert session.load() == [REPLY, HELLO]
    assert session.extra() == {"tag": "#1"}


def test_extra_state_can_be_added_alone(make: Make) -> None:
    session = make()
    session.append([], extra={"a": 1})
    session.append([], extra={"b": 2})
    assert session.extra() == {"a": 1, "b": 2}
    assert session.load() == []


def test_loading_twice_gives_lists_of_their_own(make: Make) -> None:
    session = make()
    session.append([HELLO])
    session.load().clear()
    assert session.load() == [HELLO]


def test_reset_forgets_all_and_the_session_can_be_used_again(make: Make) -> None:
    session = make()
    session.append([HELLO], extra={"a": 1})
    session.save([HELLO])
    session.reset()
    session.reset()
    assert session.load() == []
    assert session.extra() == {}
    session.append([REPLY])
    assert session.load() == [REPLY]
