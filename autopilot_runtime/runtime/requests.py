"""Questions and permissions a suspended run waits for: kept with the session, answered from any process."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from typing import Any

from autopilot_runtime.core.decision import Decision
from autopilot_runtime.core.errors import AutopilotError, SetupError, ToolError
from autopilot_runtime.core.event import EventType
from autopilot_runtime.runtime.keeper import Keeper, Pending
from autopilot_runtime.runtime.ledger import Ledger
from autopilot_runtime.tool.plain import plain

REQUEST = "request."  # the keys in the session's extra state
ANSWER = "answer."
_ASKED = ("question", "tool", "description", "diff")
_FIELDS: Mapping[str, type] = {"allowed": bool, "reason": str, "always": bool, "edited": Mapping}


class Suspended(AutopilotError):
    """The run ends here until these requests are answered."""

    def __init__(self, requests: tuple[str, ...]) -> None:
        self.requests = tuple(dict.fromkeys(requests))
        named = ", ".join(self.requests)
        super().__init__(f"The run waits for an answer to {named}: answer() it, then resume().")


class Requests:
    """The open requests of a session and the answers they have got."""

    def __init__(self, keeper: Keeper, ledger: Ledger) -> None:
        self._keeper = keeper
        self._ledger = ledger
        self.reload()

    def reload(self) -> None:
        """Take what the session holds."""
        extra = self._keeper.extra()
        self._open = {k.removeprefix(REQUEST): v for k, v in extra.items() if k.startswith(REQUEST)}
        self._answers = {k.removeprefix(ANSWER): v for k, v in extra.items() if k.startswith(ANSWER)}

    def given(self, request_id: str, about: Mapping[str, Any]) -> tuple[Any] | None:
        """The answer this request has got, in a tuple of its own; None when there is none yet.

        An answer holds for what was asked. Should the call now do something else (a file has changed meanwhile, so
        the diff is another one), it is asked anew.
        """
        if request_id not in self._answers:
            return None
        asked, now = self._open.get(request_id, {}), self._kept(about)
        if any(asked.get(key) != now.get(key) for key in _ASKED):
            del self._answers[request_id]
            self._ledger.note_also(f"{ANSWER}{request_id}", None)
            return None
        value = self._answers[request_id]
        return (decision(value) if asked["kind"] == EventType.PERMISSION_REQUEST.value else value,)

    def _kept(self, about: Mapping[str, Any]) -> dict[str, Any]:
        """What is asked as it is kept: plain, and without secrets."""
        try:
            told = plain(dict(about))
        except ToolError:  # arguments too large to keep: what they are stands in the description
            told = plain({key: value for key, value in about.items() if key != "args"})
        masked: dict[str, Any] = self._ledger.masked(told)
        return masked

    async def suspend(self, request_id: str, kind: EventType, about: Mapping[str, Any]) -> None:
        """Keep an open request, for whoever answers it later."""
        request = {"request_id": request_id, "kind": kind.value, "asked": time.time()}
        self._open[request_id] = {**request, **self._kept(about)}
        self._ledger.note_also(f"{REQUEST}{request_id}", self._open[request_id])
        await self._ledger.flush(durable=True)

    def answer(self, request_id: str, value: Any, *, let_go: bool) -> Pending:
        """Keep an answer: kept when this returns, or when what it gives back was awaited."""
        request = self._open.get(request_id)
        if request is None:
            raise SetupError(f"No open request {request_id!r}; waiting now: {', '.join(self.waiting) or 'none'}.")
        kept: Any = value
        if request["kind"] == EventType.PERMISSION_REQUEST.value:
            given = decision(value)
            kept = dataclasses.asdict(given) if isinstance(given, Decision) else given
        elif not isinstance(value, str):
            raise SetupError(f"A question is answered with text, not {type(value).__name__}.")
        plainly, kept = kept, self._ledger.masked(kept)
        if kept != plainly and not isinstance(kept, str):
            raise SetupError("This answer holds a secret, which would be done without: secrets are not kept.")
        done = self._keeper.put({f"{ANSWER}{request_id}": kept}, let_go=let_go)
        self._answers[request_id] = kept
        return done

    @property
    def waiting(self) -> list[str]:
        """Those without an answer."""
        return [one for one in self._open if one not in self._answers]

    def listing(self) -> list[dict[str, Any]]:
        """Those without an answer, with what they are about."""
        return [dict(self._open[one]) for one in self.waiting]

    def forget(self) -> None:
        """The run is over: nobody waits any more."""
        for name, found in ((REQUEST, self._open), (ANSWER, self._answers)):
            for key in found:
                self._ledger.note_also(f"{name}{key}", None)
            found.clear()


def decision(value: Any) -> Any:
    """What a permission was answered with, as the handlers of this process would say it.

    A `Decision`, or what can be sent as JSON: true, false, "yes", "no", "always", a reason to refuse, or the fields
    of a `Decision`.
    """
    if isinstance(value, str):
        word = value.strip().lower()
        return Decision(True, always=True) if word == "always" else {"yes": True, "no": False}.get(word, value)
    if isinstance(value, bool | Decision):
        return value
    if not isinstance(value, Mapping):
        raise SetupError(
            f"A permission is answered with true, false, text or a Decision, not {type(value).__name__}."
        )
    given = {key: item for key, item in value.items() if item is not None and key != "source"}
    fits = all(isinstance(item, _FIELDS.get(key, ())) for key, item in given.items())
    if "allowed" not in given or not fits:
        raise SetupError(
            "A permission is answered with {allowed: true or false, reason: text, always: true or false, "
            "edited: {argument: value}}; only `allowed` must be there."
        )
    return Decision(**given)
