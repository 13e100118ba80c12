"""A conversation that outgrows the window goes on: what is oldest becomes one summary, made by the model itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from autopilot_runtime.context.archive import State, Summary
from autopilot_runtime.context.budget import message_tokens
from autopilot_runtime.context.compact import digest, fold_at, transcript
from autopilot_runtime.core.errors import ProviderError
from autopilot_runtime.core.event import EventType
from autopilot_runtime.core.message import Message, printable
from autopilot_runtime.core.protocols import Retrying, Stopped, Text, Usage, Used
from autopilot_runtime.runtime.hearing import Heard, Hearing
from autopilot_runtime.runtime.parts import Parts
from autopilot_runtime.runtime.purse import BudgetSpent
from autopilot_runtime.runtime.run import Run
from autopilot_runtime.runtime.sight import kept_parts, without_status

_GOAL = 0.6  # of the limit: what is left after it was made shorter, so that this does not happen at every step
_WORTH = 0.05  # of the window: less than this is not worth a model call of its own
_LAST_WORD = "--- end of this part; what comes after it stays in sight. Now write the memory of it. ---"
_THINKING_ROOM = 2_000  # models that think count their thoughts as output


async def hear(run: Run, parts: Parts) -> Heard:
    """One model call, with a conversation that fits. Where the model says that it does not: once more, shortened."""
    await parts.memory.settle(run)
    meter = parts.history.meter
    if meter.used > parts.memory.limit:
        await compact(run, parts, goal=parts.memory.limit * _GOAL, least=meter.window * _WORTH)
    heard, why = await _listen(run, parts)
    if heard is not None:
        return heard
    shorter = await compact(run, parts, goal=min(parts.memory.limit, meter.used) * _GOAL, least=0.0)
    if shorter:
        run.span.emit(EventType.RETRY, attempt=1, delay=0.0, error=str(why), kind="context")
        heard, why = await _listen(run, parts)
        if heard is not None:
            return heard
    raise too_long(parts, str(why), shorter=shorter) from why


async def _listen(run: Run, parts: Parts) -> tuple[Heard | None, Exception | None]:
    """The reply, or what the provider said when the conversation is too long for it."""
    run.hearing = Hearing(parts.provider, run.span, live=parts.live)
    try:
        with run.set_aside(expected=parts.history.meter.used, longest=parts.max_tokens) as longest:
            heard = await run.hearing.listen(parts.history.view.messages, system=parts.system, max_tokens=longest)
            run.spend(heard.usage)
    except ProviderError as error:
        if error.kind != "context":
            raise
        run.hearing = None
        return None, error
    if heard.stop.reason != "context":
        return heard, None
    run.hearing = None
    return None, ProviderError(heard.stop.detail or "the window was full", kind="context")


def too_long(parts: Parts, why: str, *, shorter: bool) -> ProviderError:
    """The error for a conversation that cannot be made to fit, with the numbers that say why."""
    history, meter = parts.history, parts.history.meter
    sizes = [(meter.tokens(message_tokens(one.content)), at, one) for at, one in enumerate(history.view.messages, 1)]
    largest = sorted(sizes, key=lambda size: -size[0])[:3]
    told = "; ".join(f"message {at} ({one.kind} of task {one.task}): about {size:,}" for size, at, one in largest)
    tried = "after its older part was summed up" if shorter else "and there is nothing older to sum up"
    system = meter.tokens(message_tokens(parts.system))
    return parts.model_error(
        f"cannot take a conversation of this length, {tried}: about {meter.used:,} tokens, {system:,} of them the "
        f"system prompt; memory.max_context_tokens is {meter.window:,}. The largest: {told}. {why}".strip(),
        kind="context",
    )


# ---------------------------------------------------------------- making it shorter


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be summed up: the messages before `upto`; what of them stays; how it is shown now."""

    upto: int
    state: State
    sight: Sequence[Message]
    tokens: int  # of the summary, at most; never more than half of what it stands for
    chars: int  # the same in characters
    room: int  # characters, for what it is made from


async def compact(run: Run, parts: Parts, *, goal: float, least: float) -> bool:
    """Sum up the oldest part, so that about `goal` tokens are left; False when less than `least` would be gained."""
    plan = _plan(run, parts, goal, least=least)
    if plan is None:
        _warn_of_the_largest(run, parts)
        return False
    before = plan.state.summary
    old = parts.history.messages[plan.state.upto : plan.upto]
    text, by_model = await _by_model(run, parts, plan), True
    if not text:
        told = [replace(one, content=without_status(one, parts.tag)) for one in old]
        text, by_model = digest(told, before=before.text if before else "", chars=plan.chars), False
    kept = kept_parts(parts.history.messages[: plan.upto], parts.tag, current=run.task)
    summary = Summary(parts.mask(printable(text)), plan.upto, kept, plan.state.questions, by_model)
    left = {one.task for one in parts.history.messages[plan.upto :]}
    state = replace(
        plan.state,
        summary=summary,
        archived={number: one for number, one in plan.state.archived.items() if number in left},
        revealed=frozenset(),
        dropped=tuple(span for span in plan.state.dropped if span.index >= plan.upto),
    )
    await parts.memory.put(run, state, f"the first {plan.upto} messages summed up")
    return True


