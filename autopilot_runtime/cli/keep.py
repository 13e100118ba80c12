"""A runtime whose conversation and runs are kept: opened, remembered, logged, closed; and how to go on with it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from autopilot_runtime.cli import safe
from autopilot_runtime.cli.drive import close
from autopilot_runtime.cli.origin import remember
from autopilot_runtime.cli.place import fresh_id
from autopilot_runtime.cli.request import Request, open_runtime
from autopilot_runtime.core.errors import SessionError, SetupError
from autopilot_runtime.core.protocols import RunResult
from autopilot_runtime.runtime.agentfile import AgentFile
from autopilot_runtime.runtime.runtime import AsyncRuntime
from autopilot_runtime.session.memory import InMemorySession

NO_LOG = "AUTOPILOT_NO_LOG"
_OVER = frozenset({"completed", "answered"})
Tell = Callable[[str], None]


@contextlib.contextmanager
def opened(request: Request, agent: AgentFile, *, stream: bool, tell: Tell) -> Iterator[AsyncRuntime]:
    """The runtime for the request. A session in which nothing was said leaves nothing behind."""
    runtime = _open(request, agent, stream=stream, tell=tell)
    fresh = is_kept(runtime) and not runtime.messages
    try:
        with _logged(runtime, request, tell):
            yield runtime
    finally:
        try:
            if fresh and not runtime.messages:
                _forget(runtime)
        finally:
            close(runtime)


def _open(request: Request, agent: AgentFile, *, stream: bool, tell: Tell) -> AsyncRuntime:
    if request.session is not None or not request.save:
        return _remembered(request, agent, stream=stream)
    try:
        return _remembered(replace(request, session=fresh_id(agent.name)), agent, stream=stream)
    except SessionError as error:
        if request.place.backend != "file":
            raise
        tell(f"This conversation is not kept: {error}")
        return open_runtime(replace(request, save=False), agent, stream=stream)


def _remembered(request: Request, agent: AgentFile, *, stream: bool) -> AsyncRuntime:
    """The runtime, once its session says what it was begun with: the first thing that has to be written."""
    runtime = open_runtime(request, agent, stream=stream)
    try:
        if is_kept(runtime):
            remember(runtime.session, request, agent)
    except BaseException:
        close(runtime)
        raise
    return runtime


def _forget(runtime: AsyncRuntime) -> None:
    # Somebody else may have begun to use the same id: then it is theirs.
    with contextlib.suppress(SessionError):
        runtime.session.reset()


@contextlib.contextmanager
def _logged(runtime: AsyncRuntime, request: Request, tell: Tell) -> Iterator[None]:
    if not request.save or os.environ.get(NO_LOG, "") not in ("", "0"):
        yield
        return
    # SQLite is only needed by those who keep a log.
    from autopilot_runtime.session.runlog import RunLog

    try:
        log = RunLog(tell=lambda _: None)  # the screen belongs to the run; it is told at the end
    except SetupError as error:
        tell(str(error))
        yield
        return
    log.attach(runtime)
    try:
        yield
    finally:
        log.close()
        if log.fault is not None:
            tell(log.fault)


def is_kept(runtime: AsyncRuntime) -> bool:
    """Whether the conversation outlives this process."""
    return not isinstance(runtime.session, InMemorySession)


def open_requests(runtime: AsyncRuntime) -> list[dict[str, Any]]:
    """The questions and permissions that a suspended run waits for."""
    return [dict(one) for one in runtime.open_requests]


def next_lines(runtime: AsyncRuntime, request: Request, result: RunResult) -> list[str]:
    """How to go on with a run that did not complete."""
    if result.status in _OVER or not runtime.messages:
        return []
    if not is_kept(runtime):
        return ["It was not kept, so nobody can answer it later."] if result.status == "suspended" else []
    name, flags = runtime.session.session_id, request.place.flags
    if result.status == "suspended":
        return waiting_lines(open_requests(runtime), name, flags)
    return [f"Go on: autopilot run --resume {name}{flags}"]


def waiting_lines(requests: list[dict[str, Any]], session_id: str, flags: str) -> list[str]:
    """What is asked, and how to answer it."""
    lines = []
    for one in requests:
        about = str(one.get("question") or one.get("description") or one.get("tool") or "")
        which = f" {one['request_id']}" if len(requests) > 1 else ""
        value = "ANSWER" if one.get("kind") == "ask_user" else "yes|no|always|REASON"
        lines += [f"It asks: {safe.one_line(about)}", f"Answer: autopilot answer {session_id}{which} {value}{flags}"]
    return lines or [f"Answer: autopilot answer {session_id} VALUE{flags}"]
