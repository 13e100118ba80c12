"""An agent file as others see it: JSON Schema for editors, and configuration without secrets for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autopilot_runtime.core.secret import NAMES
from autopilot_runtime.runtime.agentschema import AgentDocument


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of an agent file, as editors want it: descriptions and no titles."""
    schema = _without_titles(AgentDocument.model_json_schema())
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def masked(value: Any, key: str = "") -> Any:
    """A copy in which values that may be secrets are replaced; names of variables stay."""
    if isinstance(value, Mapping):
        hidden = key in ("env", "headers", "extra_headers")
        return {k: "(set)" if hidden else masked(v, str(k)) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [masked(item, key) for item in value]
    secret = isinstance(value, str) and NAMES.search(key) and not key.endswith("_env")
    return "(set)" if secret else value


def _without_titles(value: Any, names: bool = False) -> Any:
    # Below `properties` and `$defs` the keys are names: a property called `title` stays.
    if isinstance(value, dict):
        return {
            key: _without_titles(item, names=not names and key in ("properties", "$defs"))
            for key, item in value.items()
            if names or key != "title"
        }
    return [_without_titles(item) for item in value] if isinstance(value, list) else value
