"""What this runtime's calls may do: rules first, then a person, and what they said "always" to."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, NoReturn, get_args

from autopilot_runtime.core.decision import Decision
from autopilot_runtime.core.errors import AgentFileError, PermissionDenied, SetupError
from autopilot_runtime.core.event import EventType
from autopilot_runtime.core.stream import Scope
from autopilot_runtime.runtime.agentfile import AgentFile
from autopilot_runtime.runtime.ledger import Ledger
from autopilot_runtime.runtime.questions import Questions
from autopilot_runtime.tool.bind import bind
from autopilot_runtime.tool.context import ToolContext
from autopilot_runtime.tool.define import Preview, Tool
from autopilot_runtime.tool.pack import shipped
from autopilot_runtime.tool.permit import (
    MODES,
    PermissionMode,
    Request,
    Rule,
    Verdict,
    decide,
    grant_for,
    parse_rule,
    parse_rules,
    stricter,
)
from autopilot_runtime.tool.registry import ToolRegistry

GRANTS = "grants"  # where "always" is kept beside the conversation


class Rights:
    """Permissions of one runtime. `grants` are remembered for the session. What is `above` holds here, too."""

    def __init__(
        self,
        rules: Sequence[Rule],
        mode: PermissionMode,
        *,
        questions: Questions,
        registry: ToolRegistry,
        ledger: Ledger,
        above: Rights | None = None,
    ) -> None:
        self.rules = tuple(rules)
        self.mode = mode
        # What a person has said "always" to is said once for an agent and all its sub-agents.
        self.grants: list[Rule] = [] if above is None else above.grants
        self._above = above
        self._ledger = ledger
        self._questions = questions
        self._registry = registry

    def reload(self, extra: Mapping[str, Any]) -> None:
        """Take what the session holds."""
        if self._above is None:
            self.grants[:] = [Rule(**grant) for grant in extra.get(GRANTS, [])]

    def idle_rules(self, others: Iterable[str]) -> list[str]:
        """A line for each rule whose tool is neither granted (nor to `others`) nor shipped: probably misspelt."""
        known = {*self._registry.names(), *others, *(tool for tools in shipped().values() for tool in tools)}
        lines = []
        for rule in self.rules:
            if "*" not in rule.tool and rule.tool not in known:
                near = difflib.get_close_matches(rule.tool, known, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                lines.append(f"the permission rule `{rule}` names no tool there is{hint}")
        return lines

    async def permit(
        self, tool: Tool, context: ToolContext, arguments: dict[str, Any], *, scope: Scope, place: str = ""
    ) -> dict[str, Any]:
        """The arguments to call with (a person may have edited them), or `PermissionDenied`. Nothing has happened."""
        self._refuse_forbidden(tool, context, arguments, scope=scope)
        preview = await tool.previewed(context, arguments)
        verdict = self._verdict(tool, preview)
        if verdict.action == "allow":
            return arguments
        if verdict.action == "deny":
            self._refuse(tool, verdict, scope=scope)
        about = {
            "tool": tool.name,
            "description": preview.description,
            "reason": verdict.reason,
            "args": arguments,
            "diff": preview.diff,
        }
        decision = await self._questions.permit(scope, place=place, **about)
        self._told(scope, tool, decision)
        if not decision.allowed:
            raise PermissionDenied(_refusal(tool.name, decision))
        if decision.edited is not None:
            arguments = bind(tool.spec, (), {**arguments, **decision.edited})
            self._refuse_forbidden(tool, context, arguments, scope=scope)
            preview = await tool.previewed(context, arguments)
            verdict = self._verdict(tool, preview)
            if verdict.action == "deny":
                self._refuse(tool, verdict, scope=scope)
        if decision.always:
            await self._remember(grant_for(tool.request(preview, asks=True)))
        return arguments

    async def _remember(self, grant: Rule) -> None:
        if self._above is not None:
            await self._above._remember(grant)
        elif grant not in self.grants:
            self.grants.append(grant)
            self._ledger.note_also(GRANTS, [asdict(one) for one in self.grants])
            await self._ledger.flush(durable=True)

    def _refuse_forbidden(self, tool: Tool, context: ToolContext, arguments: dict[str, Any], *, scope: Scope) -> None:
        """Stop what a rule denies before the preview: what a preview says could quote a forbidden file."""
        verdict = self._on(tool.request(tool.outline(context, arguments)), early=True)
        if verdict.action == "deny":
            self._refuse(tool, verdict, scope=scope)

    def _refuse(self, tool: Tool, verdict: Verdict, *, scope: Scope) -> NoReturn:
        self._told(scope, tool, Decision(False, verdict.reason, source="rule"))
        raise PermissionDenied(f"{tool.name} was not allowed: {verdict.reason}. There is no way around it.")

    def _verdict(self, tool: Tool, preview: Preview) -> Verdict:
        return self._on(tool.request(preview))

    def _on(self, request: Request, *, early: bool = False) -> Verdict:
        """What is said of a call, also of a sub-agent's: its own file may ask for more, never allow more."""
        same = [tool.name for tool in self._registry if tool.name in (request.tool, request.gate)]
        asks = not early and any(map(self._registry.asks, same))
        # Early, whether it would ask is not known, so the mode that refuses what asks has no say.
        mode: PermissionMode = "ask" if early and self.mode == "deny" else self.mode
        verdict = decide(self.rules, replace(request, asks=asks), mode=mode, grants=self.grants)
        return verdict if self._above is None else stricter(verdict, self._above._on(request, early=early))

    def _told(self, scope: Scope, tool: Tool, decision: Decision) -> None:
        scope.emit(
            EventType.PERMISSION_DECIDED,
            tool=tool.name,
            allowed=decision.allowed,
            reason=decision.reason,
            always=decision.always,
            source=decision.source,
        )


def _refusal(tool: str, decision: Decision) -> str:
    """What the model reads: who said no, and what follows from it."""
    if decision.source == "nobody":
        return f"This {tool} call was not allowed: {decision.reason}. Do without it, and say in the end what is open."
    return f"The user did not allow this {tool} call: {decision.reason or 'no reason given'}."


def rules_of(agent: AgentFile, extra: Sequence[str]) -> tuple[Rule, ...]:
    """The rules of the caller, then those of the agent file; first match wins."""
    rules, problems = list(parse_rules(extra)), []
    for index, entry in enumerate(agent.permissions):
        try:
            rules.append(parse_rule(entry.action, entry.rule))
        except SetupError as error:
            problems.append(agent.problem(("agent", "permissions", index), str(error)))
    if problems:
        raise AgentFileError(problems)
    return tuple(rules)


def mode_of(name: str | None) -> PermissionMode:
    """A permission mode by name."""
    for mode in MODES:
        if mode == (name or "ask"):
            return mode
    raise SetupError(f"{name!r} is not a permission mode; there are {', '.join(get_args(PermissionMode))}.")
