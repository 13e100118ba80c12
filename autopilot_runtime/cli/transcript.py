"""`autopilot sessions show|export`: a conversation to read, or whole, for another program."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from autopilot_runtime.cli import figures, safe
from autopilot_runtime.cli.exitcode import ExitCode
from autopilot_runtime.cli.keep import waiting_lines
from autopilot_runtime.cli.origin import Origin, origin_of
from autopilot_runtime.cli.place import Place
from autopilot_runtime.cli.said import Part, parts
from autopilot_runtime.cli.tty import Paint, look
from autopilot_runtime.core.errors import SessionError, SetupError
from autopilot_runtime.core.files import write_atomic
from autopilot_runtime.runtime.requests import ANSWER, REQUEST

Format = Literal["md", "json", "jsonl"]
_LINES = 8
_NAMES = {
    "result": "result",
    "message": "you, meanwhile",
    "environment": "changed by others",
    "instructions": "project instructions",
    "note": "note",
}


@dataclass(frozen=True, slots=True)
class Told:
    """A whole session."""

    session_id: str
    agent: str
    created: float
    updated: float
    messages: list[dict[str, Any]]
    extra: dict[str, Any]
    origin: Origin | None

    @property
    def parts(self) -> list[Part]:
        """The conversation, part by part."""
        return parts(self.messages, str(self.extra.get("tag") or ""))

    @property
    def waiting(self) -> list[dict[str, Any]]:
        """What a suspended run waits for."""
        asked = {key.removeprefix(REQUEST): one for key, one in self.extra.items() if key.startswith(REQUEST)}
        return [one for number, one in asked.items() if ANSWER + number not in self.extra]


def read(place: Place, typed: str) -> Told:
    """The session that is meant."""
    head = place.find(typed)
    if head.get("error"):
        raise SessionError(str(head["error"]))
    store = place.read(str(head["session_id"]))
    try:
        messages, extra = store.load(), store.extra()
    finally:
        store.close()
    times = float(head.get("created_at") or 0), float(head.get("updated_at") or 0)
    return Told(str(head["session_id"]), str(head.get("agent_name") or ""), *times, messages, extra, origin_of(extra))


def show_command(place: Place, typed: str, *, as_json: bool, full: bool) -> ExitCode:
    """Print a conversation for a person, results shortened unless `full`."""
    told = read(place, typed)
    if as_json:
        sys.stdout.write(as_document(told, indent=2))
        return ExitCode.DONE
    paint = Paint(look().out_colour)
    for line in _head(told):
        print(paint(line, "dim"))
    for part in told.parts:
        for line in _shown(part, paint, full=full):
            print(line)
    if told.waiting:
        print(*waiting_lines(told.waiting, told.session_id, place.flags), sep="\n")
    return ExitCode.DONE


def _head(told: Told) -> Iterator[str]:
    yield safe.one_line(
        f"{told.session_id} · {told.agent} · {figures.count(len(told.messages), 'message')} · {_when(told.updated)}"
    )
    if told.origin is not None:
        yield safe.one_line(f"{told.origin.agent_file} · {told.origin.model} · {told.origin.work_dir}")


def _when(at: float) -> str:
    return datetime.fromtimestamp(at).strftime("%Y-%m-%d %H:%M")


def _shown(part: Part, paint: Paint, *, full: bool) -> Iterator[str]:
    marks = f" ({', '.join(part.marks)})" if part.marks else ""
    text = safe.prose(part.text).strip("\n")
    if part.speaker == "status" and not full:
        return
    yield ""
    if part.speaker == "task":
        yield paint(f"Task {part.task}{marks}", "bold")
        yield text
    elif part.speaker == "agent":
        if marks:
            yield paint(marks.strip(), "dim")
        yield from _reply(text, paint)
    else:
        yield paint(f"  {_NAMES.get(part.speaker, part.speaker)}{marks}", "dim")
        yield from (paint(f"  │ {line}", "dim") for line in _cut(text.split("\n"), full=full))


def _reply(text: str, paint: Paint) -> Iterator[str]:
    """Prose as it is; what stands in fences in a colour of its own."""
    fence = ""
    for line in text.split("\n"):
        mark = re.match(r"(`{3,}|~{3,})", line)
        inside = bool(fence) or mark is not None
        yield paint(line, "cyan") if inside else line
        if mark is not None:
            closes = fence and mark[1].startswith(fence) and not line[mark.end() :].strip()
            fence = "" if closes else fence or mark[1]


def _cut(lines: list[str], *, full: bool) -> list[str]:
    if full or len(lines) <= _LINES + 2:
        return lines
    return [*lines[:_LINES], f"… {len(lines) - _LINES} more lines (--full)"]


def export_command(place: Place, typed: str, *, form: Format, to: Path | None, force: bool) -> ExitCode:
    """Write a whole session: nothing is shortened. Secrets were masked when it was kept."""
    told = read(place, typed)
    text = {"md": as_markdown, "json": as_document, "jsonl": as_lines}[form](told)
    if to is None:
        sys.stdout.write(text.encode("utf-8", "backslashreplace").decode())
        return ExitCode.DONE
    if to.exists() and not force:
        raise SetupError(f"{to} is there already; --force replaces it.")
    try:
        write_atomic(to, text.encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise SetupError(f"{to} cannot be written: {error.strerror or error}.") from error
    print(f"{told.session_id}: {figures.count(len(told.messages), 'message')} in {to}", file=sys.stderr)
    return ExitCode.DONE


def _facts(told: Told) -> dict[str, Any]:
    return {
        "session_id": told.session_id,
        "agent": told.agent,
        "created": datetime.fromtimestamp(told.created, UTC).isoformat(timespec="seconds"),
        "updated": datetime.fromtimestamp(told.updated, UTC).isoformat(timespec="seconds"),
        "origin": asdict(told.origin) if told.origin is not None else None,
    }


def as_document(told: Told, *, indent: int | None = 1) -> str:
    """One JSON object with everything, also the state the runtime keeps beside the messages."""
    value = {**_facts(told), "messages": told.messages, "extra": told.extra}
    return json.dumps(value, ensure_ascii=False, indent=indent) + "\n"


def as_lines(told: Told) -> str:
    """A line of facts, then one line per message."""
    return "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in [_facts(told), *told.messages])


def as_markdown(told: Told) -> str:
    """A page to read, with every word of the conversation."""
    facts = _facts(told)
    lines = [f"# {told.session_id}", "", f"- agent: {told.agent}"]
    if told.origin is not None:
        lines += [
            f"- file: {told.origin.agent_file}",
            f"- model: {told.origin.model}",
            f"- folder: {told.origin.work_dir}",
        ]
    lines += [f"- begun: {facts['created']}", f"- last: {facts['updated']}", ""]
    for part in told.parts:
        marks = f" ({', '.join(part.marks)})" if part.marks else ""
        if part.speaker == "task":
            lines += [
                f"## Task {part.task}{marks}",
                "",
                *(f"> {line}".rstrip() for line in part.text.split("\n")),
                "",
            ]
        elif part.speaker == "agent":
            lines += [f"### Reply{marks}", "", part.text.strip("\n"), ""]
        else:
            # Longer than any fence inside, so that nothing in a result ends it.
            fence = "`" * max(3, *(len(run) + 1 for run in re.findall(r"`{3,}", part.text)), 3)
            lines += [f"#### {_NAMES.get(part.speaker, part.speaker).capitalize()}{marks}", ""]
            lines += [f"{fence}text", part.text, fence, ""]
    return "\n".join(lines)
