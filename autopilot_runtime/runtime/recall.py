"""What a resumed run begins with: its variables, and the reply whose control block was not answered."""

from __future__ import annotations

from dataclasses import replace

from autopilot_runtime.block.parser import ReplyParser
from autopilot_runtime.block.reply import Reply
from autopilot_runtime.core.errors import ReplayError
from autopilot_runtime.core.event import EventType
from autopilot_runtime.core.message import Message
from autopilot_runtime.core.protocols import NOTHING_USED, BlockResult, Call, Failure, Outcome, Stopped
from autopilot_runtime.runtime.desk import named_terminal
from autopilot_runtime.runtime.hearing import Heard
from autopilot_runtime.runtime.ledger import Book
from autopilot_runtime.runtime.parts import Parts
from autopilot_runtime.runtime.run import Run
from autopilot_runtime.runtime.standing import RUNNING

_CUT = ("length",)
DIVERGED = "ReplayError:"


async def recall(run: Run, parts: Parts) -> Heard | None:
    """Bring back the variables of the run's blocks, and give the reply that is still to be acted on, if any."""
    await rebuild(run, parts)
    newest = parts.history.messages[-1]
    if newest.role != "assistant" or newest.stop not in ("", *_CUT):
        await parts.resume_note(run)
        return None
    run.span = run.scope.child()
    words = "The run was interrupted while this block ran. Calls whose outcome was recorded were not made again."
    if run.resumed_from == RUNNING:
        run.said.append(f"{words}{parts.gone(run)}")
    elif parts.gone(run):
        run.said.append(f"The run goes on in another process.{parts.gone(run)}")
    return Heard(_parsed(newest), Stopped("length" if newest.stop else "end"), NOTHING_USED)


async def rebuild(run: Run, parts: Parts) -> None:
    """Run the blocks that ended once more, with the recorded outcomes of their calls: nothing takes effect again."""
    for seq, message in enumerate(parts.history.messages):
        if message.task != run.task or message.role != "assistant" or not parts.ledger.ended(seq):
            continue
        reply, book = _parsed(message), parts.ledger.block(seq)
        if reply.control is None:
            continue
        result = await _again(run, reply, book, parts)
        if result.failure is not None and (result.failure.kind == "stopped" or DIVERGED in result.failure.text):
            text = f"Variables of earlier blocks of this run are lost: {result.failure.text}"
            run.scope.emit(EventType.WARNING, message=text)
            run.said.append(text)
            return


async def _again(run: Run, reply: Reply, book: Book, parts: Parts) -> BlockResult:
    assert reply.control is not None

    async def recorded(call: Call) -> Outcome:
        try:
            known = book.known(call)
        except ReplayError as error:
            return Outcome(error=str(error), fatal=True)
        if known is None:
            return Outcome(error="a block made a call that it had not made before.", fatal=True)
        run.recalls(known.wrote, known.outcome.value, named_terminal(call))
        return replace(known.outcome, fatal=True) if known.lost else known.outcome

    try:
        return await parts.sandbox.run(
            reply.control.code,
            tools=parts.registry.specs(),
            call=recorded,
            limits=parts.limits,
            payloads=len(reply.payloads),
            reads=book.reads,
        )
    except ReplayError as error:  # what was recorded cannot be given back
        return BlockResult(failure=Failure("stopped", str(error)))


def _parsed(message: Message) -> Reply:
    parser = ReplyParser()
    parser.feed(message.content)
    return parser.finish(cut=message.stop in _CUT)
