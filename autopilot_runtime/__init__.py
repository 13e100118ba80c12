"""The embeddable agent runtime. Names load on first use, so importing this package costs next to nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autopilot_runtime.cli.train.projectcli import AutoPilotCLI
    from autopilot_runtime.core.decision import Decision
    from autopilot_runtime.core.errors import (
        AgentFileError,
        AutopilotError,
        EditConflict,
        MissingExtra,
        PathRefused,
        PermissionDenied,
        ProviderError,
        ReplayError,
        RunInProgress,
        RuntimeClosed,
        SandboxUnavailable,
        SessionConflict,
        SessionError,
        SetupError,
        ToolError,
    )
    from autopilot_runtime.core.event import Event, EventType
    from autopilot_runtime.core.hooks import (
        HookSystem,
        on_ask_user,
        on_delegated,
        on_file_changed,
        on_finish,
        on_max_steps,
        on_permission_request,
        on_retry,
        on_runtime_error,
        on_security_error,
        on_session_reset,
        on_start,
        on_step,
        on_stream,
        on_thought,
        on_tool_call,
        on_tool_result,
        on_usage,
        on_user_message_injected,
        on_user_message_queued,
    )
    from autopilot_runtime.core.protocols import Provider, RunResult, Sandbox, SessionStore, Usage
    from autopilot_runtime.model.scripted import ScriptedProvider
    from autopilot_runtime.runtime.agentfile import AgentFile
    from autopilot_runtime.runtime.runtime import AsyncRuntime
    from autopilot_runtime.runtime.sync import Runtime
    from autopilot_runtime.session.create import create_session
    from autopilot_runtime.session.file import FileSession
    from autopilot_runtime.session.memory import InMemorySession
    from autopilot_runtime.session.runlog import RunLog
    from autopilot_runtime.session.sql import AsyncDatabaseSession, DatabaseSession
    from autopilot_runtime.tool.context import ToolContext
    from autopilot_runtime.tool.define import Preview, ToolResult, tool
    from autopilot_runtime.tool.permit import Subject
    from autopilot_runtime.tool.registry import ToolRegistry

__version__ = "0.1.0"

_HOME = {
    "cli.train.projectcli": "AutoPilotCLI",
    "core.decision": "Decision",
    "core.errors": "AgentFileError AutopilotError EditConflict MissingExtra PathRefused PermissionDenied "
    "ProviderError ReplayError RunInProgress RuntimeClosed SandboxUnavailable SessionConflict SessionError "
    "SetupError ToolError",
    "core.event": "Event EventType",
    "core.hooks": "HookSystem on_ask_user on_delegated on_file_changed on_finish on_max_steps on_permission_request "
    "on_retry on_runtime_error on_security_error on_session_reset on_start on_step on_stream on_thought on_tool_call "
    "on_tool_result on_usage on_user_message_injected on_user_message_queued",
    "core.protocols": "Provider RunResult Sandbox SessionStore Usage",
    "model.scripted": "ScriptedProvider",
    "runtime.agentfile": "AgentFile",
    "runtime.runtime": "AsyncRuntime",
    "runtime.sync": "Runtime",
    "session.create": "create_session",
    "session.file": "FileSession",
    "session.memory": "InMemorySession",
    "session.sql": "AsyncDatabaseSession DatabaseSession",
    "session.runlog": "RunLog",
    "tool.context": "ToolContext",
    "tool.define": "Preview ToolResult",
    "tool.permit": "Subject",
    "tool.registry": "ToolRegistry",
    "tool": "tool",
}
_MODULE = {name: module for module, names in _HOME.items() for name in names.split()}

__all__ = [
    "AgentFile",
    "AgentFileError",
    "AsyncDatabaseSession",
    "AsyncRuntime",
    "AutoPilotCLI",
    "AutopilotError",
    "create_session",
    "DatabaseSession",
    "Decision",
    "EditConflict",
    "Event",
    "EventType",
    "FileSession",
    "HookSystem",
    "InMemorySession",
    "MissingExtra",
    "on_ask_user",
    "on_delegated",
    "on_file_changed",
    "on_finish",
    "on_max_steps",
    "on_permission_request",
    "on_retry",
    "on_runtime_error",
    "on_security_error",
    "on_session_reset",
    "on_start",
    "on_step",
    "on_stream",
    "on_thought",
    "on_tool_call",
    "on_tool_result",
    "on_usage",
    "on_user_message_injected",
    "on_user_message_queued",
    "PathRefused",
    "PermissionDenied",
    "Preview",
    "Provider",
    "ProviderError",
    "ReplayError",
    "RunInProgress",
    "RunLog",
    "RunResult",
    "Runtime",
    "RuntimeClosed",
    "Sandbox",
    "SandboxUnavailable",
    "ScriptedProvider",
    "SessionConflict",
    "SessionError",
    "SessionStore",
    "SetupError",
    "Subject",
    "tool",
    "ToolContext",
    "ToolError",
    "ToolRegistry",
    "ToolResult",
    "Usage",
]


def __getattr__(name: str) -> object:
    module = _MODULE.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    found = import_module(f"{__name__}.{module}")
    value: object = found if module == name else getattr(found, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
