"""The outermost seam of the command line: errors become one line and an exit code, closed pipes become silence."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

from autopilot_runtime.cli import safe
from autopilot_runtime.cli.app import app
from autopilot_runtime.cli.exitcode import ExitCode, of_error, reason
from autopilot_runtime.cli.tty import Paint, look


def run() -> None:
    """The `autopilot` command."""
    sys.exit(guarded(app, debug="--debug" in sys.argv))


def guarded(app: Callable[..., Any], *, debug: bool) -> int:
    """Run the app; gives the exit code."""
    _streams()
    try:
        return _code(app(args=_with_values(_without_debug(debug)), prog_name="autopilot", standalone_mode=True))
    except SystemExit as end:
        return _code(end.code)
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # Whoever read stdout has seen enough. Nothing more may be written, not even by the interpreter's own exit.
        _deafen(sys.stdout)
        return ExitCode.FAILED
    except Exception as error:
        return _told(error, debug)
    finally:
        _flush()


def _told(error: Exception, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    paint = Paint(look().err_colour)
    first, *rest = reason(error).splitlines() or [""]
    text = "\n".join(
        [f"{paint('error:', 'red', 'bold')} {safe.prose(first)}", *(f"       {safe.prose(one)}" for one in rest)]
    )
    with contextlib.suppress(OSError, ValueError):
        print(text, file=sys.stderr)
        if not debug and of_error(error) == ExitCode.FAILED:
            print("       (autopilot --debug … shows where)", file=sys.stderr)
    return of_error(error)


def _without_debug(debug: bool) -> list[str]:
    """`--debug` counts wherever it stands; the command need not know it."""
    arguments = sys.argv[1:]
    if debug:
        arguments.remove("--debug")
    return arguments


def _with_values(arguments: list[str]) -> list[str]:
    """`--resume` may stand without an id; the parser only knows options that always have a value, or never."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    bare = [
        one == "--resume" and at < end and (at + 1 == len(arguments) or arguments[at + 1].startswith("-"))
        for at, one in enumerate(arguments)
    ]
    return [f"{one}=" if alone else one for one, alone in zip(arguments, bare, strict=True)]


def _code(value: object) -> int:
    if isinstance(value, int):
        return int(value)
    return ExitCode.DONE if value is None else ExitCode.FAILED


def _streams() -> None:
    """Streams that were closed by the caller become a hole; odd characters never end a run."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115, PTH123 -- for the whole process
        elif name != "stdin" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _deafen(stream: Any) -> None:
    with contextlib.suppress(OSError, ValueError):
        hole = os.open(os.devnull, os.O_WRONLY)
        os.dup2(hole, stream.fileno())
        os.close(hole)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            _deafen(stream)
