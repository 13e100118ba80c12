"""A unified diff for people and models: bounded in size and cost, control characters escaped."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from autopilot_runtime.block.patch import shown_line, split_lines

_CONTEXT = 3
_COMPARED = 2_000


def unified_diff(before: bytes, after: bytes, path: str, *, max_lines: int = 400) -> str:
    """What changed from `before` to `after`; "" when nothing did. Not made to be applied as a patch."""
    if before == after:
        return ""
    name = shown_line(path.encode("utf-8", "surrogateescape"))
    if b"\0" in before or b"\0" in after:
        return f"Binary file {name} changed: {len(before)} -> {len(after)} bytes.\n"
    out = [f"--- a/{name}", f"+++ b/{name}"]
    for line in _body(split_lines(before), split_lines(after)):
        if len(out) >= max_lines:
            out.append(f"... (the diff is longer than {max_lines} lines; {len(before)} -> {len(after)} bytes)")
            break
        out.append(line)
    return "\n".join(out) + "\n"


def _body(old: list[bytes], new: list[bytes]) -> Iterator[str]:
    same = _common(old, new)
    tail = _common(old[same:][::-1], new[same:][::-1])
    first = max(0, same - _CONTEXT)
    spare = max(0, tail - _CONTEXT)
    middle_old, middle_new = old[first : len(old) - spare], new[first : len(new) - spare]
    if max(len(middle_old), len(middle_new)) > _COMPARED:
        # Comparing that many lines pairwise could take minutes; one big hunk is true, too.
        cut = (same - first, len(middle_old) - (tail - spare), same - first, len(middle_new) - (tail - spare))
        groups = [[("replace", *cut)]]
    else:
        matcher = difflib.SequenceMatcher(None, middle_old, middle_new)
        groups = [list(group) for group in matcher.get_grouped_opcodes(_CONTEXT)]
    for group in groups:
        yield _head(group, first)
        for tag, i1, i2, j1, j2 in group:
            if tag == "equal":
                yield from (f" {shown_line(line)}" for line in middle_old[i1:i2])
                continue
            ends_differ = _only_ends_differ(middle_old[i1:i2], middle_new[j1:j2])
            yield from _marked("-", middle_old[i1:i2], ends=ends_differ)
            yield from _marked("+", middle_new[j1:j2], ends=ends_differ)


def _head(group: list[tuple[str, int, int, int, int]], offset: int) -> str:
    i1, i2, j1, j2 = group[0][1], group[-1][2], group[0][3], group[-1][4]
    return f"@@ -{_range(i1 + offset, i2 - i1)} +{_range(j1 + offset, j2 - j1)} @@"


def _range(start: int, count: int) -> str:
    if count == 1:
        return str(start + 1)
    return f"{start + 1 if count else start},{count}"


def _marked(mark: str, lines: list[bytes], *, ends: bool) -> Iterator[str]:
    for line in lines:
        end = "\\r" if ends and line.endswith((b"\r\n", b"\r")) else ""
        yield f"{mark}{shown_line(line)}{end}"
        if not line.endswith(b"\n"):
            yield "\\ No newline at end of file"


def _only_ends_differ(old: list[bytes], new: list[bytes]) -> bool:
    return any(one.rstrip(b"\r\n") == two.rstrip(b"\r\n") for one, two in zip(old, new, strict=False))


def _common(one: list[bytes], two: list[bytes]) -> int:
    count = 0
    for a, b in zip(one, two, strict=False):
        if a != b:
            break
        count += 1
    return count
