"""What of the conversation is in sight: tasks put away and taken out, outputs shown twice, questions left open."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from autopilot_runtime.context.archive import Archived, Span, State, archive, can_archive, hidden, reveal
from autopilot_runtime.context.budget import message_tokens
from autopilot_runtime.core.errors import ToolError
from autopilot_runtime.core.event import EventType
from autopilot_runtime.core.message import printable
from autopilot_runtime.runtime.agentschema import MemorySpec
from autopilot_runtime.runtime.history import History
from autopilot_runtime.runtime.run import Run
from autopilot_runtime.runtime.sight import Look, Sight
from autopilot_runtime.tool.context import ArchivedTask
from autopilot_runtime.tool.registry import ToolRegistry

HINT_PERCENT = 75
_UNREAD = (
    "The session holds a memory_state that this release cannot read: what another writer archived is shown in full. "
    "It is kept as it is."
)
Ask = Callable[..., Awaitable[str]]


class Memory:
    """Decides what stands for what in the view of one conversation. The conversation itself stays whole."""

    def __init__(self, history: History, spec: MemorySpec, *, words: Sight, registry: ToolRegistry) -> None:
        self.history = history
        self.spec = spec
        self.words = words
        self.warned = ""  # the run that was told that what it sends is larger than the window
        self._registry = registry
        self._new: list[tuple[Look, Span]] = []
        self._seen: dict[str, list[Span]] = defaultdict(list)  # where each source was shown

    @property
    def limit(self) -> int:
        """The tokens above which older conversation is summed up."""
        return int(self.history.meter.window * self.spec.global_summary_threshold)

    def begin(self, run: Run, system: str) -> None:
        """A run begins, with this system prompt."""
        self.history.meter.begin(system)
        if self.history.unread is not None:
            run.scope.emit(EventType.WARNING, message=_UNREAD)

    def hint(self, run: Run, *, used: int) -> str:
        """What the status block says when the window fills up: `used` tokens, with the message it stands in."""
        if used > self.limit:  # the figure is read when that has happened already
            return "older messages are summed up before you read this, as far as they can be"
        if used * 100 < HINT_PERCENT * self.history.meter.window or "archive_context" not in self._registry:
            return ""
        tasks = can_archive(self.history.messages, self.history.view.state, current=run.task)
        if not tasks:
            return ""
        shown = ", ".join(map(str, tasks[:8])) + (", ..." if len(tasks) > 8 else "")
        return f"archive finished tasks you no longer need in full (archive_context): {shown}"

    async def put(self, run: Run, state: State, what: str) -> int:
        """Show the conversation in this state from now on, and tell it; gives the tokens this saves."""
        meter, view = self.history.meter, self.history.view
        before, raw = meter.used, view.raw
        await self.history.keep(state)
        run.span.emit(EventType.COMPACTED, before=before, after=meter.used, what=what)
        return meter.tokens(raw - view.raw)

    # ------------------------------------------------------------ outputs that were shown before

    def saw(self, looks: Sequence[Look]) -> None:
        """The newest message of the conversation shows these."""
        index = len(self.history.messages) - 1
        self._new += [(look, Span(index, look.start, look.end)) for look in looks]

    async def settle(self, run: Run) -> None:
        """Leave out what was shown before and is shown again in full, if that pays."""
        new, self._new = self._new, []
        for look, span in new:
            earlier = self._seen[look.source]
            if look.whole and self._pays(gone := [one for one in earlier if self._in_sight(one)], span.index):
                state = self.history.view.state
                await self.put(run, replace(state, dropped=(*state.dropped, *gone)), "outputs shown in full below")
                earlier.clear()
            earlier.append(span)

    def _in_sight(self, span: Span) -> bool:
        state = self.history.view.state
        return span.index >= state.upto and self.history.messages[span.index].task not in state.archived

    def _pays(self, spans: Sequence[Span], newest: int) -> bool:
        """Whether more is saved than has to be read anew: all from the first change to the last cached message."""
        if not spans:
            return False
        instead = message_tokens(self.words.dropped)
        saved = sum(message_tokens(self._text(one)) - instead for one in spans)
        return saved > 0 and saved > sum(self.history.view.weights()[spans[0].index : newest]) - saved

    def _text(self, span: Span) -> str:
        return self.history.messages[span.index].content[span.start : span.end]

    def forget(self) -> None:
        """Another conversation begins."""
        self._seen.clear()
        self._new.clear()

    # ------------------------------------------------------------ questions

    def asking(self, run: Run, ask: Ask) -> Ask:
        """The same way to ask, remembering what nobody answered: no summary may lose that."""

        async def remembered(question: str, *args: Any, **kwargs: Any) -> str:
            text = self.history.mask(printable(question))
            state = self.history.view.state
            try:
                answer = await ask(question, *args, **kwargs)
            except ToolError:
                await self.history.keep(self.history.view.state.asked(run.task, text))
                raise
            if any(asked == text for _, asked in state.questions):
                await self.history.keep(self.history.view.state.answered(text))
            return answer

        return remembered


class TaskMemory:
    """The memory as the tools of a run see it."""

    def __init__(self, memory: Memory, run: Run) -> None:
        self._memory = memory
        self._history = memory.history
        self._run = run

    async def archive(self, summaries: Mapping[int, str]) -> int:
        """Put tasks away, each behind its summary."""
        given = {number: self._history.mask(printable(text)) for number, text in summaries.items()}
        view = self._history.view
        state = archive(self._history.messages, view.state, given, current=self._run.task)
        named = ", ".join(map(str, given))
        return await self._memory.put(self._run, state, f"archived: {named}")

    async def reveal(self, task: int) -> int:
        """Take a task out again, if it fits: else it would be summed up at once."""
        state = reveal(self._history.messages, self._history.view.state, task)
        meter = self._history.meter
        more = meter.tokens(self._history.view.hidden_raw(task))
        if meter.used + more > self._memory.limit:
            raise ToolError(
                f"Task {task} has about {more:,} tokens, and {meter.used:,} are in use; above {self._memory.limit:,} "
                "older messages are summed up, so it does not fit. Archive other tasks first."
            )
        return -await self._memory.put(self._run, state, f"revealed: {task}")

    def archived(self) -> list[ArchivedTask]:
        """What is out of sight, by task."""
        view, state = self._history.view, self._history.view.state
        counts: dict[int, int] = defaultdict(int)
        for message in self._history.messages:
            counts[message.task] += 1
        found = []
        for number in hidden(self._history.messages, state):
            one = state.archived.get(number)
            instead = message_tokens(self._memory.words.archived(number, one, counts[number])) if one else 0
            saved = max(0, self._history.meter.tokens(view.hidden_raw(number) - instead))
            found.append(ArchivedTask(number, (one or Archived("")).summary, counts[number], saved))
        return found
