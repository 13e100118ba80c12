"""The runtime's side of the conversation: every message to the model is built here, marked and unforgeable.

A genuine marker line carries the session's tag (`#3fa9c1`). Everything that comes from elsewhere goes through
`defuse`: look-alikes of markers are shown as `(quoted) [...]`, and the tag itself never survives in them.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from autopilot_runtime.core.message import printable
from autopilot_runtime.core.protocols import BlockResult, Failure, Item

QUOTED = "(quoted) "
GONE = "(tag removed)"
MOST_RECEIPTS = 3
MOST_TOLD = 4  # replies: a budget that lasts for more says nothing about it
_NOTHING = "Nothing of this block ran."

_GAP = r"[\s_-]*"
_MARKERS = (
    "execution result", "user message", "user input", "environment change", "archived task", "global summary",
    "project instructions", "end of project instructions", "status", r"task \d+",
)  # fmt: skip
_WORDS = "|".join(_GAP.join(words.split()) for words in _MARKERS)
# Quote and list signs, colours and other control characters before a marker do not make it less of one.
_LEAD = re.compile(r"(?:\x1b(?:\[[0-9;?]*[@-~])?|[\s\x00-\x1a\x7f>*#|`'\"_~+-])*")
_LOOKS = re.compile(rf"\[[\s*_`]*(?:{_WORDS})\b|agentic{_GAP}steps?\s+\d", re.IGNORECASE)
_MAY_LOOK = re.compile(r"\[|agentic|[^\x00-\x7f]", re.IGNORECASE)
_BRACKETS = str.maketrans({"【": "[", "⟦": "[", "⁅": "[", "﹇": "["})
_BREAK = re.compile("(\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029])")


def new_tag() -> str:
    """The mark of a new session: six digits nobody outside can know."""
    return "#" + os.urandom(3).hex()


def defuse(text: str, tag: str) -> str:
    """Foreign text in which nothing can pass for a marker of the runtime. Plain text comes back unchanged."""
    text = printable(text)
    if tag:
        bare = re.escape(tag.lstrip("#"))
        text = re.sub(rf"#{bare}|\b{bare}\b", GONE, text, flags=re.IGNORECASE)
    if not _MAY_LOOK.search(text):
        return text
    pieces = _BREAK.split(text)
    for index in range(0, len(pieces), 2):
        if _looks_like_marker(pieces[index]):
            pieces[index] = QUOTED + pieces[index]
    return "".join(pieces)


def _looks_like_marker(line: str) -> bool:
    if not _MAY_LOOK.search(line):
        return False
    folded = _folded(line)
    lead = _LEAD.match(folded)
    return _LOOKS.match(folded, lead.end() if lead else 0) is not None


def inline(text: str, tag: str, limit: int = 200) -> str:
    """Foreign text as a piece of one line: file names, branches, commands. Control characters are escaped."""
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in printable(text)[: limit + 1])
    return defuse(shown if len(shown) <= limit else shown[: limit - 1] + "…", tag)


def _folded(line: str) -> str:
    """What a reader sees: compatibility forms folded, brackets made plain, invisible characters dropped."""
    if line.isascii():
        return line
    folded = unicodedata.normalize("NFKC", line).translate(_BRACKETS)
    return "".join(c for c in folded if unicodedata.category(c) not in ("Cf", "Mn", "Me", "Cc") or c == "\t")


@dataclass(frozen=True, slots=True)
class TerminalState:
    """One terminal as the status shows it."""

    name: str
    status: str
    cwd: str = ""
    pid: int | None = None
    command: str = ""
    background: tuple[str, ...] = ()


def task_message(
    task: str,
    tag: str,
    *,
    number: int = 1,
    instructions: Sequence[Any] = (),
    status: str = "",
    extra: Iterable[str] = (),
) -> str:
    """The first message of a run. `instructions` are `Instruction`s: shown, and marked as the project's text.

    `extra` are whole messages that came since the last run (user messages, environment changes).
    """
    parts = [f"[Task {number}][USER INPUT] {tag}\n{defuse(task, tag)}"]
    for one in instructions:
        head = f"[PROJECT INSTRUCTIONS] {tag} {inline(one.shown, tag)} ({one.lines} lines)"
        parts.append(f"{head}\n{defuse(one.text, tag).strip()}\n[END OF PROJECT INSTRUCTIONS] {tag}")
    return _joined([*parts, *extra], status)


def user_message(text: str, tag: str, *, status: str = "") -> str:
    """What the user said while the agent was at work."""
    return _joined([f"[USER MESSAGE] {tag}\n{defuse(text, tag)}"], status)


def environment_message(report: str, tag: str, *, when: str, status: str = "") -> str:
    """What others changed in the workspace; `when` is `2026-02-21 16:30:12`."""
    text = "Read these files again before you edit them: the line numbers you know are stale."
    return _joined([f"[ENVIRONMENT CHANGE] {when} {tag}\n\n{defuse(report, tag)}\n\n{text}"], status)


def runtime_message(text: str, tag: str, *, status: str = "") -> str:
    """Something the runtime itself has to say about a reply (cut off, empty, malformed): nothing of it ran."""
    return _joined([f"[EXECUTION RESULT] {tag}\n{defuse(text, tag)}"], status)


def result_message(
    result: BlockResult,
    tag: str,
    *,
    status: str = "",
    unused: Sequence[str] = (),
    completion_void: bool = False,
    extra: Iterable[str] = (),
) -> str:
    """What a control block showed, and, when it failed, why, and which calls have taken effect.

    `unused` names payload blocks nobody consumed. `extra` are whole messages that belong to the same turn
    (user messages, environment changes), built by the functions above.
    """
    lines = [defuse(text, tag) for _, text in shown_texts(result)]
    if result.dropped_chars:
        lines.append(f"({result.dropped_chars:,} more characters were dropped. Print less.)")
    if result.failure:
        lines.append(_failed(result.failure, result.effects, tag))
    elif not lines:
        lines.append("(The block ran and showed nothing.)")
    if unused:
        names = ", ".join(inline(name, tag) for name in unused)
        lines.append(f"No call used these payload blocks, so they were not written: {names}.")
    if completion_void and result.failure:
        lines.append("Your completion was not delivered, because the block failed. The task goes on.")
    return _joined([f"[EXECUTION RESULT] {tag}\n" + "\n".join(lines), *extra], status)


def shown_texts(result: BlockResult) -> list[tuple[Item | None, str]]:
    """The texts of a block's items as the model gets them, in order; one that stands for several has no item."""
    items = [item for item in result.items if item.text]
    if result.failure and items and _tells_the_same(items[-1], result.failure):
        items.pop()
    return [(item, text.rstrip("\n")) for item, text in _folded_receipts(items)]


