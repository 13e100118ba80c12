"""The single values of an agent file (names, addresses, hosts, variables) and what is wrong with a bad one."""

from __future__ import annotations

import difflib
import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from autopilot_runtime.model.compatible import PRESETS

PROVIDERS = tuple(PRESETS)

_ENV_NAME = r"^[A-Za-z_][A-Za-z0-9_]*$"
_HOST = re.compile(r"(\*\.)?[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{1,5})?\Z")
_TYPES = {"object", "array", "string", "number", "integer", "boolean", "null"}


def fault(text: str, key: str = "") -> PydanticCustomError:
    # The text may hold braces of the user's own: it goes in as data, never as a template.
    return PydanticCustomError("said", "{said}", {"said": text, "key": key})


def closest(word: str, known: list[str]) -> str:
    """`; did you mean 'x'?` when something known is near, else nothing."""
    near = difflib.get_close_matches(word.lower(), [k.lower() for k in known], n=1, cutoff=0.6)
    return next((f"; did you mean {k!r}?" for k in known if near and k.lower() == near[0]), "")


def _env_name(value: str) -> str:
    # Never with the value in the text: what is not a variable's name here is often a pasted key.
    if not re.match(_ENV_NAME, value) or len(value) > 100 or re.match(r"(sk|ghp|gho|pypi|hf|xox.)[-_]", value):
        raise fault(
            "this is not the name of an environment variable; if it is the key itself, put the key into a "
            "variable and the variable's name here"
        )
    return value


def _provider(value: str) -> str:
    if value in PROVIDERS or value in _third_party():
        return value
    known = list(PROVIDERS)
    raise fault(f"{value[:60]!r} is not one of {', '.join(known)}{closest(value, known)}")


def _third_party() -> set[str]:
    # Imported and searched only for a name we do not know: the search reads the whole of site-packages.
    from importlib.metadata import entry_points

    return {found.name for found in entry_points(group="autopilot_runtime.providers")}


def _url(value: str) -> str:
    if not re.match(r"https?://[^\s/]+", value):
        raise fault(f"expected an address like https://host/v1, got {value[:80]!r}")
    if "@" in value.split("//", 1)[1].split("/", 1)[0]:
        raise fault("an address with a user or password in it; use api_key_env for the key")
    return value


def _host(value: str) -> str:
    if not _HOST.match(value) or len(value) > 253:
        raise fault(f"expected a host like pypi.org or *.example.com, got {value[:80]!r} (no https://, no path)")
    return value


def _one_line(value: str) -> str:
    if not value.strip() or not value.isprintable():
        raise fault("expected one line of text that is not empty")
    return value


def file_name(value: str) -> str:
    if not value or "/" in value or "\\" in value or value in (".", ".."):
        raise fault(f"expected the plain name of a file such as AGENTS.md, got {value[:80]!r}")
    return value


def shape(value: dict[str, Any]) -> dict[str, Any]:
    kind = value.get("type")
    for one in kind if isinstance(kind, list) else [kind]:
        if one is not None and one not in _TYPES:
            known = sorted(_TYPES)
            raise fault(f"type: {str(one)[:40]!r} is not one of {', '.join(known)}{closest(str(one), known)}")
    return value


def is_list(value: Any) -> str:
    return "list" if isinstance(value, list) else "one"


def is_mapping(value: Any) -> str:
    return "map" if isinstance(value, dict | BaseModel) else "text"


EnvName = Annotated[str, AfterValidator(_env_name), WithJsonSchema({"type": "string", "pattern": _ENV_NAME})]
Provider = Annotated[str, AfterValidator(_provider), WithJsonSchema({"type": "string", "enum": list(PROVIDERS)})]
Url = Annotated[str, AfterValidator(_url)]
Host = Annotated[str, AfterValidator(_host)]
Line = Annotated[str, AfterValidator(_one_line)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
Dollars = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
