"""What git prints for programs, as values; and one spelling for file names of any bytes. Pure.

Inside, names are text with `surrogateescape`: every byte survives. Outside they are spelt: a name that is UTF-8 as it
is, any other one as git itself writes it, in quotes and with octal escapes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_CHANGES = {
    "M": "modified", "A": "added", "D": "deleted", "R": "renamed", "C": "copied", "T": "type changed",
}  # fmt: skip
_ESCAPED = re.compile(rb"\\([0-7]{3}|[abfnrtv\"\\])")
_LETTERS = {b"a": b"\a", b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}
_LOG = ("sha", "author", "email", "date", "subject", "body")
LOG_FORMAT = "--format=%H%x00%an%x00%ae%x00%aI%x00%s%x00%b"


def spelt(name: str) -> str:
    """A name as it is shown and given to code."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return f'"{"".join(map(_octal, name.encode("utf-8", "surrogateescape")))}"'
    return name


def _octal(byte: int) -> str:
    char = chr(byte)
    return f"\\{char}" if char in '"\\' else char if 32 <= byte < 127 else f"\\{byte:03o}"


def unspelt(text: str) -> str:
    """A name out of either spelling."""
    if len(text) < 3 or not (text.startswith('"') and text.endswith('"')):
        return text
    body = text[1:-1].encode("utf-8", "surrogateescape")
    plain = _ESCAPED.sub(lambda found: _LETTERS.get(found[1]) or _byte(found[1]), body)
    return plain.decode("utf-8", "surrogateescape")


def _byte(escape: bytes) -> bytes:
    return bytes([int(escape, 8) & 255]) if len(escape) == 3 else escape


def zeroed(names: Iterable[str]) -> bytes:
    """Names as git reads them with `-z --stdin`."""
    return b"".join(name.encode("utf-8", "surrogateescape") + b"\0" for name in names)


def fields(raw: bytes) -> list[str]:
    """What stands between the zero bytes of an output."""
    return raw.decode("utf-8", "surrogateescape").split("\0")[:-1]


@dataclass(slots=True)
class Head:
    """Where the work stands: no branch when HEAD is detached, no commit before the first one."""

    branch: str | None = None
    commit: str | None = None
    upstream: str | None = None
    ahead: int | None = None
    behind: int | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One path that `git status` tells of: what was done to it, staged and not staged."""

    path: str
    staged: str = ""
    unstaged: str = ""
    untracked: bool = False
    conflict: bool = False


def read_status(raw: bytes, prefix: str) -> tuple[Head, list[Entry]]:
    """`git status --porcelain=v2 --branch -z --no-renames`, with paths as seen from `prefix`."""
    head, entries = Head(), []
    for line in fields(raw):
        kind, _, rest = line.partition(" ")
        if kind == "#":
            _read_head(head, rest)
        elif kind == "?":
            entries.append(Entry(_below(prefix, rest), untracked=True))
        elif kind == "u":
            entries.append(Entry(_below(prefix, rest.split(" ", 9)[9]), conflict=True))
        elif kind == "1":
            path = _below(prefix, rest.split(" ", 7)[7])
            entries.append(Entry(path, _CHANGES.get(rest[0], ""), _CHANGES.get(rest[1], "")))
    return head, entries


def _read_head(head: Head, line: str) -> None:
    key, _, text = line.partition(" ")
    if key == "branch.oid":
        head.commit = None if text == "(initial)" else text
    elif key == "branch.head":
        head.branch = None if text == "(detached)" else text
    elif key == "branch.upstream":
        head.upstream = text
    elif key == "branch.ab":
        ahead, behind = text.split()
        head.ahead, head.behind = int(ahead), -int(behind)


def _below(prefix: str, path: str) -> str:
    return path.removeprefix(prefix) or "./"


@dataclass(frozen=True, slots=True)
class Change:
    """One path of a tree that differs from another tree: what the new tree has there, and how many lines changed."""

    path: str
    kind: str
    mode: str
    blob: str
    counts: str = ""

    @property
    def deleted(self) -> bool:
        """Whether the new tree has nothing there."""
        return self.kind == "deleted"


def read_changes(raw: bytes, prefix: str) -> list[Change]:
    """`git diff-index --raw --numstat --no-abbrev -z --no-renames`."""
    found: dict[str, Change] = {}
    parts = iter(fields(raw))
    for part in parts:
        if part.startswith(":"):
            _, mode, _, blob, letter = part.split(" ")
            path = next(parts)
            found[path] = Change(_below(prefix, path), _CHANGES.get(letter[0], "changed"), mode, blob)
        else:
            added, deleted, path = part.split("\t", 2)
            old = found[path]
            counts = " (binary)" if added == "-" else f" +{added} -{deleted}"
            found[path] = Change(old.path, old.kind, old.mode, old.blob, counts)
    return list(found.values())


def read_log(raw: bytes) -> list[dict[str, str]]:
    """`git log -z` in `LOG_FORMAT`."""
    texts = raw.decode("utf-8", "replace").split("\0")[:-1]
    size = len(_LOG)
    return [dict(zip(_LOG, texts[at : at + size], strict=True)) for at in range(0, len(texts), size)]
