"""Random patterns, globs and ignore files: whatever ripgrep answers, the Python engine answers, too."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from autopilot_runtime.core.errors import ToolError
from autopilot_runtime.search import ripgrep
from autopilot_runtime.search.text import Engine, find

pytestmark = pytest.mark.skipif(ripgrep.locate() is None, reason="ripgrep is not installed")

LINES = [
    "", "foo", "foo_bar baz", "Foo.bar(1, 'x')", "  indented", "a+b=c", "naïve café", "x" * 30, "[tag] {k}", "\tt\\n",
    "日本 語", "1.5e-3 <b>", "end$", "aa", "a\rb", "²½Ⅷ", "क्षि", "\x1cfs\x0bvt", "A_1 \u2028 ٣", "ſtop K",
]  # fmt: skip
ATOMS = [
    "foo", "bar", ".", r"\w", r"\d+", r"\s", r"\b", r"\B", "^", "$", "[a-c]", "[^a-z ]", "(?i:FOO)", "(a|b)", "x*",
    "o{2}", r"\.", r"\(", "é", r"\W", r"[[:alpha:]]", r"\p{L}", r"\P{L}", r"\x{e9}", r"\xe9", r"\u00e9", r"\<",
    r"\>", "(?P<n>b)", "(?<m>z)", r"\t", r"\{", "[.+]", r"[\w-]", r"[^\s]", r"\S+", "(?:ba)?", "a|", "+", "?", "{2}",
    "(", ")", r"\A", r"\z", r"\r", "(?i)", "(?-m)", r"\b{start}", r"[\W_]", "(?=a)", r"(a)\1",
]  # fmt: skip


def answers(root: Path, pattern: str, engine: Engine, **options: object) -> object:
    options = {"max_results": 1000, **options}
    try:
        found = find(root, pattern, engine=engine, **options)  # type: ignore[arg-type]
    except ToolError as error:
        return str(error)
    return [(match.path, match.line, match.text) for match in found.matches], found.more


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
@example(pattern="a++b=")
@example(pattern="a{2}{3}|^+foo")
@example(pattern=")|(")
@example(pattern=r"\w{3}")
@example(pattern=r"\s.")
@example(pattern=r"[^a]b")
def test_patterns_mean_the_same(corpus: Path, pattern: str) -> None:
    assert answers(corpus, pattern, "python") == answers(corpus, pattern, "rg")


NAMES = [
    "a", "b", "ab", "a.py", "b.py", "c.txt", "x y", ".h", "ü", "b ", "#h", "!n", "-e", "a\nb", "c:1:2.txt", "[a]",
    "a*b", os.fsdecode(b"\xff.t"),
]  # fmt: skip
PARTS = [
    "a", "b", "*", "?", "**", "*.py", "[ab]", "a*", "*b", "c.txt", ".h", "{a,b}", "[!a]*", "a**", "***", "?*", r"\*",
    r"\#h", r"\!n", r"\[a\]", r"x\ y", "{a,{b,ab}}", "{,a}b", "{a",
]  # fmt: skip
GLOB = st.builds(
    lambda head, parts, tail: head + "/".join(parts) + tail,
    st.sampled_from(["", "/", "!", "!/", "//", "**/"]),
    st.lists(st.sampled_from(PARTS), min_size=1, max_size=3),
    st.sampled_from(["", "/", "/**", " ", r"\ ", "\t", "\r"]),
)
CONTENTS = {
    "text": b"needle\n", "crlf": b"x\nneedle\r\n", "no line end": b"needle", "other": b"no\n", "empty": b"",
    "utf-16": b"\xff\xfen\0e\0e\0d\0l\0e\0", "latin-1": b"caf\xe9 needle\xff\n", "five": b"needle\n" * 5,
    "nul first": b"\0needle\n", "nul last": b"needle\n\0", "long line": b"x" * 70_000 + b"\nneedle\n",
    "long line, nul": b"x" * 70_000 + b"\nneedle\n\0", "nul late": b"needle\n" * 12_000 + b"\0needle",
}  # fmt: skip
LINKS = ["..", ".", "a", "/etc/hostname", "nowhere"]
PATHS = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map("/".join)
PLAIN = st.dictionaries(PATHS, st.just("text"), min_size=3, max_size=12)
ODD = st.one_of(st.sampled_from(sorted(CONTENTS)), st.sampled_from(LINKS), st.just("pipe"))


def build(root: Path, files: Mapping[str, str], rules: Mapping[str, list[str]], *, git: bool) -> None:
    """A tree of files by the name of their content, of links by where they lead, and pipes."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    for path, kind in files.items():
        place = root / path
        if os.path.lexists(place) or any(os.path.lexists(above) and not is_folder(above) for above in place.parents):
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        if kind == "pipe":
            os.mkfifo(place)
        elif kind in CONTENTS:
            place.write_bytes(CONTENTS[kind])
        else:
            place.symlink_to(kind)
    for where, lines in rules.items():
        if (root / where).parent.is_dir():
            (root / where).write_bytes("\n".join(lines).encode())
    if git:
        (root / ".git").mkdir(exist_ok=True)


def is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    files=PLAIN,
    rules=st.dictionaries(
        st.sampled_from([".gitignore", "a/.gitignore", "b/.ignore", ".ignore", ".rgignore"]),
        st.lists(GLOB, max_size=4),
    ),
    git=st.booleans(),
    start=st.sampled_from(["", "a"]),
)
@example(files={"ü": "text"}, rules={".gitignore": ["**/*", "!?"]}, git=False, start="")
@example(files={"b": "text"}, rules={".ignore": ["/{a,{b,ab}}"]}, git=False, start="")
@example(files={"a/a": "text"}, rules={"a/.gitignore": ["a"], ".ignore": ["!a"]}, git=True, start="a")
@example(files={"a/.git/HEAD": "empty", "a/b": "text"}, rules={".gitignore": ["***"]}, git=True, start="a")
def test_ignore_files_mean_the_same(
    tmp_path: Path, files: dict[str, str], rules: dict[str, list[str]], git: bool, start: str
) -> None:
    root = tmp_path / "w"
    build(root, files, rules, git=git)
    if (root / start).is_dir():
        assert answers(root / start, "needle", "python") == answers(root / start, "needle", "rg")
        targets = {"scope": "files", "target": [start or "."]}
        assert answers(root, "needle", "python", **targets) == answers(root, "needle", "rg", **targets)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(files=PLAIN, include=st.lists(GLOB, min_size=1, max_size=2))
def test_includes_mean_the_same(tmp_path: Path, files: dict[str, str], include: list[str]) -> None:
    root = tmp_path / "w"
    build(root, files, {}, git=False)
    assert answers(root, "needle", "python", include=include) == answers(root, "needle", "rg", include=include)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    files=st.dictionaries(PATHS, ODD, min_size=3, max_size=12),
    targets=st.one_of(st.none(), st.lists(PATHS, min_size=1, max_size=3)),
    most=st.sampled_from([1, 3, 1000]),
)
@example(files={"a/b": "text"}, targets=["a", "a/b"], most=1000)
def test_odd_files_and_targets_are_treated_the_same(
    tmp_path: Path, files: dict[str, str], targets: list[str] | None, most: int
) -> None:
    root = tmp_path / "w"
    build(root, files, {}, git=False)
    options: dict[str, object] = {"max_results": most}
    if targets is not None:
        options |= {"scope": "files", "target": targets}
    assert answers(root, "needle", "python", **options) == answers(root, "needle", "rg", **options)
