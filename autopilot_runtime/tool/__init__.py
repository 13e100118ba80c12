"""The machine behind tools. The package itself is the `@tool` decorator: folder and decorator share one name."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class _Tool(ModuleType):
    # `from autopilot_runtime import tool` finds this module as soon as anything below it was imported, so the
    # module has to be what the name promises.
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        from autopilot_runtime.tool.define import tool

        return tool(*args, **kwargs)


sys.modules[__name__].__class__ = _Tool
