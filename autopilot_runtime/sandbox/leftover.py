"""What a block leaves behind and the next one must not meet: running threads, patched modules.

Runs in the worker; the standard library only.
"""

from __future__ import annotations

import _thread
import ctypes
import sys
import threading
from time import monotonic, sleep
from typing import Any

_JOIN_SECONDS = 0.5
_END_SECONDS = 0.5
# What code of ours or of the next block leans on; a module's own state objects are left to it.
_WATCHED = """
builtins json json.encoder json.decoder re math os posixpath sys io collections itertools functools random time
datetime string textwrap types typing dataclasses copy traceback linecache ast threading
"""
_OUR_OWN = {"sys": {"stdin", "stdout", "stderr", "last_type", "last_value", "last_traceback", "last_exc"}}


class Kept:
    """The modules as they were before the first block."""

    def __init__(self) -> None:
        self._modules = dict(sys.modules)
        self._names: list[tuple[dict[str, Any], dict[str, Any]]] = []
        for name in _WATCHED.split():
            module = sys.modules.get(name)
            if module is not None:
                skipped = _OUR_OWN.get(name, set())
                now = vars(module)
                self._names.append((now, {key: value for key, value in now.items() if key not in skipped}))

    def restore(self) -> None:
        """Undo what a block did to them. Names it added to a module go, too, except where they are ours."""
        sys.settrace(None)
        sys.setprofile(None)
        for now, before in self._names:
            for key, value in before.items():
                if key not in now or now[key] is not value:
                    now[key] = value
            if len(now) > len(before) + 8:
                for key in [key for key in now if key not in before and key not in _OUR_OWN["sys"]]:
                    del now[key]
        for name, module in self._modules.items():
            if name != "__main__" and sys.modules.get(name) is not module:
                sys.modules[name] = module


def end_threads() -> int:
    """How many threads of the block are still running after they were given time, then told to end."""
    if _thread._count() == 0:
        return 0
    _wait(_JOIN_SECONDS)
    me = threading.get_ident()
    for ident in [ident for ident in sys._current_frames() if ident != me]:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(SystemExit))
    _wait(_END_SECONDS)
    return _thread._count()


def _wait(seconds: float) -> None:
    until = monotonic() + seconds
    while _thread._count() and monotonic() < until:
        sleep(0.002)
