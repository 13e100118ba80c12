"""How often files may be written in one step: a few whole files, and each file edited by lines once."""

from __future__ import annotations

from typing import Literal

from autopilot_runtime.core.errors import ToolError

Mode = Literal["w", "a", "edit", "insert", "multi_edit", "replace"]
WHOLE: tuple[Mode, ...] = ("w", "a")
MAX_WHOLE = 5


class StepQuota:
    """The writes of the current step."""

    def __init__(self, max_whole: int = MAX_WHOLE) -> None:
        self.max_whole = max_whole
        self._whole = 0
        self._edited: dict[str, str] = {}

    def begin_step(self) -> None:
        """A new step: everything is free again."""
        self._whole = 0
        self._edited.clear()

    def check(self, real: str, mode: Mode, shown: str) -> None:
        """Raise when one more such write is too many in this step."""
        if mode in WHOLE:
            if self._whole >= self.max_whole:
                raise ToolError(
                    f"At most {self.max_whole} write_file() calls with mode 'w' or 'a' in one step; {shown} was not "
                    "written. Go on in the next step."
                )
            return
        if real in self._edited:
            raise ToolError(
                f"{shown} was already edited in this step (mode {self._edited[real]!r}), so its line numbers have "
                "moved. Use one multi_edit for several places, or go on in the next step."
            )

    def count(self, real: str, mode: Mode) -> None:
        """One such write took place."""
        if mode in WHOLE:
            self._whole += 1
        else:
            self._edited[real] = mode
