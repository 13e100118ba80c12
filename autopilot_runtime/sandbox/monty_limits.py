"""What the Monty interpreter cannot run, found in a block's text before any of it runs. Pure."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from autopilot_runtime.core.protocols import Failure
from autopilot_runtime.sandbox.monty_bridge import can_delete

_SHOWN = 5
_HAS = (
    "__future__ asyncio base64 binascii bisect collections copy csv dataclasses datetime decimal functools hashlib "
    "itertools json math os os.path pathlib posixpath random re sys time tomllib typing unicodedata"
)
_MODULES = frozenset(_HAS.split())
# Where a module is there in part, the part people ask for and do not get.
_LACKS = {
    "collections": "ChainMap OrderedDict UserDict UserList UserString",
    "dataclasses": "asdict astuple fields replace make_dataclass InitVar KW_ONLY Field",
    "datetime": "UTC tzinfo MINYEAR MAXYEAR",
    "functools": "wraps update_wrapper total_ordering cmp_to_key partialmethod singledispatch singledispatchmethod "
    "cached_property",
    "json": "JSONEncoder JSONDecoder",
    "pathlib": "PurePath PurePosixPath PureWindowsPath PosixPath WindowsPath",
    "re": "subn X VERBOSE L LOCALE U UNICODE RegexFlag template purge",
    "asyncio": "create_task TaskGroup Queue Lock Event Semaphore wait wait_for timeout to_thread new_event_loop "
    "get_event_loop get_running_loop as_completed",
    "typing": "NamedTuple TypedDict overload cast get_type_hints",
}
_GONE = {(module, name) for module, names in _LACKS.items() for name in names.split()}
_DECORATORS = frozenset({"property", "staticmethod", "classmethod"})
_INSTEAD = "Write it without, or with plain functions, lists and dicts. Nothing of this block ran."


def unsupported(tree: ast.Module) -> Failure | None:
    """Why this interpreter cannot run the block, or None. Syntax and modules only: a missing method shows later."""
    found = list(_found(tree))
    if not found:
        return None
    lines = [f"  line {line}: no {what}" for line, what in found[:_SHOWN]]
    more = [f"  and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else []
    head = "This interpreter runs a part of Python only; the block uses what it does not have:"
    return Failure("check", "\n".join([head, *lines, *more, _INSTEAD]), found[0][0])


def _found(tree: ast.Module) -> Iterator[tuple[int, str]]:
    nodes = list(ast.walk(tree))
    optional = {id(inner) for node in nodes if isinstance(node, ast.Try) for inner in _within(node)}
    modules = {a.asname or a.name: a.name for node in nodes if isinstance(node, ast.Import) for a in node.names}
    for node in nodes:
        what = _what(node)
        absent = [] if id(node) in optional else _absent(node, modules)
        for text in absent if what is None else [what]:
            yield getattr(node, "lineno", 1), text


def _within(node: ast.Try) -> Iterator[ast.AST]:
    """What a `try` guards: a block may ask for a module there and do without."""
    for statement in node.body:
        yield from ast.walk(statement)


def _what(node: ast.AST) -> str | None:
    match node:
        case ast.ClassDef(bases=bases, keywords=keywords) if keywords or not all(_is_plain(base) for base in bases):
            return f"class inheritance (class {node.name})"
        case ast.Yield() | ast.YieldFrom():
            return "generators (yield)"
        case ast.Delete() if not can_delete(node):
            return "del of several things or of a slice"
        case ast.TryStar():
            return "except* clause"
        case ast.FunctionDef(decorator_list=decorators):
            names = [one.id for one in decorators if isinstance(one, ast.Name) and one.id in _DECORATORS]
            return f"@{names[0]}" if names else None
    return None


def _is_plain(base: ast.expr) -> bool:
    return isinstance(base, ast.Name) and base.id == "object"


def _absent(node: ast.AST, modules: dict[str, str]) -> list[str]:
    """What is imported, or taken from a module, and not there."""
    match node:
        case ast.Import(names=names):
            return [f"module {alias.name!r}" for alias in names if alias.name not in _MODULES]
        case ast.ImportFrom(module=module, names=names):
            if module not in _MODULES:
                return [f"module {module or '.'!r}"]
            return [f"{module}.{alias.name}" for alias in names if (module, alias.name) in _GONE]
        case ast.Attribute(value=ast.Name(id=name), attr=attr) if (modules.get(name), attr) in _GONE:
            return [f"{modules[name]}.{attr}"]
    return []
