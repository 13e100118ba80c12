"""OpenAI Chat Completions on the wire, as OpenAI and every compatible host speak it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from autopilot_runtime.core.protocols import Delta, Stopped, Text, Thought, Usage, Used
from autopilot_runtime.model.encode import body, count, details, dumps, number, with_cost
from autopilot_runtime.model.settings import Thinking
from autopilot_runtime.model.wire import HttpProvider, Request


class OpenAIChat(HttpProvider):
    """Any host that speaks Chat Completions."""

    sdk = "openai"
    path = "/chat/completions"
    optional = (
        "max_tokens",
        "stream_options",
        "max_completion_tokens",
        "temperature",
        "reasoning_effort",
        "enable_thinking",
        "thinking_budget",
    )

    def _body(self, request: Request) -> bytes:
        settings = self.settings
        fields: dict[str, Any] = {"model": self.model, "stream": True}
        if self._keeps("stream_options"):
            fields["stream_options"] = {"include_usage": True}
        modern = self.preset.limit_field == "max_completion_tokens" or not self._keeps("max_tokens")
        modern = modern and self._keeps("max_completion_tokens")
        fields["max_completion_tokens" if modern else "max_tokens"] = request.max_tokens
        if settings.temperature is not None and self._keeps("temperature"):
            fields["temperature"] = settings.temperature
        thinking = reasoning(self.preset.thinking, settings.thinking)
        fields.update({field: value for field, value in thinking.items() if self._keeps(field)})
        if self.preset.thinking == "openrouter":
            fields["usage"] = {"include": True}  # it then says what the call cost
        fields.update(settings.extra_body)
        system = b'{"role":"system","content":' + dumps(request.system) + b"}," if request.system else b""
        return body(fields, "messages", request.messages, first=system)

    def _headers(self, key: str) -> dict[str, str]:
        del key
        return {} if self.preset.thinking != "openrouter" else {"X-Title": "autopilot-runtime"}

    def _reply(self) -> ChatReply:
        return ChatReply()


def reasoning(style: str, thinking: Thinking) -> dict[str, Any]:
    """The fields with which a host is asked to reason."""
    if style == "alibaba":
        if not thinking.enabled:
            return {}
        budget = {"thinking_budget": thinking.budget_tokens} if thinking.budget_tokens else {}
        return {"enable_thinking": True, **budget}
    if not thinking.enabled or style == "none":
        return {}
    if style == "openrouter":
        if thinking.effort is None and thinking.budget_tokens:
            return {"reasoning": {"max_tokens": thinking.budget_tokens}}
        return {"reasoning": {"effort": thinking.effort or "medium"}}
    return {"reasoning_effort": thinking.effort or "medium"}


class ChatReply:
    """Reads the chunks of one reply. The last one may have no choices, and only usage."""

    def __init__(self) -> None:
        self.stopped: Stopped | None = None
        self.done = False
        self.failure: Any = None
        self._refusal = ""

    def feed(self, event: dict[str, Any]) -> Sequence[Delta]:
        """The deltas of one chunk."""
        if event.get("error"):
            self.failure = event["error"]
            return ()
        deltas: list[Delta] = []
        choices = event.get("choices")
        if isinstance(choices, list) and choices and isinstance(choices[0], dict):
            self._choice(choices[0], details(choices[0], "delta"), deltas)
        if isinstance(told := event.get("usage"), dict):
            deltas.append(Used(usage(told)))
        return deltas

    def whole(self, answer: dict[str, Any]) -> Sequence[Delta] | None:
        """A reply that came as one object although a stream was asked for."""
        choices = answer.get("choices")
        if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
            return None
        deltas: list[Delta] = []
        self._choice(choices[0], details(choices[0], "message"), deltas)
        if isinstance(told := answer.get("usage"), dict):
            deltas.append(Used(usage(told)))
        return deltas if self.stopped else None

    def _choice(self, choice: dict[str, Any], delta: dict[str, Any], deltas: list[Delta]) -> None:
        thought = delta.get("reasoning_content") or delta.get("reasoning")
        if isinstance(thought, str) and thought:
            deltas.append(Thought(thought))
        text = delta.get("content")
        if isinstance(text, list):  # some hosts send parts
            text = "".join(str(part.get("text") or "") for part in text if isinstance(part, dict))
        if isinstance(text, str) and text:
            deltas.append(Text(text))
        if isinstance(delta.get("refusal"), str):
            self._refusal += delta["refusal"]
        reason = choice.get("finish_reason")
        if reason and self.stopped is None:
            self.stopped = stop(str(reason), self._refusal)


def stop(reason: str, refusal: str = "") -> Stopped:
    """Our word for a finish reason."""
    if reason == "content_filter" or (refusal and reason == "stop"):
        return Stopped("refusal", refusal or "content_filter")
    if reason in ("stop", "eos", "tool_calls", "function_call", "end_turn", "stop_sequence"):
        return Stopped("end", "" if reason == "stop" else reason)
    return Stopped("length", reason)


def usage(told: dict[str, Any]) -> Usage:
    """`prompt_tokens` includes what came from the cache."""
    prompt, completion = details(told, "prompt_tokens_details"), details(told, "completion_tokens_details")
    return with_cost(
        Usage(
            input_total=number(told.get("prompt_tokens")),
            cache_read=count(prompt.get("cached_tokens") or told.get("prompt_cache_hit_tokens")),
            cache_write=count(prompt.get("cache_write_tokens")),
            output=number(told.get("completion_tokens")),
            reasoning=count(completion.get("reasoning_tokens")),
        ),
        told.get("cost"),
    )
