"""What every tool keeps to, ours and a user's alike. Subclass it and give `tool`; it needs no runtime."""

from __future__ import annotations

import asyncio
import inspect
import json
from pathlib import Path
from typing import Any

import pytest

from autopilot_runtime.core.errors import ToolError
from autopilot_runtime.tool.bind import bind
from autopilot_runtime.tool.context import ToolContext
from autopilot_runtime.tool.define import Tool
from autopilot_runtime.tool.workspace import Workspace

EXAMPLES: dict[str, Any] = {
    "string": "x", "integer": 1, "number": 1.5, "boolean": True, "array": [], "object": {}, "null": None,
}  # fmt: skip


def example(schema: Any) -> Any:
    """Some value a schema takes."""
    if "enum" in schema:
        return schema["enum"][0]
    if "anyOf" in schema:
        return example(schema["anyOf"][0])
    kind = schema.get("type", "string")
    return EXAMPLES[kind if isinstance(kind, str) else kind[0]]


class ToolContract:
    """The promises of a tool to the model, to the person and to the runtime."""

    @pytest.fixture
    def tool(self) -> Tool:
        raise NotImplementedError

    @pytest.fixture
    def ctx(self, tool: Tool, tmp_path: Path) -> ToolContext:
        return ToolContext(tool.name, Workspace(tmp_path))

    def test_the_model_is_told_what_it_does_and_takes(self, tool: Tool) -> None:
        assert len(tool.spec.doc) > 20
        for param in tool.spec.params:
            assert param.shown, f"{param.name} has no annotation"
            assert param.schema != {} or param.shown == "Any"
            json.dumps(param.schema)
        assert tool.spec.signature.startswith(f"{tool.name}(")
        assert "ToolContext" not in tool.spec.signature

    def test_defaults_fit_their_own_types(self, tool: Tool) -> None:
        required = {p.name: example(p.schema) for p in tool.spec.params if p.required}
        bound = bind(tool.spec, (), required)
        again = {name: value for name, value in bound.items() if name not in self._rest(tool)}
        assert bind(tool.spec, (), again) == bound

    def test_wrong_arguments_are_a_type_error_with_the_signature(self, tool: Tool) -> None:
        if self._rest(tool):
            pytest.skip("it takes anything")
        with pytest.raises(TypeError, match=r"no_such_argument"):
            bind(tool.spec, (), {**{p.name: example(p.schema) for p in tool.spec.params}, "no_such_argument": 1})

    def test_its_label_is_one_visible_line(self, tool: Tool) -> None:
        hostile = "a\nb\x1b[2K\u202ec"
        arguments = {p.name: hostile if p.schema.get("type") == "string" else p.default for p in tool.spec.params}
        label = tool.label(arguments)
        assert label and not set(label) & set("\n\x1b\u202e")

    def test_saying_what_a_call_is_about_does_nothing(self, tool: Tool, ctx: ToolContext, tmp_path: Path) -> None:
        bound = bind(tool.spec, (), {p.name: example(p.schema) for p in tool.spec.params if p.required})
        try:
            preview = tool.outline(ctx, bound)
        except ToolError:
            return
        assert preview.description and "\n" not in preview.description
        assert tool.request(preview).tool == tool.name
        assert list(tmp_path.iterdir()) == []

    def test_payloads_are_counted_for_any_arguments(self, tool: Tool) -> None:
        if tool.spec.payloads is None:
            return
        for given in (
            {},
            {p.name: example(p.schema) for p in tool.spec.params},
            {p.name: None for p in tool.spec.params},
        ):
            assert tool.spec.payloads(given) >= 0

    def test_it_says_truly_whether_it_is_async(self, tool: Tool) -> None:
        assert tool.is_async == (
            inspect.iscoroutinefunction(tool.func) or inspect.iscoroutinefunction(type(tool.func).__call__)
        )
        assert not asyncio.iscoroutine(tool.func)

    @staticmethod
    def _rest(tool: Tool) -> set[str]:
        return {p.name for p in tool.spec.params if p.kind in ("var_positional", "var_keyword")}
