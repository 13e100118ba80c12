"""The OpenAI Responses API on the wire, used statelessly: nothing is stored on the other side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from autopilot_runtime.core.protocols import Delta, Stopped, Text, Thought, Usage, Used
from autopilot_runtime.model.encode import body, count, details, number
from autopilot_runtime.model.wire import HttpProvider, Request


class OpenAIResponses(HttpProvider):
    """OpenAI's own models through their primary API."""

    sdk = "openai"
    path = "/responses"
    optional = ("temperature", "reasoning", "include")

    def _body(self, request: Request) -> bytes:
        settings = self.settings
        fields: dict[str, Any] = {
            "model": self.model,
            "stream": True,
            "store": False,
            "max_output_tokens": request.max_tokens,
        }
        if self._keeps("include"):
            fields["include"] = ["reasoning.encrypted_content"]
        if settings.temperature is not None and self._keeps("temperature"):
            fields["temperature"] = settings.temperature
        if settings.thinking.enabled and self._keeps("reasoning"):
            fields["reasoning"] = {"effort": settings.thinking.effort or "medium", "summary": "auto"}
        if request.system:
            fields["instructions"] = request.system
        fields.update(settings.extra_body)
        return body(fields, "input", request.messages)

    def _reply(self) -> ResponsesReply:
        return ResponsesReply()


class ResponsesReply:
    """Reads the typed events of one reply."""

    def __init__(self) -> None:
        self.stopped: Stopped | None = None
        self.done = False
        self.failure: Any = None
        self._refusal = ""

    def feed(self, event: dict[str, Any]) -> Sequence[Delta]:
        """The deltas of one event; those we have no use for are skipped."""
        kind = event.get("type")
        piece = str(event.get("delta") or "")
        if kind == "response.output_text.delta":
            return (Text(piece),)
        if kind in ("response.reasoning_summary_text.delta", "response.reasoning_text.delta"):
            return (Thought(piece),)
        if kind == "response.refusal.delta":
            self._refusal += piece
        elif kind in ("response.completed", "response.incomplete"):
            return self._end(details(event, "response"))
        elif kind == "response.failed":
            self.failure = details(event, "response").get("error") or {"code": "server_error", "message": "failed"}
        elif kind == "error" or (kind is None and event.get("error")):
            self.failure = event.get("error") or event
        return ()

    def whole(self, answer: dict[str, Any]) -> Sequence[Delta] | None:
        """A reply that came as one object although a stream was asked for."""
        if answer.get("object") != "response" or answer.get("status") not in ("completed", "incomplete"):
            return None
        deltas: list[Delta] = []
        for item in answer.get("output") or ():
            for part in (item.get("content") or ()) if isinstance(item, dict) else ():
                if isinstance(part, dict) and part.get("type") == "output_text":
                    deltas.append(Text(str(part.get("text") or "")))
        return [*deltas, *self._end(answer)]

    def _end(self, response: dict[str, Any]) -> Sequence[Delta]:
        self.done = True
        reason = details(response, "incomplete_details").get("reason")
        if self._refusal or reason == "content_filter":
            self.stopped = Stopped("refusal", self._refusal or "content_filter")
        elif response.get("status") == "incomplete" or reason:
            self.stopped = Stopped("length", str(reason or "incomplete"))
        else:
            self.stopped = Stopped("end")
        told = response.get("usage")
        return (Used(usage(told)),) if isinstance(told, dict) else ()


def usage(told: dict[str, Any]) -> Usage:
    """`input_tokens` includes what came from the cache."""
    given, made = details(told, "input_tokens_details"), details(told, "output_tokens_details")
    return Usage(
        input_total=number(told.get("input_tokens")),
        cache_read=count(given.get("cached_tokens")),
        cache_write=count(given.get("cache_write_tokens")),
        output=number(told.get("output_tokens")),
        reasoning=count(made.get("reasoning_tokens")),
    )
