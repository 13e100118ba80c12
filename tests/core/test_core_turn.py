"""Turns on a loop that many share: nobody waits for all of them, and nobody waits where there is nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from itertools import pairwise
from typing import Any

import pytest

from autopilot_runtime.core.turn import SLICE, turn


class Loop(asyncio.SelectorEventLoop):
    """A loop whose time is what the work on it takes."""

    now = 0.0

    def time(self) -> float:
        return self.now


def run(story: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(story)


class Herd:
    """Workers that all wake in the same instant and have much to do."""

    def __init__(self, count: int, *, work: float) -> None:
        self.work = work
        self.done: list[int] = []
        self.woken = asyncio.Event()
        self.tasks = [asyncio.create_task(self._one(number)) for number in range(count)]

    async def _one(self, number: int) -> None:
        await self.woken.wait()
        await turn()
        loop = asyncio.get_running_loop()
        assert isinstance(loop, Loop)
        loop.now += self.work
        self.done.append(number)

    async def watched(self) -> list[int]:
        """Wake them all; gives how many had worked each time that somebody else could look."""
        await asyncio.sleep(0)
        self.woken.set()
        seen = []
        while not all(task.done() for task in self.tasks):
            await asyncio.sleep(0)
            seen.append(len(self.done))
        return seen


def test_others_wait_for_one_of_those_who_wake_in_the_same_instant_and_not_for_all() -> None:
    async def story() -> None:
        herd = Herd(200, work=SLICE * 5)
        seen = [0, *await herd.watched()]
        assert seen[-1] == 200
        assert max(after - before for before, after in pairwise(seen)) <= 2

    run(story())


def test_those_who_wait_go_on_in_the_order_in_which_they_came() -> None:
    async def story() -> None:
        herd = Herd(50, work=SLICE * 5)
        await herd.watched()
        assert herd.done == list(range(50))

    run(story())


def test_little_work_of_many_is_done_in_one_round() -> None:
    async def story() -> None:
        herd = Herd(50, work=SLICE / 1_000)
        assert len(await herd.watched()) <= 3

    run(story())


def test_one_who_is_cancelled_in_the_line_holds_up_nobody() -> None:
    async def story() -> None:
        herd = Herd(20, work=SLICE * 5)
        await asyncio.sleep(0)
        herd.woken.set()
        await asyncio.sleep(0)
        for number in (3, 4, 19):
            herd.tasks[number].cancel()
        await asyncio.wait(herd.tasks)
        assert herd.done == [number for number in range(20) if number not in (3, 4, 19)]

    run(story())


def test_a_free_loop_is_not_even_left() -> None:
    async def story() -> None:
        for _ in range(3):
            with pytest.raises(StopIteration):
                turn().send(None)

    run(story())


def test_the_next_loop_begins_with_no_line() -> None:
    for _ in range(2):

        async def story() -> None:
            herd = Herd(5, work=SLICE * 5)
            await herd.watched()
            assert herd.done == [0, 1, 2, 3, 4]

        run(story())
