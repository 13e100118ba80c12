"""Asks the `rg` binary where a pattern matches: which files, then at which lines of the first of them."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from autopilot_runtime.core.errors import ToolError
from autopilot_runtime.search import child
from autopilot_runtime.search.glob import Include

# A user's own configuration could add `--pre=program`. A link is not followed. CRLF is a line end, as \n is.
_ALWAYS = ("--no-config", "--no-messages", "--no-follow", "--no-mmap", "--crlf", "--color=never", "--engine=default")
# Of the folders above, ripgrep 14 applies anchored rules to the wrong files: `Rulebook.hides` does that instead.
_RULES = ("--no-ignore-global", "--no-ignore-parent", "--glob=!.git")
# A match of nothing at the end of a line has no column.
_RECORD = re.compile(rb"(\d+):(?:(\d+):)?(\d+):")
_SMALL = 8 << 20
_ARGUMENTS = 24_000  # bytes of paths on one command line: what every system takes


class PatternRefused(Exception):
    """`rg` does not take this pattern; the text is its own."""


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a line matches: its number, the byte of the match in it, the byte where it begins in the file."""

    path: str
    line: int
    column: int
    offset: int


def locate() -> str | None:
    """The `rg` of the installed wheel, else of the system; None when there is none."""
    name = "rg.exe" if os.name == "nt" else "rg"
    beside = Path(sys.executable).parent / name
    if sys.executable and beside.is_file() and os.access(beside, os.X_OK):
        return str(beside)
    found = shutil.which("rg", path=_absolute_path())
    return str(Path(found).resolve()) if found else None


def _absolute_path() -> str:
    """PATH without relative entries: a workspace may hold a program called `rg`."""
    entries = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join(entry for entry in entries if Path(entry).is_absolute())


def matching_files(
    rg: str,
    root: str,
    pattern: str,
    *,
    starts: Sequence[str],
    include: Include,
    above: Sequence[str],
    clock: child.Clock,
) -> tuple[list[str], bool]:
    """All files below the folders `starts` with a match, in no order, and whether the search came to its end.

    `above` are ignore rules that count as if they stood in the root with the least weight.
    """
    command = [rg, *_ALWAYS, *_RULES, "--files-with-matches", "--null"]
    command += [] if Path(root, ".git").exists() else ["--no-require-git"]
    command += ["--hidden"] if include.hidden else []
    if include.typed:
        command += [f"--type-add=wanted:{glob}" for glob in include.globs] + ["--type=wanted"]
    with _ignore_file(above) as options:
        done = child.run([*command, *options, "--", pattern, *map(_spelt, starts)], cwd=root, clock=clock)
    _check(done)
    paths = [os.fsdecode(path) for path in done.output.split(b"\0")[:-1]]
    return [_plain(path) for path in paths], done.code is not None


@contextlib.contextmanager
def _ignore_file(lines: Sequence[str]) -> Iterator[list[str]]:
    if not lines:
        yield []
        return
    with tempfile.TemporaryDirectory(prefix="autopilot-") as folder:
        path = Path(folder, "ignore")
        path.write_text("\n".join(lines), encoding="latin-1")
        yield [f"--ignore-file={path}"]


def spots(
    rg: str, root: str, pattern: str, *, paths: Iterable[str], limit: int, clock: child.Clock
) -> Iterator[list[Spot]]:
    """Up to `limit` places in each of the text files, one list for each command, in the order of `paths`."""
    options = ["--text", "--no-heading", "--with-filename", "--null", "--line-number", "--column", "--byte-offset"]
    # The text of a line is not wanted: we read it ourselves, from a file that cannot have become a link.
    options += ["--max-columns=1", f"--max-count={limit}"]
    for some in _portions(paths, limit):
        order = {path: index for index, path in enumerate(some)}
        threads = ["--threads=1"] if _are_small(root, some) else []
        command = [rg, *_ALWAYS, *options, *threads, "--", pattern, *map(_spelt, some)]
        done = child.run(command, cwd=root, clock=clock)
        _check(done)
        found = [spot for spot in _parsed(done.output) if spot.path in order]
        yield sorted(found, key=lambda spot: (order[spot.path], spot.line))
        if done.code is None:
            return


def _are_small(root: str, paths: Sequence[str]) -> bool:
    """Whether to start more threads would take longer than to search."""
    left = _SMALL
    for path in paths:
        with contextlib.suppress(OSError):  # it went away: ripgrep will see that, too
            left -= os.lstat(os.path.join(root, path)).st_size  # noqa: PTH118 - Path takes as long as the rest
        if left < 0:
            return False
    return True


def _check(done: child.Done) -> None:
    # Files that cannot be read give code 2, too, but (with --no-messages) no text.
    if done.code == 2 and done.errors.strip():
        raise PatternRefused(done.errors.decode("utf-8", "replace").strip())
    if done.code not in (0, 1, 2, None):
        reason = done.errors.decode("utf-8", "replace").strip()[-200:]
        raise child.Unusable(f"ripgrep broke down (exit code {done.code}{reason and f': {reason}'})")


def _parsed(output: bytes) -> Iterator[Spot]:
    """Records `path NUL line : column : offset : anything LF`. A path may hold LF, but never NUL."""
    at = 0
    while (end := output.find(b"\0", at)) >= 0 and (newline := output.find(b"\n", end)) >= 0:
        found = _RECORD.match(output, end + 1, newline)
        if found is None:
            raise ToolError(f"ripgrep answered in an unknown way: {output[end : end + 80]!r}")
        line, column, offset = found.groups()
        yield Spot(_plain(os.fsdecode(output[at:end])), int(line), int(column or 1) - 1, int(offset))
        at = newline + 1


def _portions(paths: Iterable[str], limit: int) -> Iterator[list[str]]:
    some: list[str] = []
    size = 0
    for path in paths:
        if some and (len(some) >= limit or size + len(path) * 4 > _ARGUMENTS):
            yield some
            some, size = [], 0
        some.append(path)
        size += len(path) * 4
    if some:
        yield some


def _spelt(path: str) -> str:
    return f"./{path}" if path else "."


def _plain(path: str) -> str:
    return path.replace("\\", "/").removeprefix("./") if os.name == "nt" else path.removeprefix("./")
