"""Being somebody who may not read everything, for a test that runs as root."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator


@contextlib.contextmanager
def as_an_ordinary_user() -> Iterator[None]:
    """Root may read everything, so while this lasts we are not root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65_534)
    try:
        yield
    finally:
        os.seteuid(0)
