"""From any session id to a file name that is safe everywhere and belongs to that id alone. Pure."""

from __future__ import annotations

import hashlib
import re

from autopilot_runtime.core.ids import slug

# Lower case only: on a case-insensitive file system `Foo` and `foo` would share a file.
_PLAIN = re.compile(r"[a-z0-9][a-z0-9_-]{0,79}")
_DEVICE = re.compile(r"con|prn|aux|nul|com[0-9]|lpt[0-9]")
_OLD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


def file_stem(session_id: str) -> str:
    """The id itself where it is plain; else a readable part, `~` (never in a plain id) and a digest of the id."""
    if _PLAIN.fullmatch(session_id) and not _DEVICE.fullmatch(session_id):
        return session_id
    digest = hashlib.sha256(session_id.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return f"{slug(session_id[:200], 40)}~{digest}"


def old_file_name(session_id: str) -> str | None:
    """The name an older writer gave this id's file, where that can be said without doubt."""
    return f"{session_id}.json" if _OLD.fullmatch(session_id) and file_stem(session_id) != session_id else None
