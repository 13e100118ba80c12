"""Text search in a workspace: `rg` where there is one, Python where there is none, the same matches from both.

Nothing outside of the root is ever read, links are not followed, and every search ends: by itself, by the clock
or because the caller says so.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Literal

from autopilot_runtime.core.errors import PathRefused, ToolError
from autopilot_runtime.core.message import printable
from autopilot_runtime.search import ripgrep
from autopilot_runtime.search.child import Clock, Unusable
from autopilot_runtime.search.dialect import is_read_otherwise
from autopilot_runtime.search.glob import Include
from autopilot_runtime.search.ignore import Rulebook
from autopilot_runtime.search.reach import is_text, line_at, open_inside
from autopilot_runtime.search.scan import BadPattern, scan

Scope = Literal["file", "files", "codebase"]
Engine = Literal["auto", "rg", "python"]
MAX_RESULTS = 1_000
_MAX_PATTERN = 4_000
_MAX_TARGETS = 500
_ODD = "ripgrep does not know this pattern (look-around or the like); Python searched instead"
# What ripgrep says when it is the pattern that it cannot use.
_REFUSALS = ("parse error", "not allowed in a regex", "exceeds size limit", "maximum number of nested")


@dataclass(frozen=True, slots=True)
class Match:
    """One matching line. `path` is relative to the root with `/`; a very long line is cut around the match."""

    path: str
    line: int
    text: str


@dataclass(frozen=True, slots=True)
class Found:
    """The first matches in the order of their paths. `more`: there are others. `notes` say what was unusual."""

    matches: tuple[Match, ...] = ()
    more: bool = False
    engine: Literal["rg", "python"] = "rg"
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Order:
    root: str
    pattern: str
    folders: tuple[str, ...]
    files: tuple[str, ...]
    include: Include
    limit: int
    clock: Clock


def find(
    root: str | Path,
    pattern: str,
    *,
    scope: Scope = "codebase",
    target: str | Sequence[str] | None = None,
    include: str | Sequence[str] | None = None,
    max_results: int = 50,
    engine: Engine = "auto",
    seconds: float = 30.0,
    stop: Callable[[], bool] = bool,
) -> Found:
    """The lines that match the regular expression, at most `max_results`, sorted by path and line."""
    _check(pattern, scope, max_results)
    real = os.path.realpath(root)
    folders, files = _targets(real, scope, target)
    globs = [include] if isinstance(include, str) else list(include or ())
    clock = Clock(seconds, stop)
    files, notes = _searchable(real, files, clock)
    # A search that stops at its limit cannot know that there is more, so it looks for one more.
    order = _Order(real, pattern, folders, files, Include(globs), min(max_results, MAX_RESULTS), clock)
    rg = ripgrep.locate() if engine != "python" else None
    if engine == "rg" and rg is None:
        raise ToolError("ripgrep is not installed here: pip install 'autopilot-runtime[search]'")
    if rg is None:
        return _by_python(order, notes)
    try:
        return _by_either(rg, order, notes)
    except Unusable as error:
        if engine == "rg":
            raise
        return _by_python(order, (*notes, f"{error}; Python searched instead"))


def _by_either(rg: str, order: _Order, notes: tuple[str, ...]) -> Found:
    if is_read_otherwise(order.pattern):
        return _by_python(order, (*notes, _ODD))
    book = Rulebook(order.root)
    if any(map(book.keeps_above, order.folders)):
        return _by_python(order, notes)
    try:
        return _by_ripgrep(rg, order, book, notes)
    except ripgrep.PatternRefused as refused:
        if not any(words in str(refused) for words in _REFUSALS):
            raise ToolError(f"ripgrep could not search: {printable(str(refused))[:500]}") from refused
        return _by_python(order, (*notes, _ODD))


def _by_ripgrep(rg: str, order: _Order, book: Rulebook, notes: tuple[str, ...]) -> Found:
    files, ended = iter(order.files), True
    if order.folders:
        listed, ended = ripgrep.matching_files(
            rg,
            order.root,
            order.pattern,
            starts=order.folders,
            include=order.include,
            above=book.loose_above(),
            clock=order.clock,
        )
        files = chain(files, _wanted(order, book, listed))
    matches: list[Match] = []
    for some in ripgrep.spots(rg, order.root, order.pattern, paths=files, limit=order.limit + 1, clock=order.clock):
        matches += filter(None, (_read(order.root, spot) for spot in some[: order.limit + 1 - len(matches)]))
        if len(matches) > order.limit:
            break
    return _result(order, matches, ended=ended, engine="rg", notes=notes)


def _wanted(order: _Order, book: Rulebook, listed: Sequence[str]) -> Iterator[str]:
    """The files that ripgrep found, as far as they are asked for, in the order in which they are shown."""
    left = set(listed).difference(order.files)
    for start in order.folders:
        aware = start or book.above
        own = [path for path in left if not start or path.startswith(start + "/")]
        for path in sorted(own, key=lambda path: path.split("/")):
            if order.include.selects(path, start) and not (aware and book.hides(path, start)):
                left.discard(path)
                with contextlib.suppress(OSError):  # it went away, or is a link now
                    if _is_text(order.root, path, order.clock):
                        yield path


def _read(root: str, spot: ripgrep.Spot) -> Match | None:
    try:
        with open_inside(root, spot.path) as file:
            return Match(spot.path, spot.line, line_at(file, spot.line, spot.column, offset=spot.offset))
    except OSError:
        return None  # it went away, or is a link now


def _by_python(order: _Order, notes: tuple[str, ...]) -> Found:
    try:
        found, ended = scan(
            order.root,
            order.pattern,
            folders=order.folders,
            files=order.files,
            include=order.include,
            limit=order.limit + 1,
            clock=order.clock,
        )
    except BadPattern as bad:
        raise ToolError(_explain(order.pattern, bad)) from None
    return _result(order, [Match(*one) for one in found], ended=ended, engine="python", notes=notes)


def _result(
    order: _Order, matches: list[Match], *, ended: bool, engine: Literal["rg", "python"], notes: tuple[str, ...]
) -> Found:
    more = len(matches) > order.limit
    if (not ended or order.clock.left <= 0) and not more:
        why = "it was stopped" if order.clock.stop() else f"{order.clock.seconds:g} seconds were not enough"
        notes += (f"The search is not complete: {why}. Narrow it with include= or target=, or simplify the pattern",)
    return Found(tuple(matches[: order.limit]), more, engine, notes)


def _check(pattern: str, scope: str, max_results: int) -> None:
    if not pattern:
        raise ToolError("The pattern is empty: it would match every line. Give the text or expression to look for.")
    if len(pattern) > _MAX_PATTERN or "\0" in pattern:
        raise ToolError(f"The pattern is longer than {_MAX_PATTERN} characters, or holds NUL; give a shorter one.")
    if scope not in ("file", "files", "codebase"):
        raise ToolError(f"scope is 'file', 'files' or 'codebase', not {scope!r:.60}.")
    if max_results < 1:
        raise ToolError(f"max_results is at least 1, not {max_results}.")


def _targets(root: str, scope: Scope, target: str | Sequence[str] | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The folders and the files to search, relative to the real root, each checked and once."""
    given = [target] if isinstance(target, str) else list(target or ())
    if not given:
        if scope != "codebase":
            raise ToolError(
                f"scope={scope!r} needs target=: the path of a file" + (", or a list of them." * (scope == "files"))
            )
        return ("",), ()
    if scope == "file" and len(given) > 1:
        raise ToolError("scope='file' takes one target; use scope='files' for a list.")
    if len(given) > _MAX_TARGETS:
        raise ToolError(f"At most {_MAX_TARGETS} targets, got {len(given)}; use scope='codebase' with include=.")
    folders: dict[str, None] = {}
    files: dict[str, None] = {}
    for one in given:
        path, is_folder = inside(root, one)
        (folders if is_folder else files)[path] = None
    return tuple(folders), tuple(files)


