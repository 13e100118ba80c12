"""Which wall the programs of a runtime get: the best this machine has, or an error that says why there is none."""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping, Sequence
from typing import Literal

from autopilot_runtime.confine.policy import Policy
from autopilot_runtime.confine.wall import Kind, Wall
from autopilot_runtime.core.errors import SandboxUnavailable

Mode = Literal["auto", "required", "off"]
_FIX = "See `autopilot doctor`. `runtime.sandbox.shell: off` confines nothing: use a container or a virtual machine."


@functools.cache
def best() -> tuple[Kind, tuple[str, ...]]:
    """The best kind this machine has, found by trying, and why not a better one. Blocks some milliseconds once."""
    if sys.platform == "win32":
        return "none", ("no confinement of programs is known for Windows",)
    # Late: none of this can be loaded on Windows.
    from autopilot_runtime.confine import bwrap, seatbelt
    from autopilot_runtime.confine.level import level

    if seatbelt.available():
        return "seatbelt", ()
    here = level()
    program, why = bwrap.working() if here.seccomp else (None, "")
    if program is not None:
        return "bwrap", ()
    return ("none", here.missing) if here.missing else ("landlock", (why,))


def open_wall(
    mode: Mode, policy: Policy, env: Mapping[str, str], *, readable: Sequence[str] = (), kind: Kind | None = None
) -> Wall:
    """The wall for these programs. `required`: one that keeps all it promises, or SandboxUnavailable.

    A wall that this machine can have and that fails to go up is an error in every mode: nothing runs without it then.
    `kind` asks for one kind and no other. Blocks for some milliseconds.
    """
    if mode == "off":
        return Wall()
    found, why = best()
    candidates: list[Kind] = [kind] if kind else ["bwrap", "landlock"] if found == "bwrap" else [found]
    for candidate in candidates:
        if candidate == "none":
            continue
        from autopilot_runtime.confine.built import KINDS  # not on Windows

        try:
            wall = KINDS[candidate](policy, env, readable)
        except OSError as error:
            why = (*why, f"{candidate}: {error}")
            continue
        if mode == "required":
            _check(wall)
        return wall
    if mode == "required" or candidates != ["none"]:
        what = f"runtime.sandbox.shell: {mode}, but shells cannot be confined: {_list(why)}."
        raise SandboxUnavailable(f"{what} {_FIX}")
    return Wall(gaps=why)


def _check(wall: Wall) -> None:
    """A required wall may not show what it promises to hide."""
    holes = [gap for gap in wall.told.gaps if "can be read" in gap or "can signal" in gap]
    if holes:
        wall.close()
        raise SandboxUnavailable(f"runtime.sandbox.shell: required, but {_list(holes)} ({wall.kind}). {_FIX}")


def _list(parts: Sequence[str]) -> str:
    return "; ".join(parts) or "for a reason nobody told"
