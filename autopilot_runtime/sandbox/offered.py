"""What a block is given besides Python: tools to call, and the errors they raise, by name.

Runs in the worker; the standard library only.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable
from typing import Any


class Stopped(BaseException):
    """The host asks the block to end: its time is over, or a call was final."""


class ToolError(Exception):
    """A tool could not do it; the text says why."""


class PermissionDenied(ToolError):
    """A rule or a person said no."""


class PathRefused(ToolError):
    """A path leaves the workspace."""


class EditConflict(ToolError):
    """What should be edited is not what was last read."""


ERRORS: dict[str, type[Exception]] = {
    kind.__name__: kind for kind in (ToolError, PermissionDenied, PathRefused, EditConflict)
}
for _kind in (*ERRORS.values(), Stopped):
    _kind.__module__ = "builtins"
_BUILTIN_ERRORS: dict[str, type[Exception]] = {
    name: kind for name, kind in vars(builtins).items() if isinstance(kind, type) and issubclass(kind, Exception)
}


def error_named(name: str, text: str) -> Exception:
    """The exception a block sees for a tool's error: a built-in one by its name, or a ToolError."""
    kind = ERRORS.get(name) or _BUILTIN_ERRORS.get(name)
    if kind is None:
        return ToolError(text)
    try:
        return kind(text)
    except TypeError:
        # A few built-in exceptions (UnicodeDecodeError) want more than a text.
        return ToolError(f"{name}: {text}")


def tool(ask: Callable[..., Any], name: str, *, bare: bool) -> Callable[..., Any]:
    """A tool as a block sees it. A function, made anew for every block: nothing about it can be patched for later."""

    def call(*args: Any, **kwargs: Any) -> Any:
        return ask(name, args, kwargs, bare=bare)

    call.__name__ = call.__qualname__ = name
    call.__module__ = "tools"
    return call


class Server:
    """The tools of one server: `server.tool(...)`."""

    def __init__(self, name: str) -> None:
        self.__dict__["__name__"] = name

    def __getattr__(self, attr: str) -> Any:
        if attr.startswith("__"):
            raise AttributeError(attr)
        have = ", ".join(name for name in self.__dict__ if not name.startswith("_"))
        raise AttributeError(f"{self.__dict__['__name__']} has no tool {attr!r}; it has {have}")

    def __repr__(self) -> str:
        return f"<tools {self.__dict__['__name__']}>"
