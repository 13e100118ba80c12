"""A unified diff for the eye: red and green lines, and inside a changed line the very words that changed."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator

from autopilot_runtime.cli import safe
from autopilot_runtime.cli.tty import Paint

_WORD = re.compile(r"\w+|\s+|[^\w\s]")
_LONGEST = 600  # characters of a line that is still compared word by word
_ALIKE = 0.4  # below that, two lines have nothing to do with each other


_WORTH_CUTTING = 10


def coloured(diff: str, paint: Paint, *, max_lines: int | None = None) -> str:
    """The diff, safe to print. Without colour it stays a plain unified diff."""
    lines = [safe.prose(line) for line in diff.splitlines()]
    left = 0 if max_lines is None else max(0, len(lines) - max_lines)
    left = left if left > _WORTH_CUTTING else 0
    shown = lines[: len(lines) - left]
    out = list(_painted(shown, paint)) if paint.on else shown
    if left:
        out.append(paint(f"… {left} more lines", "dim"))
    return "\n".join(out)


def changed_lines(diff: str) -> tuple[int, int]:
    """(lines added, lines removed)."""
    lines = diff.splitlines()
    # The head ends at the first `@@`: below it, a removed line may begin with `--`, too.
    start = next((at for at, line in enumerate(lines) if line.startswith("@@")), len(lines))
    body = lines[start:]
    return sum(line.startswith("+") for line in body), sum(line.startswith("-") for line in body)


def _painted(lines: list[str], paint: Paint) -> Iterator[str]:
    at = 0
    while at < len(lines):
        line = lines[at]
        if line.startswith(("--- ", "+++ ")) and _is_head(lines, at):
            yield paint(line, "bold")
        elif line.startswith("@@"):
            yield paint(line, "cyan")
        elif line.startswith("-"):
            end_old = _while(lines, at, "-")
            end_new = _while(lines, end_old, "+")
            yield from _change(lines[at:end_old], lines[end_old:end_new], paint)
            at = end_new
            continue
        elif line.startswith("+"):
            yield paint(line, "green")
        else:
            yield paint(line, "dim") if line.startswith(("\\", "...")) else line
        at += 1


def _is_head(lines: list[str], at: int) -> bool:
    """A removed line can begin with `-- `: the head is the first two lines, before any `@@`."""
    return at < 2 and not any(line.startswith("@@") for line in lines[:at])


def _while(lines: list[str], at: int, mark: str) -> int:
    while at < len(lines) and lines[at].startswith(mark):
        at += 1
    return at


def _change(old: list[str], new: list[str], paint: Paint) -> Iterator[str]:
    """Lines that were replaced: each old line is compared with the new line in the same place."""
    pairs = [_words(a[1:], b[1:], paint) for a, b in zip(old, new, strict=False)]
    for index, line in enumerate(old):
        marked = pairs[index][0] if index < len(pairs) else ""
        yield paint("-", "red") + marked if marked else paint(line, "red")
    for index, line in enumerate(new):
        marked = pairs[index][1] if index < len(pairs) else ""
        yield paint("+", "green") + marked if marked else paint(line, "green")


def _words(old: str, new: str, paint: Paint) -> tuple[str, str]:
    """Both lines with the differing words marked; empty when the lines are too long or too different."""
    if len(old) > _LONGEST or len(new) > _LONGEST:
        return "", ""
    before, after = _WORD.findall(old), _WORD.findall(new)
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    if matcher.ratio() < _ALIKE:
        return "", ""
    left, right = [], []
    for tag, i1, i2, j1, j2 in matcher.get_opcodes():
        same = tag == "equal"
        left.append(paint("".join(before[i1:i2]), "red" if same else "red_mark"))
        right.append(paint("".join(after[j1:j2]), "green" if same else "green_mark"))
    return "".join(left), "".join(right)
