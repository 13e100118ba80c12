"""Questions and permissions that wait for a person: asked through hooks, or settled by `answer()`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Literal

from autopilot_runtime.core.bridge import in_thread
from autopilot_runtime.core.decision import Decision
from autopilot_runtime.core.errors import SetupError, ToolError
from autopilot_runtime.core.event import Event, EventType
from autopilot_runtime.core.hooks import HookSystem
from autopilot_runtime.core.ids import new_id
from autopilot_runtime.core.stream import Scope

Unanswered = Literal["deny", "wait", "suspend"]
NOBODY = (
    "Nobody is there to answer. Decide yourself, choose the safe way, and say in the completion what you assumed."
)

_FIELDS: Mapping[str, type] = {"allowed": bool, "reason": str, "always": bool, "edited": Mapping}


class Questions:
    """The open requests of a runtime."""

    def __init__(
        self, hooks: HookSystem, *, unanswered: Unanswered = "deny", prompt: Callable[[], str | None] = lambda: None
    ) -> None:
        self.unanswered = unanswered
        self._prompt = prompt
        self._hooks = hooks
        self._open: dict[str, tuple[EventType, asyncio.Future[Any]]] = {}
        self._turn: tuple[asyncio.AbstractEventLoop, asyncio.Lock] | None = None

    async def ask(self, question: str, scope: Scope) -> str:
        """The answer of a person, or a `ToolError` when nobody answers."""
        answers = await self._put(EventType.ASK_USER, scope, question=_by_name(question, scope))
        given = next((a for a in answers if isinstance(a, str)), None)
        if given is None:
            raise ToolError(NOBODY)
        return given

    async def permit(self, scope: Scope, **about: Any) -> Decision:
        """What the person decides. Only `True` or an allowing `Decision` is a yes; an error is a no."""
        about["description"] = _by_name(about["description"], scope)
        try:
            answers = await self._put(EventType.PERMISSION_REQUEST, scope, **about)
        except Exception as error:
            return Decision(False, f"the permission handler failed ({type(error).__name__}: {error})", source="error")
        return _verdict(answers)

    def answer(self, request_id: str, value: Any) -> None:
        """Settle an open request from outside. Works from any thread.

        A permission is settled with a `Decision`, or with what can be sent as JSON: true, false, "yes", "no",
        "always", a reason to refuse, or the fields of a `Decision`: {"allowed": true, "edited": {"command": "ls"}}.
        """
        kind, future = self._open.get(request_id, (None, None))
        if future is None:
            waiting = ", ".join(self._open) or "none"
            raise SetupError(f"No open request {request_id!r}; waiting now: {waiting}.")
        if kind is EventType.PERMISSION_REQUEST:
            value = _decision(value)
        future.get_loop().call_soon_threadsafe(_settle, future, value)

    async def _put(self, kind: EventType, scope: Scope, **about: Any) -> list[Any]:
        request_id = new_id("q")
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._open[request_id] = kind, future
        try:
            event = scope.emit(kind, request_id=request_id, **about)
            return await self._race(event, future)
        finally:
            self._open.pop(request_id, None)

    async def _race(self, event: Event, outside: asyncio.Future[Any]) -> list[Any]:
        """Handlers and `answer()` race; the first real answer wins."""
        asked = asyncio.ensure_future(self._asked(event))
        try:
            await asyncio.wait([asked, outside], return_when=asyncio.FIRST_COMPLETED)
            if not outside.done() and asked.done():
                answers = [a for a in asked.result() if a is not None]
                if answers or (self.unanswered == "deny" and not outside.done()):
                    return list(asked.result())
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


def _settle(future: asyncio.Future[Any], value: Any) -> None:
    if not future.done():
        future.set_result(value)


def _decision(value: Any) -> Any:
    """What `answer()` was given for a permission, as the handlers of this process would say it."""
    if isinstance(value, str):
        word = value.strip().lower()
        return Decision(True, always=True) if word == "always" else {"yes": True, "no": False}.get(word, value)
    if not isinstance(value, Mapping):
        return value
    fits = all(isinstance(item, _FIELDS.get(key, ())) for key, item in value.items())
    if "allowed" not in value or not fits:
        raise SetupError(
            "A permission is answered with {allowed: true or false, reason: text, always: true or false, "
            "edited: {argument: value}}; only `allowed` must be there."
        )
    return Decision(**value)


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
