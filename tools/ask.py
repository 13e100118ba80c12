"""Asks the person."""

from __future__ import annotations

from autopilot_runtime import ToolContext, ToolError, ToolResult, tool


@tool(label="Asking: {question}", effect="read")
async def ask_user(ctx: ToolContext, question: str) -> ToolResult:
    """Ask the person a question and wait for the answer, which is returned as text.

    Use it when you cannot go on without knowing something only the person knows. Ask everything in one question; do
    not ask what you can find out yourself, nor for permission.
    """
    if not question.strip():
        raise ToolError("The question is empty.")
    answer = await ctx.ask(question)
    return ToolResult(answer, f"The user answers: {answer}")