def _tells_the_same(item: Item, failure: Failure) -> bool:
    """Whether the line of a failed call says no more than the error that ended the block."""
    _, failed, why = item.text.partition("-> failed: ")
    return item.kind == "receipt" and bool(failed) and why[:100] in " ".join(failure.text.split())


def _folded_receipts(items: Iterable[Item]) -> list[tuple[Item | None, str]]:
    """The items of a block in order; of many silent calls in a row only the first few are named."""
    texts: list[tuple[Item | None, str]] = []
    for quiet, group in groupby(items, key=lambda item: item.kind == "receipt" and "-> failed" not in item.text):
        found: list[tuple[Item | None, str]] = [(item, item.text) for item in group]
        spare = len(found) - MOST_RECEIPTS
        more = [(None, f"... and {spare:,} more calls")]
        texts += [*found[:MOST_RECEIPTS], *more] if quiet and spare > 1 else found
    return texts


def _failed(failure: Failure, effects: Sequence[str], tag: str) -> str:
    text = defuse(failure.text, tag).strip()
    if failure.kind in ("syntax", "check"):
        return text if _NOTHING in text else f"{text}\n{_NOTHING}"
    if not effects:
        return f"{text}\nNo tool call had succeeded before that."
    done = "\n".join(f"{n}. {inline(effect, tag)}" for n, effect in enumerate(effects, 1))
    return f"{text}\nThese calls took effect before that; do not repeat them:\n{done}"


