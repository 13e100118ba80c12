"""Find the project's AGENTS.md files, from the repository's root down to the workspace. Text, never orders."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from autopilot_runtime.core.message import printable
from autopilot_runtime.runtime.agentpaths import project_root, read_regular

MAX_BYTES = 32 * 1024  # of all files together; the nearest ones are served first


@dataclass(frozen=True, slots=True)
class Instruction:
    """One file. `shown` is its path relative to the project's root; `cut` when only its beginning fitted."""

    path: Path
    shown: str
    text: str
    lines: int
    cut: bool = False


def find_instructions(
    work_dir: Path, names: Sequence[str] = ("AGENTS.md",), *, limit: int = MAX_BYTES
) -> list[Instruction]:
    """The files of the chain root → `work_dir`, nearest last, so that the nearest has the last word.

    Only regular files; a link must stay inside the project. What cannot be read is left out.
    """
    work_dir = work_dir.resolve()
    root = project_root(work_dir)
    folders = [work_dir, *(parent for parent in work_dir.parents if parent.is_relative_to(root))]
    found: list[Instruction] = []
    seen: set[Path] = set()
    for folder in folders:
        for name in reversed(names):
            one = _read(folder / name, root, limit=limit) if limit > 0 else None
            if one is None or one.path in seen:
                continue
            seen.add(one.path)
            limit -= len(one.text.encode("utf-8"))
            found.append(one)
    return found[::-1]


def _read(path: Path, root: Path, *, limit: int) -> Instruction | None:
    try:
        real = path.resolve(strict=True)
        if not real.is_relative_to(root):
            return None
        raw = read_regular(real, limit)
    except (OSError, RuntimeError):
        return None
    cut = len(raw) > limit
    text = printable(raw[:limit].decode("utf-8-sig", "ignore" if cut else "replace")).replace("\0", "")
    if not text.strip():
        return None
    if cut:
        text = text[: text.rfind("\n") + 1] or text
        text += "[cut here: the file is longer]\n"
    return Instruction(real, os.path.relpath(path, root), text, text.count("\n") + (not text.endswith("\n")), cut)
