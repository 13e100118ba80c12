"""Calls the hooks of callbacks and of the module. Each gets as many arguments as it takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from autopilot_runtime.training.arity import takes
from autopilot_runtime.training.callback import HOOKS, Callback, check_hooks
from autopilot_runtime.training.fault import TrainingError
from autopilot_runtime.training.module import Module

Hook = Callable[..., Any]
_QUIET = {"setup", "teardown"}  # of the module itself: the trainer calls these


class Dispatch:
    """Who is to be called at which hook; made once for a fit, so that a hook nobody wants costs nothing."""

    def __init__(self, trainer: Any, module: Module, callbacks: Iterable[Any]) -> None:
        self._hooks: dict[str, list[tuple[Hook, int, tuple[Any, ...]]]] = {}
        for one in callbacks:
            if isinstance(one, (str, type)):
                raise TrainingError(f"{one!r} is no callback: give an object, Callback() or one with hooks")
            check_hooks(type(one))
            for name in HOOKS:
                self._add(name, getattr(one, name, None), (trainer, module), own=getattr(Callback, name, None))
        for name in HOOKS - _QUIET:
            self._add(name, getattr(module, name, None), (), own=None)

    def _add(self, name: str, hook: Any, first: tuple[Any, ...], *, own: Any) -> None:
        if callable(hook) and (own is None or getattr(hook, "__func__", None) is not own):
            self._hooks.setdefault(name, []).append((hook, takes(hook), first))

    def __call__(self, name: str, *arguments: Any) -> None:
        """Call everyone who wants to know, in order. What they raise is raised."""
        for hook, count, first in self._hooks.get(name, ()):
            hook(*(first + arguments)[:count])

    def wanted(self, name: str) -> bool:
        """Whether anybody wants to know."""
        return name in self._hooks
