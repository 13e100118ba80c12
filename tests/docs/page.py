"""Runs a page of documentation: files are written, commands and programs run, and what they print is compared."""

from __future__ import annotations

import difflib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import entry_points
from itertools import zip_longest
from pathlib import Path

ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(r"^(`{3,})([^\n`]*)\n(.*?)^\1\s*$", re.MULTILINE | re.DOTALL)
_NAME = re.compile(r"\A(?:#|//)\s*([\w./-]+\.\w+)\s*$", re.MULTILINE)
# What differs from run to run or from machine to machine.
_VARIES = (
    (r"\b\d+(?:\.\d+)? ?(?:ms|s)\b", "<time>"),
    (r"\b[\d.]+k? tokens", "<tokens>"),
    (r"\$0\.\d+", "<cost>"),
    (r"\b\d+ used\b", "<count> used"),
    (r"\b(train|val|val steps) +[\d,]+(?!\S)", r"\1 <steps>"),
    (r"-> [\d,]+ = x\d+ fewer", "-> <steps> = x<many> fewer"),
    (r"\b\d+\.\dx (worse|dearer)", r"<times> \1"),
    (r"(?:/[\w.-]+)+/(autopilot-demo|workspace)\b", r"<folder>/\1"),
    (r"#[0-9a-f]{6}\b", "<tag>"),
    (r"\b(run|s|undo)_[0-9a-f]{20,}\b", r"\1_<id>"),
    (r"\b\d{4}-\d\d-\d\d \d\d:\d\d\b", "<date>"),
    (r"\b[a-z-]+-\d{8}-\d{6}-[0-9a-f]{4}\b", "<session>"),
    (r"\b(?:just now|\d+ (?:min|h) ago)\b", "<age>"),
    (r'"ts":[\d.]+', '"ts":<time>'),
)
INSTALL = re.compile(r"^python3 -m venv \.venv && \.venv/bin/pip install -e \. && ")


@dataclass(frozen=True)
class Block:
    """One fenced block and the line it stands on."""

    language: str
    text: str
    line: int

    @property
    def name(self) -> str | None:
        """The file it is, when its first line is a comment with nothing but a name."""
        found = _NAME.match(self.text)
        return found.group(1) if found else None


def blocks(path: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    text = path.read_text(encoding="utf-8")
    return [
        Block(found[2].strip(), found[3], text.count("\n", 0, found.start()) + 1) for found in _BLOCK.finditer(text)
    ]


def _our_plugin() -> str:
    """pytest finds our fixtures by itself where the package is installed, not where it only lies on the path."""
    installed = any(point.name == "autopilot" for point in entry_points(group="pytest11"))
    return "" if installed else " -p autopilot_runtime.cli.pytest_plugin"


class Page:
    """A folder in which one page comes true."""

    def __init__(self, path: Path, folder: Path, *, model_url: str) -> None:
        self.path = path
        self.folder = folder
        bin_dir = folder / ".bin"
        bin_dir.mkdir()
        command = bin_dir / "autopilot"
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m autopilot_runtime "$@"\n')
        command.chmod(0o755)
        self.env = {
            "PATH": os.pathsep.join([str(bin_dir), str(Path(sys.executable).parent), os.environ["PATH"]]),
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(ROOT),
            "PYTEST_ADDOPTS": f"-p no:asyncio -p no:cacheprovider{_our_plugin()}",  # a reader has none of the others
            "ANTHROPIC_API_KEY": "key-of-the-docs-0123456789",
            "ANTHROPIC_BASE_URL": model_url,
        }

    def run(self) -> int:
        """Make every block of the page true; gives how many did something."""
        every = blocks(self.path)
        # Files first: a page may explain a program before it shows the file that the program needs.
        for block in every:
            if block.name is not None:
                self._write(block)
        return sum(self._act(block, after) for block, after in zip_longest(every, every[1:]) if block is not None)

    def _write(self, block: Block) -> None:
        target = self.folder / str(block.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(block.text, encoding="utf-8")

    def _act(self, block: Block, after: Block | None) -> bool:
        if block.language == "json":
            json.loads(block.text)
            return True
        if block.name is not None:
            return True
        command = self._command(block)
        if command is None:
            return False
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        where = f"{self.path.name}:{block.line}"
        assert done.returncode == 0, f"{where} ended with {done.returncode}:\n{done.stdout}"
        if after is not None and after.language == "text":
            compare(after.text, done.stdout, where=where)
        return True

    def _command(self, block: Block) -> list[str] | None:
        if block.language == "python":
            return [sys.executable, "-W", "error", "-c", block.text]
        if block.language != "bash":
            return None
        if ".venv/bin/pytest" in block.text:
            return None  # this very run
        text = INSTALL.sub("", block.text).replace(".venv/bin/", "")
        return ["bash", "-eu", "-c", text]


def compare(shown: str, real: str, *, where: str) -> None:
    """What a page shows is what came out, but for empty lines; a line `…` stands for any lines."""
    expected, got = _plain(shown), _plain(real)
    if not _fits(expected, got):
        diff = "\n".join(difflib.unified_diff(expected, got, "the page", "what came out", lineterm=""))
        raise AssertionError(f"{where} shows something else than what came out:\n{diff}\n--- all of it:\n{real}")


def _plain(text: str) -> list[str]:
    for pattern, name in _VARIES:
        text = re.sub(pattern, name, text)
    return [line.rstrip() for line in text.splitlines() if line.strip()]


def _fits(expected: list[str], got: list[str]) -> bool:
    parts = [list(part) for part in _split(expected)]
    first, last = parts[0], parts[-1]
    if len(parts) == 1:
        return first == got
    if got[: len(first)] != first or (last and got[-len(last) :] != last):
        return False
    at, end = len(first), len(got) - len(last)
    for part in parts[1:-1]:
        found = next((i for i in range(at, end - len(part) + 1) if got[i : i + len(part)] == part), None)
        if found is None:
            return False
        at = found + len(part)
    return at <= end


def _split(lines: list[str]) -> Iterator[list[str]]:
    part: list[str] = []
    for line in lines:
        if line == "…":
            yield part
            part = []
        else:
            part.append(line)
    yield part
