"""What it takes to reach one model: frozen settings, no behaviour, no SDK."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

WireApi = Literal["auto", "chat", "responses"]
MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class Thinking:
    """How much the model may reason. A budget is for models that take one; others get an effort."""

    enabled: bool = False
    budget_tokens: int | None = None
    effort: str | None = None


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Limits in seconds. A slow stream is fine as long as bytes come; `silence` bounds keep-alives only."""

    connect: float = 10.0
    first_byte: float = 60.0
    idle: float = 60.0
    silence: float = 600.0


@dataclass(frozen=True, slots=True)
class Retries:
    """The one budget of a model call: `attempts` in total; a 429 may take up to `rate_limited` of them."""

    attempts: int = 3
    rate_limited: int = 6
    seconds: float = 300.0
    first_delay: float = 0.5
    longest_delay: float = 8.0
    longest_asked: float = 120.0


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens."""

    input: float
    output: float
    cache_read: float
    cache_write: float


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """One model, and the ones to try when it is down. `folder` is where relative paths (scripts) start."""

    provider: str
    name: str
    api_key_env: str | None = None
    base_url: str | None = None
    temperature: float | None = None
    max_tokens: int = 8096
    thinking: Thinking = Thinking()
    wire_api: WireApi = "auto"
    fallbacks: tuple[ModelSettings, ...] = ()
    api_version: str | None = None
    extra_headers: Mapping[str, str] = field(default_factory=dict)
    extra_body: Mapping[str, Any] = field(default_factory=dict)
    timeouts: Timeouts = Timeouts()
    retries: Retries = Retries()
    reply_cap: int = 16 * MEGABYTE
    price: Price | None = None
    folder: Path = Path()
