"""Everything that changes something needs a reason; the call, the reason and the end of it are written down."""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import typer

from autopilot_runtime.cli.exitcode import ExitCode, of_error
from autopilot_runtime.cli.train.place import Project, Workspace
from autopilot_runtime.core.errors import AutopilotError
from autopilot_runtime.training.contextlog import ContextEntry


@dataclass
class Act:
    """One call that changes something. Whoever carries it out says what it is about as soon as that is known."""

    context: str
    workspace: Workspace | None = None
    project: Project | None = None
    experiment: str = ""
    exit_code: int = ExitCode.DONE
    told: set[str] = field(default_factory=set)  # experiments whose journal has the reason
    more: dict[str, Any] = field(default_factory=dict)  # what else is to be written down

    def about(self, project: Project, experiment: str = "") -> None:
        """What it is about."""
        self.workspace, self.project, self.experiment = project.workspace, project, experiment
        if experiment and experiment not in self.told:
            # In the journal before what it is the reason for, and there also when this call is killed. One that
            # fails because the experiment cannot be had is in the list of executions only.
            with suppress(AutopilotError), project.record() as record:
                record.experiment(experiment)
                entry = ContextEntry("user", self.context, data={"command": " ".join(sys.argv[1:3])})
                record.add_context(experiment, entry)
                self.told.add(experiment)


@contextmanager
def acting(context: str | None, *, expose: bool = False) -> Iterator[Act]:
    """Carry out something that changes something; without a reason, say how to repeat the call with one."""
    if context is None or not context.strip():
        raise typer.Exit(_asked_for_a_reason())
    act, began = Act(context.strip()), time.time()
    try:
        yield act
    except typer.Exit as end:
        act.exit_code = int(end.exit_code)
        raise
    except KeyboardInterrupt:
        act.exit_code = ExitCode.INTERRUPTED
        raise
    except BaseException as error:
        act.exit_code = of_error(error)
        raise
    finally:
        _write_down(act, began, expose=expose)


def _asked_for_a_reason() -> ExitCode:
    words, rest = _without_context(sys.argv[1:])
    command = shlex.join(["autopilot", *words]) + " --context 'REASON'" + (f" -- {shlex.join(rest)}" if rest else "")
    print(
        f"error: this changes something: say why. The same with a reason:\n       {command}",
        file=sys.stderr,
    )
    return ExitCode.USAGE


def _without_context(words: list[str]) -> tuple[list[str], list[str]]:
    """The words before `--` without the option and its value, and those behind."""
    end = words.index("--") if "--" in words else len(words)
    kept: list[str] = []
    skip = False
    for word in words[:end]:
        if not skip and word != "--context" and not word.startswith("--context="):
            kept.append(word)
        skip = word == "--context"
    return kept, words[end + 1 :]


def _write_down(act: Act, began: float, *, expose: bool) -> None:
    if act.workspace is None:
        return
    noted: dict[str, Any] = {
        "ts": datetime.fromtimestamp(began, UTC).isoformat(timespec="milliseconds"),
        "argv": sys.argv[1:],
        "context": act.context,
        "project": act.project.name if act.project else "",
        "experiment": act.experiment,
        "exit_code": int(act.exit_code),
        "seconds": round(time.time() - began, 3),
        **act.more,
    }
    line = json.dumps(noted, ensure_ascii=False)
    fd = os.open(act.workspace.executions, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(fd, (_torn(fd) + line + "\n").encode("utf-8", "backslashreplace"))
    finally:
        os.close(fd)
    if expose:
        print(line, file=sys.stderr)


def _torn(fd: int) -> str:
    """What ends a line that a kill has left in the middle, so that the next one does not become a part of it."""
    size = os.fstat(fd).st_size
    if not size:
        return ""
    os.lseek(fd, size - 1, os.SEEK_SET)
    return "" if os.read(fd, 1) == b"\n" else "\n"
