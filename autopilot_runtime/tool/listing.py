"""Help for a path that is not a file: what is in the folder, and which name was perhaps meant."""

from __future__ import annotations

import difflib
import os
from itertools import islice

from autopilot_runtime.tool.visible import visible

_LOOKED_AT = 2_000
_SHOWN = 60


def folder_hint(real: str, shown: str) -> str:
    """What to say when a folder was given where a file was meant."""
    names = _names(real)
    if not names:
        return f"{shown} is a folder (empty, or not readable), not a file."
    more = "or more " if len(names) == _LOOKED_AT else ""
    rest = f"\n  … {len(names)} entries {more}in all" if len(names) > _SHOWN else ""
    inside = "\n".join(f"  {visible(name, limit=120)}" for name in names[:_SHOWN])
    return f"{shown} is a folder, not a file. It holds:\n{inside}{rest}"


def missing_hint(root: str, real: str, shown: str) -> str:
    """What to say when there is nothing at a path."""
    folder, name = os.path.split(real)
    names = [one.rstrip("/") for one in _names(folder)]
    near = difflib.get_close_matches(name, names[:500], n=3, cutoff=0.6)
    text = f"There is no file {shown} in {root}."
    if near:
        here = shown.rpartition("/")[0]
        text += " Near: " + ", ".join(visible(f"{here}/{one}" if here else one, limit=160) for one in near) + "."
    return text


def _names(folder: str) -> list[str]:
    """Sorted names, folders with a slash; links are not followed and nothing is opened."""
    try:
        with os.scandir(folder) as entries:
            found = [e.name + ("/" if e.is_dir(follow_symlinks=False) else "") for e in islice(entries, _LOOKED_AT)]
    except OSError:
        return []  # not readable or just gone: then there is no help to give
    return sorted(found)
