"""The search without ripgrep: Python's `re` over the same files, in a process of its own that can be killed."""

from __future__ import annotations

import json
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

from autopilot_runtime.search import child
from autopilot_runtime.search.dialect import Untranslatable, is_read_otherwise, to_python
from autopilot_runtime.search.glob import Include
from autopilot_runtime.search.reach import excerpt, is_text, lossless, open_inside, text_lines
from autopilot_runtime.search.walk import Walk

_BROKEN = re.compile(r"[\ud800-\udfff]+")


class BadPattern(Exception):
    """The pattern cannot be used: why, and at which of its characters."""

    def __init__(self, reason: str, position: int | None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.position = position


def scan(
    root: str,
    pattern: str,
    *,
    folders: Sequence[str],
    files: Sequence[str],
    include: Include,
    limit: int,
    clock: child.Clock,
) -> tuple[list[tuple[str, int, str]], bool]:
    """Up to `limit` `(path, line, text)` in order, and whether the search came to its end."""
    order = {
        "root": root,
        "pattern": pattern,
        "folders": folders,
        "files": files,
        "include": include.globs,
        "limit": limit,
    }
    done = child.run(child.worker("scan"), cwd=root, clock=clock, sent=json.dumps(order).encode())
    found: list[tuple[str, int, str]] = []
    for line in done.output.splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            break  # cut off in the middle, by the clock
        if "bad" in record:
            raise BadPattern(record["bad"], record["at"])
        found.append((record["path"], record["line"], record["text"]))
    if done.code not in (0, None) and not done.output:
        raise BadPattern(f"Python could not run it: {done.errors.decode('utf-8', 'replace').strip()[-300:]}", None)
    return found, done.code is not None


def main() -> None:
    """Read one order from stdin; write one JSON line for each match."""
    order: dict[str, Any] = json.load(sys.stdin)
    try:
        matcher = _Matcher(order["pattern"])
    except BadPattern as bad:
        print(json.dumps({"bad": bad.reason, "at": bad.position}))
        return
    left = order["limit"]
    for path in _paths(order):
        for line, text in _matches(order["root"], path, matcher):
            print(json.dumps({"path": path, "line": line, "text": text}), flush=True)
            left -= 1
            if left == 0:
                return


def _paths(order: dict[str, Any]) -> Iterator[str]:
    """Each file once: folders that are asked for may lie in each other, and files in them."""
    yield from order["files"]
    seen = set(order["files"])
    for folder in order["folders"]:
        for path, _ in Walk(order["root"], folder, include=Include(order["include"])):
            if path not in seen:
                seen.add(path)
                yield path


def _matches(root: str, path: str, matcher: _Matcher) -> Iterator[tuple[int, str]]:
    try:
        with open_inside(root, path) as file:
            for number, line in enumerate(text_lines(file) if is_text(file) else (), 1):
                at = matcher.find(line)
                if at is not None:
                    yield number, excerpt(_shown(line[:at]), _shown(line[at:]))
    except OSError:
        return  # unreadable, or it went away: ripgrep goes on, too


def _shown(text: str) -> str:
    return lossless(text.encode("utf-8", "surrogateescape")) if _BROKEN.search(text) else text


class _Matcher:
    """Where a pattern matches in a line, with ripgrep's meaning of `.`, `^` and `$` around a lone CR."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        # What spells the CR out itself matches only across it.
        self.crosses = is_read_otherwise(pattern)
        self.search = self._compiled(wide=False).search

    @cached_property
    def wide(self) -> re.Pattern[str]:
        """The pattern for lines that are not ASCII."""
        return self._compiled(wide=True)

    def _compiled(self, *, wide: bool) -> re.Pattern[str]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                return re.compile(to_python(self.pattern, wide=wide))
            except Untranslatable as error:
                raise BadPattern(error.reason, error.position) from None
            except re.error as error:
                # The position is that in the rewritten text; in the pattern as given when that is what fails, too.
                raise BadPattern(error.msg, _position(self.pattern)) from None
            except (RecursionError, OverflowError, MemoryError):
                raise BadPattern("it is too large or too deeply nested", None) from None

    def find(self, line: str) -> int | None:
        """The index of the first match."""
        ascii_only = line.isascii()
        if not ascii_only and _BROKEN.search(line):
            return self._between(line)
        search = self.search if ascii_only else self.wide.search
        if "\r" in line:
            return self._with_returns(line, search)
        found = search(line)
        return found.start() if found else None

    def _with_returns(self, line: str, search: Callable[[str], re.Match[str] | None]) -> int | None:
        at = 0
        for piece in line.split("\r"):
            found = search(piece)
            if found:
                return at + found.start()
            at += len(piece) + 1
        across = search(line) if self.crosses else None
        return across.start() if across else None

    def _between(self, line: str) -> int | None:
        """No part of a match may be a byte that is not text: try each stretch between such bytes."""
        at = 0
        for broken in [*_BROKEN.finditer(line), None]:
            end = broken.start() if broken else len(line)
            found = self.wide.search(line, at, end)
            # With `endpos` the end of the stretch passes for the end of the line, which only `$` can tell.
            if found and (end == len(line) or found.end() < end or "$" not in self.pattern):
                return found.start()
            at = broken.end() if broken else end
        return None


def _position(pattern: str) -> int | None:
    try:
        re.compile(pattern)
    except re.error as error:
        return error.pos
    return None
