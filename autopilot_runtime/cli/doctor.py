"""`autopilot doctor`: is everything there that a run needs? Each fault comes with its fix."""

from __future__ import annotations

import json
import sys

from autopilot_runtime.cli import checks, safe
from autopilot_runtime.cli.checks import Check
from autopilot_runtime.cli.exitcode import ExitCode
from autopilot_runtime.cli.tty import Paint, look

_MARKS = {"ok": ("✓", "green"), "warn": ("!", "yellow"), "fail": ("✗", "red")}


def doctor_command(agent: str | None, *, as_json: bool, online: bool) -> ExitCode:
    """Run all checks and print them. Not good when something needed is broken."""
    found = checks.run_all(agent, online=online)
    good = all(check.status != "fail" for check in found)
    if as_json:
        listed = [
            {"name": one.name, "status": one.status, "detail": one.detail, "fix": one.fix or None} for one in found
        ]
        sys.stdout.write(json.dumps({"ok": good, "checks": listed}, indent=2, ensure_ascii=False) + "\n")
    else:
        _print(found, Paint(look().out_colour), good=good)
    return ExitCode.DONE if good else ExitCode.FAILED


def _print(found: list[Check], paint: Paint, *, good: bool) -> None:
    width = max(len(check.name) for check in found)
    for check in found:
        mark, style = _MARKS[check.status]
        sys.stdout.write(f"{paint(mark, style)} {check.name:<{width}}  {safe.one_line(check.detail)}\n")
        if check.fix and check.status != "ok":
            sys.stdout.write(f"  {'':<{width}}  → {safe.one_line(check.fix)}\n")
    sys.stdout.write("Ready.\n" if good else "Something needed is broken; see ✗.\n")
