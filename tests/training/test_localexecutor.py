"""`LocalExecutor`: the contract, and what only one process can give."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Iterator

import pytest

from autopilot_runtime.core.errors import SetupError
from autopilot_runtime.training import Job, LocalExecutor
from tests.contracts.executor_contract import ExecutorContract, Make, failure, result
from tests.training import evaluations as work


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[LocalExecutor] = []

    def one(workers: int) -> LocalExecutor:
        made.append(LocalExecutor(workers))
        return made[-1]

    yield one
    for executor in made:
        executor.shutdown(wait=False)


class TestLocalExecutor(ExecutorContract):
    pass


def test_nothing_has_to_be_pickled_and_the_callers_context_is_seen(make: Make) -> None:
    mode = contextvars.ContextVar("mode", default="train")
    executor = make(1)
    mode.set("eval")
    lock = threading.Lock()
    assert result(executor.submit(Job(lambda: (mode.get(), lock)))) == ("eval", lock)

    async def later() -> str:
        return mode.get()

    assert result(executor.submit(Job(later))) == "eval"
    assert result(executor.submit(Job(lambda said: later() if said else None, (True,)))) == "eval"


def test_limits_that_threads_cannot_have_are_refused(make: Make) -> None:
    with pytest.raises(SetupError, match=r"memory_mb and cpu_s cannot be kept by a LocalExecutor.*ProcessExecutor"):
        make(1).submit(Job(work.add, (1,), memory_mb=100))


def test_a_loop_that_was_shut_down_leaves_no_thread(make: Make) -> None:
    before = {thread for thread in threading.enumerate() if thread.name == "autopilot-loop"}
    executor = make(1)
    result(executor.submit(Job(work.add_later, (1,))))
    assert {thread for thread in threading.enumerate() if thread.name == "autopilot-loop"} != before
    executor.shutdown()
    assert {thread for thread in threading.enumerate() if thread.name == "autopilot-loop"} == before


def test_a_coroutine_that_swallows_its_cancellation_does_not_keep_its_place(make: Make) -> None:
    enough: list[bool] = []

    async def stubborn() -> None:
        while not enough:
            try:
                await asyncio.sleep(work.LONG)
            except asyncio.CancelledError:
                continue

    executor = make(1)
    assert failure(executor.submit(Job(stubborn, timeout_s=0.1))).kind == "timeout"
    assert result(executor.submit(Job(work.add, (1,)))) == 1
    enough.append(True)


def test_workers_must_be_some() -> None:
    with pytest.raises(SetupError, match="at least one"):
        LocalExecutor(0)
