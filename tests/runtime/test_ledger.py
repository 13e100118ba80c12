"""What is kept of a run's calls: an outcome counts, an intent alone does not, and another call is noticed."""

from __future__ import annotations

from typing import Any

import pytest

from autopilot_runtime.core.errors import ReplayError
from autopilot_runtime.core.message import Message
from autopilot_runtime.core.protocols import Call, Outcome
from autopilot_runtime.runtime.keeper import Keeper
from autopilot_runtime.runtime.ledger import Ledger
from autopilot_runtime.session.memory import InMemorySession


@pytest.fixture
def session() -> InMemorySession:
    return InMemorySession("s")


def ledger(session: InMemorySession) -> Ledger:
    """The ledger of a process that has just opened this session."""
    return Ledger(Keeper(session), mask=lambda value: value)


def call(index: int, tool: str = "mark", *args: Any) -> Call:
    return Call(index, tool, args, {}, reads=(["time.time", index],))


async def test_a_call_with_an_outcome_is_known_in_another_process(session: InMemorySession) -> None:
    value = {"a": [1, (2, b"\x00"), {3}], "nan": None}
    await ledger(session).block(7).settle(call(0), Outcome(value, "shown", note="fine"), now=True)
    known = ledger(session).block(7).known(call(0))
    assert known is not None
    assert known.settled
    assert known.outcome == Outcome(value, "shown", note="fine")
    assert ledger(session).block(7).known(call(1)) is None
    assert ledger(session).block(8).known(call(0)) is None


async def test_an_intent_without_outcome_is_unknown(session: InMemorySession) -> None:
    await ledger(session).block(7).intend(call(0, "mark", "x"))
    known = ledger(session).block(7).known(call(0, "mark", "x"))
    assert known is not None
    assert not known.settled
    assert 'outcome unknown: mark("x")' in str(known.outcome.error)


async def test_another_call_at_a_place_names_both(session: InMemorySession) -> None:
    await ledger(session).block(7).settle(call(0, "mark", "a"), Outcome(1), now=True)
    with pytest.raises(ReplayError, match=r'was mark\("a"\), now it is mark\("b"\)'):
        ledger(session).block(7).known(call(0, "mark", "b"))


async def test_what_only_looked_is_kept_with_the_next_append(session: InMemorySession) -> None:
    mine = ledger(session)
    await mine.block(7).settle(call(0), Outcome("seen"), now=False)
    assert session.extra() == {}
    await mine.block(7).intend(call(1))
    assert list(session.extra()) == ["call.0000007.00000", "call.0000007.00001"]


async def test_an_append_that_fails_loses_nothing() -> None:
    class Full(InMemorySession):
        full = True

        def append(self, *args: Any, **kwargs: Any) -> None:
            if self.full:
                raise OSError("no space")
            super().append(*args, **kwargs)

    session = Full("s")
    mine = Ledger(Keeper(session), mask=lambda value: value)
    with pytest.raises(OSError, match="no space"):
        await mine.block(7).settle(call(0), Outcome(1), now=True)
    session.full = False
    await mine.flush()
    assert ledger(session).block(7).known(call(0)) is not None


async def test_reads_of_a_block_come_back_in_order(session: InMemorySession) -> None:
    mine = ledger(session)
    for index in range(3):
        await mine.block(7).settle(call(index), Outcome(index), now=False)
    mine.block(7).close([["random", "ff"]])
    await mine.flush()
    again = ledger(session)
    assert again.ended(7)
    assert again.block(7).reads == [["time.time", 0], ["time.time", 1], ["time.time", 2], ["random", "ff"]]


async def test_a_value_that_cannot_be_kept_is_said_to_be_lost(session: InMemorySession) -> None:
    deep: list[Any] = []
    for _ in range(300):
        deep = [deep]
    await ledger(session).block(7).settle(call(0), Outcome(deep), now=True)
    known = ledger(session).block(7).known(call(0))
    assert known is not None
    assert "could not be kept" in str(known.outcome.error)


async def test_secrets_are_masked_where_calls_are_kept(session: InMemorySession) -> None:
    def mask(value: Any) -> Any:
        if isinstance(value, str):
            return value.replace("hunter2", "***")
        return {key: mask(item) for key, item in value.items()} if isinstance(value, dict) else value

    mine = Ledger(Keeper(session), mask=mask)
    await mine.block(7).settle(call(0, "login", "hunter2"), Outcome("said hunter2", "hunter2"), now=True)
    assert "hunter2" not in str(session.extra())


async def test_forgetting_leaves_nothing(session: InMemorySession) -> None:
    mine = ledger(session)
    await mine.block(7).settle(call(0), Outcome(1), now=True)
    mine.block(7).close([])
    mine.forget()
    await mine.flush()
    assert session.extra() == {}


async def test_a_message_is_kept_whole_when_its_task_is_cancelled() -> None:
    import asyncio
    import threading

    began, go_on = threading.Event(), threading.Event()

    class Slow(InMemorySession):
        blocking = True

        def append(self, *args: Any, **kwargs: Any) -> None:
            began.set()
            assert go_on.wait(10)
            super().append(*args, **kwargs)

    session = Slow("s")
    work = asyncio.ensure_future(Keeper(session).append([Message("user", "hello")]))
    await asyncio.to_thread(began.wait, 10)
    work.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert [message["content"] for message in session.load()] == ["hello"]


async def test_a_write_that_is_known_names_its_file(session: InMemorySession) -> None:
    write = {"path": "a.txt", "shown": "a.txt"}
    mine = ledger(session).block(7)
    for index, outcome in enumerate((Outcome("wrote a.txt"), Outcome(error="it was not written"))):
        await mine.intend(call(index), write=write)
        await mine.settle(call(index), outcome, now=True)
    known = [ledger(session).block(7).known(call(index)) for index in (0, 1)]
    assert [one.wrote for one in known if one] == ["a.txt", ""]
