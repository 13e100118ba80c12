"""Pieces, calls and imports of other languages, where their tree-sitter grammar is installed (the extra `code`)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

from autopilot_runtime.search.pieces import CallSite, Kind, Piece, Source, fill


@dataclass(frozen=True, slots=True)
class _Language:
    """Where its grammar is, and the node types that define things, hold others, and call."""

    package: str
    functions: frozenset[str]
    holders: frozenset[str]
    calls: frozenset[str]
    function: str = "language"


def _language(package: str, *, functions: str, holders: str, calls: str, function: str = "language") -> _Language:
    return _Language(
        f"tree_sitter_{package}",
        frozenset(functions.split()),
        frozenset(holders.split()),
        frozenset(calls.split()),
        function,
    )


_JS = {
    "functions": "function_declaration generator_function_declaration method_definition function_signature",
    "holders": "class_declaration abstract_class_declaration class interface_declaration internal_module "
    "enum_declaration",
    "calls": "call_expression new_expression",
}
_C = {"functions": "function_definition", "holders": "struct_specifier", "calls": "call_expression"}
_CPP = {**_C, "holders": "class_specifier struct_specifier namespace_definition"}
_JAVASCRIPT = _language("javascript", **_JS)
LANGUAGES: dict[str, _Language] = {
    **dict.fromkeys(("js", "jsx", "mjs", "cjs"), _JAVASCRIPT),
    **dict.fromkeys(("ts", "mts", "cts"), _language("typescript", **_JS, function="language_typescript")),
    "tsx": _language("typescript", **_JS, function="language_tsx"),
    "go": _language(
        "go", functions="function_declaration method_declaration", holders="type_spec", calls="call_expression"
    ),
    "rs": _language(
        "rust",
        functions="function_item",
        holders="impl_item trait_item struct_item enum_item mod_item",
        calls="call_expression macro_invocation",
    ),
    "java": _language(
        "java",
        functions="method_declaration constructor_declaration",
        holders="class_declaration interface_declaration enum_declaration record_declaration",
        calls="method_invocation object_creation_expression",
    ),
    **dict.fromkeys(("c", "h"), _language("c", **_C)),
    **dict.fromkeys(("cc", "cpp", "cxx", "hpp", "hh"), _language("cpp", **_CPP)),
    "rb": _language("ruby", functions="method singleton_method", holders="class module", calls="call"),
}
# The fields under which grammars keep the name of what is called, and what it is called on.
_CALLED = ("function", "name", "method", "constructor", "macro", "type")
_LAST = ("property", "field", "name")
_ON = ("object", "operand", "value", "argument", "path", "receiver", "scope")
_BASES = ("superclass", "class_heritage", "superclasses", "interfaces", "base_class_clause", "extends_clause")


@cache
def _parser(ending: str) -> Any | None:
    language = LANGUAGES[ending]
    try:
        # Late, because it is optional and most of it stays unused: one wheel for each language.
        binding = import_module("tree_sitter")
        grammar = import_module(language.package)
    except ImportError:
        return None
    return binding.Parser(binding.Language(getattr(grammar, language.function)()))


def parse_tree(text: str, path: str, ending: str) -> Source | None:
    """None when the grammar is not installed here."""
    parser = _parser(ending)
    if parser is None:
        return None
    data = text.encode("utf-8", "replace")
    return _Reader(LANGUAGES[ending], path, text.split("\n")).read(parser.parse(data).root_node)


def is_installed(ending: str) -> bool:
    """Whether files of this ending can be parsed here."""
    return ending in LANGUAGES and _parser(ending) is not None


class _Reader:
    def __init__(self, language: _Language, path: str, lines: list[str]) -> None:
        self.language = language
        self.lines = lines
        self.source = Source([Piece(path.rpartition(".")[0].replace("/", "."), "module", 1, max(1, len(lines)))])

    def read(self, root: Any) -> Source:
        stack: list[tuple[Any, int]] = [(root, 0)]
        while stack:
            node, owner = stack.pop()
            kind = node.type
            if kind in self.language.functions or kind in self.language.holders or _is_arrow(node):
                owner = self.define(node, owner)
            elif kind in self.language.calls:
                self.call(node, owner)
            stack.extend((child, owner) for child in node.named_children)
        fill(self.source.pieces, self.lines)
        return self.source

    def define(self, node: Any, owner: int) -> int:
        outer = self.source.pieces[owner]
        holder = node.type in self.language.holders
        name = _name(node)
        if not name or outer.kind in ("function", "method"):
            return owner
        prefix = _receiver_type(node) if outer.kind == "module" else outer.name + "."
        kind: Kind = "class" if holder else ("method" if prefix else "function")
        bases = tuple(word for part in node.children if part.type in _BASES for word in _identifiers(part))
        start, end = node.start_point[0] + 1, node.end_point[0] + 1
        self.source.pieces.append(Piece(prefix + name, kind, start, end, bases=bases))
        return len(self.source.pieces) - 1

    def call(self, node: Any, owner: int) -> None:
        target = _field(node, _CALLED)
        if target is None:
            return
        last = _field(target, _LAST)
        on = _field(target, _ON) if last is not None else _field(node, _ON)
        name, receiver = _text(last if last is not None else target), _text(on) if on is not None else ""
        if not name.replace("_", "a").replace("$", "a").rstrip("?!").isalnum():
            return
        hint = ""
        if receiver in ("this", "self", "Self", "super") and self.source.pieces[owner].kind == "method":
            hint = self.source.pieces[owner].name.rpartition(".")[0]
        elif receiver.rpartition(".")[2].rpartition("::")[2][:1].isupper():
            hint = receiver.rpartition(".")[2].rpartition("::")[2]
        plain = receiver if len(receiver) <= 60 and "\n" not in receiver else "?"
        self.source.calls.append(CallSite(owner, name, plain, (last or target).end_point[0] + 1, hint))


def _is_arrow(node: Any) -> bool:
    """`const go = () => ...`, also as a field of a class."""
    if node.type not in ("variable_declarator", "public_field_definition", "field_definition"):
        return False
    value = node.child_by_field_name("value")
    return value is not None and value.type in ("arrow_function", "function_expression")


def _name(node: Any) -> str:
    found = node.child_by_field_name("name") or node.child_by_field_name("property")
    if found is None and node.type == "impl_item":
        found = node.child_by_field_name("type")
    deeper = node.child_by_field_name("declarator")
    while found is None and deeper is not None:  # C: the name hides in nested declarators
        inner = deeper.child_by_field_name("declarator")
        if inner is None:
            found = deeper
        deeper = inner
    return _text(found).replace("::", ".").partition("<")[0].strip()[:120] if found is not None else ""


def _receiver_type(node: Any) -> str:
    """Go: `func (s *Server) Start()` belongs to `Server`."""
    receiver = node.child_by_field_name("receiver")
    words = _identifiers(receiver, "type_identifier") if receiver is not None else []
    return f"{words[0]}." if words else ""


def _identifiers(node: Any, *kinds: str) -> list[str]:
    wanted = kinds or ("identifier", "type_identifier", "constant")
    found: list[str] = []
    stack = [node]
    while stack and len(found) < 8:
        one = stack.pop()
        if one.type in wanted:
            found.append(_text(one))
        stack.extend(reversed(one.named_children))
    return found


def _field(node: Any, names: tuple[str, ...]) -> Any | None:
    return next((found for name in names if (found := node.child_by_field_name(name)) is not None), None)


def _text(node: Any) -> str:
    return str(node.text.decode("utf-8", "replace"))
