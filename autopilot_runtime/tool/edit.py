"""What each mode of a write makes of a file's content, and how the change is told afterwards. Pure."""

from __future__ import annotations

import codecs
import difflib
from collections import Counter
from collections.abc import Callable, Sequence

from autopilot_runtime.block.hunks import search_replace
from autopilot_runtime.block.patch import append, insert_after, multi_edit, shown_line, split_lines
from autopilot_runtime.core.errors import ToolError
from autopilot_runtime.tool.quota import Mode

Edits = Sequence[tuple[int, int]]
_TOLD_LINES = 80
_COMPARED = 2_000
_COMPARED_PAIRS = 250_000


def maker(mode: Mode, contents: Sequence[str], edits: Edits, after_line: int) -> Callable[[bytes | None], bytes]:
    """The function from the present content (None: no file) to the new one."""
    if len(contents) != (len(edits) if mode in ("edit", "multi_edit") else 1):
        raise ToolError(f"{len(edits)} line ranges but {len(contents)} payload blocks: give one for each range.")

    def make(before: bytes | None) -> bytes:
        old = before or b""
        if mode == "w":
            return _rewritten(old, contents[0])
        if mode == "a":
            return append(old, contents[0])
        if mode == "insert":
            return insert_after(old, contents[0], line=after_line)
        if mode == "replace":
            return search_replace(old, contents[0])
        return multi_edit(old, list(edits), contents=list(contents))

    return make


def _rewritten(old: bytes, content: str) -> bytes:
    """The content in the file's own style: a byte order mark stays, and a CRLF file stays one."""
    new = content.encode("utf-8", "replace")
    if old.startswith(codecs.BOM_UTF8) and not new.startswith(codecs.BOM_UTF8):
        new = codecs.BOM_UTF8 + new
    ends = old.count(b"\n")
    if ends and old.count(b"\r\n") == ends and b"\r\n" not in new and b"\0" not in old:
        new = new.replace(b"\n", b"\r\n")
    return new


def summary(path: str, before: bytes | None, after: bytes | None) -> str:
    """One change in a few lines: what was done, and the new lines with their new numbers."""
    if after is None:
        return f"deleted {path}"
    lines = split_lines(after)
    size = f"{len(lines)} line{'' if len(lines) == 1 else 's'}"
    if before is None:
        return f"wrote {path} (new, {size})"
    if before == after:
        return f"{path} already had this content ({size})"
    return f"wrote {path} ({size})"


def told(path: str, before: bytes, after: bytes) -> str:
    """The changed lines as they are numbered now, so that nobody needs to read the file again."""
    old, new = split_lines(before), split_lines(after)
    regions = changed(old, new)
    moved = len(new) - len(old)
    head = summary(path, before, after)
    if moved and regions and regions[-1][1] < len(new):
        last = changed(old, new, around=0)[-1][1]
        head += f"; from old line {last + 1 - moved} on, line numbers moved by {moved:+d}"
    out: list[str] = []
    for start, end in regions:
        if out:
            out.append("      ...")
        for number in range(max(1, start), min(end, len(new)) + 1):
            if len(out) >= _TOLD_LINES:
                return "\n".join(
                    [head, *out, f"      ... (changes up to line {regions[-1][1]} are not shown: read them)"]
                )
            out.append(f"{number:>5} | {shown_line(new[number - 1])}")
    return "\n".join([head, *out])


def changed(old: Sequence[bytes], new: Sequence[bytes], *, around: int = 1) -> list[tuple[int, int]]:
    """Ranges of new lines (1-based, inclusive) that differ, and `around` lines beside them; touching ones are one."""
    same = _common(old, new)
    tail = _common(old[same:][::-1], new[same:][::-1])
    middle_old, middle_new = old[same : len(old) - tail], new[same : len(new) - tail]
    spans = [(0, len(middle_new))]
    # Comparing many lines, or many like lines, could take minutes; then the whole stretch counts as changed.
    if max(len(middle_old), len(middle_new)) <= _COMPARED and _pairs(middle_old, middle_new) <= _COMPARED_PAIRS:
        codes = difflib.SequenceMatcher(None, middle_old, middle_new, autojunk=False).get_opcodes()
        spans = [(first, last) for tag, _, _, first, last in codes if tag != "equal"]
    regions: list[tuple[int, int]] = []
    for first, last in spans:
        # Where lines were only taken away, the line that moved up into their place stands for them.
        start, end = max(1, same + first + 1 - around), min(len(new), max(same + last + around, same + first + 1))
        if regions and start <= regions[-1][1] + 1:
            regions[-1] = (regions[-1][0], end)
        elif start <= end:
            regions.append((start, end))
    return regions


def _pairs(old: Sequence[bytes], new: Sequence[bytes]) -> int:
    """How many pairs of equal lines there are: what comparing costs."""
    counts = Counter(old)
    return sum(counts[line] for line in new)


def _common(one: Sequence[bytes], two: Sequence[bytes]) -> int:
    count = 0
    for a, b in zip(one, two, strict=False):
        if a != b:
            break
        count += 1
    return count
