"""Every error of the product, one tree. The text says what happened, to what, and what to do next."""

from __future__ import annotations

from typing import Literal


class AutopilotError(Exception):
    """Anything this package raises on purpose."""


class SetupError(AutopilotError):
    """The way it was called or configured cannot work; nothing was started (exit code 2)."""


class AgentFileError(SetupError):
    """One or more faults in an agent file, each `file:line:column key: what, did-you-mean`."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class MissingExtra(SetupError):
    """An optional dependency is not installed; the text says what to type."""

    def __init__(self, wanted: str, needs: str, extra: str = "") -> None:
        chosen = f"[{extra}]" if extra else ""
        super().__init__(f"{wanted} needs {needs}: pip install 'autopilot-runtime{chosen}'")


class MissingKey(SetupError):
    """The variable that should hold the model's key is not set; the text names it, the file and the provider."""


class SandboxUnavailable(SetupError):
    """The confinement that was asked for cannot be had here, so nothing runs."""


class RunInProgress(AutopilotError):
    """A second `run()` on a Runtime whose first has not ended."""


class RuntimeClosed(AutopilotError):
    """The Runtime was closed, or belongs to another process (after `os.fork`)."""


class ToolError(AutopilotError):
    """A tool could not do it; the text is written for the model. Raise it from your own tools, too."""


class PermissionDenied(ToolError):
    """A rule or a person said no; the text carries the reason."""


class PathRefused(ToolError):
    """A path leaves the workspace, or is not something a file tool may touch."""


class EditConflict(ToolError):
    """What should be edited is not what was last read."""


class SessionError(AutopilotError):
    """A session cannot be read or written; the text names the place and what is still safe."""


class SessionConflict(SessionError):
    """Somebody else wrote to this session since it was loaded; nothing was overwritten."""


class StoreError(AutopilotError):
    """The content store cannot be read or written; the text names the place and what is still safe."""


class StoreConflict(StoreError):
    """Somebody else moved a named pointer meanwhile; nothing was changed."""


class ObjectDamaged(StoreError):
    """A kept content is gone or is not what was put in. It is never restored."""


class ReplayError(AutopilotError):
    """A recorded conversation and what is asked now differ; the text shows where."""


ProviderFault = Literal[
    "auth",  # 401/403: key wrong, missing or not allowed
    "not_found",  # 404: model or endpoint unknown
    "bad_request",  # 400 and other 4xx: asking again will not help
    "context",  # the conversation is longer than the model's window
    "rate_limit",  # 429
    "overloaded",  # 529 and `overloaded_error` events
    "server",  # 5xx, 408, 409
    "connection",  # refused, DNS, TLS, reset
    "timeout",  # no first byte, or a stream that stalls
    "truncated",  # a stream that ended without saying so
    "protocol",  # an answer that is not the protocol (HTML page, bad JSON, gzip bomb)
    "refusal",  # the model or its filter declined
    "empty",  # a reply without content
    "too_long",  # a reply over the reply cap
    "budget",  # our own budget would be crossed
]


class ProviderError(AutopilotError):
    """A model call failed. `kind` says how, `retryable` whether the same call may succeed later."""

    def __init__(
        self,
        text: str,
        *,
        kind: ProviderFault,
        status: int | None = None,
        provider: str = "",
        model: str = "",
        retryable: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(text)
        self.kind = kind
        self.status = status
        self.provider = provider
        self.model = model
        self.retryable = retryable
        self.retry_after = retry_after
