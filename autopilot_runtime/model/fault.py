"""From whatever went wrong on the wire to one `ProviderError` that names what to do, with no key in it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from autopilot_runtime.core.errors import ProviderError, ProviderFault
from autopilot_runtime.core.message import printable
from autopilot_runtime.core.secret import Redactor

_CONTEXT = re.compile(
    r"prompt is too long|context.?length|maximum context|context.?window|too many (?:input )?tokens"
    r"|range of input length|context.{0,12}overflow|input is too long|input length and|reduce the length"
    r"|exceeds? the (?:maximum|model).{0,30}(?:tokens|length)",
    re.IGNORECASE,
)
# What a hostile answer could do to a terminal or to the order of what a person reads.
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_QUOTA = re.compile(r"insufficient_quota|billing|credit balance|exceeded your current quota", re.IGNORECASE)
_BY_TYPE: dict[str, ProviderFault] = {
    "overloaded_error": "overloaded",
    "rate_limit_error": "rate_limit",
    "rate_limit_exceeded": "rate_limit",
    "api_error": "server",
    "server_error": "server",
    "internal_server_error": "server",
    "timeout_error": "server",
    "vector_store_timeout": "server",
    "authentication_error": "auth",
    "permission_error": "auth",
    "billing_error": "auth",
    "invalid_api_key": "auth",
    "not_found_error": "not_found",
    "model_not_found": "not_found",
    "request_too_large": "context",
    "context_length_exceeded": "context",
    "content_filter": "refusal",
    "bio_policy": "refusal",
    "misalignment_policy_violation": "refusal",
}
_BY_STATUS: dict[int | None, ProviderFault] = {
    401: "auth",
    402: "auth",
    403: "auth",
    404: "not_found",
    408: "server",
    409: "server",
    413: "context",
    425: "server",
    429: "rate_limit",
    529: "overloaded",
}
_RETRYABLE: frozenset[ProviderFault] = frozenset(
    ("rate_limit", "overloaded", "server", "connection", "timeout", "truncated")
)


@dataclass(frozen=True, slots=True)
class Place:
    """Whom we talk to, as error texts name it; `key` is here so that it can be taken out of them."""

    provider: str
    model: str
    host: str
    key_env: str | None
    mask: Callable[[str], str]

    def clean(self, text: str, key: str = "") -> str:
        """The text without the key, in the forms in which providers echo it, nor anything shaped like one."""
        plain = _UNSEEN.sub("\ufffd", printable(text))
        return self.mask(Redactor([key] if key else ()).mask(plain))

    def error(
        self,
        what: str,
        kind: ProviderFault,
        *,
        key: str = "",
        status: int | None = None,
        retryable: bool | None = None,
        retry_after: float | None = None,
    ) -> ProviderError:
        """`anthropic (claude-x at api.anthropic.com): what`, typed."""
        return ProviderError(
            self.clean(f"{self.provider} ({self.model} at {self.host}): {what}", key),
            kind=kind,
            status=status,
            provider=self.provider,
            model=self.model,
            retryable=kind in _RETRYABLE if retryable is None else retryable,
            retry_after=retry_after,
        )


def from_status(
    place: Place, status: int, *, headers: Mapping[str, str], body: bytes, key: str = ""
) -> ProviderError:
    """The error of an HTTP answer that is not 2xx. `headers` have lower-case names."""
    message, code = said(body)
    if 300 <= status < 400:
        target = headers.get("location", "nowhere")
        return place.error(
            f"HTTP {status} redirects to {target}. A key is never sent after a redirect; set base_url.",
            "protocol",
            key=key,
            status=status,
        )
    kind = kind_of(status, code, message)
    asked = retry_after(headers, time.time())
    retryable = kind in _RETRYABLE and not (kind == "rate_limit" and _QUOTA.search(f"{code} {message}"))
    if headers.get("x-should-retry") == "false":
        retryable = False
    text = f"HTTP {status}" + (f" {code}" if code else "") + f": {message or 'no explanation'}"
    return place.error(
        _with_advice(text, kind, place=place), kind, key=key, status=status, retryable=retryable, retry_after=asked
    )


def from_object(place: Place, error: Any, *, key: str = "") -> ProviderError:
    """The error that a stream (or a 200 answer) carries as JSON."""
    message, code = _fields(error)
    told = error.get("code") if isinstance(error, dict) else None
    status = told if isinstance(told, int) and 400 <= told < 600 else None
    kind = kind_of(status, code, message)
    text = f"{code or 'error'}: {message or 'no explanation'}"
    return place.error(_with_advice(text, kind, place=place), kind, key=key)


def from_exception(place: Place, error: BaseException, *, key: str = "") -> ProviderError:
    """The error of a connection: refused, DNS, TLS, reset, or the HTTP library's own time limit."""
    root = _root(error)
    name = type(error).__name__
    if "Timeout" in name:
        return place.error(f"no connection or no answer in time ({name}).", "timeout", key=key)
    detail = str(root).strip() or str(error).strip() or name
    advice = ""
    if "CERTIFICATE" in detail.upper() or "SSL" in type(root).__name__.upper():
        advice = " The TLS certificate could not be verified: are the system's CA certificates installed?"
    return place.error(f"{type(root).__name__}: {detail[:300]}.{advice}", "connection", key=key)


def kind_of(status: int | None, code: str, message: str) -> ProviderFault:
    """Which fault this is, from the status and from what was said."""
    if status in (400, 413, 422, None) and _CONTEXT.search(f"{code} {message}"):
        return "context"
    if code == "overloaded_error" and (status or 500) >= 429:
        return "overloaded"
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if status is not None and status >= 500:
        return "server"
    unknown: ProviderFault = "server" if status is None and not code.startswith("invalid") else "bad_request"
    return _BY_TYPE.get(code, unknown)


def said(body: bytes) -> tuple[str, str]:
    """(message, code) of an error body, whatever its form."""
    text = body.decode("utf-8", "replace").strip()
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text[:200], ""
    if isinstance(value, list) and value:
        value = value[0]
    if isinstance(value, dict) and "error" in value:
        value = value["error"]
    return _fields(value)


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds that the answer asks us to wait: `retry-after-ms`, `retry-after` as seconds or as a date."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        text = headers.get(name, "").strip()
        if re.fullmatch(r"\d+(\.\d*)?", text):
            return float(text) / unit
        if text and unit == 1.0:
            try:
                return max(0.0, parsedate_to_datetime(text).timestamp() - now)
            except (ValueError, TypeError, OverflowError):
                return None
    return None


def _fields(value: Any) -> tuple[str, str]:
    if not isinstance(value, dict):
        return str(value)[:2000], ""
    named = (value.get(name) for name in ("code", "type", "status"))
    code = next((name for name in named if isinstance(name, str) and name and not name.isdigit()), "")
    return str(value.get("message") or value.get("detail") or "")[:2000], code


def _with_advice(text: str, kind: ProviderFault, *, place: Place) -> str:
    if kind == "auth":
        key = f"the key in {place.key_env}" if place.key_env else "whether this endpoint needs a key (api_key_env)"
        return f"{text} Check {key}."
    if kind == "not_found":
        return f"{text} Check the model name {place.model!r} and the base_url."
    return text


def _root(error: BaseException) -> BaseException:
    seen = 0
    while error.__cause__ is not None and seen < 10:
        error, seen = error.__cause__, seen + 1
    return error
