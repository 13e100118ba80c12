"""Which release this is."""

from __future__ import annotations

import sys


def release() -> str:
    """The version. It stands in the package's front door, which is loaded before anything behind it."""
    return str(sys.modules["autopilot_runtime"].__version__)
