"""The user's script in another process: loaded for what it defines, without being run as the program again."""

from __future__ import annotations

import os
import runpy
import sys
import types
from pathlib import Path

from autopilot_runtime.core.errors import SetupError

# What the standard library calls it, too: a script whose classes come back from there is found under both names.
_NAME = "__mp_main__"
_loading = False


def main_script() -> tuple[str, str] | None:
    """Where `__main__` came from: ("module", its name) or ("path", its file); None where nobody else can load it."""
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    if spec is not None and spec.name:
        return ("module", spec.name)
    file = getattr(main, "__file__", None)
    if file and Path(file).is_file():
        return ("path", os.path.abspath(file))  # noqa: PTH100  (links stay: a script finds its neighbours beside it)
    return None


def load_main(script: tuple[str, str]) -> None:
    """Make it this process's `__main__`, unless that was done before."""
    global _loading
    here = sys.modules["__main__"]
    if here.__name__ == _NAME:
        return
    module = types.ModuleType(_NAME)
    sys.modules["__main__"] = sys.modules[_NAME] = module
    kind, where = script
    _loading = True
    try:
        load = runpy.run_module if kind == "module" else runpy.run_path
        module.__dict__.update(load(where, run_name=_NAME))
    except BaseException:
        sys.modules["__main__"] = sys.modules[_NAME] = here
        raise
    finally:
        _loading = False


def refuse_while_loading(what: str) -> None:
    """Work that a script begins whenever it is loaded would begin itself without end."""
    if _loading:
        raise SetupError(
            f"The script makes a {what} not only as a program, but also when the process of a job loads what it "
            'defines. Put all that begins work below `if __name__ == "__main__":`.'
        )
