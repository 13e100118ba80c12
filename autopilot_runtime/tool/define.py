"""What a tool is, and the `@tool` decorator that makes one out of a plain function."""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any, Literal, overload

from autopilot_runtime.core.bridge import contained, in_thread
from autopilot_runtime.core.errors import SetupError
from autopilot_runtime.core.protocols import ToolSpec
from autopilot_runtime.tool.context import ToolContext
from autopilot_runtime.tool.convert import convert
from autopilot_runtime.tool.permit import Effect, Request, Subject
from autopilot_runtime.tool.plain import ToolResult, brief
from autopilot_runtime.tool.schema import hints_of, params_of
from autopilot_runtime.tool.visible import visible

__all__ = ["Preview", "Tool", "ToolResult", "define", "is_tool", "tool", "tool_of"]

Arguments = Mapping[str, Any]
_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)?\Z")
_MARK = "__autopilot_tool__"
_LABEL_CHARS = 200


@dataclass(frozen=True, slots=True)
class Preview:
    """What a call is about to do, made before anybody is asked. The call itself finds `plan` as `ctx.plan`.

    Without a `subject`, rules match what `path=` or `command=` of the tool names.
    """

    description: str
    subject: Subject | None = None
    diff: str = ""
    plan: Any = None
    protected: str = ""


Previewer = Callable[[ToolContext, Arguments], Preview] | Callable[[ToolContext, Arguments], Awaitable[Preview]]


@dataclass(frozen=True)
class Tool:
    """One tool: what the model sees of it (`spec`), what runs (`func`), and what permissions need to know."""

    spec: ToolSpec
    func: Callable[..., Any]
    is_async: bool = False
    context_param: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    effect: Effect = "other"
    permission: Literal["allow", "ask"] = "allow"
    gate: str | None = None  # rules and `require_permission` of this tool hold for it, too
    path_param: str | None = None
    command_param: str | None = None
    labeller: str | Callable[[Arguments], str] | None = None
    previewer: Previewer | None = None
    calls_agents: bool = False  # the agent file has to name them
    agents: Mapping[str, str] = field(default_factory=dict)  # those it named: name → role

    @property
    def name(self) -> str:
        """Its name in control blocks."""
        return self.spec.name

    @property
    def wants_context(self) -> bool:
        """Whether its function takes a `ToolContext`."""
        return self.context_param is not None

    @property
    def asks(self) -> bool:
        """Whether a person is asked before every call when no rule says otherwise."""
        required = self.config.get("require_permission")
        return self.permission == "ask" if required is None else required is not False

    def with_config(self, config: Mapping[str, Any]) -> Tool:
        """The same tool with the settings of an agent file."""
        return replace(self, config=deepcopy(dict(config))) if config or self.config else self

    def with_agents(self, agents: Mapping[str, str], *, listed: bool = True) -> Tool:
        """The same tool with the agents it may call, which are `listed` where the model reads of the tool."""
        lines = [f"- {name}: {visible(role or 'no role is given', limit=300)}" for name, role in agents.items()]
        doc = "\n".join([self.spec.doc, "", "Agents:", *lines]) if listed else self.spec.doc
        return replace(self, spec=replace(self.spec, doc=doc), agents=dict(agents))

    def label(self, arguments: Arguments) -> str:
        """One line for people on what this call does: "Running `pytest tests/`"."""
        try:
            if callable(self.labeller):
                text = self.labeller(arguments)
            elif self.labeller:
                text = self.labeller.format_map({key: _plainly(value) for key, value in arguments.items()})
            else:
                text = self._spelt(arguments)
        except Exception:
            # A label is decoration: a tool with a broken one still works, and shows its call instead.
            text = self._spelt(arguments)
        return visible(text, limit=_LABEL_CHARS)

    def _spelt(self, arguments: Arguments) -> str:
        given = [p for p in self.spec.params if p.name in arguments and arguments[p.name] != p.default]
        return f"{self.name}({', '.join(f'{p.name}={brief(arguments[p.name], 60)}' for p in given)})"

    def preview(self, ctx: ToolContext, arguments: Arguments) -> Preview:
        """What the call would do. Has no effect; raises what the call itself would raise at once."""
        if self.previewer is None:
            return self.outline(ctx, arguments)
        try:
            found = self.previewer(ctx, arguments)
        finally:
            ctx.payloads.rewind()
        if not isinstance(found, Preview):
            raise SetupError(f"The preview= of {self.name} gave a {type(found).__name__}; it gives a Preview.")
        return self._completed(ctx, arguments, found)

    async def previewed(self, ctx: ToolContext, arguments: Arguments) -> Preview:
        """The same, made where its function belongs: an async one here, a plain one on a thread."""
        if self.previewer is None or not _is_async(self.previewer):
            return await in_thread(self.preview, ctx, arguments)
        try:
            coming = self.previewer(ctx, arguments)
            found = coming if isinstance(coming, Preview) else await contained(coming)
        finally:
            ctx.payloads.rewind()
        return self._completed(ctx, arguments, found)

    def _completed(self, ctx: ToolContext, arguments: Arguments, found: Preview) -> Preview:
        ctx.plan = found.plan
        subject, protected = (found.subject, found.protected) if found.subject else self._subject(ctx, arguments)
        text = visible(found.description, limit=2_000)
        return replace(found, description=text, subject=subject, protected=protected)

    def outline(self, ctx: ToolContext, arguments: Arguments) -> Preview:
        """What a call is about, without looking at what it would do.

        Forbidden calls are sorted out by this, before `preview`: the error of a preview may tell what is in a file.
        """
        subject, protected = self._subject(ctx, arguments)
        command = arguments.get(self.command_param) if self.command_param else None
        text = f"{self.name}: {command}" if isinstance(command, str) else self._spelt(arguments)
        return Preview(visible(text), subject, protected=protected)

    def _subject(self, ctx: ToolContext, arguments: Arguments) -> tuple[Subject | None, str]:
        if self.command_param is not None:
            return Subject("command", (str(arguments.get(self.command_param) or ""),)), ""
        if self.path_param is not None:
            return self._paths(ctx, arguments.get(self.path_param))
        if self.previewer is not None:
            return None, ""  # its preview says what it is about
        texts = tuple(value for value in arguments.values() if isinstance(value, str))[:1]
        return (Subject("text", texts) if texts else None), ""

    def _paths(self, ctx: ToolContext, given: Any) -> tuple[Subject, str]:
        paths = [str(one) for one in ([given] if isinstance(given, str) else given or ())]
        texts = tuple(text for one in paths for text in ctx.workspace.spellings(one))
        if self.effect == "read":
            return Subject("path", texts), ""
        return Subject("path", texts), next(filter(None, map(ctx.workspace.protection, paths)), "")

    def request(self, preview: Preview, *, asks: bool | None = None) -> Request:
        """The call as permissions see it. `asks` overrides the tool's own setting (its gate asks, say)."""
        return Request(
            self.name, preview.subject, self.effect, self.gate, self.asks if asks is None else asks, preview.protected
        )

    def call(self, ctx: ToolContext, arguments: Arguments) -> Any:
        """Call the function with bound arguments: its result, or a coroutine when `is_async`."""
        hints = hints_of(self.func)
        args: list[Any] = []
        named: dict[str, Any] = {}
        for name, parameter in inspect.signature(self.func).parameters.items():
            if name == self.context_param:
                value: Any = ctx
            elif name in arguments:
                value = _converted(hints.get(name), arguments[name], parameter)
            else:
                continue
            if parameter.kind is parameter.VAR_POSITIONAL:
                args += value
            elif parameter.kind is parameter.VAR_KEYWORD:
                named |= value
            elif parameter.kind is parameter.KEYWORD_ONLY:
                named[name] = value
            else:
                args.append(value)
        return self.func(*args, **named)


