"""The Anthropic Messages API on the wire: body, prompt cache, thinking, events, stop reasons, usage."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from autopilot_runtime.core.protocols import Delta, Stopped, Text, Thought, Usage, Used
from autopilot_runtime.model.encode import body, count, details, number
from autopilot_runtime.model.wire import HttpProvider, Request

_OLD_VERSIONS = ("2023-01-01", "2023-06-01")
_EPHEMERAL = {"type": "ephemeral"}
_LEAST_BUDGET = 1024
# These think with a budget of tokens; later models decide themselves and take an effort.
_BUDGETED = re.compile(r"claude-(?:3|(?:opus|sonnet|haiku)-4(?:$|-(?:[015]|20\d{6})(?:$|-)))")


class Anthropic(HttpProvider):
    """Claude models. The history is never re-encoded, and its bytes never change between calls."""

    sdk = "anthropic"
    path = "/v1/messages"
    optional = ("temperature", "cache_control", "output_config", "thinking")

    def _body(self, request: Request) -> bytes:
        fields: dict[str, Any] = {"model": self.model, "max_tokens": request.max_tokens, "stream": True}
        if self.settings.temperature is not None and self._keeps("temperature"):
            if self.settings.api_version in _OLD_VERSIONS:
                fields["temperature"] = self.settings.temperature
            else:
                self._note(
                    f"{self.model}: this Anthropic API has no 'temperature'; it is left out."
                    ' With api_version: "2023-06-01" it is sent.'
                )
        fields.update(self._thinking(request.max_tokens))
        if self._keeps("cache_control"):
            # The server marks the newest block itself: a marker of ours would have to move,
            # and moving it changes bytes of the history.
            fields["cache_control"] = _EPHEMERAL
        if request.system:
            block: dict[str, Any] = {"type": "text", "text": request.system}
            fields["system"] = [{**block, "cache_control": _EPHEMERAL} if self._keeps("cache_control") else block]
        fields.update(self.settings.extra_body)
        return body(fields, "messages", request.messages)

    def _thinking(self, max_tokens: int) -> dict[str, Any]:
        thinking = self.settings.thinking
        if not thinking.enabled or not self._keeps("thinking"):
            return {}
        budget = thinking.budget_tokens
        if budget and (_BUDGETED.search(self.model) or self.settings.api_version in _OLD_VERSIONS):
            budget = max(_LEAST_BUDGET, min(budget, max_tokens - _LEAST_BUDGET))
            return {"thinking": {"type": "enabled", "budget_tokens": budget}}
        fields: dict[str, Any] = {"thinking": {"type": "adaptive", "display": "summarized"}}
        if thinking.effort and self._keeps("output_config"):
            fields["output_config"] = {"effort": thinking.effort}
        return fields

    def _headers(self, key: str) -> dict[str, str]:
        headers = {}
        if self.settings.api_version:
            headers["anthropic-version"] = self.settings.api_version
        return headers

    def _reply(self) -> MessagesReply:
        return MessagesReply()


class MessagesReply:
    """Reads the events of one reply."""

    def __init__(self) -> None:
        self.stopped: Stopped | None = None
        self.done = False
        self.failure: Any = None
        self._usage: dict[str, Any] = {}
        self._reason: Stopped | None = None

    def feed(self, event: dict[str, Any]) -> Sequence[Delta]:
        """The deltas of one event; unknown ones are skipped, as the API asks."""
        kind = event.get("type")
        if kind == "content_block_delta":
            return _pieces(details(event, "delta"))
        if kind == "content_block_start":
            return _pieces(details(event, "content_block"))
        if kind == "message_start":
            self._usage.update(details(details(event, "message"), "usage"))
        elif kind == "message_delta":
            self._usage.update({k: v for k, v in details(event, "usage").items() if v is not None})
            delta = details(event, "delta")
            if delta.get("stop_reason"):
                self._reason = stop(str(delta["stop_reason"]), delta.get("stop_details"))
        elif kind == "message_stop":
            self.done = True
            self.stopped = self._reason
            return (Used(usage(self._usage)),) if self._usage else ()
        elif kind == "error":
            self.failure = event.get("error") or {"type": "api_error", "message": "an error without a text"}
        return ()

    def whole(self, answer: dict[str, Any]) -> Sequence[Delta] | None:
        """A reply that came as one object although a stream was asked for."""
        blocks = answer.get("content")
        if answer.get("type") != "message" or not isinstance(blocks, list) or not answer.get("stop_reason"):
            return None
        self.stopped = stop(str(answer["stop_reason"]), answer.get("stop_details"))
        deltas: list[Delta] = [d for block in blocks if isinstance(block, dict) for d in _pieces(block)]
        return [*deltas, Used(usage(details(answer, "usage")))]


def _pieces(block: dict[str, Any]) -> Sequence[Delta]:
    """The text or thought of a block or of a delta; both have the same fields."""
    kind = block.get("type")
    if kind in ("text", "text_delta") and block.get("text"):
        return (Text(str(block["text"])),)
    if kind in ("thinking", "thinking_delta") and block.get("thinking"):
        return (Thought(str(block["thinking"])),)
    return ()


def stop(reason: str, extra: Any = None) -> Stopped:
    """Our word for a stop reason. What is neither an end nor a refusal is not a finished reply."""
    if reason in ("end_turn", "stop_sequence", "tool_use"):
        return Stopped("end", "" if reason == "end_turn" else reason)
    if reason == "refusal":
        told = extra if isinstance(extra, dict) else {}
        return Stopped("refusal", str(told.get("explanation") or told.get("category") or "refusal"))
    if reason == "model_context_window_exceeded":
        return Stopped("context", reason)
    return Stopped("length", reason)


def usage(told: dict[str, Any]) -> Usage:
    """Anthropic's `input_tokens` leaves out what the cache read and wrote; ours is the sum."""
    fresh = number(told.get("input_tokens"))
    read, written = count(told.get("cache_read_input_tokens")), count(told.get("cache_creation_input_tokens"))
    thought = details(told, "output_tokens_details")
    return Usage(
        input_total=None if fresh is None else fresh + read + written,
        cache_read=read,
        cache_write=written,
        output=number(told.get("output_tokens")),
        reasoning=count(thought.get("thinking_tokens") or thought.get("reasoning_tokens")),
    )
