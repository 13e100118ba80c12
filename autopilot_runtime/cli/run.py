"""`autopilot run`: one task, from the flags to the exit code."""

from __future__ import annotations

from autopilot_runtime.cli import report, safe, wire
from autopilot_runtime.cli.drive import Driver, close
from autopilot_runtime.cli.exitcode import ExitCode, of_error, of_result
from autopilot_runtime.cli.front import JsonFront, TextFront
from autopilot_runtime.cli.keys import Keys
from autopilot_runtime.cli.request import Request, load_agent, open_runtime, read_task
from autopilot_runtime.cli.screen import Screen
from autopilot_runtime.cli.tty import Facts, look
from autopilot_runtime.core.errors import AutopilotError
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
    agent = load_agent(request, person=facts.person)
    task = read_task(request.task)
    front = TextFront(screen, flow=facts.out_tty if request.stream is None else request.stream)
    runtime = open_runtime(request, agent, stream=request.stream is not False)
    try:
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
    finally:
        close(runtime)
    return code


def _as_json(request: Request, facts: Facts) -> ExitCode:
    front = JsonFront(Screen(facts), lines=request.output == "jsonl")
    try:
        agent = load_agent(request, person=False)
        task = read_task(request.task)
        runtime = open_runtime(request, agent, stream=request.stream is not False)
        try:
            driver = Driver(runtime, front)
            result = driver.run(task)
            code = code_of(result, front, driver)
        finally:
            close(runtime)
    except AutopilotError as error:
        # A program that reads stdout gets its object in any case; the text goes to stderr as always.
        front.write(wire.dumps(report.error_object(error, of_error(error))))
        raise
    front.write(wire.dumps(report.result_object(result, front.tally, code)))
    return code


def with_keys(driver: Driver, front: TextFront, runtime: AsyncRuntime, *, task: str) -> RunResult:
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