def _converted(hint: Any, value: Any, parameter: inspect.Parameter) -> Any:
    if hint is None or isinstance(hint, str) or value is parameter.default:
        return value
    if parameter.kind is parameter.VAR_POSITIONAL:
        return [convert(hint, one) for one in value]
    if parameter.kind is parameter.VAR_KEYWORD:
        return {key: convert(hint, one) for key, one in value.items()}
    return convert(hint, value)


def _plainly(value: Any) -> str:
    return value[:_LABEL_CHARS] if isinstance(value, str) else brief(value)


def define(
    func: Callable[..., Any],
    name: str | None = None,
    *,
    description: str | None = None,
    label: str | Callable[[Arguments], str] | None = None,
    payloads: int | Callable[[Arguments], int] | None = None,
    permission: Literal["allow", "ask"] = "allow",
    effect: Effect = "other",
    gate: str | None = None,
    path: str | None = None,
    command: str | None = None,
    preview: Previewer | None = None,
    agents: bool = False,
) -> Tool:
    """A tool out of a function. Its docstring is what the model knows about it."""
    if not callable(func):
        raise SetupError(f"A tool is a function; got {type(func).__name__} for {name or 'it'}.")
    name = name or str(getattr(func, "__name__", ""))
    if not _NAME.match(name):
        raise SetupError(f"{name[:80]!r} is no name for a tool: letters, digits and _, with at most one dot.")
    wanting = _context_param(func)
    params = params_of(func, hidden=[wanting] if wanting else [])
    known = {param.name for param in params}
    for role, one in (("path", path), ("command", command)):
        if one is not None and one not in known:
            raise SetupError(f"Tool {name}: {role}={one!r} is not one of its parameters ({', '.join(known)}).")
    doc = description if description is not None else inspect.getdoc(func) or ""
    spec = ToolSpec(name, doc.strip(), params, _payload_count(payloads))
    return Tool(
        spec,
        func,
        is_async=_is_async(func),
        context_param=wanting,
        effect=effect,
        permission=permission,
        gate=gate,
        path_param=path,
        command_param=command,
        labeller=label,
        previewer=preview,
        calls_agents=agents,
    )


def _payload_count(payloads: int | Callable[[Arguments], int] | None) -> Callable[[Arguments], int] | None:
    if payloads is None or callable(payloads):
        return payloads
    return (lambda _: payloads) if payloads > 0 else None


def _is_async(func: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(func) or inspect.iscoroutinefunction(getattr(func, "__call__", None))  # noqa: B004


def _context_param(func: Callable[..., Any]) -> str | None:
    for name, hint in hints_of(func).items():
        # Unresolved when the name was imported for the type checker only.
        text = hint.strip("'\"") if isinstance(hint, str) else ""
        if name != "return" and (hint is ToolContext or text.rpartition(".")[2] == "ToolContext"):
            return name
    return None


@overload
def tool(func: Callable[..., Any], /) -> Callable[..., Any]: ...
@overload
def tool(func: None = None, /, **options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]: ...
def tool(func: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Mark a function as a tool: `@tool`, or `@tool(name=, label=, payloads=, permission=, ...)` as in `define`."""

    def mark(function: Callable[..., Any]) -> Callable[..., Any]:
        # The function stays what it was, so it can be called and tested as such.
        setattr(function, _MARK, define(function, **options))
        return function

    return mark if func is None else mark(func)


def is_tool(thing: Any) -> bool:
    """Whether `@tool` stands over it."""
    return isinstance(getattr(thing, _MARK, None), Tool)


def tool_of(thing: Any) -> Tool:
    """The tool a decorated function stands for."""
    found: Tool = getattr(thing, _MARK)
    return found
