"""The table of providers: where each one lives, which variable holds its key, what it does differently."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Family = Literal["anthropic", "openai", "local"]


@dataclass(frozen=True, slots=True)
class Preset:
    """One provider as data. No `key_env` means that it needs no key."""

    family: Family
    base_url: str = ""
    key_env: str | None = None
    base_url_env: str | None = None
    limit_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    thinking: Literal["none", "effort", "alibaba", "openrouter"] = "none"
    free: bool = False


PRESETS: dict[str, Preset] = {
    "anthropic": Preset(
        "anthropic", "https://api.anthropic.com", "ANTHROPIC_API_KEY", base_url_env="ANTHROPIC_BASE_URL"
    ),
    "openai": Preset(
        "openai",
        "https://api.openai.com/v1",
        "OPENAI_API_KEY",
        base_url_env="OPENAI_BASE_URL",
        limit_field="max_completion_tokens",
        thinking="effort",
    ),
    "alibaba": Preset(
        "openai",
        "https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
        "DASHSCOPE_API_KEY",
        base_url_env="DASHSCOPE_BASE_URL",
        thinking="alibaba",
    ),
    "openrouter": Preset("openai", "https://openrouter.ai/api/v1", "OPENROUTER_API_KEY", thinking="openrouter"),
    "gemini": Preset(
        "openai",
        "https://generativelanguage.googleapis.com/v1beta/openai",
        "GEMINI_API_KEY",
        thinking="effort",
    ),
    "ollama": Preset("openai", "http://localhost:11434/v1", thinking="effort", free=True),
    "vllm": Preset("openai", "http://localhost:8000/v1", free=True),
    "lmstudio": Preset("openai", "http://localhost:1234/v1", free=True),
    "replay": Preset("local", free=True),
    "scripted": Preset("local", free=True),
}
