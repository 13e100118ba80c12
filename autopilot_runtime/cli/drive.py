"""Drives one run from the main thread: events are shown here, people are asked here, signals arrive here."""

from __future__ import annotations

import asyncio
import contextlib
import time
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from typing import Any, Protocol

from autopilot_runtime.cli.stop import Stop
from autopilot_runtime.cli.tally import Tally
from autopilot_runtime.core.bridge import bridge
from autopilot_runtime.core.errors import AutopilotError, SetupError
from autopilot_runtime.core.event import Event
from autopilot_runtime.core.hooks import DECIDERS
from autopilot_runtime.core.protocols import RunResult
from autopilot_runtime.core.stream import Feed
from autopilot_runtime.runtime.runtime import AsyncRuntime

_TICK = 0.1
_PATIENCE = 5.0


class Front(Protocol):
    """What a run is shown on, and who answers for the person."""

    tally: Tally

    def show(self, event: Event) -> None: ...

    def tick(self) -> None:
        """Called some ten times a second."""

    def answer(self, event: Event) -> Any:
        """The person's answer to a question or permission request. Only called when `person`."""

    @property
    def person(self) -> bool: ...

    def clear(self) -> None:
        """Leave the terminal clean, at once."""


class Driver:
    """Runs tasks on one runtime, one after the other."""

    def __init__(self, runtime: AsyncRuntime, front: Front) -> None:
        self.stop: Stop | None = None
        self._runtime = runtime
        self._front = front
        runtime.hooks.clear()
        if front.person:
            # A handler that leaves the answer to `answer()`: without one, nobody would be waited for.
            for kind in DECIDERS:
                runtime.hooks.register(kind, _later)

    def run(self, task: str | None) -> RunResult:
        """Work on `task`, or (None) on the run that was interrupted; gives how it ended.

        Raises what kept it from starting.
        """
        feed = self._runtime.open_feed()
        stop = self.stop = Stop(self._runtime.abort, self._front.clear)
        with stop.catching():
            begun = self._runtime.resume() if task is None else self._runtime.run(task)
            work = asyncio.run_coroutine_threadsafe(begun, bridge().loop)
            work.add_done_callback(lambda _: feed.close())
            try:
                self._follow(feed, work, stop)
            except BaseException:
                self._abandon(work)
                raise
            finally:
                feed.close()
                self._front.clear()
        work.result()
        if self._runtime.last is None:
            raise AutopilotError("The run left no result.")
        return self._runtime.last

    def _follow(self, feed: Feed, work: Future[str | None], stop: Stop) -> None:
        ticked = 0.0
        while True:
            event = feed.get(_TICK)
            if event is not None:
                self._front.show(event)
                if event.type in DECIDERS and self._front.person:
                    self._ask(event, stop)
            elif work.done():
                return
            # Also between the pieces of a fast stream, but not for each of them.
            if time.monotonic() - ticked >= _TICK:
                if stop.number is not None:
                    self._front.tally.stopping()
                self._front.tick()
                ticked = time.monotonic()

    def _ask(self, event: Event, stop: Stop) -> None:
        if stop.number is not None:
            return
        try:
            with stop.prompting():
                answer = self._front.answer(event)
        except KeyboardInterrupt:
            stop.ask()
            return
        # The run may have ended (a time limit) while the person was thinking: then nobody waits any more.
        with contextlib.suppress(SetupError):
            self._runtime.answer(str(event.data["request_id"]), answer)

    def _abandon(self, work: Future[str | None]) -> None:
        if not work.done():
            self._runtime.abort()
            wait_for([work], timeout=_PATIENCE)


async def _later(**_: Any) -> None:
    await asyncio.Event().wait()


def close(runtime: AsyncRuntime) -> None:
    """End everything the runtime owns, from the main thread."""
    bridge().call(runtime.close())
