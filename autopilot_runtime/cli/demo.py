"""`autopilot demo`: an agent at work, then a training. The model is recorded, all else real. No key, no network."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from autopilot_runtime.cli import figures, safe
from autopilot_runtime.cli.demofront import DemoFront
from autopilot_runtime.cli.demotrain import train_indexes
from autopilot_runtime.cli.drive import Driver, close
from autopilot_runtime.cli.exitcode import ExitCode, of_result, reason
from autopilot_runtime.cli.screen import Screen
from autopilot_runtime.cli.tty import Facts, look
from autopilot_runtime.core.errors import SetupError
from autopilot_runtime.core.protocols import RunResult
from autopilot_runtime.core.shelf import shelf
from autopilot_runtime.model.replay import ReplayProvider
from autopilot_runtime.runtime.agentfile import AgentFile
from autopilot_runtime.runtime.runtime import AsyncRuntime

TASK = "A test of this project fails. Find out why, and fix it."
_FOLDERS = 1_000
# The lines of a request that matter: which command ended how, and what the tests said of themselves.
_GIST = re.compile(r"^(?:\[Task \d+\].*\n.*|\$ .*|\[\w+\] completed, return_code \d+|OK|FAILED \(.*\))", re.MULTILINE)


def demo_command(folder: Path) -> ExitCode:
    """Make a small project with a bug, and let an agent fix it; then train what has no gradients."""
    begun = time.monotonic()
    facts = _one_stream(look())
    screen = Screen(facts, err=sys.stdout)
    work = fresh(folder)
    _introduce(screen, work, wanted=folder)
    with python_on_path():
        agent = AgentFile.load(_home() / "agent.yaml", overrides(work))
        model = ReplayProvider(_home() / "demo.jsonl", volatile=gist, pace=1.0)
        runtime = AsyncRuntime(agent, stream=True, provider=model)
        try:
            driver = Driver(runtime, DemoFront(screen))
            result = driver.run(TASK)
        finally:
            close(runtime)
    if result.status != "completed":
        return _unfinished(screen, result, stopped_by=driver.stop.number if driver.stop else None)
    _conclude(screen, result, model.recorded_cost, seconds=time.monotonic() - begun)
    try:
        project, report = train_indexes(screen, work)
    except KeyboardInterrupt:
        screen.line("Stopped.")
        return ExitCode.INTERRUPTED
    _next_steps(screen, work / "leap.py", project, report)
    return ExitCode.DONE


def fresh(folder: Path) -> Path:
    """The folder if nothing is in it, else the next free `folder-2`, `folder-3`: nothing is ever overwritten."""
    for number in range(1, _FOLDERS):
        candidate = folder if number == 1 else folder.with_name(f"{folder.name}-{number}")
        try:
            if _claimed(candidate):
                return candidate.absolute()
        except OSError as error:
            raise SetupError(f"The demo cannot write {candidate}: {error.strerror}. Give another folder.") from error
    raise SetupError(f"There are {_FOLDERS} demo folders beside {folder}; delete some.")


def _claimed(folder: Path) -> bool:
    """Put the project there; False when something is there, be it from a demo that began this very moment."""
    if os.path.lexists(folder) and (not folder.is_dir() or any(folder.iterdir())):
        return False
    folder.mkdir(parents=True, exist_ok=True)
    files = sorted((_home() / "project").glob("*.py"))
    try:
        (folder / files[0].name).touch(exist_ok=False)  # of two demos in an empty folder, one makes it
    except FileExistsError:
        return False
    for file in files:
        shutil.copyfile(file, folder / file.name)
    return True


def overrides(work: Path) -> dict[str, str]:
    """What the demo's agent file leaves to the command."""
    return {"runtime.work_dir": str(work)}


def gist(text: str) -> str:
    """What a call is recognised by. Tracebacks differ from one Python to the next; what became of the tests, not."""
    return "\n".join(_GIST.findall(text))


@contextmanager
def python_on_path() -> Iterator[None]:
    """Let `python` in the agent's terminal be the Python of this command, whatever it is called on this machine."""
    before = {name: os.environ.get(name) for name in ("PATH", "PYTHONDONTWRITEBYTECODE")}
    beside = Path(sys.executable).parent
    with tempfile.TemporaryDirectory(prefix="autopilot-demo-") as spare:
        if os.name == "posix" and not (beside / "python").exists():
            Path(spare, "python").symlink_to(sys.executable)
        os.environ["PATH"] = os.pathsep.join([spare, str(beside), os.environ.get("PATH", os.defpath)])
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
        try:
            yield
        finally:
            for name, value in before.items():
                os.environ.pop(name, None) if value is None else os.environ.update({name: value})


def _home() -> Path:
    return shelf("sessions") / "demo"


def _one_stream(facts: Facts) -> Facts:
    """A demo is one story: all of it goes to stdout, also into a pipe."""
    return replace(facts, err_tty=facts.out_tty, err_colour=facts.out_colour, live=facts.out_tty and facts.live)


def _introduce(screen: Screen, work: Path, *, wanted: Path) -> None:
    taken = f" ({wanted} is not empty)" if work.name != wanted.absolute().name else ""
    screen.line(
        f"{screen.paint('A demo of autopilot.', 'bold')} Its model is played from a file: no key, no network."
    )
    screen.line("The files, the edit, the permission and the terminal in which the tests run are real.")
    screen.line(screen.paint(f"A small project with a bug is now in {safe.one_line(str(work))}{taken}", "dim"))
    screen.line()
    screen.line(f"{screen.paint('task:', 'bold')} {TASK}")
    screen.line()


def _conclude(screen: Screen, result: RunResult, recorded: float | None, *, seconds: float) -> None:
    usage = result.usage
    steps = figures.count(result.steps, "step")
    size = figures.tokens((usage.input_total or 0) + (usage.output or 0))
    took = figures.seconds(seconds)
    screen.line()
    cost = f"recorded {figures.dollars(recorded)} (estimated), spent $0.00"
    screen.line(f"{screen.paint('✓', 'green')} {screen.paint(f'{steps} · {took} · {size} · {cost}', 'dim')}")
    screen.line()


def _next_steps(screen: Screen, fixed: Path, project: Path, report: Path) -> None:
    state = _nearby(project.with_name("indexes.sql"))
    screen.line(f"Look at it:   {_nearby(fixed)}, {state}")
    screen.line(f"The report:   {_nearby(report)}")
    screen.line(f"Why not:      autopilot explain 0 --workspace {_nearby(project.parent)}")
    screen.line(f"Train again:  empty {state}, then autopilot train {_nearby(project)} --fresh")
    screen.line("Your turn:    cd your-project && autopilot init")


def _nearby(path: Path) -> str:
    here = Path.cwd()
    return safe.one_line(str(path.relative_to(here) if path.is_relative_to(here) else path))


def _unfinished(screen: Screen, result: RunResult, *, stopped_by: int | None) -> ExitCode:
    if result.status == "aborted":
        screen.line("Stopped.")
    else:
        why = f": {safe.prose(reason(result.error))}" if result.error else ""
        screen.line(f"{screen.paint('The demo did not end well', 'red')} ({result.status}){why}")
        screen.line("See what is missing on this machine: autopilot doctor")
    return of_result(result, stopped_by=stopped_by) or ExitCode.FAILED