def step_line(step: int, max_steps: int) -> str:
    """`Agentic step 12 / 30 40% agentic steps consumed!`: more urgent from 1/3, 3/4 and 9/10 of the steps on."""
    head, percent = f"Agentic step {step} / {max_steps}", step * 100 // max_steps
    if step * 3 < max_steps:
        return head
    if step * 4 < max_steps * 3:
        return f"{head} {percent}% agentic steps consumed!"
    if step * 10 < max_steps * 9:
        return f"{head} {percent}% agentic steps consumed. Approaching step limit!"
    return f"{head} {percent}% agentic steps consumed! Hard Limit Near!"


def status_block(
    step: int,
    max_steps: int,
    *,
    tag: str,
    now: str,
    system: str = "",
    cwd: str = "",
    terminals: Sequence[TerminalState] = (),
    tokens: tuple[int, int] | None = None,
    hint: str = "",
    budget: str = "",
) -> str:
    """What changes from step to step, in a few lines. `tokens` is (used, window), `hint` what to do about them."""
    where = " · ".join(part for part in (now, system, f"workspace {inline(cwd, tag)}" if cwd else "") if part)
    lines = [f"[STATUS] {tag}", step_line(step, max_steps), where]
    lines += [_terminal_line(one, tag) for one in terminals]
    if tokens:
        used, window = tokens
        advice = f"; {hint}" if hint else ""
        lines.append(f"context: {used:,} of {window:,} tokens ({used * 100 // max(window, 1)}%){advice}")
    lines.append(budget)
    return "\n".join(line for line in lines if line)


def _terminal_line(one: TerminalState, tag: str) -> str:
    pid = f" pid {one.pid}" if one.pid is not None else ""
    folder = f" cwd {inline(one.cwd, tag)}" if one.cwd else ""
    command = f" $ {inline(one.command, tag, 80)}" if one.command else ""
    jobs = "; ".join(inline(line, tag, 60) for line in one.background[:5])
    more = f", in the background: {jobs}" if jobs else ""
    return f"terminal {inline(one.name, tag)}:{pid} {inline(one.status, tag)}{folder}{command}{more}"


def budget_line(
    *,
    usd: tuple[float, float | None] | None = None,
    tokens: tuple[int, int] | None = None,
    seconds: tuple[float, float] | None = None,
    replies: int | None = None,
) -> str:
    """`cost: $0.12 of $0.50 · 12,000 of 50,000 tokens · 40 of 600 s`: each as (used, limit); "" without any.

    `replies` is for how many more it will last: every reply pays for the whole conversation, which a model forgets.
    """
    parts = []
    if usd is not None:
        spent, limit = usd
        parts.append(f"${spent:.2f}" + (f" of ${limit:.2f} (${max(0.0, limit - spent):.2f} left)" if limit else ""))
    if tokens is not None:
        used, most = tokens
        parts.append(f"{used:,} of {most:,} tokens ({max(0, most - used):,} left)")
    if seconds is not None:
        gone, until = seconds
        parts.append(f"{gone:.0f} of {until:.0f} s ({max(0.0, until - gone):.0f} left)")
    return f"cost: {' · '.join(parts)}{_lasts(replies)}" if parts else ""


def _lasts(replies: int | None) -> str:
    if replies is None or replies > MOST_TOLD:
        return ""
    if replies > 1:
        return f"; enough for about {replies} more replies: finish what matters most"
    return "; enough for this reply only: complete now, with what is done and what is not"


def _joined(parts: Sequence[str], status: str) -> str:
    return "\n\n".join([*parts, status] if status else parts)
