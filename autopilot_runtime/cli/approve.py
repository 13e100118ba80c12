"""Asks the person: may this call happen, and what is the answer to the agent's question."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from autopilot_runtime.cli import diffview, safe
from autopilot_runtime.cli.screen import Screen
from autopilot_runtime.cli.view import View
from autopilot_runtime.core.decision import Decision
from autopilot_runtime.core.secret import MASK

Read = Callable[[str, str], str | None]
_HELP = (
    "y: allow it once · n: refuse it (a reason may follow: n use the other file) · "
    "a: allow exactly this for the session · e: change the command first · Ctrl+C: stop the run"
)


class Approver:
    """Puts requests to a person, on the terminal."""

    def __init__(self, screen: Screen, view: View, read: Read | None = None) -> None:
        self._screen = screen
        self._view = view
        self._read = read or read_line

    def permission(self, data: dict[str, Any]) -> Decision:
        """The person's decision. No answer (end of input) is a no."""
        args = data.get("args") or {}
        command = _editable(args)
        self._present(data, args)
        choices = "[y]es  [n]o  [a]lways" + ("  [e]dit" if command is not None else "")
        while True:
            answer = self._read(f"Allow? {choices}: ", "")
            if answer is None:
                return Decision(False, "the person gave no answer")
            word, _, rest = answer.strip().partition(" ")
            word = word.lower()
            if word in ("y", "yes"):
                return Decision(True)
            if word in ("a", "always"):
                return Decision(True, always=True)
            if word in ("n", "no"):
                return Decision(False, rest.strip() or self._reason())
            if word in ("e", "edit") and command is not None:
                edited = self._edited(command)
                if edited is not None:
                    return Decision(True, edited={"command": edited})
                continue
            self._screen.line(_HELP)

    def question(self, data: dict[str, Any]) -> str | None:
        """The answer to a question of the agent; None at the end of input."""
        self._screen.line()
        self._screen.line(self._screen.paint(safe.prose(str(data.get("question") or "")), "bold"))
        return self._read("> ", "")

    def _present(self, data: dict[str, Any], args: Any) -> None:
        paint = self._screen.paint
        self._screen.line()
        head = paint(f"{safe.one_line(str(data.get('tool')))} asks:", "yellow", "bold")
        self._screen.line(f"{head} {safe.one_line(str(data.get('description') or ''))}")
        if data.get("reason"):
            self._screen.line(paint(f"because {safe.one_line(str(data['reason']))}", "dim"))
        command = args.get("command") if isinstance(args, dict) else None
        if isinstance(command, str) and "\n" in command:
            # One line each, so that no line end can hide a second command.
            for line in command.split("\n"):
                self._screen.line(f"{paint('│', 'yellow')} {safe.one_line(line)}")
        diff = str(data.get("diff") or "")
        if diff:
            self._screen.line(diffview.coloured(diff, paint))
            self._view.seen(diff)

    def _reason(self) -> str:
        return (self._read("Why? (the model reads it; Enter for no reason): ", "") or "").strip()

    def _edited(self, command: str) -> str | None:
        """The command as the person wants it; None when they left it empty."""
        text = self._in_editor(command) if command != safe.one_line(command) else self._read("Command: ", command)
        text = (text or "").strip("\n")
        if not text.strip():
            self._screen.line("An empty command is not run; choose again.")
            return None
        return text

    def _in_editor(self, command: str) -> str | None:
        editor = os.environ.get("VISUAL") or os.environ.get("EDITOR")
        if not editor:
            self._screen.line("The command has several lines: set EDITOR to change it.")
            return None
        with tempfile.TemporaryDirectory(prefix="autopilot-") as folder:
            file = Path(folder, "command.sh")
            file.write_text(command, encoding="utf-8")
            done = subprocess.run([*shlex.split(editor), str(file)], check=False)
            return file.read_text(encoding="utf-8") if done.returncode == 0 else None


def _editable(args: Any) -> str | None:
    """The command a person may change. One with a masked secret in it would run without that secret."""
    command = args.get("command") if isinstance(args, dict) else None
    return command if isinstance(command, str) and MASK not in command else None


def read_line(prompt: str, prefill: str) -> str | None:
    """One line from the person, with `prefill` already typed; None at the end of input."""
    try:
        import readline  # neither is on Windows, where the line begins empty
        import termios
    except ImportError:
        return _plain(prompt)
    if not prefill:
        # Straight from the terminal, after forgetting what was typed before the prompt could be read: line
        # editors keep such keys, and an impatient second `y` would allow what nobody has seen.
        termios.tcflush(sys.stdin.fileno(), termios.TCIFLUSH)
        return _straight(prompt)
    readline.set_auto_history(False)
    readline.set_startup_hook(lambda: readline.insert_text(prefill))
    try:
        return _plain(prompt)
    finally:
        readline.set_startup_hook()
        readline.set_auto_history(True)


def _straight(prompt: str) -> str | None:
    sys.stdout.write(prompt)
    sys.stdout.flush()
    line = os.read(sys.stdin.fileno(), 65_536)
    return line.decode("utf-8", "replace").rstrip("\n") if line else None


def _plain(prompt: str) -> str | None:
    try:
        return input(prompt)
    except EOFError:
        return None
