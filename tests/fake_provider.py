"""A local server that speaks the real wire formats of the model vendors, with scripted replies and scripted faults.

    with FakeModel(replies=["hello", Status(529), Reply("world", thought="hm")]) as fake:
        # ANTHROPIC_BASE_URL=fake.url or OPENAI_BASE_URL=fake.openai_url
        fake.requests[0].json["messages"]

One entry of `replies` per request, in order; a function of the request works, too. When the list is used up, the
answer is an HTTP 400 that says so. It is as strict as the real ones: fields they refuse are refused here.
"""

from __future__ import annotations

import gzip
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Stops = {
    "end": ("end_turn", "stop"),
    "length": ("max_tokens", "length"),
    "refusal": ("refusal", "content_filter"),
    "context": ("model_context_window_exceeded", "length"),
}


@dataclass(frozen=True)
class Reply:
    """A good reply. `stop` is end, length, refusal or context, or a vendor's own word; `usage` overrides numbers.

    `pause` seconds lie before each chunk; `finish=False` leaves the end unsaid.
    """

    text: str = ""
    thought: str = ""
    stop: str = "end"
    chunk: int = 16
    pause: float = 0.0
    usage: dict[str, Any] | None = None
    finish: bool = True
    no_usage: bool = False


@dataclass(frozen=True)
class Status:
    """An HTTP error."""

    status: int
    message: str = "scripted fault"
    code: str = ""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Broken:
    """A reply that breaks after `events` events: how is reset, eof, stall, half, or error (an SSE error event).

    With `events=-1` the connection is reset before any header; with `how="silent"` headers never come.
    """

    how: str = "reset"
    events: int = 3
    text: str = "this text must never be kept"
    code: str = "overloaded_error"


@dataclass(frozen=True)
class Raw:
    """Any bytes as the whole body."""

    body: bytes | Iterable[bytes]
    status: int = 200
    content_type: str = "text/event-stream"
    headers: dict[str, str] = field(default_factory=dict)


Entry = str | Reply | Status | Broken | Raw
Script = Sequence[Entry] | Callable[["Seen"], Entry]


