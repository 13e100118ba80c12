"""Where a path really leads, one answer for every spelling; and whether its name may be written."""

from __future__ import annotations

import os
import re
import unicodedata
from dataclasses import dataclass

from autopilot_runtime.core.errors import PathRefused
from autopilot_runtime.tool.visible import visible

_RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])\Z", re.IGNORECASE)
_MAX_NAME = 240  # bytes; a temp file beside it needs some more
_MAX_PATH = 4_000


@dataclass(frozen=True, slots=True)
class Place:
    """A real file: the folder names below `anchor`, its own name, and the path as one shows it."""

    anchor: str
    folders: tuple[str, ...]
    name: str
    shown: str

    @property
    def real(self) -> str:
        """The whole real path: the identity of the file."""
        return os.path.join(self.anchor, *self.folders, self.name)  # noqa: PTH118


def locate(root: str, path: str, *, unsafe: bool = False) -> Place:
    """The real place of `path`, relative to the real folder `root`. Outside of it: `PathRefused`."""
    if not isinstance(path, str) or not path.strip():
        raise PathRefused(f"Expected the path of a file in the workspace {root}, got {path!r:.80}.")
    if "\0" in path or len(path) > _MAX_PATH:
        raise PathRefused(f"{visible(path, limit=120)} cannot be a path: it holds NUL, or is too long.")
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        raise PathRefused(f"{visible(path, limit=120)} cannot be a path: it holds half a character.") from None
    try:
        real = os.path.realpath(os.path.join(root, path))  # noqa: PTH118
    except OSError as error:
        # What was a link when it was looked at, and none when it was read.
        raise PathRefused(f"{visible(path, limit=200)} was replaced while it was looked up; refused.") from error
    inside = _parts_below(root, real)
    if inside is not None:
        return _place(root, inside, "/".join(inside) or ".")
    if not unsafe:
        raise PathRefused(
            f"{visible(path, limit=200)} is outside the workspace {root}. File tools work only inside it; "
            "give a path relative to it."
        )
    anchor = os.path.splitdrive(real)[0] + os.sep
    return _place(anchor, _parts_below(anchor, real) or [], real)


def _parts_below(root: str, real: str) -> list[str] | None:
    if real == root:
        return []
    prefix = root if root.endswith(os.sep) else root + os.sep
    # Windows compares without case; elsewhere normcase changes nothing.
    if not os.path.normcase(real).startswith(os.path.normcase(prefix)):
        return None
    return real[len(prefix) :].split(os.sep)  # noqa: PTH206


def _place(anchor: str, parts: list[str], shown: str) -> Place:
    return Place(anchor, tuple(parts[:-1]), parts[-1] if parts else "", shown)


def check_names(place: Place, given: str) -> None:
    """Refuse names that another system could not hold, or that look like something else."""
    if given.endswith(("/", "\\")) or not place.name:
        raise PathRefused(f"{visible(given, limit=200)} is a folder; give the path of a file.")
    for part in (*place.folders, place.name) if place.shown != place.real else (place.name,):
        reason = _fault(part)
        if reason:
            raise PathRefused(f"{visible(given, limit=200)} cannot be written: {visible(part, limit=80)!r} {reason}.")


def _fault(part: str) -> str:
    if any(unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") for char in part):
        return "holds a control character"
    if len(os.fsencode(part)) > _MAX_NAME:
        return f"is longer than {_MAX_NAME} bytes"
    if _RESERVED.match(part.split(".", 1)[0].rstrip(" ")):
        return "is reserved on Windows"
    if part.endswith((".", " ")):
        return "ends with a dot or a space, which Windows drops"
    bad = sorted(set(part) & set('<>:"|?*\\'))
    if bad:
        hint = "; folders are separated by /" if "\\" in bad else ""
        return f"holds {' '.join(bad)}, which Windows does not allow{hint}"
    if part == "~":
        return "stands for a home folder in a shell; file tools do not expand it"
    return ""


def folded(real: str) -> str:
    """The same for all spellings that some file system takes for one file."""
    return unicodedata.normalize("NFC", real).casefold()
