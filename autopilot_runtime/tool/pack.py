"""Finds and loads tool packs: a shipped one by name, one tool of it by the tool's name, a user's own by path."""

from __future__ import annotations

import difflib
import importlib.util
import re
import sys
import traceback
from functools import cache
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

from autopilot_runtime.core.errors import SetupError
from autopilot_runtime.core.shelf import shelf
from autopilot_runtime.tool.define import Tool, is_tool, tool_of

_ENTRY_POINTS = "autopilot_runtime.tools"
# What our own packs look like; a test holds this against really loading them. Importing all of them only to learn
# their names would cost more than the whole construction of a runtime.
_TOOL = re.compile(r"^@tool\b(?:\((?P<options>[\s\S]*?)\))?\s*\n(?:async )?def (?P<name>\w+)", re.MULTILINE)
_RENAMED = re.compile(r"\bname=\"([\w.]+)\"")


@cache
def shipped() -> dict[str, tuple[str, ...]]:
    """Pack → the names of its tools, for every pack we ship."""
    found: dict[str, tuple[str, ...]] = {}
    for file in sorted(shelf("tools").glob("*.py")):
        if not file.name.startswith("_"):
            found[file.stem] = tuple(map(_name, _TOOL.finditer(file.read_text(encoding="utf-8"))))
    return found


def _name(found: re.Match[str]) -> str:
    renamed = _RENAMED.search(found["options"] or "")
    return renamed[1] if renamed else found["name"]


def is_path(name: str) -> bool:
    """Whether an entry of an agent file is a path to a user's pack rather than a name."""
    return name.endswith(".py") or "/" in name or "\\" in name


def load_tools(name: str, *, folder: Path) -> list[Tool]:
    """The tools an entry stands for. Paths are relative to `folder`, the agent file's; names never are."""
    if is_path(name):
        return load_pack((folder / name).expanduser().resolve())
    packs = shipped()
    if name in packs:
        return list(_shelf_pack(name))
    for pack, tools in packs.items():
        if name in tools:
            return [tool for tool in _shelf_pack(pack) if tool.name == name]
    third = _third_party(name)
    if third is not None:
        return _tools_in(third, name)
    known = [*packs, *(tool for tools in packs.values() for tool in tools)]
    near = difflib.get_close_matches(name[:60], known, n=1)
    raise SetupError(
        f"No tool or tool pack {name[:80]!r}."
        + (f" Did you mean {near[0]!r}?" if near else "")
        + f" Shipped packs: {', '.join(packs)}; or give a path ending in .py."
    )


def load_pack(path: Path) -> list[Tool]:
    """The tools of a file, run anew. What goes wrong in it is shown with its line."""
    if not path.is_file():
        raise SetupError(f"There is no tool pack {path}. Paths are relative to the agent file.")
    return _tools_in(_load(path, _Fresh(_module_name(path), str(path))), str(path))


@cache
def _shelf_pack(name: str) -> tuple[Tool, ...]:
    path = shelf("tools") / f"{name}.py"
    module = _load(path, SourceFileLoader(_module_name(path), str(path)))
    own = _tools_in(module, name)
    return (*own, *(tool for other in getattr(module, "WITH", ()) for tool in _shelf_pack(other)))


def _module_name(path: Path) -> str:
    # With a space and slashes no import statement can reach it, and it takes no name from anybody.
    return f"tool pack {path}"


class _Fresh(SourceFileLoader):
    """Compiles the file as it is now: a user's edit counts at once, and no cache is written beside it."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        code: CodeType = self.source_to_code(self.get_data(path), path)
        return code


def _load(path: Path, loader: SourceFileLoader) -> ModuleType:
    name = _module_name(path)
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    if spec is None:
        raise SetupError(f"{path} cannot be loaded as a tool pack.")
    module = importlib.util.module_from_spec(spec)
    # Dataclasses and typing look their module up by name while it runs.
    before = sys.modules.get(name)
    sys.modules[name] = module
    try:
        loader.exec_module(module)
    except BaseException as error:
        if before is None:
            del sys.modules[name]
        else:
            sys.modules[name] = before
        if isinstance(error, KeyboardInterrupt):
            raise
        raise SetupError(_explained(path, error)) from error
    return module


def _explained(path: Path, error: BaseException) -> str:
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return f"{path}:{error.lineno}: {type(error).__name__}: {error.msg}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    where = f"{path}:{lines[-1]}" if lines else str(path)
    return f"{where}: {type(error).__name__}: {str(error)[:500]}"


def _tools_in(module: ModuleType, name: str) -> list[Tool]:
    own = [thing for thing in vars(module).values() if is_tool(thing)]
    tools = list({tool.name: tool for tool in map(tool_of, own)}.values())
    if not tools:
        raise SetupError(f"The tool pack {name} has no tools: put @tool over the functions that are meant.")
    return tools


def _third_party(name: str) -> ModuleType | None:
    # Searched only for a name we do not know: it reads the whole of site-packages.
    from importlib.metadata import entry_points

    for point in entry_points(group=_ENTRY_POINTS, name=name):
        try:
            module = point.load()
        except Exception as error:
            raise SetupError(f"The tool pack {name!r} ({point.value}) cannot be loaded: {error}") from error
        if isinstance(module, ModuleType):
            return module
        raise SetupError(f"The tool pack {name!r} ({point.value}) is no module.")
    return None
