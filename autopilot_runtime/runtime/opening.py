"""The first message of a task: what is asked, what the project says, and what became of the task before."""

from __future__ import annotations

from autopilot_runtime.core.errors import SessionError
from autopilot_runtime.core.event import EventType
from autopilot_runtime.runtime.build import Kit
from autopilot_runtime.runtime.instructions import Instruction, find_instructions
from autopilot_runtime.runtime.notes import task_message
from autopilot_runtime.runtime.parts import Parts
from autopilot_runtime.runtime.run import Run
from autopilot_runtime.runtime.standing import RESUMABLE, standing, status_of


async def open_conversation(kit: Kit, run: Run, parts: Parts, task: str) -> None:
    """Put a new task into the conversation."""
    try:
        with kit.ledger.beginning():
            _let_go(kit, run)
            said = _introduced(kit, run)
            extra = parts.meanwhile(run)
            status = parts.status(run, 1, coming=task)
            text = task_message(task, parts.tag, number=run.task, instructions=said, status=status, extra=extra)
            parts.ledger.stand(standing(run))
            await parts.history.add("user", text, kind="task", task=run.task)
    except SessionError:
        kit.requests.reload()
        kit.introduced.clear()
        raise


def _let_go(kit: Kit, run: Run) -> None:
    """Let go of the run before. If it was interrupted, the model is told what its last block had done."""
    history, ledger = kit.history, kit.ledger
    seq = len(history.messages) - 1
    if history.awaits_result and not ledger.ended(seq):
        done = ledger.block(seq).done()
        if done or status_of(ledger.run) in RESUMABLE:
            lines = "\n".join(f"- {line}" for line in done) or "- none that was recorded"
            run.said.append(f"The task before was interrupted. Calls its last block had made:\n{lines}")
    ledger.forget()
    kit.requests.forget()


def _introduced(kit: Kit, run: Run) -> list[Instruction]:
    """The project instructions the model has not seen yet in this conversation."""
    fresh = []
    for one in find_instructions(kit.agent.work_dir, kit.agent.instructions):
        if one.text not in kit.introduced:
            kit.introduced.add(one.text)
            run.scope.emit(EventType.INSTRUCTIONS_LOADED, path=one.shown, lines=one.lines)
            fresh.append(one)
    return fresh
