"""Whether a process still runs, told from a later one with the same number."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path


def started(pid: int) -> str | None:
    """When that process began, as the system counts ("" where it does not say); None when it does not run."""
    if sys.platform == "win32":  # there, asking by signal 0 would be Ctrl+C
        return ""
    with contextlib.suppress(OSError, IndexError):  # no /proc, or nothing in it that may be seen
        # The name in the middle may hold anything, also blanks and brackets.
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return None if fields[0] in (b"Z", b"X") else fields[19].decode()
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        return ""
    return ""
