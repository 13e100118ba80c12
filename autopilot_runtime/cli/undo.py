"""`autopilot undo`: put the files of a run back as they were before it, or list what can be undone."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path

from autopilot_runtime.cli import figures, safe
from autopilot_runtime.cli.exitcode import ExitCode
from autopilot_runtime.core.errors import AutopilotError, SetupError
from autopilot_runtime.runtime.agentfile import AgentFile
from autopilot_runtime.runtime.undo import Undoable, undo, undoable


def undo_command(run: str | None, *, work_dir: str | Path, force: bool, as_json: bool) -> ExitCode:
    """Undo a run in a folder (None: the newest), and print what was restored."""
    folder = _folder(work_dir)
    try:
        done = undo(folder, run, force=force)
    except SetupError:
        raise
    except AutopilotError as error:  # a conflict, say: nothing was undone, and the text says what to do
        hint = " (autopilot undo --force)" if not force else ""
        raise SetupError(f"{error}{hint}") from error
    if as_json:
        _write(json.dumps(asdict(done), ensure_ascii=True))
        return ExitCode.DONE
    for path in done.paths:
        verb = "restored" if os.path.lexists(folder / path) else "removed"
        _write(f"{verb} {safe.one_line(path)}")
    for path in done.left:
        _write(f"left as it is, its content was not kept: {safe.one_line(path)}")
    files = figures.count(len(done.paths), "path")
    _write(f"{done.run} is undone ({files}). To bring its changes back: autopilot undo {done.id}")
    return ExitCode.DONE


def list_command(*, work_dir: str | Path, as_json: bool) -> ExitCode:
    """List the runs of a folder that can be undone, newest first."""
    found = undoable(_folder(work_dir))
    if as_json:
        _write(json.dumps([asdict(one) for one in found], ensure_ascii=True))
        return ExitCode.DONE
    for one in found:
        _write(_line(one))
    if not found:
        _write(f"No run that changed files in {safe.one_line(str(_folder(work_dir)))} can be undone.")
    return ExitCode.DONE


def folder_of(work_dir: Path | None, agent: str | None) -> Path:
    """The folder that is meant: the one given, an agent's, or this one."""
    if work_dir is not None:
        return work_dir
    return Path(AgentFile.load(agent).work_dir) if agent is not None else Path.cwd()


def _folder(work_dir: str | Path) -> Path:
    folder = Path(os.path.realpath(Path(work_dir).expanduser()))
    if not folder.is_dir():
        raise SetupError(f"There is no folder {work_dir}.")
    return folder


def _line(one: Undoable) -> str:
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(one.at))
    shown = ", ".join(safe.one_line(path, 60) for path in one.paths[:3])
    more = f" and {len(one.paths) - 3} more" if len(one.paths) > 3 else ""
    if one.unseen:  # what its commands did is looked at when it is undone
        more += ", and what its commands changed" if one.paths else "what its commands changed"
    return f"{one.id}  {when}  {safe.one_line(one.task, 60)}\n    {shown}{more}"


def _write(line: str) -> None:
    sys.stdout.write(line + "\n")
