"""`autopilot run`: one task, or one that was interrupted, from the flags to the exit code."""

from __future__ import annotations

import time
from collections.abc import Callable

from autopilot_runtime.cli import keep, report, safe, wire
from autopilot_runtime.cli.drive import Driver
from autopilot_runtime.cli.exitcode import ExitCode, of_error, of_result
from autopilot_runtime.cli.front import JsonFront, TextFront
from autopilot_runtime.cli.keys import Keys
from autopilot_runtime.cli.request import Answer, Request, load_agent, read_task
from autopilot_runtime.cli.resume import settled
from autopilot_runtime.cli.screen import Screen
from autopilot_runtime.cli.tty import Facts, look
from autopilot_runtime.core.errors import AutopilotError, SetupError
from autopilot_runtime.core.event import Event, EventType
from autopilot_runtime.core.protocols import RunResult
from autopilot_runtime.runtime.runtime import AsyncRuntime


def run_command(request: Request) -> ExitCode:
    """Run the task and tell how it ended."""
    facts = look()
    if request.output == "text":
        return _as_text(request, facts)
    return _as_json(request, facts)


def _as_text(request: Request, facts: Facts) -> ExitCode:
    screen = Screen(facts)
    tell: Callable[[str], None] = lambda text: screen.line(screen.paint(safe.prose(text), "dim"))  # noqa: E731
    request = settled(request, facts, tell)
    agent = load_agent(request, person=facts.person)
    task = None if request.resuming else read_task(request.task)
    front = TextFront(screen, flow=facts.out_tty if request.stream is None else request.stream)
    with keep.opened(request, agent, stream=request.stream is not False, tell=tell) as runtime:
        waiting = _answered(runtime, request, front)
        if waiting or not _goes_on(request):
            for line in keep.waiting_lines(waiting, runtime.session.session_id, request.place.flags):
                screen.line(line) if waiting else None
            return ExitCode.NEEDS_PERSON if waiting else ExitCode.DONE
        driver = Driver(runtime, front)
        if facts.person:
            screen.line(screen.paint(headline(runtime), "dim"))
            result = with_keys(driver, front, runtime, task=task)
        else:
            result = driver.run(task)
        front.view.end(result)
        code = code_of(result, front, driver)
        for line in report.last_lines(result, front.tally, code, screen.paint):
            screen.line(line)
        for line in keep.next_lines(runtime, request, result):
            screen.line(line)
    return code


def _as_json(request: Request, facts: Facts) -> ExitCode:
    screen = Screen(facts)
    front = JsonFront(screen, lines=request.output == "jsonl")
    try:
        request = settled(request, facts, lambda _: None)
        agent = load_agent(request, person=False)
        task = None if request.resuming else read_task(request.task)
        with keep.opened(request, agent, stream=request.stream is not False, tell=screen.line) as runtime:
            waiting = _answered(runtime, request, front)
            if waiting or not _goes_on(request):
                front.write(wire.dumps(report.waiting_object(runtime.session.session_id, waiting)))
                return ExitCode.NEEDS_PERSON if waiting else ExitCode.DONE
            driver = Driver(runtime, front)
            result = driver.run(task)
            code = code_of(result, front, driver)
            asked = keep.open_requests(runtime) if result.status == "suspended" else []
    except AutopilotError as error:
        # A program that reads stdout gets its object in any case; the text goes to stderr as always.
        front.write(wire.dumps(report.error_object(error, of_error(error))))
        raise
    front.write(wire.dumps({**report.result_object(result, front.tally, code), "open_requests": asked}))
    return code


def _goes_on(request: Request) -> bool:
    return request.answer is None or request.answer.go_on


def _answered(runtime: AsyncRuntime, request: Request, front: TextFront | JsonFront) -> list[dict[str, object]]:
    """Settle what a suspended run waits for, as far as somebody answers; gives what still waits."""
    if request.answer is not None:
        request_id = _asked_for(keep.open_requests(runtime), request.answer)
        runtime.answer(request_id, request.answer.value)
    if not request.resuming or not _goes_on(request):
        return []
    if front.person:
        for one in keep.open_requests(runtime):
            answer = front.answer(_event(one))
            if answer is not None:
                runtime.answer(str(one["request_id"]), answer)
    return keep.open_requests(runtime)


def _asked_for(waiting: list[dict[str, object]], answer: Answer) -> str:
    """The id of the request that is meant: its own, the beginning of one, or the only one there is."""
    ids = [str(one["request_id"]) for one in waiting]
    if answer.request_id is not None:
        found = [one for one in ids if one.startswith(answer.request_id)]
        # Unknown ones are refused where they are answered, with the list of those that wait.
        return found[0] if len(found) == 1 else answer.request_id
    if len(ids) == 1:
        return ids[0]
    if not ids:
        raise SetupError("Nothing waits for an answer in this session.")
    listed = "; ".join(f"{one['request_id']} ({one.get('question') or one.get('description')})" for one in waiting)
    raise SetupError(f"Several requests wait; say which: {listed}")


def _event(one: dict[str, object]) -> Event:
    kind = EventType.ASK_USER if one.get("kind") == "ask_user" else EventType.PERMISSION_REQUEST
    return Event(0, time.time(), kind, data=one)


def with_keys(driver: Driver, front: TextFront, runtime: AsyncRuntime, *, task: str | None) -> RunResult:
    """Run with the keyboard: a line typed meanwhile is a message for the agent, Esc stops."""
    front.keys = Keys(runtime.send_message, lambda: driver.stop.ask() if driver.stop else None)
    try:
        with front.keys.listening():
            return driver.run(task)
    finally:
        front.keys = None


def code_of(result: RunResult, front: TextFront | JsonFront, driver: Driver) -> ExitCode:
    """The exit code of a run."""
    number = driver.stop.number if driver.stop is not None else None
    return of_result(result, unanswered=front.tally.unanswered, stopped_by=number)


def headline(runtime: AsyncRuntime) -> str:
    """Who works, with what, and where."""
    agent = runtime.agent
    what = f"{agent.name} · {agent.model.provider}/{agent.model.name} · {agent.work_dir}"
    return safe.one_line(f"{what} · Esc stops, typing sends a message", 400)
