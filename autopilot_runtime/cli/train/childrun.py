"""Runs a Python of its own for a project, passes on what it prints, and keeps the end of that."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

TAIL = 4_000  # bytes of each stream that are kept


@dataclass(frozen=True, slots=True)
class Ran:
    """How it ended. `exit_code` is as a shell has it: 128 + the signal that ended it; 124 when it took too long."""

    exit_code: int
    stdout: str
    stderr: str
    timed_out: bool = False


def python_of(folder: Path) -> str:
    """The project's own Python: of the environment in its folder or above it, else the one that runs this."""
    for place in (folder, *folder.parents):
        for path in (place / ".venv" / "bin" / "python", place / ".venv" / "Scripts" / "python.exe"):
            if path.is_file():
                return str(path)
    return sys.executable


def run_python(words: Sequence[str], folder: Path, *, timeout_s: float | None, quiet: bool) -> Ran:
    """Run it in the current folder; files of the project can be imported. `quiet`: its stdout is only kept."""
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH", "")]))
    child = subprocess.Popen(
        [python_of(folder), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"},
    )
    out, err = bytearray(), bytearray()
    pumps = [
        threading.Thread(target=_pump, args=(child.stdout, out, None if quiet else sys.stdout), daemon=True),
        threading.Thread(target=_pump, args=(child.stderr, err, sys.stderr), daemon=True),
    ]
    for pump in pumps:
        pump.start()
    timed_out = False
    try:
        child.wait(timeout_s)
    except subprocess.TimeoutExpired:
        timed_out = True
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
    for pump in pumps:
        pump.join(2)  # what the child began may still hold its output open; nobody waits for that
    code = child.returncode
    return Ran(124 if timed_out else code if code >= 0 else 128 - code, _text(out), _text(err), timed_out)


def _pump(source: IO[bytes] | None, kept: bytearray, to: IO[str] | None) -> None:
    assert source is not None
    while chunk := source.read1(65_536):  # type: ignore[attr-defined]
        kept += chunk
        del kept[:-TAIL]
        if to is not None:
            to.write(chunk.decode("utf-8", "replace"))
            to.flush()


def _text(kept: bytearray) -> str:
    return bytes(kept).decode("utf-8", "replace")
