"""From settings to a provider: the one place that knows which class speaks to whom."""

from __future__ import annotations

import difflib
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from autopilot_runtime.core.errors import SetupError
from autopilot_runtime.core.protocols import Provider
from autopilot_runtime.model import client
from autopilot_runtime.model.anthropic import Anthropic
from autopilot_runtime.model.compatible import PRESETS, Preset
from autopilot_runtime.model.fallback import Fallback
from autopilot_runtime.model.openai_chat import OpenAIChat
from autopilot_runtime.model.openai_responses import OpenAIResponses
from autopilot_runtime.model.replay import Mode, ReplayProvider, cassette_in
from autopilot_runtime.model.retry import Retry
from autopilot_runtime.model.scripted import ScriptedProvider
from autopilot_runtime.model.settings import ModelSettings

REPLAY = "AUTOPILOT_REPLAY"
REPLAY_MODE = "AUTOPILOT_REPLAY_MODE"
PLUGINS = "autopilot_runtime.providers"
Mask = Callable[[str], str]
_RESPONSES_HOST = "api.openai.com"


def connect(
    settings: ModelSettings,
    mask: Mask = str,
    *,
    agent: str = "agent",
    volatile: Mask | None = None,
    env: Mapping[str, str] = os.environ,
) -> Provider:
    """The provider of these settings, with retries and fallbacks. Opens nothing and imports no SDK.

    `AUTOPILOT_REPLAY=dir` puts a cassette of this `agent` in front of it, or in its place.
    """
    place = env.get(REPLAY, "").strip()
    if not place:
        return _chain(settings, mask, volatile=volatile, env=env)
    mode = _mode(env.get(REPLAY_MODE, "replay"))
    path = cassette_in(Path(place), agent, mode=mode)
    inner = None if mode == "replay" else _chain(settings, mask, volatile=volatile, env=env)
    return ReplayProvider(path, mode=mode, inner=inner, mask=mask, volatile=volatile, pace=_pace(settings))


def _chain(settings: ModelSettings, mask: Mask, *, volatile: Mask | None, env: Mapping[str, str]) -> Provider:
    first = _one(settings, mask, volatile=volatile, env=env)
    others = [_one(other, mask, volatile=volatile, env=env) for other in settings.fallbacks]
    if not others:
        return first
    return Fallback([first, *others])


def _one(settings: ModelSettings, mask: Mask, *, volatile: Mask | None, env: Mapping[str, str]) -> Provider:
    if settings.provider not in PRESETS and (theirs := _installed(settings)):
        return Retry(theirs, settings.retries)
    preset = preset_of(settings.provider)
    if settings.provider == "scripted":
        return Retry(ScriptedProvider.from_file(settings.folder / settings.name, settings=settings), settings.retries)
    if settings.provider == "replay":
        path = cassette_in(settings.folder / settings.name, "agent", mode="replay")
        return ReplayProvider(path, mask=mask, volatile=volatile, pace=_pace(settings))
    url = base_url(settings, env=env)
    if preset.family == "anthropic":
        return Retry(Anthropic(settings, preset, base_url=url, mask=mask), settings.retries)
    if wire_api(settings, env=env) == "responses":
        return Retry(OpenAIResponses(settings, preset, base_url=url, mask=mask), settings.retries)
    return Retry(OpenAIChat(settings, preset, base_url=url, mask=mask), settings.retries)


def _installed(settings: ModelSettings) -> Provider | None:
    """A provider of another package: an entry point with this name, called with the settings."""
    from importlib.metadata import entry_points  # reads every installed package, so only for a name we do not know

    for point in entry_points(group=PLUGINS, name=settings.provider):
        provider = point.load()(settings)
        if not isinstance(provider, Provider):
            raise SetupError(f"{point.value} did not return a Provider for {settings.provider!r}.")
        return provider
    return None


def preset_of(provider: str) -> Preset:
    """What is known of a provider; an unknown one is an error with the nearest name."""
    if provider in PRESETS:
        return PRESETS[provider]
    near = difflib.get_close_matches(provider.lower(), PRESETS, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise SetupError(f"{provider!r} is not a provider.{hint} Known: {', '.join(PRESETS)}.")


def base_url(settings: ModelSettings, *, env: Mapping[str, str] = os.environ) -> str:
    """Where requests go: the settings first, then the SDK's own variable, then the preset."""
    preset = preset_of(settings.provider)
    named = env.get(preset.base_url_env, "").strip() if preset.base_url_env else ""
    url = settings.base_url or named or preset.base_url
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SetupError(f"base_url {url!r} of {settings.provider} is not an http(s) address.")
    if preset.family == "anthropic":
        url = url.rstrip("/").removesuffix("/v1")  # the SDK's path begins with /v1
    return url


def wire_api(settings: ModelSettings, *, env: Mapping[str, str] = os.environ) -> str:
    """`chat` or `responses`. Only OpenAI itself surely has the second: elsewhere it must be asked for."""
    if settings.wire_api != "auto":
        return settings.wire_api
    host = urlsplit(base_url(settings, env=env)).hostname
    return "responses" if host == _RESPONSES_HOST else "chat"


def missing_key(settings: ModelSettings, *, env: Mapping[str, str] = os.environ) -> str | None:
    """The name of the variable that should hold the key and does not, or None."""
    named = settings.api_key_env or preset_of(settings.provider).key_env
    return named if named and not env.get(named, "").strip() else None


def warm(settings: ModelSettings) -> threading.Thread | None:
    """Import the SDK of this model in the background, once per process."""
    family = preset_of(settings.provider).family
    return None if family == "local" else client.warm(family)


def _mode(text: str) -> Mode:
    if text in ("replay", "record", "auto"):
        return text  # type: ignore[return-value]
    raise SetupError(f"{REPLAY_MODE}={text!r} is not a mode: replay, record, auto.")


def _pace(settings: ModelSettings) -> float:
    pace = settings.extra_body.get("pace", 0.0) if settings.provider == "replay" else 0.0
    return float(pace) if isinstance(pace, (int, float)) else 0.0
