"""Questions and permissions that wait for a person: asked through hooks, or settled by `answer()`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Any, Literal

from autopilot_runtime.core.bridge import in_thread
from autopilot_runtime.core.decision import Decision
from autopilot_runtime.core.errors import SessionError, SetupError, ToolError
from autopilot_runtime.core.event import Event, EventType
from autopilot_runtime.core.hooks import HookSystem
from autopilot_runtime.core.ids import new_id
from autopilot_runtime.core.stream import Scope
from autopilot_runtime.runtime.requests import Requests, Suspended, decision

Unanswered = Literal["deny", "wait", "suspend"]
NOBODY = (
    "Nobody is there to answer. Decide yourself, choose the safe way, and say in the completion what you assumed."
)


class _Nobody(Exception):
    """Nobody is there, and the run is to be suspended until somebody is."""


class Questions:
    """The open requests of a runtime."""

    def __init__(
        self,
        hooks: HookSystem,
        *,
        unanswered: Unanswered = "deny",
        prompt: Callable[[], str | None] = lambda: None,
        requests: Requests | None = None,
    ) -> None:
        self.unanswered = unanswered
        self.requests = requests
        self._prompt = prompt
        self._hooks = hooks
        self._open: dict[str, tuple[EventType, asyncio.Future[Any]]] = {}
        self._about: dict[str, dict[str, Any]] = {}
        self._turn: tuple[asyncio.AbstractEventLoop, asyncio.Lock] | None = None

    async def ask(self, question: str, scope: Scope, *, place: str = "") -> str:
        """The answer of a person, or a `ToolError` when nobody answers.

        `place` names the call that asks: when it is made again after a suspension, it asks under the same number.
        """
        answers = await self._put(EventType.ASK_USER, scope, place, question=_by_name(question, scope))
        given = next((a for a in answers if isinstance(a, str)), None)
        if given is None:
            raise ToolError(NOBODY)
        return given

    async def permit(self, scope: Scope, *, place: str = "", **about: Any) -> Decision:
        """What the person decides. Only `True` or an allowing `Decision` is a yes; an error is a no."""
        about["description"] = _by_name(about["description"], scope)
        try:
            answers = await self._put(EventType.PERMISSION_REQUEST, scope, place, **about)
        except (Suspended, SessionError):
            raise
        except Exception as error:
            return Decision(False, f"the permission handler failed ({type(error).__name__}: {error})", source="error")
        return _verdict(answers)

    def answer(self, request_id: str, value: Any) -> None:
        """Settle a request of the run in progress from outside. Works from any thread."""
        kind, future = self._open.get(request_id, (None, None))
        if future is None:
            waiting = ", ".join(self._open) or "none"
            raise SetupError(f"No open request {request_id!r}; waiting now: {waiting}.")
        if kind is EventType.PERMISSION_REQUEST:
            value = decision(value)
        future.get_loop().call_soon_threadsafe(_settle, future, value)

    def waits_for(self, request_id: str) -> bool:
        """Whether the run in progress waits for this."""
        return request_id in self._open

    def listing(self) -> list[dict[str, Any]]:
        """What the run in progress waits for."""
        return [dict(about) for about in self._about.values()]

    async def _put(self, kind: EventType, scope: Scope, place: str, **about: Any) -> list[Any]:
        request_id = _number(scope.run_id, place) if place else new_id("q")
        given = self.requests.given(request_id, about) if self.requests is not None else None
        if given is not None:
            return list(given)
        try:
            return await self._asking(request_id, kind, scope, about)
        except _Nobody:
            if self.requests is None:
                return []
            await self.requests.suspend(request_id, kind, about)
            raise Suspended((request_id,)) from None

    async def _asking(self, request_id: str, kind: EventType, scope: Scope, about: Mapping[str, Any]) -> list[Any]:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._open[request_id] = kind, future
        self._about[request_id] = {"request_id": request_id, "kind": kind.value, **about}
        try:
            event = scope.emit(kind, request_id=request_id, **about)
            return await self._race(event, future)
        finally:
            self._open.pop(request_id, None)
            self._about.pop(request_id, None)

    async def _race(self, event: Event, outside: asyncio.Future[Any]) -> list[Any]:
        """Handlers and `answer()` race; the first real answer wins."""
        asked = asyncio.ensure_future(self._asked(event))
        try:
            await asyncio.wait([asked, outside], return_when=asyncio.FIRST_COMPLETED)
            if not outside.done() and asked.done():
                answers = [a for a in asked.result() if a is not None]
                if answers or (self.unanswered == "deny" and not outside.done()):
                    return list(asked.result())
                if self.unanswered == "suspend" and not outside.done():
                    raise _Nobody
            return [await outside]
        finally:
            asked.cancel()
            await asyncio.wait([asked])  # not `await asked`: a cancellation of ours must not pass for its own
            if not asked.cancelled():
                asked.exception()

    def _alone(self) -> asyncio.Lock:
        """Whoever holds it asks alone: sub-agents that work at the same time may ask at the same time."""
        loop = asyncio.get_running_loop()
        if (
            self._turn is None or self._turn[0] is not loop
        ):  # a lock is of one loop, and the next run may have another
            self._turn = loop, asyncio.Lock()
        return self._turn[1]

    async def _asked(self, event: Event) -> list[Any]:
        """What the handlers say. One that only shows the question leaves the answer to the terminal."""
        async with self._alone():
            answers = await self._hooks.decide(event)
            if event.type is not EventType.ASK_USER:
                return answers
            # Only text is an answer: a handler that hands the question on may well return something else.
            return [a for a in answers if isinstance(a, str)] or [await in_thread(self._prompt)]


def _by_name(text: str, scope: Scope) -> str:
    """What a sub-agent asks begins with its name: whoever answers may not know that there are sub-agents."""
    return f"{scope.agent}: {text}" if scope.agent else text


def _number(run_id: str, place: str) -> str:
    return f"q_{blake2b(f'{run_id}/{place}'.encode(), digest_size=9).hexdigest()}"


def _settle(future: asyncio.Future[Any], value: Any) -> None:
    if not future.done():
        future.set_result(value)


def _verdict(answers: list[Any]) -> Decision:
    if not answers:
        return Decision(False, "nobody is there to ask", source="nobody")
    for answer in answers:
        if isinstance(answer, Decision) and not answer.allowed:
            return answer
        if answer is not True and not isinstance(answer, Decision):
            reason = answer if isinstance(answer, str) and answer.strip() else "denied"
            return Decision(False, reason)
    return next((a for a in answers if isinstance(a, Decision)), Decision(True))
