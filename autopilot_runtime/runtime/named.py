"""Payload blocks that name a file, held against the calls that will take them, before anything of a block runs."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from autopilot_runtime.block.reply import Payload
from autopilot_runtime.core.protocols import BlockResult, Failure
from autopilot_runtime.sandbox.arguments import shares
from autopilot_runtime.sandbox.check import parse
from autopilot_runtime.sandbox.display import rebound
from autopilot_runtime.tool.registry import ToolRegistry
from autopilot_runtime.tool.workspace import Workspace


def misnamed(
    code: str, payloads: Sequence[Payload], *, registry: ToolRegistry, workspace: Workspace
) -> BlockResult | None:
    """The result of a block whose calls and payload blocks certainly disagree about a name; None otherwise."""
    if not any(payload.filename for payload in payloads):
        return None
    tree = parse(code)
    if not isinstance(tree, ast.Module):
        return None  # the sandbox says what is wrong with it
    try:
        return _disagreement(tree, payloads, registry, workspace=workspace)
    except RecursionError:
        return None


def _disagreement(
    tree: ast.Module, payloads: Sequence[Payload], registry: ToolRegistry, *, workspace: Workspace
) -> BlockResult | None:
    for share in shares(tree, registry.specs(), rebound(tree)):
        param = registry[share.tool].path_param
        path = share.known.get(param) if param else None
        if not isinstance(path, str):
            continue
        for number, payload in enumerate(payloads[share.first : share.first + share.count], share.first + 1):
            named = payload.filename
            if named and named != path and not workspace.is_same(path, named):
                text = (
                    f"PayloadError: {share.tool}() in line {share.line} writes {path[:200]!r}, but payload block "
                    f"{number}, which it would take, says filename={named[:200]!r}. Payload blocks are "
                    "used in the order of the calls: put them in order, or correct the name.\n"
                    "Nothing of this block ran."
                )
                return BlockResult(failure=Failure("check", text, share.line))
    return None
