"""An exception of a block as text for its author: only the block's own frames, bounded, whatever the exception does.

Runs in the worker; the standard library only.
"""

from __future__ import annotations

import builtins
import difflib
import traceback
from collections.abc import Iterable

MARK = "<control block"
_CHARS = 8_000
_NAMES = 1_000


def text_of(error: BaseException, *, tools: Iterable[str], names: Iterable[str]) -> tuple[str, int | None]:
    """The trimmed traceback, and the line of the current block where it happened."""
    try:
        shown = traceback.TracebackException(type(error), error, error.__traceback__, compact=True)
        line = _trim(shown, 0)
        text = "".join(shown.format())
        if isinstance(error, NameError) and isinstance(error.name, str):
            text += _near(error.name, list(tools), list(names))
    except Exception as broken:
        # An exception whose own code fails while it is shown must not take the report with it.
        return f"{type(error).__name__} (it cannot be shown: {type(broken).__name__})", None
    return clip(text.rstrip("\n"), _CHARS), line


def clip(text: str, size: int) -> str:
    """Head and tail of a long text, with the count of what is missing between them."""
    if len(text) <= size:
        return text
    half = size // 2
    return f"{text[:half]}\n[... {len(text) - 2 * half} characters not shown ...]\n{text[-half:]}"


def _trim(shown: traceback.TracebackException, depth: int) -> int | None:
    """Keep the block's frames, here and in the exceptions it hangs on. Gives the innermost line."""
    own = [frame for frame in shown.stack if frame.filename.startswith(MARK)]
    shown.stack = traceback.StackSummary.from_list(own)
    if depth < 20:
        for other in (shown.__cause__, shown.__context__, *(shown.exceptions or ())):
            if other is not None:
                _trim(other, depth + 1)
    return own[-1].lineno if own else None


def _near(name: str, tools: list[str], names: list[str]) -> str:
    known = [*tools, *names, *dir(builtins)]
    near = difflib.get_close_matches(name[:80], known, n=1)
    hint = f"Did you mean {near[0]!r}? " if near and f"'{near[0]}'" != name else ""
    listed = clip(", ".join(sorted(tools)), _NAMES) or "none"
    return f"{hint}Tools here: {listed}\n"
