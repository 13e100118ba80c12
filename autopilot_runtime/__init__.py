"""The embeddable agent runtime. Names load on first use, so importing this package costs next to nothing."""

from __future__ import annotations

__version__ = "0.1.0"
