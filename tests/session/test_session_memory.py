"""The session that lives as long as its process."""

from autopilot_runtime.session.memory import InMemorySession

HELLO = {"role": "user", "content": "hello"}


def test_what_is_saved_is_loaded_and_reset_forgets_it() -> None:
    session = InMemorySession("x", clock=lambda: 5.0)
    assert not session.exists()
    assert session.metadata() is None
    session.append([HELLO], extra={"a": [1], "b": 2})
    session.append([HELLO], extra={"b": None})
    assert session.load() == [HELLO, HELLO]
    assert session.extra() == {"a": [1]}
    assert session.metadata() == {
        "session_id": "x",
        "agent_name": "agent",
        "created_at": 5.0,
        "updated_at": 5.0,
        "messages": 2,
    }
    session.save([HELLO])
    assert session.load() == [HELLO]
    session.reset()
    assert session.load() == []
    assert session.extra() == {}
    assert not session.exists()


def test_what_is_handed_in_or_out_is_not_shared() -> None:
    session = InMemorySession()
    state, messages = {"a": [1]}, [dict(HELLO)]
    session.append(messages, extra=state)
    state["a"].append(2)
    messages[0]["content"] = "changed"
    session.load()[0]["content"] = "changed"
    session.extra()["a"].append(3)
    assert session.load() == [HELLO]
    assert session.extra() == {"a": [1]}
