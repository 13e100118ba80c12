"""Reads and writes files of the workspace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from autopilot_runtime import Preview, ToolContext, ToolError, ToolResult, tool

MAX_SHOWN_LINES = 2_000
MAX_SHOWN_CHARS = 60_000
MAX_LINE_CHARS = 2_000


@tool(label="Reading {path}", effect="read", path="path")
def read_file(ctx: ToolContext, path: str, start_line: int = 1, end_line: int | None = None) -> ToolResult:
    """Read a text file, or lines start_line to end_line of it (1-based, both included).

    Shown with line numbers; as a value it is the plain text. A huge file gives a window and says how to read on.
    """
    window = ctx.workspace.read(path, start_line, end_line)
    if window.binary:
        return ToolResult(window.binary, f"{window.path}: {window.binary}")
    if not window.text:
        return ToolResult("", f"{window.path} is empty")
    room = int(ctx.config.get("max_output_chars") or MAX_SHOWN_CHARS)
    out: list[str] = []
    width = max(4, len(str(window.last)))
    for number, line in enumerate(window.lines[:MAX_SHOWN_LINES], window.first):
        text = line if len(line) <= MAX_LINE_CHARS else f"{line[:MAX_LINE_CHARS]} … (+{len(line) - MAX_LINE_CHARS})"
        out.append(f"{number:>{width}} | {text}".replace("\r", "\\r"))
        room -= len(out[-1]) + 1
        if room < 0:
            break
    last = window.first + len(out) - 1
    head = f"{window.path} ({'; '.join(_facts(window, last))})"
    more = window.cut or last < window.last
    if more:
        out.append(f"… read on with read_file({window.path!r}, start_line={last + 1})")
    return ToolResult(window.text, "\n".join([head, *out]))


def _facts(window: Any, last: int) -> list[str]:
    unit = "line" if window.total == 1 else "lines"
    total = "very many lines" if window.total is None else f"{window.total} {unit}"
    whole = window.first == 1 and last == window.total
    facts = [total if whole else f"lines {window.first}-{last} of {total}"]
    return [*facts, window.note] if window.note else facts


Mode = Literal["w", "a", "edit", "insert", "multi_edit", "replace"]


def _blocks(args: Mapping[str, Any]) -> int:
    edits = args.get("edits")
    return len(edits) if args.get("mode") == "multi_edit" and isinstance(edits, list | tuple) else 1


def _label(args: Mapping[str, Any]) -> str:
    verbs = {"w": "Writing", "a": "Appending to", "insert": "Inserting into"}
    return f"{verbs.get(args['mode'], 'Editing')} {args['path']}"


def _ranges(args: Mapping[str, Any]) -> list[tuple[int, int]]:
    """The line ranges of an edit; arguments that say two different things at once are refused."""
    mode = args["mode"]
    wanted = {"edit": {"start_line", "end_line"}, "insert": {"after_line"}, "multi_edit": {"edits"}}.get(mode, set())
    given = {name for name in ("start_line", "end_line", "after_line", "edits") if args.get(name) is not None}
    if given - wanted:
        raise ToolError(f"mode={mode!r} takes no {', '.join(sorted(given - wanted))}. Nothing was written.")
    missing = wanted - given - {"end_line"}
    if missing:
        raise ToolError(f"mode={mode!r} needs {', '.join(sorted(missing))}. Nothing was written.")
    if mode == "edit":
        start = args["start_line"]
        return [(start, start if args["end_line"] is None else args["end_line"])]
    if mode == "multi_edit":
        if not args["edits"]:
            raise ToolError("edits is empty: give one (start, end) for each payload block. Nothing was written.")
        return [(start, end) for start, end in args["edits"]]
    return []


def _preview(ctx: ToolContext, args: Mapping[str, Any]) -> Preview:
    """Prepare the write from the payload blocks of this call; what is approved are these very bytes."""
    path, mode = args["path"], args["mode"]
    ranges = _ranges(args)
    contents = [ctx.payload(path) for _ in range(_blocks(args))]
    draft = ctx.workspace.draft(path, mode, contents, edits=ranges, after_line=args.get("after_line") or 0)
    change = draft.change
    verb = "Create" if change.before is None else {"w": "Overwrite", "a": "Append to"}.get(mode, "Edit")
    return Preview(f"{verb} {change.path}", diff=change.diff, plan=draft)


@tool(label=_label, effect="edit", path="path", payloads=_blocks, preview=_preview)
def write_file(
    ctx: ToolContext,
    path: str,
    start_line: int | None = None,
    end_line: int | None = None,
    after_line: int | None = None,
    mode: Mode = "w",
    edits: list[tuple[int, int]] | None = None,
) -> ToolResult:
    """Write a file. The content is always the next payload block, never an argument.

    mode="w" creates or overwrites the file; "a" appends to it (up to 5 such calls in one step).
    mode="edit" replaces lines start_line to end_line; an empty payload block deletes them.
    mode="insert" inserts after after_line (0 = top of the file).
    mode="multi_edit" replaces several ranges: edits=[(42, 48), (55, 55)], one payload block for each, in order.
    mode="replace" takes one payload block with SEARCH/REPLACE hunks; each SEARCH is whole
    lines, with their indentation, and must match exactly once:
        <<<<<<< SEARCH
        old lines
        =======
        new lines
        >>>>>>> REPLACE
    Each file can be edited (edit, insert, multi_edit, replace) once in a step; line numbers are those you last saw.
    """
    # Without a preview (the tool called by hand) the write is prepared here, in the same way.
    args = {
        "path": path,
        "start_line": start_line,
        "end_line": end_line,
        "after_line": after_line,
        "mode": mode,
        "edits": edits,
    }
    draft = ctx.plan if ctx.plan is not None else _preview(ctx, args).plan
    change = ctx.workspace.commit(draft)
    text = change.summary if mode in ("w", "a") else change.told
    return ToolResult(change.summary, text)
