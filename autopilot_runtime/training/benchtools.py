"""What the tool packs `params` and `training` have in common: the bench of a call, and its results."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from autopilot_runtime.core.errors import AutopilotError, ToolError
from autopilot_runtime.core.event import Event
from autopilot_runtime.tool.context import ToolContext
from autopilot_runtime.tool.plain import ToolResult
from autopilot_runtime.training.benchproject import bench_of
from autopilot_runtime.training.benchview import budget_left, files_of
from autopilot_runtime.training.fault import ParameterRefused, meant
from autopilot_runtime.training.fit import Fit
from autopilot_runtime.training.paramfiles import kind_of
from autopilot_runtime.training.showing import shortened
from autopilot_runtime.training.workbench import Workbench

MAX_SHOWN_CHARS = 24_000
_ONE_LINE = 200


@contextmanager
def at_bench(ctx: ToolContext) -> Iterator[tuple[Workbench, Fit]]:
    """The bench that the agent file names, for the time of one call. What training tells, the run tells, too."""
    project = ctx.config.get("project")
    if not project:
        raise ToolError(
            "This tool does not know what is trained. Its entry in the agent file needs it: "
            "config: {project: ./train.py:module}"
        )

    def hear(event: Event) -> None:
        ctx.event(event.type, **event.data)

    try:
        bench = bench_of(str(project))
        with bench.at_work(hear) as fit:
            yield bench, fit
    except ToolError:
        raise
    except AutopilotError as error:
        raise ToolError(str(error)) from error


def told(ctx: ToolContext, fit: Fit, value: Mapping[str, Any], shown: str = "", *, note: str = "") -> ToolResult:
    """The result of a call, with what is left of the budget. `note` is all that is seen of one that was assigned."""
    left = budget_left(fit)
    text = shown or json.dumps(value, ensure_ascii=False, indent=2, default=str)
    room = int(ctx.config.get("max_output_chars") or MAX_SHOWN_CHARS)
    words = ", ".join(f"{kind} {amount:g}" for kind, amount in left.items())
    rest = f"\n(budget left: {words})" if words else ""
    return ToolResult({**value, "budget_left": left}, shortened(text, room) + rest, note)


def indented(text: str) -> str:
    """A text of several lines so that one sees where it ends; a small JSON document in one line."""
    if text[:1] in ("{", "["):
        line = " ".join(one.strip() for one in text.splitlines())  # there is no line end within a value of it
        text = line if len(line) <= _ONE_LINE else text
    return text.replace("\n", "\n    ")


def change(parameter: Any, value: Any, *, path: str | None, delete: bool) -> None:
    """Give a parameter, or one of its files, another value. A text is read as what the parameter holds."""
    files = files_of(parameter)
    if files is not None:
        _change_file(parameter, files, value, path=path, delete=delete)
        return
    if path is not None or delete:
        raise ParameterRefused(f"Parameter {parameter.name!r} is no files: propose its whole value, without a path.")
    kind = kind_of(parameter)
    if kind == "state":
        parameter.restore(value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass"))
        return
    if isinstance(value, str) and kind == "text" and value.endswith("\n") and not parameter.data.endswith("\n"):
        value = value[:-1]  # a payload block always ends with a line end; the value had none
    elif isinstance(value, str) and kind != "text":
        value = _parsed(parameter, value)
    parameter.data = value


def _change_file(parameter: Any, files: Mapping[str, bytes], value: Any, *, path: str | None, delete: bool) -> None:
    if path is None and len(files) == 1:
        path = next(iter(files))
    if path is None:
        raise ParameterRefused(
            f"Parameter {parameter.name!r} is {len(files)} files: say which one, path='...'.{meant('', files)}"
        )
    if delete:
        if path not in files:
            raise ParameterRefused(f"{parameter.name!r} has no file {path!r}.{meant(path, files)}")
        parameter.delete(path)
    elif isinstance(value, str):
        _write(parameter, files, path, value.encode("utf-8", "surrogatepass"))
    else:
        raise ParameterRefused(f"The content of a file is text, not {type(value).__name__}.")


def _write(parameter: Any, files: Mapping[str, bytes], path: str, data: bytes) -> None:
    try:
        parameter.write(path, data)
    except ParameterRefused as error:
        # Where the files lie for the moment is of no use to the reader; what they are called is.
        at = parameter.path if parameter.path.is_dir() else parameter.path.parent
        text = str(error).replace(str(at), repr(parameter.name))
        raise ParameterRefused(text if path in files else f"{text}.{meant(path, files)}") from error


def _parsed(parameter: Any, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ParameterRefused(f"{parameter.name!r} takes a JSON document: {error}") from error
