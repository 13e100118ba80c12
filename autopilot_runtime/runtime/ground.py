"""What a runtime stands on: its own, or, when it is a sub-agent's, its caller's."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from autopilot_runtime.core.hooks import HookSystem
from autopilot_runtime.core.protocols import SessionStore
from autopilot_runtime.core.stream import Scope, Stream
from autopilot_runtime.runtime import console
from autopilot_runtime.runtime.agentfile import AgentFile
from autopilot_runtime.runtime.questions import Questions
from autopilot_runtime.runtime.rights import Rights
from autopilot_runtime.runtime.roster import Roster
from autopilot_runtime.tool.permit import PermissionMode


@dataclass(frozen=True, slots=True)
class Ground:
    """Where events go, who answers, and what whoever made the runtime has said on permissions.

    `depth` is how many levels of agents there may be below; None when that is not said yet.
    """

    scope: Scope
    hooks: HookSystem
    questions: Questions
    roster: Roster
    tag: str
    given: tuple[str, ...]
    mode: PermissionMode
    above: Rights | None = None
    protected: tuple[Path, ...] = ()
    depth: int | None = None

    @classmethod
    def own(
        cls, agent: AgentFile, session: SessionStore, *, tag: str, given: tuple[str, ...], mode: PermissionMode
    ) -> Ground:
        """The ground of an agent that nobody has called."""
        stream = Stream()
        scope = Scope(stream, session.session_id)
        hooks = HookSystem(stream, scope)
        console.install(hooks)
        questions = Questions(hooks, unanswered=agent.runtime.on_unanswered, prompt=console.read_answer)
        return cls(scope, hooks, questions, Roster(agent.work_dir), tag, given, mode)

    def below(
        self, name: str, scope: Scope, above: Rights, *, tag: str, protected: tuple[Path, ...], depth: int
    ) -> Ground:
        """The ground of the sub-agent `name`, called in `scope`."""
        scope = scope.of(name)
        return replace(
            self,
            scope=scope,
            # No handlers of its own: what happens to it is told to its caller's, and they are asked.
            hooks=HookSystem(Stream(), scope),
            tag=tag,
            above=above,
            protected=protected,
            depth=(depth if self.depth is None else min(depth, self.depth)) - 1,
        )