@dataclass(frozen=True)
class Seen:
    """One request as it came. Header names are lower-case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)

    @property
    def text(self) -> str:
        """What the newest message says."""
        turns = self.json.get("messages") or self.json.get("input")
        content = turns[-1]["content"]
        return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


class FakeModel:
    """The server, as a context manager. It runs in threads of its own; `requests` grows as they come."""

    def __init__(self, replies: Script = (), *, lenient: bool = False) -> None:
        self._replies: Script = replies if callable(replies) else list(replies)
        self.lenient = lenient
        self.requests: list[Seen] = []
        self.connections = 0
        self.closing = threading.Event()
        self._lock = threading.Lock()

    def __enter__(self) -> FakeModel:
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.fake = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    @property
    def url(self) -> str:
        """What to set as ANTHROPIC_BASE_URL."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def openai_url(self) -> str:
        """What to set as OPENAI_BASE_URL."""
        return f"{self.url}/v1"

    def add(self, *entries: Entry) -> None:
        """More replies at the end of the list."""
        assert isinstance(self._replies, list)
        self._replies.extend(entries)

    def answer(self, seen: Seen) -> Entry:
        """Keep the request and choose its reply."""
        with self._lock:
            self.requests.append(seen)
            if callable(self._replies):
                return self._replies(seen)
            number = len(self.requests)
            if number > len(self._replies):
                return Status(400, f"FakeModel has {len(self._replies)} replies, and this is request {number}")
            return self._replies[number - 1]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    fake: FakeModel

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is part of the game."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.server.fake.connections += 1
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def log_message(self, *_: Any) -> None:
        """Silent."""

    def do_GET(self) -> None:
        if self.path.rstrip("/").endswith("/models"):
            self._json(200, {"object": "list", "data": [{"id": "fake-model", "object": "model", "type": "model"}]})
        else:
            self._json(404, {"error": {"type": "not_found_error", "message": self.path}})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        seen = Seen("POST", self.path, headers, body)
        entry = self.server.fake.answer(seen)
        wire = next((w for end, w in WIRES.items() if self.path.split("?")[0].endswith(end)), None)
        if wire is None:
            return self._json(404, {"error": {"type": "not_found_error", "message": f"no such path: {self.path}"}})
        wrong = None if self.server.fake.lenient else wire.refuse(seen)
        if wrong:
            entry = Status(401 if "key" in wrong else 400, wrong, "invalid_request_error")
        if isinstance(entry, str):
            entry = Reply(entry)
        if isinstance(entry, Status):
            return self._json(entry.status, wire.error(entry.message, entry.code, entry.status), entry.headers)
        if isinstance(entry, Raw):
            return self._raw(entry)
        if isinstance(entry, Broken):
            return self._broken(wire, entry, seen)
        if not seen.json.get("stream"):
            return self._json(200, wire.whole(entry, seen.json))
        self._start()
        for event in wire.events(entry, seen.json):
            if entry.pause and self.server.fake.closing.wait(entry.pause):
                return None
            self._chunk(event)
        return self._chunk(b"")

    def _broken(self, wire: Any, entry: Broken, seen: Seen) -> None:
        if entry.how == "silent":
            self.server.fake.closing.wait(30)
            return self._hang_up(reset=True)
        if entry.events < 0:
            return self._hang_up(reset=True)
        self._start()
        events = list(wire.events(Reply(entry.text, chunk=4), seen.json))
        for event in events[: entry.events]:
            self._chunk(event)
        if entry.how == "reset":
            return self._hang_up(reset=True)
        if entry.how == "stall":
            self.server.fake.closing.wait(30)
            return self._hang_up(reset=True)
        if entry.how == "half":
            self._chunk(events[entry.events][:-12])
        if entry.how == "error":
            self._chunk(wire.failure(entry.code))
        return self._chunk(b"")

    def _hang_up(self, *, reset: bool) -> None:
        if reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.wfile.flush()
        self.connection.close()

    def _raw(self, entry: Raw) -> None:
        self.send_response(entry.status)
        self.send_header("content-type", entry.content_type)
        for name, value in entry.headers.items():
            self.send_header(name, value)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for piece in [entry.body] if isinstance(entry.body, bytes) else entry.body:
            if piece:
                self._chunk(piece)
        self._chunk(b"")

    def _start(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream; charset=utf-8")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def _json(self, status: int, value: Any, headers: dict[str, str] | None = None) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        for name, text in {"content-type": "application/json", **(headers or {})}.items():
            self.send_header(name, text)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _pieces(text: str, size: int) -> Iterator[str]:
    return (text[start : start + size] for start in range(0, len(text), size))


def _sse(value: Any, event: str = "") -> bytes:
    name = f"event: {event}\n" if event else ""
    return f"{name}data: {json.dumps(value)}\n\n".encode()


def _key_of(seen: Seen) -> str:
    return seen.headers.get("x-api-key") or seen.headers.get("authorization", "").removeprefix("Bearer ")


class Messages:
    """Anthropic Messages, version 2026-10-21 (and 2023-06-01, which still has a temperature)."""

    known = frozenset(
        (
            *("model", "max_tokens", "messages", "stream", "system", "cache_control", "thinking", "output_config"),
            *("metadata", "stop_sequences", "service_tier", "tools", "tool_choice", "inference_geo", "speed"),
        )
    )

    @classmethod
    def refuse(cls, seen: Seen) -> str | None:
        """What the real API would refuse."""
        if not _key_of(seen):
            return "no api key was given"
        version = seen.headers.get("anthropic-version")
        known = cls.known | ({"temperature", "top_p", "top_k"} if version == "2023-06-01" else set())
        body = seen.json
        if version not in ("2023-06-01", "2026-10-21"):
            return f"anthropic-version: {version} is not a valid version"
        for name in body:
            if name not in known:
                return f"{name}: Extra inputs are not permitted"
        for name in ("model", "max_tokens", "messages"):
            if name not in body:
                return f"{name}: Field required"
        if not body["messages"] or body["messages"][0]["role"] != "user":
            return "messages: first message must use the user role"
        for index, message in enumerate(body["messages"]):
            if isinstance(message["content"], str) and not message["content"].strip():
                return f"messages.{index}: text content blocks must be non-empty"
        if json.dumps(body).count('"cache_control"') > 4:
            return "A maximum of 4 blocks with cache_control may be provided"
        thinking = body.get("thinking", {})
        if thinking.get("type") == "enabled" and not 1024 <= thinking["budget_tokens"] < body["max_tokens"]:
            return "thinking.budget_tokens: must be at least 1024 and less than max_tokens"
        return None

    @staticmethod
    def error(message: str, code: str, status: int) -> Any:
        """An error body."""
        names = {
            401: "authentication_error",
            404: "not_found_error",
            429: "rate_limit_error",
            529: "overloaded_error",
        }
        kind = code or names.get(status, "api_error" if status >= 500 else "invalid_request_error")
        return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_fake"}

    @staticmethod
    def failure(code: str) -> bytes:
        """An error in the middle of the stream."""
        return _sse({"type": "error", "error": {"type": code, "message": "Overloaded"}}, "error")

    @staticmethod
    def usage(reply: Reply) -> dict[str, Any]:
        """Numbers that show whether the parts are added up."""
        base = {
            "input_tokens": 10,
            "cache_read_input_tokens": 100,
            "cache_creation_input_tokens": 5,
            "output_tokens": max(1, len(reply.text) // 4),
        }
        return {**base, **(reply.usage or {})}

    @classmethod
    def whole(cls, reply: Reply, body: Any) -> Any:
        """The reply without streaming."""
        reason = Stops.get(reply.stop, (reply.stop, reply.stop))[0]
        return {
            "id": "msg_fake",
            "type": "message",
            "role": "assistant",
            "model": body["model"],
            "content": [{"type": "text", "text": reply.text}] if reply.text else [],
            "stop_reason": reason,
            "stop_sequence": None,
            "usage": cls.usage(reply),
        }

    @classmethod
    def events(cls, reply: Reply, body: Any) -> Iterator[bytes]:
        """The reply as a stream."""
        usage = cls.usage(reply)
        start = {**cls.whole(reply, body), "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}
        yield _sse({"type": "message_start", "message": start}, "message_start")
        yield _sse({"type": "ping"}, "ping")
        index = 0
        for kind, field_, text in (("thinking", "thinking", reply.thought), ("text", "text", reply.text)):
            if not text:
                continue
            block = {"type": kind, field_: ""}
            yield _sse({"type": "content_block_start", "index": index, "content_block": block}, "content_block_start")
            for piece in _pieces(text, reply.chunk):
                delta = {"type": f"{kind}_delta", field_: piece}
                yield _sse({"type": "content_block_delta", "index": index, "delta": delta}, "content_block_delta")
            yield _sse({"type": "content_block_stop", "index": index}, "content_block_stop")
            index += 1
        if not reply.finish:
            return
        reason = Stops.get(reply.stop, (reply.stop, reply.stop))[0]
        details = {"type": "refusal", "category": "cyber", "explanation": "not this"} if reason == "refusal" else None
        yield _sse(
            {
                "type": "message_delta",
                "delta": {"stop_reason": reason, "stop_sequence": None, "stop_details": details},
                "usage": {"output_tokens": usage["output_tokens"]},
            },
            "message_delta",
        )
        yield _sse({"type": "message_stop"}, "message_stop")


class Chat:
    """OpenAI Chat Completions."""

    @staticmethod
    def refuse(seen: Seen) -> str | None:
        """What the real API would refuse."""
        if not _key_of(seen):
            return "no api key was given"
        body = seen.json
        for name in ("model", "messages"):
            if name not in body:
                return f"Missing required parameter: '{name}'."
        if "stream_options" in body and not body.get("stream"):
            return "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        return None

    @staticmethod
    def error(message: str, code: str, status: int) -> Any:
        """An error body."""
        kind = "invalid_request_error" if status < 500 else "server_error"
        return {"error": {"message": message, "type": kind, "param": None, "code": code or None}}

    @staticmethod
    def failure(code: str) -> bytes:
        """An error in the middle of the stream."""
        return _sse({"error": {"message": "Overloaded", "type": code, "code": code}})

    @staticmethod
    def usage(reply: Reply) -> dict[str, Any]:
        """Numbers, `prompt_tokens` with the cached ones."""
        base = {
            "prompt_tokens": 115,
            "completion_tokens": max(1, len(reply.text) // 4),
            "total_tokens": 120,
            "prompt_tokens_details": {"cached_tokens": 100},
            "completion_tokens_details": {"reasoning_tokens": len(reply.thought) // 4},
        }
        return {**base, **(reply.usage or {})}

    @classmethod
    def whole(cls, reply: Reply, body: Any) -> Any:
        """The reply without streaming."""
        reason = Stops.get(reply.stop, (reply.stop, reply.stop))[1]
        message = {"role": "assistant", "content": reply.text or None}
        return {
            "id": "chatcmpl-fake",
            "object": "chat.completion",
            "model": body["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": reason}],
            "usage": cls.usage(reply),
        }

    @classmethod
    def events(cls, reply: Reply, body: Any) -> Iterator[bytes]:
        """The reply as a stream."""
        base = {"id": "chatcmpl-fake", "object": "chat.completion.chunk", "model": body["model"]}

        def chunk(delta: Any, reason: str | None = None) -> bytes:
            return _sse({**base, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]})

        yield chunk({"role": "assistant", "content": ""})
        for piece in _pieces(reply.thought, reply.chunk):
            yield chunk({"reasoning_content": piece})
        for piece in _pieces(reply.text, reply.chunk):
            yield chunk({"content": piece})
        if not reply.finish:
            return
        yield chunk({}, Stops.get(reply.stop, (reply.stop, reply.stop))[1])
        if body.get("stream_options", {}).get("include_usage") and not reply.no_usage:
            yield _sse({**base, "choices": [], "usage": cls.usage(reply)})
        yield b"data: [DONE]\n\n"


class Responses:
    """OpenAI Responses."""

    error = Chat.error

    @staticmethod
    def refuse(seen: Seen) -> str | None:
        """What the real API would refuse."""
        if not _key_of(seen):
            return "no api key was given"
        for name in ("messages", "max_tokens", "stream_options"):
            if name in seen.json:
                return f"Unsupported parameter: '{name}'."
        return None if "input" in seen.json else "Missing required parameter: 'input'."

    @staticmethod
    def failure(code: str) -> bytes:
        """An error in the middle of the stream."""
        return _sse({"type": "error", "code": code, "message": "Overloaded", "sequence_number": 9}, "error")

    @staticmethod
    def whole(reply: Reply, body: Any) -> Any:
        """The reply without streaming."""
        reasons = {"length": "max_output_tokens", "context": "max_output_tokens", "refusal": "content_filter"}
        part = {"type": "output_text", "text": reply.text, "annotations": []}
        usage = {
            "input_tokens": 115,
            "input_tokens_details": {"cached_tokens": 100, "cache_write_tokens": 5},
            "output_tokens": max(1, len(reply.text) // 4),
            "output_tokens_details": {"reasoning_tokens": len(reply.thought) // 4},
            "total_tokens": 120,
        }
        return {
            "id": "resp_fake",
            "object": "response",
            "model": body["model"],
            "status": "completed" if reply.stop == "end" else "incomplete",
            "incomplete_details": {"reason": reasons[reply.stop]} if reply.stop in reasons else None,
            "output": [{"type": "message", "role": "assistant", "content": [part] if reply.text else []}],
            "usage": None if reply.no_usage else {**usage, **(reply.usage or {})},
        }

    @classmethod
    def events(cls, reply: Reply, body: Any) -> Iterator[bytes]:
        """The reply as a stream of typed events."""
        number = 0

        def event(kind: str, **fields: Any) -> bytes:
            nonlocal number
            number += 1
            return _sse({"type": kind, "sequence_number": number, **fields}, kind)

        whole = cls.whole(reply, body)
        yield event("response.created", response={**whole, "status": "in_progress", "output": [], "usage": None})
        for piece in _pieces(reply.thought, reply.chunk):
            yield event("response.reasoning_summary_text.delta", item_id="rs_1", output_index=0, delta=piece)
        yield event("response.output_item.added", output_index=0, item={"type": "message", "content": []})
        for piece in _pieces(reply.text, reply.chunk):
            yield event("response.output_text.delta", item_id="msg_1", output_index=0, content_index=0, delta=piece)
        if reply.finish:
            done = "response.completed" if whole["status"] == "completed" else "response.incomplete"
            yield event(done, response=whole)


WIRES: dict[str, Any] = {"/messages": Messages, "/chat/completions": Chat, "/responses": Responses}


def html(text: str = "<html><body>Please log in to the hotel network</body></html>") -> Raw:
    """A captive portal: status 200, and a page."""
    return Raw(text.encode(), content_type="text/html; charset=utf-8")


def bomb(megabytes: int = 200) -> Raw:
    """A small body that unpacks to a very large one, though nobody asked for packing."""
    packed = gzip.compress(b"data: " + b"0" * (megabytes * 1_000_000), 9)
    return Raw(packed, headers={"content-encoding": "gzip"})
