"""From the `model:` section of an agent file to the settings of a model and of its fallbacks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autopilot_runtime.model.compatible import PRESETS
from autopilot_runtime.model.settings import ModelSettings, Price, Retries, Thinking, Timeouts
from autopilot_runtime.runtime.agentschema import FallbackSpec, ModelSpec, PriceSpec


def key_env(provider: str, written: str | None) -> str | None:
    """The variable a key is read from: as written, or the provider's usual one; None when none is needed."""
    preset = PRESETS.get(provider)
    return written or (preset.key_env if preset else None)


def model_settings(spec: ModelSpec, folder: Path) -> ModelSettings:
    """What `model/connect` needs to reach the model. `folder` is where its relative paths start."""
    shared: dict[str, Any] = {
        "temperature": spec.temperature,
        "max_tokens": spec.max_tokens,
        "thinking": Thinking(spec.thinking.enabled, spec.thinking.budget_tokens, spec.thinking.effort),
        "timeouts": _timeouts(spec.timeout),
        "retries": Retries(attempts=spec.retries),
        "folder": folder,
    }
    return ModelSettings(
        spec.provider,
        spec.name,
        api_key_env=key_env(spec.provider, spec.api_key_env),
        base_url=spec.base_url,
        wire_api=spec.wire_api,
        fallbacks=tuple(_fallback(f, spec, shared) for f in spec.fallbacks),
        api_version=spec.api_version,
        extra_headers=spec.extra_headers,
        extra_body=spec.extra_body,
        price=_price(spec.price),
        **shared,
    )


def _timeouts(silent: float | None) -> Timeouts:
    usual = Timeouts()
    if silent is None:
        return usual
    return Timeouts(connect=min(usual.connect, max(1.0, silent)), first_byte=silent, idle=silent)


def _fallback(entry: str | FallbackSpec, first: ModelSpec, shared: Mapping[str, Any]) -> ModelSettings:
    other = FallbackSpec(name=entry) if isinstance(entry, str) else entry
    provider, key, url = other.provider or first.provider, other.api_key_env, other.base_url
    if provider == first.provider:  # the same door: key and address are the first model's
        key, url = key or first.api_key_env, url or first.base_url
    wire = other.wire_api if other.wire_api != "auto" else first.wire_api
    return ModelSettings(
        provider, other.name, api_key_env=key_env(provider, key), base_url=url, wire_api=wire, **shared
    )


def _price(spec: PriceSpec | None) -> Price | None:
    if spec is None:
        return None
    read = spec.input if spec.cache_read is None else spec.cache_read
    write = spec.input if spec.cache_write is None else spec.cache_write
    return Price(spec.input, spec.output, read, write)
