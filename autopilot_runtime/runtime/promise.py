"""What can be awaited besides a run: work that is done already, an answer, and an end that is not cut short."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any


class Awaited:
    """What is done already, or done when this was awaited."""

    def __init__(self, work: Awaitable[None] | None) -> None:
        self._work = work

    def __await__(self) -> Generator[Any, None, None]:
        if self._work is not None:
            yield from self._work.__await__()


class Answered:
    """An answer that is kept; awaiting it goes on with the run that waited for it."""

    def __init__(self, kept: Awaitable[None] | None, go_on: Callable[[], Awaitable[str | None]] | None) -> None:
        self._kept, self._go_on = kept, go_on

    def __await__(self) -> Generator[Any, None, str | None]:
        if self._kept is not None:
            yield from self._kept.__await__()
        return None if self._go_on is None else (yield from self._go_on().__await__())


async def uncut(work: Coroutine[Any, Any, None], *, hurry: Callable[[], None]) -> None:
    """Clean up to the end, however often the caller is cancelled meanwhile; raise that afterwards."""
    task, cut = asyncio.ensure_future(work), False
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            cut = True
            hurry()
    task.result()
    if cut:
        raise asyncio.CancelledError


def cancellings() -> int:
    """How often the task at work has been asked to stop."""
    current = asyncio.current_task()
    return current.cancelling() if current is not None else 0