def _is_text(root: str, path: str, clock: Clock) -> bool:
    with open_inside(root, path) as file:
        return is_text(file, lambda: clock.left <= 0)


def _searchable(root: str, files: Sequence[str], clock: Clock) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The files that hold text, and a note for each of those that do not."""
    texts: list[str] = []
    notes: list[str] = []
    for path in files:
        try:
            if _is_text(root, path, clock):
                texts.append(path)
            elif clock.left > 0:
                notes.append(f"{printable(path)!r:.200} is binary and was not searched")
        except OSError as error:
            notes.append(f"{printable(path)!r:.200} cannot be read: {error.strerror}")
    return tuple(texts), tuple(notes)


def inside(root: str, path: str) -> tuple[str, bool]:
    """A path as the real one relative to the real `root`, and whether it is a folder. Outside: `PathRefused`."""
    if not isinstance(path, str) or not path.strip() or "\0" in path:
        raise PathRefused(f"Expected the path of a file in the workspace {root}, got {path!r:.80}.")
    try:
        real = os.path.realpath(os.path.join(root, path))  # noqa: PTH118
        relative = os.path.relpath(real, root).replace(os.sep, "/")
        exists = os.path.lexists(real)
    except (OSError, ValueError) as error:
        raise PathRefused(f"{path!r:.200} cannot be a path: {error}") from None
    if relative == ".." or relative.startswith("../"):
        raise PathRefused(f"{path!r:.200} is outside the workspace {root}. Searches work only inside it.")
    if not exists:
        raise ToolError(f"{path!r:.200} does not exist in the workspace {root}.")
    if os.path.isdir(real):  # noqa: PTH112
        return ("" if relative == "." else relative), True
    if not os.path.isfile(real):  # noqa: PTH113
        raise PathRefused(f"{path!r:.200} is not a regular file (a device, pipe or socket); it cannot be searched.")
    return relative, False


def _explain(pattern: str, bad: BadPattern) -> str:
    text = f"The pattern is not a valid regular expression: {bad.reason}"
    if bad.position is not None:
        start = max(0, bad.position - 60)
        line = printable(pattern[start : bad.position + 60]).replace("\n", " ").replace("\t", " ")
        text += f", at character {bad.position + 1}:\n    {line}\n    {' ' * (bad.position - start)}^"
    return text + "\nTo look for plain text, put a backslash before each of . * + ? ( ) [ ] { } ^ $ |"
