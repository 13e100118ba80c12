"""What one run works with, and how what happened is put into words for the model."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autopilot_runtime.block.reply import Payload
from autopilot_runtime.core.errors import ProviderError, ProviderFault
from autopilot_runtime.core.event import EventType
from autopilot_runtime.core.protocols import BlockResult, Limits, Provider, Sandbox
from autopilot_runtime.core.stream import Scope
from autopilot_runtime.model.retry import notices
from autopilot_runtime.runtime.desk import Desk
from autopilot_runtime.runtime.history import History
from autopilot_runtime.runtime.inbox import Inbox
from autopilot_runtime.runtime.memory import Memory
from autopilot_runtime.runtime.notes import (
    TerminalState,
    environment_message,
    result_message,
    runtime_message,
    status_block,
    user_message,
)
from autopilot_runtime.runtime.recall import looks
from autopilot_runtime.runtime.run import Run
from autopilot_runtime.tool.registry import ToolRegistry
from autopilot_runtime.tool.watch import Watch, describe

_SYSTEM = f"{platform.system()} {platform.machine()}"


@dataclass
class Parts:
    """The hands and the memory of one run."""

    provider: Provider
    sandbox: Sandbox
    registry: ToolRegistry
    history: History
    memory: Memory
    inbox: Inbox
    system: str
    tag: str
    work_dir: str
    live: bool
    limits: Limits
    max_tokens: int | None
    watch: Watch
    make_desk: Callable[[Run, Scope, Sequence[Payload]], Desk]
    output_schema: Mapping[str, Any] | None = None
    terminals: Callable[[], Sequence[TerminalState]] = tuple
    clock: Callable[[], float] = time.time

    def desk(self, run: Run, scope: Scope, payloads: Sequence[Payload]) -> Desk:
        """A desk for the tool calls of one block."""
        return self.make_desk(run, scope, payloads)

    def mask(self, text: str) -> str:
        """The text without secrets."""
        return self.history.mask(text)

    def notices(self) -> list[str]:
        """What the provider has to say about its settings, each once."""
        return notices(self.provider)

    def model_error(self, text: str, *, kind: ProviderFault) -> ProviderError:
        """An error that says which model did what."""
        model, name = self.provider.model, self.provider.name
        return ProviderError(f"The model {model} {text}", kind=kind, provider=name, model=model)

    def status(self, run: Run, step: int, *, coming: str = "") -> str:
        """The status block for the model's next look; `coming` is the text it will stand under."""
        meter = self.history.meter
        used = meter.used + meter.estimate.tokens(coming)
        return status_block(
            step,
            run.max_steps,
            tag=self.tag,
            now=self._now(),
            system=_SYSTEM,
            cwd=self.work_dir,
            terminals=self.terminals(),
            tokens=(used, meter.window),
            hint=self.memory.hint(run),
            cost=_cost(run),
        )

    def resume_note(self, run: Run, status: str) -> None:
        """Begin a resumed run: the newest message says that it goes on."""
        said = runtime_message("The run was interrupted and goes on now.", self.tag)
        text = "\n\n".join([said, *self.meanwhile(run), status])
        self.history.add("user", text, kind="result", task=run.task)

    def note(self, run: Run, text: str) -> None:
        """Say something about the last reply, outside of any step."""
        self.history.add("user", runtime_message(text, self.tag), kind="result", task=run.task)

    def report(
        self, run: Run, result: BlockResult | None, *, problems: str = "", void: bool = False, last: bool = False
    ) -> None:
        """Tell the model what came of its reply, with everything else that happened meanwhile."""
        extra = [] if last else self.meanwhile(run)
        if result is not None:
            extra = [problems, *extra] if problems else extra
            unused, run.unused = run.unused, ()
            text = result_message(result, self.tag, unused=unused, completion_void=void, extra=extra)
        else:
            text = "\n\n".join([runtime_message(problems, self.tag), *extra])
        if not last and run.step < run.max_steps:
            text += "\n\n" + self.status(run, run.step + 1, coming=text)
        message = self.history.add("user", text, kind="result", task=run.task)
        if result is not None and message.content == text:  # else a secret was masked, and the places do not fit
            self.memory.saw(looks(result, self.tag))

    def meanwhile(self, run: Run) -> list[str]:
        """What has happened around the agent since its last look: changed files, messages of the user."""
        self.notice(run)
        told = []
        if run.noticed:
            report, run.noticed = describe(run.noticed), []
            run.span.emit(EventType.ENVIRONMENT_CHANGE, report=report)
            told.append(environment_message(report, self.tag, when=self._now()))
        return [*told, *(user_message(text, self.tag) for text in self.inbox.take(run.span))]

    def notice(self, run: Run) -> None:
        """Look at what others did to the files since the last step; asked before a block can touch them."""
        run.noticed += self.watch.changes()

    def _now(self) -> str:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.clock()))


def _cost(run: Run) -> tuple[float, float | None] | None:
    spent = run.usage.cost_usd
    return (spent, run.max_cost_usd) if spent is not None and (spent or run.max_cost_usd) else None
