"""Texts for YAML that cannot be read: `name:line:column: what`, the line itself, and a caret under the place."""

from __future__ import annotations

import re

import yaml

from autopilot_runtime.core.errors import AgentFileError

MAX_BYTES = 1_000_000

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
_INDENT = "check the indentation; keys of one section start in one column"
_ADVICE = {
    "mapping values are not allowed": "a value with ': ' in it needs quotes, or this line is indented too far",
    "expected <block end>": _INDENT,
    "did not find expected key": _INDENT,
}


def decode(raw: bytes, name: str) -> str:
    """The text of a file. Raises `AgentFileError` for what is not UTF-8 text of a bearable size."""
    if len(raw) > MAX_BYTES:
        raise AgentFileError([f"{name}:1:1: the file has {len(raw):,} bytes; {MAX_BYTES:,} are allowed"])
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise AgentFileError([f"{name}:1:1: the file is UTF-16; save it as UTF-8"])
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        column = error.start - (raw.rfind(b"\n", 0, error.start) + 1) + 1
        raise AgentFileError(
            [f"{name}:{line}:{column}: byte 0x{raw[error.start]:02x} is not UTF-8; save the file as UTF-8"]
        ) from None
    bad = _CONTROL.search(text)
    if bad:
        line, column = _place(text, bad.start())
        what = f"character U+{ord(bad.group()):04X} is not allowed in YAML; remove it"
        raise AgentFileError([point_at(name, text, line, column=column, what=what)])
    return text


def point_at(name: str, text: str, line: int, *, column: int, what: str) -> str:
    """`name:line:column: what`, then the line itself and a caret under the place."""
    source = text.split("\n")[line - 1 : line]
    head = f"{name}:{line}:{column}: {what}"
    if not source:
        return head
    start = max(0, column - 60)
    shown = source[0][start : start + 100].rstrip("\r\n").replace("\t", " ")
    shown = "".join(c if c.isprintable() else "?" for c in shown)
    gutter = f"{line:>5} | "
    return f"{head}\n{gutter}{shown}\n{' ' * 5} | {' ' * (column - 1 - start)}^"


def syntax_fault(error: yaml.YAMLError, name: str, text: str) -> str:
    """The parser's own complaint, with what usually causes it."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    said = getattr(error, "problem", None) or str(error).splitlines()[0]
    if mark is None:
        return f"{name}:1:1: {said}"
    line, column = mark.line + 1, mark.column + 1
    lines = text.split("\n")
    if line > len(lines) or not lines[line - 1].strip():
        # The end of the file: show the last line that says something.
        line = next((n for n in range(min(line, len(lines)), 0, -1) if lines[n - 1].strip()), 1)
        column = len(lines[line - 1].rstrip()) + 1
    what, at = _cause(error, said, lines[line - 1], column)
    return point_at(name, text, at[0] or line, column=at[1], what=what)


def _cause(error: yaml.YAMLError, said: str, line: str, column: int) -> tuple[str, tuple[int, int]]:
    """What usually causes such a complaint, and the place to look at (line 0: where the parser stopped)."""
    indent = line[: len(line) - len(line.lstrip())]
    if "\t" in indent or line[column - 1 : column] == "\t":
        return f"a tab; YAML is indented with spaces ({said})", (0, line.index("\t") + 1)
    opened = getattr(error, "context_mark", None)
    if opened is not None and "quoted scalar" in str(getattr(error, "context", "")):
        return f"a quote is opened and never closed ({said})", (opened.line + 1, opened.column + 1)
    for words, advice in _ADVICE.items():
        if words in said:
            return f"{said}: {advice}", (0, column)
    return said, (0, column)


def _place(text: str, index: int) -> tuple[int, int]:
    return text.count("\n", 0, index) + 1, index - (text.rfind("\n", 0, index) + 1) + 1
