"""The traces that one runtime's runs leave in files: each run gets its footprint, and `undo` takes one back."""

from __future__ import annotations

import os
from pathlib import Path

from autopilot_runtime.core.bridge import in_thread
from autopilot_runtime.core.event import EventType
from autopilot_runtime.core.protocols import SessionStore
from autopilot_runtime.core.stream import Scope
from autopilot_runtime.runtime.footprint import Footprint
from autopilot_runtime.runtime.run import Run
from autopilot_runtime.tool.watch import Watch
from autopilot_runtime.tool.workspace import Workspace


class Traces:
    """What belongs to one runtime. `watch` tells the model what others changed."""

    def __init__(self, workspace: Workspace, session: SessionStore, scope: Scope, *, watch: Watch) -> None:
        self._workspace = workspace
        self._session = session
        self._scope = scope
        self._watch = watch

    def follow(self, run: Run) -> None:
        """Give a run its footprint; what a sub-agent does is in its caller's. Opens nothing."""
        scope = run.scope
        if run.caller is None:
            run.footprint = Footprint(
                self._workspace.root,
                run_id=run.id,
                session_id=self._session.session_id,
                warn=lambda text: scope.emit(EventType.WARNING, message=text),
                skip=self._own_places(),
            )
        elif run.footprint is not None:
            run.footprint.leave_out(self._own_places())
        if run.footprint is not None:
            self._workspace.before_write = run.footprint.before_write

    def name(self, run: Run, task: str) -> None:
        """What a person will know the run by."""
        if run.footprint is not None and run.caller is None:
            run.footprint.task = self._scope.stream.redactor.mask(task)

    async def end(self, run: Run, *, hurry: bool) -> None:
        """See what a run did to files. A sub-agent's caller is not at its end yet."""
        if run.footprint is not None and run.caller is None:
            await run.footprint.end(hurry=hurry)

    async def undo(self, run_id: str | None, *, force: bool) -> list[str]:
        """Undo a run and tell it; the model hears of it with its next task."""
        from autopilot_runtime.runtime.undo import undo  # late: needs SQLite, which most programs do not

        root, session = self._workspace.root, self._session.session_id
        done = await in_thread(undo, root, run_id, session=session, force=force, skip=self._own_places())
        self._watch.expect(done.paths)
        self._scope.emit(
            EventType.FILES_RESTORED, undone=done.run, undo_id=done.id, files=list(done.paths), left=list(done.left)
        )
        return list(done.paths)

    def _own_places(self) -> tuple[str | os.PathLike[str], ...]:
        """Where the session itself is kept: no work of the agent, so undo leaves it alone."""
        return tuple(getattr(self._session, "places", ()))


def own_files(session: SessionStore, work_dir: Path) -> tuple[Path, ...]:
    """What of a session no tool may write: its files, and its folder where that is a part of the workspace.

    A folder that holds the whole workspace, or is it, holds the user's files, too.
    """
    places = (Path(os.path.realpath(place)) for place in getattr(session, "places", ()))
    root = Path(os.path.realpath(work_dir))
    return tuple(place for place in places if not root.is_relative_to(place))
