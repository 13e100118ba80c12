"""Who may call what: rules such as `execute(pytest *)` judge a request. Pure; asking the person is the runtime's job.

- A deny rule wins wherever it stands. Among allow and ask rules the first that matches decides.
- An allow rule is read narrowly: it never matches a chained, substituted or redirected command that the rule does not
  spell out itself, and a bare file name means that file in the workspace's top folder. Deny and ask rules are read
  widely: any command in the line, that name in any folder, upper and lower case alike.
- What a person said "always" to stands before all allow and ask rules, and never before a deny.
- A deny rule on a shell is a seat belt: there are many ways to spell a command. The wall is the sandbox.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from autopilot_runtime.core.errors import SetupError
from autopilot_runtime.tool.match import matches_command, matches_path, matches_text

Action = Literal["allow", "ask", "deny"]
PermissionMode = Literal["ask", "accept-edits", "plan", "deny", "bypass"]
Effect = Literal["read", "edit", "run", "other"]
Kind = Literal["text", "path", "command"]
_ACTIONS: tuple[Action, ...] = get_args(Action)  # from the mildest to the strictest
MODES: tuple[PermissionMode, ...] = get_args(PermissionMode)
_RULE = re.compile(r"([A-Za-z_*][\w.*]*)(?:\((.*)\))?\Z", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Subject:
    """What a call is about, for rules to match: paths in the workspace, a shell command, or some text."""

    kind: Kind
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. `exact` is set for remembered answers: their pattern is no pattern but the very text."""

    action: Action
    tool: str
    pattern: str | None = None
    exact: bool = False

    def __str__(self) -> str:
        return f"{self.action}: {self.tool}" + ("" if self.pattern is None else f"({self.pattern})")


@dataclass(frozen=True, slots=True)
class Request:
    """One call that wants to happen. The rules of the tool named by `gate` hold for it, too."""

    tool: str
    subject: Subject | None = None
    effect: Effect = "other"
    gate: str | None = None
    asks: bool = False  # by its own nature or `require_permission: true`, when no rule says otherwise
    protected: str = ""  # why a person must be asked whatever the rules say


@dataclass(frozen=True, slots=True)
class Verdict:
    """`allow`, `ask` or `deny`, and why."""

    action: Action
    reason: str = ""
    rule: Rule | None = None


def parse_rule(action: str, text: str) -> Rule:
    """A rule out of `allow` and `execute(pytest *)`."""
    found = _RULE.match(text.strip())
    if action not in _ACTIONS:
        raise SetupError(f"A permission rule begins with allow, ask or deny, not {action[:40]!r}.")
    if found is None:
        raise SetupError(f"A rule reads tool or tool(pattern), such as execute(pytest *); got {text[:80]!r}.")
    return Rule(next(one for one in _ACTIONS if one == action), found[1], found[2])


def parse_rules(items: Iterable[str | Mapping[str, Any] | Rule]) -> tuple[Rule, ...]:
    """Rules out of `"allow: execute(pytest *)"` texts and `{"allow": "execute(pytest *)"}` mappings, in order."""
    rules = []
    for item in items:
        if isinstance(item, Rule):
            rules.append(item)
        elif isinstance(item, str):
            action, colon, rest = item.partition(":")
            if not colon:
                raise SetupError(f"A permission rule reads `allow: execute(pytest *)`; got {item[:80]!r}.")
            rules.append(parse_rule(action.strip(), rest))
        else:
            rules += [parse_rule(str(action), str(text)) for action, text in item.items() if text is not None]
    return tuple(rules)


def grant_for(request: Request) -> Rule:
    """What "always" means for a request: this tool with exactly this subject, nothing wider."""
    text = None if request.subject is None else "\n".join(request.subject.texts)
    return Rule("allow", request.tool, text, exact=True)


def decide(
    rules: Sequence[Rule], request: Request, *, mode: PermissionMode = "ask", grants: Sequence[Rule] = ()
) -> Verdict:
    """What the rules say of a request. Only `allow` lets it happen without a person."""
    for rule in rules:
        if rule.action == "deny" and _applies(rule, request):
            return Verdict("deny", f"the rule `{rule}` forbids it", rule)
    if mode == "plan" and request.effect != "read":
        return Verdict("deny", "in plan mode nothing is changed or run; only reading tools work")
    verdict = _by_rules(rules, request, mode, grants)
    if verdict.action == "ask" and mode == "deny":
        return Verdict("deny", f"{verdict.reason}, and nobody is asked in this mode", verdict.rule)
    return verdict


def stricter(one: Verdict, other: Verdict) -> Verdict:
    """What two say of the same request who both must allow it."""
    return max(one, other, key=lambda verdict: _ACTIONS.index(verdict.action))


def _by_rules(rules: Sequence[Rule], request: Request, mode: PermissionMode, grants: Sequence[Rule]) -> Verdict:
    granted = _first(grants, request)
    if granted is not None:
        return Verdict("allow", "a person allowed it for this session", granted)
    if request.protected:
        return Verdict("ask", request.protected)
    if mode == "bypass":
        return Verdict("allow", "permissions are bypassed")
    rule = _first(rules, request)
    if rule is not None:
        verdict = Verdict(rule.action, f"the rule `{rule}` says so", rule)
    else:
        verdict = Verdict("ask", f"{request.tool} requires permission") if request.asks else Verdict("allow")
    if verdict.action == "ask" and mode == "accept-edits" and request.effect == "edit":
        return Verdict("allow", "edits are accepted in this mode", rule)
    return verdict


def _first(rules: Sequence[Rule], request: Request) -> Rule | None:
    return next((rule for rule in rules if rule.action != "deny" and _applies(rule, request)), None)


def _applies(rule: Rule, request: Request) -> bool:
    if not _names(rule.tool, request):
        return False
    if rule.pattern is None:
        return True
    if request.subject is None or not request.subject.texts:
        return False
    if rule.exact:
        return rule.pattern == "\n".join(request.subject.texts)
    match = {"path": matches_path, "command": matches_command, "text": matches_text}[request.subject.kind]
    wide = rule.action != "allow"
    hits = (match(rule.pattern, text, wide=wide) for text in request.subject.texts)
    return any(hits) if wide else all(hits)


def _names(pattern: str, request: Request) -> bool:
    # An allow for `execute` holds for `send_input` as well: it goes to what was allowed. So does its deny.
    names = [request.tool, *([request.gate] if request.gate else [])]
    return any(matches_text(pattern, name, wide=False) for name in names)
