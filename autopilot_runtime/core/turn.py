"""A loop that many share: whoever has much to do takes turns, so that others wait for one piece of work, not for all.

When five hundred models answer in the same instant, five hundred runtimes would work one after the other before the
loop looks at anything else. With a turn each, it looks at everything else in between.
"""

from __future__ import annotations

import asyncio
from collections import deque
from weakref import WeakKeyDictionary

SLICE = 0.002  # seconds of one round of the loop in which turns are given without waiting


class _Line:
    """Those who wait for their turn on one loop. It must not hold the loop, which is its key."""

    __slots__ = ("began", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[asyncio.Future[None]] = deque()
        self.began: float | None = None  # when this round of the loop began to work; None: it has not

    def next_round(self, loop: asyncio.AbstractEventLoop) -> None:
        """The loop has looked at everything else: one of those who wait goes on."""
        while self.waiting and self.waiting[0].done():
            self.waiting.popleft()  # cancelled meanwhile
        if not self.waiting:
            self.began = None
            return
        self.waiting.popleft().set_result(None)
        self.begin(loop)

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        self.began = loop.time()
        loop.call_soon(self.next_round, loop)


_lines: WeakKeyDictionary[asyncio.AbstractEventLoop, _Line] = WeakKeyDictionary()


async def turn() -> None:
    """Go on at once while the loop is free; when many want that at the same time, one in each round of the loop."""
    loop = asyncio.get_running_loop()
    line = _lines.get(loop)
    if line is None:
        line = _lines[loop] = _Line()
    if line.began is None:
        line.begin(loop)
    elif line.waiting or loop.time() - line.began > SLICE:
        waiter: asyncio.Future[None] = loop.create_future()
        line.waiting.append(waiter)
        await waiter
