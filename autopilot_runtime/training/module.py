"""A system that can be trained: what it does, what of it may change, and how its parts hang together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self

from autopilot_runtime.training.fault import TrainingError, meant
from autopilot_runtime.training.gradient import Gradient, gathered, parts_of
from autopilot_runtime.training.graph import Context, ancestors, attach, origin, tape
from autopilot_runtime.training.loss import Loss
from autopilot_runtime.training.metric import Metric, MetricCollection
from autopilot_runtime.training.parameter import Parameter

Hook = Callable[..., Any]
_TABLES = ("_modules", "_parameters", "_losses", "_metrics")


class Module:
    """Holds parameters and other modules as attributes; `forward` does the work, calling the module does it so that
    feedback finds its way back. `super().__init__()` is welcome, and may be forgotten."""

    training: bool
    _modules: dict[str, Module]
    _parameters: dict[str, Parameter]
    _losses: dict[str, Loss]
    _metrics: dict[str, Metric | MetricCollection]

    def __new__(cls, *_: Any, **__: Any) -> Self:
        self = super().__new__(cls)
        for table in (*_TABLES, "_before", "_after", "_backwards"):
            object.__setattr__(self, table, {})
        object.__setattr__(self, "training", True)
        return self

    # ------------------------------------------------------------ what it holds

    def __setattr__(self, name: str, value: Any) -> None:
        self._forget(name)
        if isinstance(value, Parameter):
            self._parameters[name] = value
            value.name = name
        elif isinstance(value, Module):
            if any(one is self for one in value.modules()):
                raise TrainingError(f"{type(value).__name__} cannot be part of itself, as {name!r} would make it")
            self._modules[name] = value
            for below, parameter in value.named_parameters():
                parameter.name = f"{name}.{below}"
        elif isinstance(value, Loss):
            self._losses[name] = value
        elif isinstance(value, (Metric, MetricCollection)):
            self._metrics[name] = value
        object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        self._forget(name)
        object.__delattr__(self, name)

    def _forget(self, name: str) -> None:
        for table in _TABLES:
            getattr(self, table).pop(name, None)

    def register_parameter(self, name: str, parameter: Parameter) -> None:
        """The same as setting the attribute."""
        setattr(self, name, parameter)

    def register_module(self, name: str, module: Module) -> None:
        """The same as setting the attribute."""
        setattr(self, name, module)

    add_module = register_module

    def children(self) -> Iterator[Module]:
        """The modules it holds itself."""
        return iter(self._modules.values())

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules it holds itself, with their names."""
        return iter(self._modules.items())

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """Itself and every module below it, each once."""
        seen: set[int] = set()
        stack: list[tuple[str, Module]] = [(prefix, self)]
        while stack:
            name, module = stack.pop()
            if id(module) not in seen:
                seen.add(id(module))
                yield name, module
                below = [(f"{name}.{key}" if name else key, one) for key, one in module._modules.items()]
                stack.extend(reversed(below))

    def modules(self) -> Iterator[Module]:
        """Itself and every module below it, each once."""
        return (module for _, module in self.named_modules())

    def named_parameters(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Parameter]]:
        """Every parameter with its dotted name; one that is shared comes once."""
        seen: set[int] = set()
        for path, module in self.named_modules(prefix) if recurse else [(prefix, self)]:
            for name, parameter in module._parameters.items():
                if id(parameter) not in seen:
                    seen.add(id(parameter))
                    yield f"{path}.{name}" if path else name, parameter

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """Every parameter, each once."""
        return (parameter for _, parameter in self.named_parameters(recurse=recurse))

    def losses(self) -> list[Loss]:
        """The losses it and the modules below it hold."""
        return list({id(one): one for module in self.modules() for one in module._losses.values()}.values())

    def metrics(self) -> dict[str, Metric | MetricCollection]:
        """The metrics it and the modules below it hold, by their names as attributes."""
        found: dict[str, Metric | MetricCollection] = {}
        for path, module in self.named_modules():
            for name, metric in module._metrics.items():
                found[f"{path}.{name}" if path else name] = metric
        return found

    # ------------------------------------------------------------ how it is

    def train(self, mode: bool = True) -> Self:
        """Be in training, with all modules below."""
        for module in self.modules():
            object.__setattr__(module, "training", mode)
        return self

    def eval(self) -> Self:
        """Be in use: nothing is remembered for feedback."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Let all parameters be changed, or none."""
        for parameter in self.parameters():
            parameter.requires_grad = requires_grad
        return self

    def zero_grad(self) -> None:
        """Forget all feedback."""
        for parameter in self.parameters():
            parameter.grad = None

    def apply(self, do: Callable[[Module], object]) -> Self:
        """Do something with itself and every module below."""
        for module in self.modules():
            do(module)
        return self

    def state_dict(self) -> dict[str, bytes]:
        """Parameter → its whole state, as `load_state_dict` takes it."""
        return {name: parameter.snapshot() for name, parameter in self.named_parameters()}

    def load_state_dict(self, state: Mapping[str, bytes], *, strict: bool = True) -> None:
        """Be what `state_dict` said. Nothing is changed when names do not fit (`strict`)."""
        have = dict(self.named_parameters())
        if strict and (odd := sorted(have.keys() ^ state.keys())):
            name = odd[0]
            lacks = "has a state for {!r}, which is no parameter here." if name in state else "lacks parameter {!r}."
            raise TrainingError(f"the state {lacks.format(name)}{meant(name, have.keys() ^ {name})}")
        for name in have.keys() & state.keys():
            have[name].restore(state[name])

    # ------------------------------------------------------------ what it does

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """The work. Takes a batch, gives what the loss is to judge."""
        raise NotImplementedError(f"{type(self).__name__} has no forward(): what does it do with a batch?")

    def backward(self, gradient: Gradient) -> Gradient | None:
        """What of the feedback on its result is feedback on its inputs. Override to translate it."""
        return gradient

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        for hook in [*self._before.values()]:  # type: ignore[attr-defined]
            changed = hook(self, inputs)
            if changed is not None:
                inputs = changed if isinstance(changed, tuple) else (changed,)
        recording = self.training and tape.recording
        result = self._recorded(inputs, named) if recording else self.forward(*inputs, **named)
        for hook in [*self._after.values()]:  # type: ignore[attr-defined]
            changed = hook(self, inputs, result)
            result = result if changed is None else changed
        return result

    def _recorded(self, inputs: tuple[Any, ...], named: dict[str, Any]) -> Any:
        given = [ctx for ctx in map(origin, (*inputs, *named.values())) if ctx is not None]
        outer, inner = tape.calls, list[Context]()
        tape.calls = inner
        try:
            result = self.forward(*inputs, **named)
        finally:
            tape.calls = outer
        made_by = origin(result)
        if made_by is None or any(made_by is ctx for ctx in given):
            # A new object, made from what the modules inside gave: each that no other of them used has a part in it.
            used = ancestors(inner)
            parents = [ctx for ctx in inner if id(ctx) not in used] or given
        else:
            parents = [made_by]
        plain = type(self).backward is Module.backward and not self._backwards  # type: ignore[attr-defined]
        own = self._parameters.values()
        return attach(result, Context(type(self).__name__, parents, self._backward, parameters=own, plain=plain))

    def _backward(self, ctx: Context, gradient: Gradient) -> Gradient | None:
        own = [parameter for parameter in self._parameters.values() if parameter.requires_grad]
        passed: list[Gradient] = []
        for part in parts_of(gradient):
            owners = [one for one in own if one.owns(part.attribution)] if part.attribution else own
            for parameter in owners:
                parameter.receive(part)
            if not (part.attribution and owners):
                passed.append(part)
        for hook in [*self._backwards.values()]:  # type: ignore[attr-defined]
            hook(self, gradient)
        left = gathered(passed)
        return None if left is None else self.backward(left)

    def register_forward_pre_hook(self, hook: Hook) -> Removal:
        """`hook(module, inputs)` before each call; what it gives replaces the inputs. Gives its removal."""
        return _added(self._before, hook)  # type: ignore[attr-defined]

    def register_forward_hook(self, hook: Hook) -> Removal:
        """`hook(module, inputs, result)` after each call; what it gives replaces the result."""
        return _added(self._after, hook)  # type: ignore[attr-defined]

    def register_backward_hook(self, hook: Hook) -> Removal:
        """`hook(module, gradient)` when feedback has reached it."""
        return _added(self._backwards, hook)  # type: ignore[attr-defined]

    # ------------------------------------------------------------ how it looks

    def summary(self) -> str:
        """What may change: name, kind, size and digest of every parameter."""
        rows = [("parameter", "kind", "bytes", "digest", "")]
        for name, one in self.named_parameters():
            frozen = "" if one.requires_grad else "frozen"
            rows.append((name, type(one).__name__, f"{len(one.snapshot()):,}", one.digest[:12], frozen))
        widths = [max(len(row[at]) for row in rows) for at in range(5)]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
        )

    def __repr__(self) -> str:
        lines = [f"  ({name}): {one!r}" for name, one in self._parameters.items()]
        lines += [f"  ({name}): " + repr(one).replace("\n", "\n  ") for name, one in self._modules.items()]
        return f"{type(self).__name__}(" + ("\n" + "\n".join(lines) + "\n" if lines else "") + ")"


class Removal:
    """Takes a hook away: by `remove()`, or by being called."""

    def __init__(self, table: dict[int, Hook], key: int) -> None:
        self._table, self._key = table, key

    def remove(self) -> None:
        """The hook is called no more."""
        self._table.pop(self._key, None)

    __call__ = remove


def _added(table: dict[int, Hook], hook: Hook) -> Removal:
    key = max(table, default=-1) + 1
    table[key] = hook
    return Removal(table, key)
