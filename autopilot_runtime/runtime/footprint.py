"""What one run, with its sub-agents, does to files: nothing is loaded or made for it before the first change."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from autopilot_runtime.tool.workspace import Draft

if TYPE_CHECKING:
    from autopilot_runtime.runtime.keeping import Keeping


class Footprint:
    """The footprint of one run. Any thread may call it; `warn` tells what undo will not cover."""

    def __init__(
        self,
        work_dir: str | os.PathLike[str],
        *,
        run_id: str,
        session_id: str,
        warn: Callable[[str], object],
        task: str = "",
        skip: Iterable[str | os.PathLike[str]] = (),
    ) -> None:
        self.task = task
        self._work_dir = work_dir
        self._run_id = run_id
        self._session_id = session_id
        self._warn = warn
        self._skip = tuple(skip)
        self._lock = threading.Lock()
        self._keeping: Keeping | None = None

    def leave_out(self, places: Iterable[str | os.PathLike[str]]) -> None:
        """What is kept there is ours, not the run's work."""
        with self._lock:
            self._skip = (*self._skip, *places)
            if self._keeping is not None:
                self._keeping.leave_out(places)

    def before_write(self, draft: Draft, made: Iterable[str]) -> None:
        """A file tool is about to put a draft in its place; these folders were made for it just now."""
        self._kept().before_write(draft, made)

    async def before_program(self) -> None:
        """A program is about to run, and may change anything."""
        await self._kept().before_program()

    async def end(self, *, hurry: bool) -> None:
        """The run is over: see what its programs did. `hurry`: leave that to the next who asks, if it takes long."""
        if self._keeping is not None:
            await self._keeping.end(hurry=hurry)

    def _kept(self) -> Keeping:
        with self._lock:
            if self._keeping is None:
                # Late: most runs of most programs change nothing, and need no SQLite.
                from autopilot_runtime.runtime.keeping import Keeping

                self._keeping = Keeping(
                    self._work_dir,
                    run_id=self._run_id,
                    session_id=self._session_id,
                    warn=self._warn,
                    task=self.task,
                    skip=self._skip,
                )
            return self._keeping
