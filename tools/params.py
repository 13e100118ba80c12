"""Reads and proposes parameters of what is being trained. Every proposal is a candidate of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autopilot_runtime import EventType, ToolContext, ToolError, ToolResult, tool
from autopilot_runtime.training import benchview
from autopilot_runtime.training.benchtools import at_bench, change, told


@tool(label="Listing the parameters", effect="read")
def list_parameters(ctx: ToolContext) -> ToolResult:
    """What may be changed: name, kind, size or files, bounds, and whether it is frozen.

    Returns a dict: parameters (a list of dicts), accepted (the commit they are in), blocked (strategies that must not
    be tried, with the reason), budget_left.
    """
    with at_bench(ctx) as (bench, fit):
        found = benchview.parameters(bench, fit)
        commit = bench.commit(fit, None)
        lines = [f"accepted: {commit.id[:12]}", *map(_line, found)]
        lines += [f"blocked: {name} ({why})" for name, why in bench.blocked.items()]
        value = {"parameters": found, "accepted": commit.id[:12], "blocked": dict(bench.blocked)}
        return told(ctx, fit, value, "\n".join(lines))


def _line(one: Mapping[str, Any]) -> str:
    size = f"{one['chars']:,} characters" if "chars" in one else f"files {', '.join(one['files']) or 'none'}"
    bounds = f", from {one.get('low', '-inf')} to {one.get('high', 'inf')}" if one.keys() & {"low", "high"} else ""
    return f"{one['name']} ({one['kind']}{bounds}; {size}){' FROZEN' if one['frozen'] else ''}"


@tool(label="Reading the parameter {name}", effect="read")
def read_parameter(ctx: ToolContext, name: str, path: str | None = None, commit: str | None = None) -> ToolResult:
    """Read a parameter, or (path) one of its files, as accepted or in another commit.

    Returns a dict: value, commit, budget_left.
    """
    with at_bench(ctx) as (bench, fit):
        value = benchview.read(bench, fit, name, path, commit)
        at = bench.commit(fit, commit).id[:12]
        shown = value if isinstance(value, str) else ""
        return told(ctx, fit, {"value": value, "commit": at}, shown and f"{path or name} in {at}:\n{shown}")


@tool(label="Comparing {a} with {b}", effect="read")
def diff(ctx: ToolContext, a: str = "accepted", b: str = "accepted") -> ToolResult:
    """What is different in commit b from commit a: a commit id, "accepted", a branch, a tag, or "epoch-3".

    Returns a dict: diff (unified), budget_left.
    """
    with at_bench(ctx) as (bench, fit):
        text = benchview.difference(bench, fit, a, b)
        return told(ctx, fit, {"diff": text}, text or "They are the same.")


def _blocks(args: Mapping[str, Any]) -> int:
    return 0 if args.get("value") is not None or args.get("delete") else 1


@tool(label="Proposing {name}: {why}", payloads=_blocks)
def propose_parameter(
    ctx: ToolContext,
    name: str,
    why: str,
    value: Any = None,
    path: str | None = None,
    on: str | None = None,
    delete: bool = False,
    strategy: str = "",
) -> ToolResult:
    """Make a candidate: the accepted state with one parameter changed. Nothing is accepted by that.

    Without `value`, the new value (or the whole new content of the file `path`) is the next payload block. `why`: the
    failures this should mend, and how. `on`: the candidate to build on, for a change of several parameters.
    `delete=True` removes the file `path`. `strategy`: a name for the kind of change, so that it can be blocked.
    Returns a dict: candidate (give it to evaluate and submit), diff, budget_left.
    """
    content = value if not _blocks({"value": value, "delete": delete}) else ctx.payload()
    with at_bench(ctx) as (bench, fit):
        if strategy in bench.blocked:
            raise ToolError(f"The strategy {strategy!r} is blocked: {bench.blocked[strategy]}. Nothing was proposed.")
        made = bench.propose(
            fit, name, lambda parameter: change(parameter, content, path=path, delete=delete), why=why, on=on
        )
        text = benchview.difference(bench, fit, on, made.id)
        known = [row for row in benchview.history(fit, 1_000) if row["commit"] == made.id[:12]]
        note = f"; this very state was tried before: {known[-1]['verdict']}, {known[-1]['reason']}" if known else ""
        value = {"candidate": made.id[:12], "diff": text}
        return told(
            ctx, fit, value, f"candidate {made.id[:12]}{note}\n{text}", note=f"candidate {made.id[:12]}{note}"
        )


@tool(label="Tagging {tag}: {why}")
def snapshot(ctx: ToolContext, tag: str, why: str, commit: str | None = None) -> ToolResult:
    """Name the accepted state (or another commit), to come back to it. Returns a dict: commit, tag, budget_left."""
    with at_bench(ctx) as (bench, fit):
        target = bench.commit(fit, commit)
        bench.point(fit, f"tag/{tag}", target, why, event=EventType.SNAPSHOT, tag=tag)
        value = {"commit": target.id[:12], "tag": tag}
        return told(ctx, fit, value, f"{tag} is {target.id[:12]}")


@tool(label="Rolling back to {ref}: {why}")
def rollback(ctx: ToolContext, ref: str, why: str) -> ToolResult:
    """Go back to a state that was accepted before: a commit, a tag, "seed", or "epoch-3".

    Returns a dict: accepted (the commit that stands now), budget_left.
    """
    with at_bench(ctx) as (bench, fit):
        target = bench.rollback(fit, ref, why)
        return told(ctx, fit, {"accepted": target.id[:12]}, f"{target.id[:12]} stands again")


@tool(label="Branching {name}: {why}")
def branch(ctx: ToolContext, name: str, why: str, commit: str | None = None) -> ToolResult:
    """Name a line of work: `propose_parameter(..., on=name)` builds on it. Returns a dict: commit, budget_left."""
    with at_bench(ctx) as (bench, fit):
        target = bench.commit(fit, commit)
        bench.point(fit, f"branch/{name}", target, why, event=EventType.SNAPSHOT, tag=f"branch/{name}")
        return told(ctx, fit, {"commit": target.id[:12]}, f"branch {name} is {target.id[:12]}")


@tool(label="Merging {a} and {b}: {why}")
def merge(ctx: ToolContext, a: str, b: str, why: str) -> ToolResult:
    """Make a candidate of two: what each has changed since the state both came from, by parameter, then
    line by line. Where both changed the same, the lines of both stay, and `conflicts` names the place.

    Returns a dict: candidate, conflicts, diff (against the accepted state), budget_left.
    """
    with at_bench(ctx) as (bench, fit):
        made, merged = bench.merge(fit, a, b, why)
        text = benchview.difference(bench, fit, None, made.id)
        value = {"candidate": made.id[:12], "conflicts": list(merged.conflicts), "diff": text}
        places = "".join(f"\nboth changed {place}" for place in merged.conflicts)
        return told(
            ctx, fit, value, f"candidate {made.id[:12]}{places}\n{text}", note=f"candidate {made.id[:12]}{places}"
        )
