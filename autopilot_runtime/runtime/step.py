"""THE LOOP. A run is a row of steps; a step is think, act, observe. Everything else serves these three."""

from __future__ import annotations

from autopilot_runtime.block.explain import explain
from autopilot_runtime.block.reply import Reply
from autopilot_runtime.core.errors import ReplayError
from autopilot_runtime.core.event import EventType
from autopilot_runtime.core.protocols import BlockResult, Failure
from autopilot_runtime.core.turn import turn
from autopilot_runtime.runtime.compaction import hear
from autopilot_runtime.runtime.hearing import Heard
from autopilot_runtime.runtime.output import read_output
from autopilot_runtime.runtime.parts import Parts
from autopilot_runtime.runtime.recall import recall
from autopilot_runtime.runtime.requests import Suspended
from autopilot_runtime.runtime.run import Ending, Run


async def work(run: Run, parts: Parts) -> Ending:
    """Step until the model completes or answers, something runs out, or the model cannot go on."""
    heard = await recall(run, parts) if run.resumed_from else None
    while heard is not None or run.step < run.max_steps:
        if heard is None:
            run.next_step()
            heard = await think(run, parts)
        result = await act(run, parts, heard.reply)
        ending = await observe(run, parts, heard, result)
        if ending is not None:
            return ending
        heard = None
    run.scope.emit(EventType.MAX_STEPS)
    return Ending("max_steps")


async def think(run: Run, parts: Parts) -> Heard:
    """One model call. What may be shown is shown while it arrives."""
    heard = await hear(run, parts)
    for notice in parts.notices():
        run.span.emit(EventType.WARNING, message=notice)
    if heard.reply.text.strip():
        await parts.take_reply(run, heard)
    run.hearing = None
    return heard


async def act(run: Run, parts: Parts, reply: Reply) -> BlockResult | None:
    """Run the control block of a reply, if it has one that may run."""
    if reply.control is None or not reply.runnable:
        return None
    code = reply.control.code
    block = run.span.child()
    block.emit(EventType.BLOCK_STARTED, code=code)
    book = parts.book
    desk = parts.desk(run, block, reply.payloads, book)
    parts.notice(run)
    try:
        result = desk.misnamed(code) or await parts.sandbox.run(
            code,
            tools=parts.registry.specs(),
            call=desk.call,
            limits=parts.limits,
            payloads=len(reply.payloads),
            reads=book.reads,
        )
        await turn()
    except ReplayError as error:  # what was recorded of this block cannot be given back to it
        result = BlockResult(failure=Failure("stopped", str(error)))
    finally:
        parts.watch.settle()
    if desk.fault is not None:
        raise desk.fault
    if desk.suspended:
        raise Suspended(tuple(desk.suspended))
    parts.close_block(run, book, result)
    run.unused = desk.unused
    if result.failure is not None:
        security = result.failure.kind == "security"
        kind = EventType.SECURITY_ERROR if security else EventType.RUNTIME_ERROR
        block.emit(kind, error=result.failure.text, kind="block")
    block.emit(
        EventType.BLOCK_ENDED,
        ok=result.failure is None,
        failure=result.failure.text if result.failure else None,
        elapsed=result.elapsed,
        calls=result.calls,
    )
    return result


async def observe(run: Run, parts: Parts, heard: Heard, result: BlockResult | None) -> Ending | None:
    """Put into the conversation what happened, and see whether that was the end."""
    reply = heard.reply
    check_stop(heard, parts)
    if reply.kind == "empty":
        ask_again(run, parts)
        return None
    run.empty_replies = 0
    problems = explain(reply)
    failed = bool(reply.errors) or (result is not None and result.failure is not None)
    if reply.kind == "chat" and all(problem.kind == "warning" for problem in reply.problems):
        return Ending("answered", summary=parts.mask(reply.text.strip()))
    if reply.completion is not None and not failed:
        return await complete(run, parts, reply, result)
    if problems:
        run.span.emit(EventType.RUNTIME_ERROR, error=problems, kind="reply")
    await parts.report(run, result, problems=problems, void=reply.completion is not None)
    return None


async def complete(run: Run, parts: Parts, reply: Reply, result: BlockResult | None) -> Ending | None:
    """End the task, unless the answer should have been data and is not."""
    summary = parts.mask((reply.completion or "").strip("\r\n"))
    if parts.output_schema is None:
        if result is not None:
            await parts.report(run, result, last=True)
        run.scope.emit(EventType.FINISH, summary=summary)
        return Ending("completed", summary=summary)
    value, faults = read_output(summary, parts.output_schema)
    if faults:
        listed = "\n".join(f"- {fault}" for fault in faults)
        text = f"The completion does not fit the output schema of this agent:\n{listed}\nSend the corrected JSON."
        await parts.report(run, result, problems=text, void=True)
        return None
    if result is not None:
        await parts.report(run, result, last=True)
    run.scope.emit(EventType.FINISH, summary=summary, output=value)
    return Ending("completed", summary=summary, output=value)


def check_stop(heard: Heard, parts: Parts) -> None:
    """A refusal ends the run: asking again would get the same."""
    if heard.stop.reason == "refusal":
        raise parts.model_error(f"declined: {heard.stop.detail or 'it gave no reason'}", kind="refusal")


def ask_again(run: Run, parts: Parts) -> None:
    """One empty reply is asked again; a second one in a row is the provider's fault and ends the run."""
    run.empty_replies += 1
    if run.empty_replies > 1:
        raise parts.model_error("gave an empty reply twice", kind="empty")
