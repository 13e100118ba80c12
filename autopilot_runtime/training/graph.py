"""The graph that feedback flows back through: who made which datum, from which others."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from autopilot_runtime.training.datum import Batch, Datum
from autopilot_runtime.training.gradient import Gradient, parts_of
from autopilot_runtime.training.parameter import Parameter

Backward = Callable[["Context", Gradient], "Gradient | Sequence[Gradient | None] | None"]


class Context:
    """One call in the graph. `saved` is for the operator's own use between forward and backward."""

    __slots__ = ("backward", "name", "parameters", "parents", "plain", "saved")

    def __init__(
        self,
        name: str,
        parents: Sequence[Context | None],
        backward: Backward,
        *,
        parameters: Iterable[Parameter] = (),
        plain: bool = False,
    ) -> None:
        self.name = name
        self.parents = tuple(parents)
        self.backward = backward
        self.parameters = tuple(parameters)
        self.plain = plain  # feedback goes through it as it came
        self.saved: dict[str, Any] = {}

    def __repr__(self) -> str:
        return f"Context({self.name})"


class Operator:
    """A step of the graph without parameters: subclass, and call `apply`."""

    @staticmethod
    def forward(ctx: Context, *inputs: Any) -> Any:
        raise NotImplementedError

    @staticmethod
    def backward(ctx: Context, gradient: Gradient) -> Gradient | Sequence[Gradient | None] | None:
        """The feedback for the inputs: one for all of them, or one for each."""
        return gradient

    @classmethod
    def apply(cls, *inputs: Any) -> Any:
        """Do it, and remember where the result came from."""
        ctx = Context(cls.__name__, [origin(one) for one in inputs], cls.backward)
        result = cls.forward(ctx, *inputs)
        return attach(result, ctx) if tape.recording else result


class _Tape(threading.local):
    """What one thread is doing. A text or a list cannot carry a `grad_fn`: the newest result is remembered here."""

    result: Any = None
    context: Context | None = None
    recording: bool = True
    calls: list[Context] | None = None  # those made inside the call that is running


tape = _Tape()


@contextmanager
def no_grad() -> Iterator[None]:
    """Nothing done inside is remembered: no feedback flows back through it."""
    before, tape.recording = tape.recording, False
    try:
        yield
    finally:
        tape.recording = before


def attach(result: Any, ctx: Context) -> Any:
    """Remember that `result` came from `ctx`."""
    if tape.calls is not None:
        tape.calls.append(ctx)
    if isinstance(result, Datum):
        result.grad_fn = ctx
    else:
        tape.result, tape.context = result, ctx
    return result


def origin(value: Any) -> Context | None:
    """Where a value came from; None when nobody knows."""
    if isinstance(value, Datum) and value.grad_fn is not None:
        found: Context = value.grad_fn
        return found
    if value is not None and value is tape.result:
        return tape.context
    if isinstance(value, (list, tuple, Batch)):
        parts = [ctx for ctx in map(origin, value) if ctx is not None]
        return Context("items", parts, lambda _, gradient: gradient, plain=True) if parts else None
    return None


def ancestors(contexts: Sequence[Context]) -> set[int]:
    """The ids of all calls that these were made from."""
    return {id(parent) for ctx in contexts for parent in _ordered(ctx) if parent is not ctx}


def reached(root: Context) -> list[Parameter]:
    """The parameters that feedback from here can get to."""
    if not root.parents:
        return list(root.parameters)
    found: dict[int, Parameter] = {}
    for ctx in _ordered(root):
        found.update((id(parameter), parameter) for parameter in ctx.parameters)
    return list(found.values())


def plain_reach(root: Context) -> list[Parameter] | None:
    """The same; None when the feedback would be translated on its way."""
    if not root.parents:
        return list(root.parameters) if root.plain else None
    return reached(root) if all(ctx.plain for ctx in _ordered(root)) else None


def recorded(parameters: Sequence[Parameter]) -> Context:
    """The origin of a result that was made elsewhere, or earlier: all that is left of it is whom feedback gets to."""

    def backward(_: Context, gradient: Gradient) -> None:
        for part in parts_of(gradient):
            for parameter in parameters:
                if not part.attribution or parameter.owns(part.attribution):
                    parameter.receive(part)

    return Context("recorded", (), backward, parameters=parameters, plain=True)


def run_backward(root: Context, gradient: Gradient) -> None:
    """Let feedback flow from `root` to everything that had a part in it; each call gets all that reaches it."""
    if not root.parents:
        root.backward(root, gradient)
        return
    waiting: dict[int, Gradient] = {id(root): gradient}
    for ctx in _ordered(root):
        reached = waiting.pop(id(ctx), None)
        if reached is None:
            continue
        passed = ctx.backward(ctx, reached)
        shares = passed if isinstance(passed, Sequence) else [passed] * len(ctx.parents)
        for parent, share in zip(ctx.parents, shares, strict=False):
            if parent is not None and share is not None:
                have = waiting.get(id(parent))
                waiting[id(parent)] = share if have is None else have.accumulate(share)


def _ordered(root: Context) -> list[Context]:
    """Every call before those that it was made from. Without recursion: a chain may be long."""
    if not root.parents:
        return [root]
    seen: set[int] = set()
    done: list[Context] = []
    stack: list[tuple[Context, bool]] = [(root, False)]
    while stack:
        ctx, left = stack.pop()
        if left:
            done.append(ctx)
        elif id(ctx) not in seen:
            seen.add(id(ctx))
            stack.append((ctx, True))
            stack.extend((parent, False) for parent in ctx.parents if parent is not None)
    return done[::-1]
