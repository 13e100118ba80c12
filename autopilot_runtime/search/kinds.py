"""Which files are worth indexing, and how each is cut into pieces."""

from __future__ import annotations

from autopilot_runtime.search.pieces import LONGEST_PARSED, Source, windows
from autopilot_runtime.search.pyparse import parse_python
from autopilot_runtime.search.treeparse import LANGUAGES, parse_tree

MAX_BYTES = 1 << 20
_TEXT_WORDS = (
    "md rst txt adoc toml yaml yml ini cfg conf env sql graphql proto html htm css scss less vue svelte "
    "xml sh bash zsh fish ps1 bat lua pl pm r jl kt kts swift scala clj ex exs erl hs ml mli cs fs vb "
    "dart php groovy gradle tf hcl nix zig nim v sol asm s cmake mk tex ipynb pyi pyx pxd"
)
_TEXT = frozenset(_TEXT_WORDS.split())
_NAMES_WORDS = "dockerfile makefile rakefile gemfile procfile justfile jenkinsfile vagrantfile readme"
_NAMES = frozenset(_NAMES_WORDS.split())
# Written by machines: long, and never what somebody looks for.
_MADE = (".min.js", ".min.css", "-lock.json", ".lock", "-lock.yaml", ".map", "_pb2.py", ".pb.go")


def is_indexed(path: str) -> bool:
    """Whether a file of this name goes into the index."""
    name = path.rpartition("/")[2].lower()
    if name.endswith(_MADE):
        return False
    stem, dot, ending = name.rpartition(".")
    if not dot:
        return name in _NAMES
    return ending in _TEXT or ending == "py" or ending in LANGUAGES or stem in _NAMES


def read_source(path: str, data: bytes) -> Source | None:
    """The pieces of a file; None when it is binary."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        text = data.decode("utf-16", "replace")
    elif b"\0" in data:
        return None
    else:
        text = data.decode("utf-8-sig", "replace")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    ending = path.rpartition(".")[2].lower()
    found: Source | None = None
    if len(text) <= LONGEST_PARSED:
        if ending == "py":
            found = parse_python(text, module_of(path), is_package=path.endswith("__init__.py"))
        elif ending in LANGUAGES:
            found = parse_tree(text, path, ending)
    return found or windows(text.split("\n"))


def family_of(path: str) -> str:
    """The same for files whose code can call each other: one language, or languages that mix."""
    ending = path.rpartition(".")[2].lower()
    if ending in ("js", "jsx", "mjs", "cjs", "ts", "tsx", "mts", "cts", "vue", "svelte"):
        return "js"
    return "c" if ending in ("c", "h", "cc", "cpp", "cxx", "hpp", "hh") else ending


def module_of(path: str) -> str:
    """`src/app/core.py` → `src.app.core`; a package is its folder."""
    return path.rpartition(".")[0].removesuffix("/__init__").replace("/", ".")