def _plan(run: Run, parts: Parts, goal: float, *, least: float) -> Plan | None:
    """What to sum up. Everything here is in raw counts, but for `goal` and `least`, which are in tokens."""
    history, view, spec = parts.history, parts.history.view, parts.memory.spec
    window, factor = history.meter.window, history.meter.estimate.factor
    keep, most = spec.keep_last_messages, spec.global_summary_max_tokens / factor
    stays = message_tokens(parts.system) + most + _kept_raw(run, parts, len(history.messages) - keep)
    weights = view.weights()
    at = fold_at(
        history.messages,
        weights,
        first=view.state.upto,
        keep=keep,
        room=int(goal / factor - stays),
        whole=view.state.archived,
    )
    if at is None:
        return None
    gone = sum(weights[:at]) + view.raw - sum(weights)
    most = min(most, gone / 2)
    if gone - most - _kept_raw(run, parts, at) <= least / factor:
        return None
    sight = view.before(at)
    per_raw = sum(len(one.content) for one in sight) / gone
    room = max(0.0, window / 2 / factor - most)
    return Plan(at, view.state, sight, int(most * factor), int(most * per_raw), int(room * per_raw))


def _kept_raw(run: Run, parts: Parts, upto: int) -> int:
    messages = parts.history.messages
    spans = kept_parts(messages[: max(0, upto)], parts.tag, current=run.task)
    return sum(message_tokens(messages[one.index].content[one.start : one.end]) for one in spans)


def _warn_of_the_largest(run: Run, parts: Parts) -> None:
    meter = parts.history.meter
    if meter.used > meter.window and parts.memory.warned != run.id:
        parts.memory.warned = run.id
        told = str(too_long(parts, "It is sent as it is.", shorter=False))
        run.span.emit(EventType.WARNING, message=told)


# ---------------------------------------------------------------- asking the model


async def _by_model(run: Run, parts: Parts, plan: Plan) -> str:
    """The model's own summary; empty, with a warning, when there is none to be had."""
    texts = [replace(one, content=without_status(one, parts.tag)) for one in plan.sight]
    # The newest of them may be a request: what is wanted here has to be the last word.
    text = f"{transcript(texts, chars=plan.room)}\n{_LAST_WORD}"
    asked = Message("user", text, "note", run.task)
    newest = run.newest
    try:
        run.check_budget(calls=2)  # this one, and the one it is made for
        text = await _answer(run, parts, asked, most=plan.tokens)
    except BudgetSpent as spent:
        return _without(run, f"the budget does not last for more: {spent}")
    except Exception as error:  # also of a provider that is the user's: no run ends for a summary
        return _without(run, f"{type(error).__name__}: {error}")
    finally:
        run.newest = newest  # what the next step will cost is told by the last step, not by this
    return _fitted(text.strip(), parts, most=plan.tokens) if text.strip() else _without(run, "it gave none")


async def _answer(run: Run, parts: Parts, asked: Message, *, most: int) -> str:
    system = _prompt().replace("{{tokens}}", str(most))
    expected = parts.history.meter.estimate.tokens(asked.content)
    pieces: list[str] = []
    usage, stop = Usage(), Stopped("end")
    with run.set_aside(expected=expected, longest=most + _THINKING_ROOM) as longest:
        async for delta in parts.provider.stream([asked], system=system, max_tokens=longest):
            if isinstance(delta, Text):
                pieces.append(delta.text)
            elif isinstance(delta, Retrying):
                pieces.clear()
            elif isinstance(delta, Used):
                usage = delta.usage
            elif isinstance(delta, Stopped):
                stop = delta
        run.spend(usage)
    return "" if stop.reason in ("refusal", "context") else "".join(pieces)


def _fitted(text: str, parts: Parts, *, most: int) -> str:
    """A summary that is too long, cut at a line or a word."""
    size = parts.history.meter.estimate.tokens(text)
    if size <= most:
        return text
    cut = text[: len(text) * most // size]
    return cut[: max(cut.rfind("\n"), cut.rfind(" "), len(cut) // 2)] + " [...]"


def _without(run: Run, why: str) -> str:
    run.span.emit(
        EventType.WARNING, message=f"Older conversation is summed up without the model, in plain facts ({why})."
    )
    return ""


@cache
def _prompt() -> str:
    return Path(__file__).with_name("summary.md").read_text(encoding="utf-8")
