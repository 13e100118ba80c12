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
from autopilot_runtime.core.message import Message
from autopilot_runtime.core.protocols import BlockResult, Limits, Provider, Sandbox
from autopilot_runtime.core.stream import Scope
from autopilot_runtime.model.retry import notices
from autopilot_runtime.runtime.desk import Desk
from autopilot_runtime.runtime.hearing import Heard
from autopilot_runtime.runtime.history import History
from autopilot_runtime.runtime.inbox import Inbox
from autopilot_runtime.runtime.ledger import Book, Ledger
from autopilot_runtime.runtime.memory import Memory
from autopilot_runtime.runtime.notes import (
    TerminalState,
    environment_message,
    result_message,
    runtime_message,
    status_block,
    user_message,
)
from autopilot_runtime.runtime.run import Run
from autopilot_runtime.runtime.sight import looks
from autopilot_runtime.runtime.standing import standing
from autopilot_runtime.tool.registry import ToolRegistry
from autopilot_runtime.tool.watch import Watch, describe

UNMET = "Before the interruption this block had made these calls, too; it did not come to them again:"
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
    desk: Callable[[Run, Scope, Sequence[Payload], Book], Desk]
    ledger: Ledger
    output_schema: Mapping[str, Any] | None = None
    terminals: Callable[[], Sequence[TerminalState]] = tuple
    clock: Callable[[], float] = time.time

    def close_block(self, run: Run, book: Book, result: BlockResult) -> None:
        """Note that a block has ended. One that took the worker with it also took the variables of those before."""
        if unmet := book.unmet():
            lines = "\n".join(f"- {line}" for line in unmet)
            run.said.append(f"{UNMET}\n{lines}")
        if result.failure is not None and result.failure.kind in ("timeout", "memory", "killed"):
            self.ledger.lose()
        else:
            book.close(result.reads)

    @property
    def book(self) -> Book:
        """The records of the block in the newest message."""
        return self.ledger.block(len(self.history.messages) - 1)

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
            hint=self.memory.hint(run, used=used),
            budget=run.budget_line(context=used),
        )

    async def resume_note(self, run: Run) -> None:
        """Begin a resumed run: the newest message says that it goes on."""
        status = self.status(run, run.step + 1)
        said = runtime_message(f"The run was interrupted and goes on now.{self.gone(run)}", self.tag)
        await self.tell(run, "\n\n".join([said, *self.meanwhile(run), status]))

    def gone(self, run: Run) -> str:
        """What a run that goes on in another process has lost."""
        lost = run.elsewhere and "execute" in self.registry
        return (
            " The terminals it had before are gone, with their variables and jobs: new shells start in the same "
            "folders, and servers have to be started again." * lost
        )

    async def take_reply(self, run: Run, heard: Heard) -> None:
        """Put a whole reply into the conversation."""
        self.ledger.stand(standing(run))
        stop = "" if heard.stop.reason == "end" else heard.stop.reason
        text, usage = heard.reply.text, heard.usage
        await self.history.add("assistant", text, kind="reply", task=run.task, usage=usage, stop=stop)

    async def note(self, run: Run, text: str) -> None:
        """Say something about the last reply, outside of any step."""
        await self.tell(run, runtime_message(text, self.tag))

    async def tell(self, run: Run, text: str) -> Message:
        """Put a message into the conversation, and with it where the run stands."""
        self.ledger.stand(standing(run))
        return await self.history.add("user", text, kind="result", task=run.task)

    async def report(
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
        message = await self.tell(run, text)
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
        said, run.said = run.said, []
        told += [runtime_message(text, self.tag) for text in said]
        return [*told, *(user_message(text, self.tag) for text in self.inbox.take(run.span))]

    def notice(self, run: Run) -> None:
        """Look at what others did to the files since the last step; asked before a block can touch them."""
        run.noticed += self.watch.changes()

    def _now(self) -> str:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.clock()))
