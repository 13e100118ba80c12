"""A model that says what it was told to say: a list of replies, a function, or a file. Nothing is sent anywhere."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from autopilot_runtime.core.errors import ProviderError, SetupError
from autopilot_runtime.core.message import Message
from autopilot_runtime.core.protocols import Delta, Stopped, Text, Thought, Usage, Used
from autopilot_runtime.model.prices import price
from autopilot_runtime.model.settings import ModelSettings

Reason = Literal["end", "length", "refusal", "context"]
_CUT = "--- reply ---"


@dataclass(frozen=True, slots=True)
class ScriptedReply:
    """One reply. With `error` the call fails with that kind of fault after the text was streamed."""

    text: str
    stop: Reason = "end"
    thought: str = ""
    error: str | None = None


Answer = str | tuple[str, Reason] | ScriptedReply | Exception
Script = Sequence[Answer] | Callable[[Sequence[Message]], Answer | Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Asked:
    """One call as the provider got it."""

    messages: tuple[Message, ...]
    system: str
    max_tokens: int | None


class ScriptedProvider:
    """Streams the next reply of a list, or what a function of the messages returns.

    A plain function runs in a thread. `calls` holds what was asked.
    """

    def __init__(
        self,
        replies: Script,
        *,
        model: str = "scripted",
        name: str = "scripted",
        delay: float = 0.0,
        chunk: int = 24,
    ) -> None:
        self.name = name
        self.model = model
        self.calls: list[Asked] = []
        self._replies: Script = replies if callable(replies) else list(replies)
        self._delay = delay
        self._chunk = max(1, chunk)
        self._sizes = _Sizes()
        self._settings: ModelSettings | None = None

    @classmethod
    def from_file(cls, path: Path, *, settings: ModelSettings | None = None) -> ScriptedProvider:
        """The provider of a script file; see `read_script` for its forms. A price in the settings is charged."""
        replies, options = read_script(path)
        made = cls(replies, model=path.stem, **options)
        made._settings = settings
        return made

    async def stream(
        self, messages: Sequence[Message], *, system: str, max_tokens: int | None = None
    ) -> AsyncIterator[Delta]:
        """The deltas of the next reply."""
        self.calls.append(Asked(tuple(messages), system, max_tokens))
        reply = _as_reply(await self._next(messages))
        if reply.thought:
            yield Thought(reply.thought)
        for start in range(0, len(reply.text), self._chunk):
            if self._delay:
                await asyncio.sleep(self._delay)
            yield Text(reply.text[start : start + self._chunk])
        if reply.error is not None:
            raise self._error(f"scripted fault: {reply.error}", reply.error)
        usage = _estimate(len(system) + self._sizes.of(messages), reply)
        yield Used(usage if self._settings is None else price(self._settings, usage, free=True))
        yield Stopped(reply.stop)

    async def close(self) -> None:
        """Nothing to close."""

    async def _next(self, messages: Sequence[Message]) -> Answer:
        if callable(self._replies):
            if inspect.iscoroutinefunction(self._replies):
                return await self._replies(messages)  # type: ignore[no-any-return]
            found = await asyncio.to_thread(self._replies, messages)
            return await found if inspect.isawaitable(found) else found
        number = len(self.calls)
        if number > len(self._replies):
            text = f"the script has {len(self._replies)} replies, and this is call {number}"
            raise self._error(text, "bad_request")
        return self._replies[number - 1]

    def _error(self, text: str, kind: str) -> ProviderError:
        return ProviderError(
            f"{self.name} ({self.model}): {text}.",
            kind=kind,  # type: ignore[arg-type]
            provider=self.name,
            model=self.model,
            retryable=kind in ("rate_limit", "overloaded", "server", "connection", "timeout", "truncated"),
        )


def _as_reply(answer: Answer) -> ScriptedReply:
    if isinstance(answer, Exception):
        raise answer
    if isinstance(answer, ScriptedReply):
        return answer
    return ScriptedReply(answer) if isinstance(answer, str) else ScriptedReply(answer[0], answer[1])


class _Sizes:
    """The length of a conversation that grows: each message is counted once, however often it is sent."""

    def __init__(self) -> None:
        self._counted = self._total = 0
        self._last: Message | None = None

    def of(self, messages: Sequence[Message]) -> int:
        known = self._counted
        if known > len(messages) or (known and messages[known - 1] is not self._last):
            known = self._total = 0
        self._total += sum(len(messages[at].content) for at in range(known, len(messages)))
        self._counted, self._last = len(messages), messages[-1] if messages else None
        return self._total


def _estimate(size: int, reply: ScriptedReply) -> Usage:
    """A plausible size, so that meters and budgets have something to count. It costs nothing, unless it is priced."""
    spoken = len(reply.text) + len(reply.thought)
    return Usage(size // 4 + 1, output=spoken // 4 + 1, cost_usd=0.0, cost_source="price_table")


def read_script(path: Path) -> tuple[list[Answer], dict[str, Any]]:
    """Replies and options of a script file.

    `.yaml`, `.yml`, `.json`: a list, or `{replies: [...], delay: seconds, chunk: characters}`; a reply is a text or
    `{text:, stop: end|length|refusal|context, thought:, error: kind of fault}`. Any other file is text, with
    a line `--- reply ---` between replies.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SetupError(f"The script of the scripted model cannot be read: {path} ({error}).") from error
    if path.suffix not in (".yaml", ".yml", ".json"):
        lines = text.splitlines(keepends=True)
        cuts = [i for i, line in enumerate(lines) if line.strip() == _CUT]
        starts = [0, *(cut + 1 for cut in cuts)]
        return ["".join(lines[a:b]) for a, b in zip(starts, [*cuts, len(lines)], strict=True)], {}
    value = _load(path, text)
    options: dict[str, Any] = {}
    if isinstance(value, dict):
        wrong = sorted(set(value) - {"replies", "delay", "chunk"})
        if wrong:
            raise SetupError(f"{path}: unknown key {wrong[0]!r}; a script has replies, delay, chunk.")
        options = {key: value[key] for key in ("delay", "chunk") if key in value}
        value = value.get("replies")
    if not isinstance(value, list):
        raise SetupError(f"{path}: a script is a list of replies, or a map with `replies:`.")
    return [_reply_of(path, number, item) for number, item in enumerate(value, 1)], options


def _load(path: Path, text: str) -> Any:
    if path.suffix == ".json":
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise SetupError(f"{path}: {error}") from error
    import yaml  # only a YAML script needs it

    try:
        return yaml.safe_load(text)
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise SetupError(f"{path}: {error}") from error


def _reply_of(path: Path, number: int, item: Any) -> Answer:
    if isinstance(item, str):
        return item
    if not isinstance(item, dict) or not set(item) <= {"text", "stop", "thought", "error"}:
        raise SetupError(f"{path}: reply {number} is neither a text nor a map of text, stop, thought, error.")
    reply = ScriptedReply(str(item.get("text") or ""), thought=str(item.get("thought") or ""))
    stop, error = item.get("stop", "end"), item.get("error")
    if stop not in ("end", "length", "refusal", "context"):
        raise SetupError(f"{path}: reply {number} stop: {stop!r} is not one of end, length, refusal, context.")
    return replace(reply, stop=stop, error=None if error is None else str(error))
