"""Random patterns, globs and ignore files: whatever ripgrep answers, the Python engine answers, too."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from autopilot_runtime.core.errors import ToolError
from autopilot_runtime.search import ripgrep
from autopilot_runtime.search.text import Engine, find

pytestmark = pytest.mark.skipif(ripgrep.locate() is None, reason="ripgrep is not installed")

LINES = [
    "",
    "foo",
    "foo_bar baz",
    "Foo.bar(1, 'x')",
    "  indented",
    "a+b=c",
    "naïve café",
    "x" * 30,
    "[tag] {k}",
    "\tt\\n",
    "日本 語",
    "1.5e-3 <b>",
    "end$",
]
ATOMS = [
    "foo",
    "bar",
    ".",
    r"\w",
    r"\d+",
    r"\s",
    r"\b",
    "^",
    "$",
    "[a-c]",
    "[^a-z ]",
    "(?i:FOO)",
    "(a|b)",
    "x*",
    "o{2}",
    r"\.",
    r"\(",
    "é",
    r"\W",
    r"[[:alpha:]]",
    r"\p{L}",
    r"\P{L}",
    r"\x{e9}",
    r"\<",
    r"\>",
    "(?P<n>b)",
    "(?<m>z)",
    r"\t",
    r"\{",
    "[.+]",
    r"[\w-]",
    r"\S+",
    "(?:ba)?",
    "a|",
]


def answers(root: Path, pattern: str, engine: Engine, **options: object) -> object:
    try:
        found = find(root, pattern, engine=engine, max_results=1000, **options)  # type: ignore[arg-type]
    except ToolError:
        return "refused"
    return [(match.path, match.line, match.text) for match in found.matches]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("corpus")
    (root / "lf.txt").write_text("\n".join(LINES))
    (root / "crlf.txt").write_bytes("\r\n".join(LINES).encode() + b"\r\n")
    (root / "utf16.txt").write_bytes("\ufeff".encode("utf-16-le") + "\n".join(LINES).encode("utf-16-le"))
    (root / "latin.txt").write_bytes("\n".join(LINES).encode("latin-1", "replace"))
    return root


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pattern=st.lists(st.sampled_from(ATOMS), min_size=1, max_size=5).map("".join))
@example(pattern="(?i)foo")
@example(pattern="fo(?i)O_b|BAZ")
@example(pattern=r"\bfoo\b$")
@example(pattern=r"^\s*$")
@example(pattern="$")
def test_patterns_mean_the_same(corpus: Path, pattern: str) -> None:
    assert answers(corpus, pattern, "python") == answers(corpus, pattern, "rg")


NAMES = ["a", "b", "ab", "a.py", "b.py", "c.txt", "x y", ".h"]
PARTS = ["a", "b", "*", "?", "**", "*.py", "[ab]", "a*", "*b", "c.txt", ".h", "{a,b}", "[!a]*"]
GLOB = st.builds(
    lambda head, parts, tail: head + "/".join(parts) + tail,
    st.sampled_from(["", "/", "!", "!/"]),
    st.lists(st.sampled_from(PARTS), min_size=1, max_size=3),
    st.sampled_from(["", "/"]),
)
TREE = st.lists(st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map("/".join), min_size=3, max_size=12)


def build(root: Path, paths: list[str], rules: dict[str, list[str]], *, git: bool) -> None:
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    for path in paths:
        place = root / path
        if place.exists() or any(above.is_file() for above in place.parents):
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("needle\n")
    for where, lines in rules.items():
        if (root / where).parent.is_dir():
            (root / where).write_text("\n".join(lines))
    if git:
        (root / ".git").mkdir(exist_ok=True)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    paths=TREE,
    rules=st.dictionaries(
        st.sampled_from([".gitignore", "a/.gitignore", "b/.ignore", ".ignore"]), st.lists(GLOB, max_size=4)
    ),
    git=st.booleans(),
)
def test_ignore_files_mean_the_same(tmp_path: Path, paths: list[str], rules: dict[str, list[str]], git: bool) -> None:
    root = tmp_path / "w"
    build(root, paths, rules, git=git)
    assert answers(root, "needle", "python") == answers(root, "needle", "rg")


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(paths=TREE, include=st.lists(GLOB, min_size=1, max_size=2))
def test_includes_mean_the_same(tmp_path: Path, paths: list[str], include: list[str]) -> None:
    root = tmp_path / "w"
    build(root, paths, {}, git=False)
    assert answers(root, "needle", "python", include=include) == answers(root, "needle", "rg", include=include)
