"""How much of the oldest conversation is summed up, and what the summary is made from. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from itertools import accumulate

from autopilot_runtime.core.message import Message

_LEAST_CHARS = 160  # of a message in a transcript; when that is too much, messages are left out
_HEAD_CHARS = 35  # of the line over each
_COMPLETION = re.compile(r"^(`{3,}|~{3,})completion[^\n]*\n(.*?)^\1", re.DOTALL | re.MULTILINE)
_WROTE = re.compile(r"^wrote (\S.*?) \(", re.MULTILINE)
_FIRST_CHARS = 200
_LAST_CHARS = 300


def fold_at(
    messages: Sequence[Message],
    weights: Sequence[int],
    *,
    first: int,
    keep: int,
    room: int,
    whole: Collection[int] = (),
) -> int | None:
    """Up to which message to sum up, so that what comes after takes no more than `room`; None when nothing can be.

    Whole tasks first, and no more of them than needed; if that is not enough, steps of the one they reach into. The
    newest `keep` messages stay. `whole` tasks (archived ones) are never cut; before `first` all is summed up already.
    """
    limit = len(messages) - keep
    if limit <= first:
        return None
    left = [*accumulate(reversed(weights))][::-1]  # left[i]: what the messages from i on take
    tasks = [at for at in range(first + 1, limit + 1) if messages[at].task != messages[at - 1].task]
    steps = [
        at
        for at in range(max([first, *tasks]) + 1, limit + 1)
        if messages[at].role == "assistant" and messages[at].task not in whole
    ]
    places = [*tasks, *steps]
    return next((at for at in places if left[at] <= room), places[-1] if places else None)


def transcript(messages: Sequence[Message], *, chars: int) -> str:
    """The messages as one text of about `chars` characters: long ones are cut in the middle, all to one length."""
    most = max(2, chars // (_LEAST_CHARS + _HEAD_CHARS))
    length = _level([len(one.content) for one in messages], chars - _HEAD_CHARS * len(messages))
    gap = len(messages) - most
    if length >= _LEAST_CHARS or gap <= 0 or sum(len(one.content) + _HEAD_CHARS for one in messages) <= chars:
        return "\n".join(_told(one, length) for one in messages)
    early, late = messages[: most // 4], messages[most // 4 + gap :]
    return "\n".join(
        [
            *(_told(one, _LEAST_CHARS) for one in early),
            f"--- {gap:,} messages left out ---",
            *(_told(one, _LEAST_CHARS) for one in late),
        ]
    )


def _told(one: Message, length: int) -> str:
    who = "agent" if one.role == "assistant" else "to the agent"
    return f"--- {who}, task {one.task} ---\n{_cut(one.content, length)}"


def _level(lengths: Sequence[int], total: int) -> int:
    """The length to which all have to be cut so that together they are no longer than `total`."""
    left = total
    for done, length in enumerate(sorted(lengths)):
        share = left // (len(lengths) - done)
        if length > share:
            return max(share, 1)
        left -= length
    return max(lengths, default=0)


def _cut(text: str, length: int) -> str:
    if len(text) <= length:
        return text
    note = " [...] "
    half = max(0, length - len(note)) // 2
    return f"{text[:half]}{note}{text[len(text) - half :]}"


def digest(messages: Sequence[Message], *, before: str = "", chars: int = 2_000) -> str:
    """What can be said of messages without a model: their tasks, how each ended, and the files written."""
    lines = [f"- {line}" for line in _endings(messages)]
    files = dict.fromkeys(path for one in messages if one.kind == "result" for path in _WROTE.findall(one.content))
    if files:
        lines.append(f"Files written: {_cut(', '.join(files), chars // 4)}")
    old = [_cut(before, chars // 3)] if before else []
    room = chars - sum(map(len, old))
    return "\n".join([*old, *_newest(lines, room)])


def _endings(messages: Sequence[Message]) -> Iterator[str]:
    asked, said = dict[int, str](), dict[int, str]()
    for one in messages:
        if one.kind == "task" or (one.role == "user" and one.task not in asked):
            _, _, text = one.content.partition("\n") if one.kind == "task" else ("", "", one.content)
            asked[one.task] = _line(text.strip().partition("\n")[0], _FIRST_CHARS)
        elif one.role == "assistant":
            done = _COMPLETION.search(one.content)
            said[one.task] = _line(done[2] if done else one.content, _LAST_CHARS)
    for task in dict.fromkeys([*asked, *said]):
        yield f"Task {task}: {asked.get(task, '(its text is elsewhere)')} => {said.get(task, '(no reply)')}"


def _line(text: str, limit: int) -> str:
    """The first lines of a text, as one."""
    return _cut(" ".join(text.strip()[: limit * 4].split()), limit)


def _newest(lines: Sequence[str], chars: int) -> list[str]:
    """As many of the last lines as there is room for; of those left out, how many."""
    kept: list[str] = []
    for line in reversed(lines):
        chars -= len(line) + 1
        if chars < 0 and kept:
            break
        kept.append(line)
    gap = len(lines) - len(kept)
    return [*([f"({gap:,} older tasks left out)"] if gap else []), *reversed(kept)]
