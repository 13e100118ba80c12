"""Text search: one story told twice, by ripgrep and by Python, and both have to tell it alike."""

from __future__ import annotations

import os
import sys
import threading
import time
import tracemalloc
from pathlib import Path

import pytest

from autopilot_runtime.core.errors import PathRefused, ToolError
from autopilot_runtime.search import ripgrep
from autopilot_runtime.search.text import Engine, find

ENGINES = ["python", *(["rg"] if ripgrep.locate() else [])]


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Engine:
    return request.param  # type: ignore[no-any-return]


def plant(root: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def hits(root: Path, pattern: str, engine: Engine, **options: object) -> list[tuple[str, int, str]]:
    found = find(root, pattern, engine=engine, **options)  # type: ignore[arg-type]
    return [(match.path, match.line, match.text) for match in found.matches]


def paths(root: Path, pattern: str, engine: Engine, **options: object) -> list[str]:
    return [path for path, _, _ in hits(root, pattern, engine, **options)]


def test_ripgrep_takes_part_where_it_is_installed() -> None:
    beside = Path(sys.executable).with_name("rg")
    assert not beside.exists() or ripgrep.locate() == str(beside)


def test_matches_come_sorted_with_line_numbers(tmp_path: Path, engine: Engine) -> None:
    plant(
        tmp_path,
        {"b.py": "x\ndef go():\n", "a/z.py": "def go():\n    def go_on(): ...\n", "a.py": "go\n", "a-b.py": "go"},
    )
    assert hits(tmp_path, r"\bgo", engine) == [
        ("a/z.py", 1, "def go():"),
        ("a/z.py", 2, "    def go_on(): ..."),
        ("a-b.py", 1, "go"),
        ("a.py", 1, "go"),
        ("b.py", 2, "def go():"),
    ]


def test_only_so_many_and_it_says_that_there_are_more(tmp_path: Path, engine: Engine) -> None:
    plant(tmp_path, {f"{n:02}.txt": "hit\n" * 7 for n in range(30)})
    found = find(tmp_path, "hit", engine=engine, max_results=9)
    assert [(m.path, m.line) for m in found.matches] == [("00.txt", n) for n in range(1, 8)] + [
        ("01.txt", 1),
        ("01.txt", 2),
    ]
    assert found.more
    assert not find(tmp_path, "hit", engine=engine, max_results=210).more


IGNORED = {
    "plain name": (
        ["build", "*.log"],
        ["build/a.txt", "sub/build/a.txt", "x.log", "sub/y.log"],
        ["keep.txt", "builder/a.txt"],
    ),
    "folder only": (["out/"], ["out/a.txt", "s/out/b.txt"], ["s/t/out", "keep.txt"]),
    "anchored": (["/top.txt", "a/b.txt"], ["top.txt", "a/b.txt"], ["s/top.txt", "s/a/b.txt"]),
    "negated": (["*.txt", "!keep.txt"], ["a.txt", "s/b.txt"], ["keep.txt", "s/keep.txt"]),
    "no way back into a folder": (["dir/", "!dir/keep.txt"], ["dir/keep.txt"], ["keep.txt"]),
    "any depth": (
        ["a/**/z.txt", "**/deep/*.md", "tail/**"],
        ["a/z.txt", "a/b/c/z.txt", "x/deep/r.md", "tail/q"],
        ["z.txt", "x/deep/s/r.md"],
    ),
    "classes": (["[ab]?.txt", "[!x]y.md"], ["a1.txt", "bb.txt", "ay.md"], ["c1.txt", "xy.md", "a.txt"]),
    "comments and spaces": (["# no", "sp.txt  ", r"\#yes", r"\!bang"], ["sp.txt", "#yes", "!bang"], ["no"]),
    "stars stay in a name": (["s*p.txt", "/q*/x"], ["sip.txt", "qq/x"], ["s/p.txt", "q/r/x"]),
    "last rule wins": (["*.a", "!b.a", "b.*"], ["a.a", "b.a"], ["c.b"]),
    "crlf": (["x.txt\r"], ["x.txt"], ["y.txt"]),
}


@pytest.mark.parametrize("case", IGNORED)
@pytest.mark.parametrize("git", [True, False], ids=["in a repository", "without one"])
def test_gitignore_is_honoured(tmp_path: Path, engine: Engine, case: str, git: bool) -> None:
    lines, ignored, kept = IGNORED[case]
    plant(tmp_path, dict.fromkeys([*ignored, *kept], "needle") | {".gitignore": "\n".join(lines)})
    if git:
        (tmp_path / ".git").mkdir()
    assert sorted(paths(tmp_path, "needle", engine)) == sorted(kept)


def test_nested_ignore_files_speak_for_their_own_folder(tmp_path: Path, engine: Engine) -> None:
    plant(tmp_path, dict.fromkeys(["a.txt", "s/a.txt", "s/b.txt", "s/t/a.txt", "s/t/b.txt"], "needle"))
    plant(tmp_path, {".gitignore": "a.txt", "s/.gitignore": "/b.txt\n!a.txt", "s/t/.ignore": "a.txt"})
    assert paths(tmp_path, "needle", engine) == ["s/a.txt", "s/t/b.txt"]


def test_ignore_files_outweigh_gitignore(tmp_path: Path, engine: Engine) -> None:
    plant(tmp_path, {"a.txt": "needle", "b.txt": "needle", "c.txt": "needle"})
    plant(tmp_path, {".gitignore": "*.txt", ".ignore": "!a.txt\n!b.txt", ".rgignore": "b.txt"})
    assert paths(tmp_path, "needle", engine) == ["a.txt"]


def test_an_inner_repository_does_not_inherit(tmp_path: Path, engine: Engine) -> None:
    plant(tmp_path, {".gitignore": "x.txt", "x.txt": "needle", "inner/x.txt": "needle", "inner/.git/HEAD": "needle"})
    (tmp_path / ".git" / "info").mkdir(parents=True)
    plant(tmp_path, {"own.txt": "needle", ".git/info/exclude": "own.txt"})
    assert paths(tmp_path, "needle", engine) == ["inner/x.txt"]


def test_rules_above_count_inside_a_repository_only(tmp_path: Path, engine: Engine) -> None:
    plant(
        tmp_path,
        {
            ".gitignore": "gen/\n/pkg/top.txt",
            "pkg/gen/x.txt": "needle",
            "pkg/top.txt": "needle",
            "pkg/s/top.txt": "needle",
        },
    )
    everything = ["gen/x.txt", "s/top.txt", "top.txt"]
    assert paths(tmp_path / "pkg", "needle", engine) == everything
    (tmp_path / ".git").mkdir()
    assert paths(tmp_path / "pkg", "needle", engine) == ["s/top.txt"]


def test_hidden_files_are_found_only_when_named(tmp_path: Path, engine: Engine) -> None:
    plant(
        tmp_path,
        {
            ".env": "needle",
            ".github/w/ci.yml": "needle",
            ".git/config": "needle",
            "a.yml": "needle",
            ".venv/x.py": "needle",
        },
    )
    assert paths(tmp_path, "needle", engine) == ["a.yml"]
    assert paths(tmp_path, "needle", engine, include=".github/**") == [".github/w/ci.yml"]
    assert paths(tmp_path, "needle", engine, include=".env*") == [".env"]
    assert paths(tmp_path, "needle", engine, include="*.py") == []
    assert paths(tmp_path, "needle", engine, scope="file", target=".env") == [".env"]


INCLUDES: dict[str, tuple[object, list[str]]] = {
    "by name": ("*.py", ["a.py", "src/b.py", "tests/c.py", "tests/deep/d.py"]),
    "below a folder": ("tests/**", ["tests/c.py", "tests/deep/d.py", "tests/e.ts"]),
    "a folder": ("tests/", ["tests/c.py", "tests/deep/d.py", "tests/e.ts"]),
    "a folder without slash": ("tests", ["tests/c.py", "tests/deep/d.py", "tests/e.ts"]),
    "a folder with dot": ("./tests/*.py", ["tests/c.py"]),
    "any depth": ("**/deep/*.py", ["tests/deep/d.py"]),
    "braces": ("*.{ts,md}", ["r.md", "tests/e.ts"]),
    "braces with folders": ("{src,tests}/*.{py,ts}", ["src/b.py", "tests/c.py", "tests/e.ts"]),
    "a list": (["*.md", "src/**"], ["r.md", "src/b.py"]),
    "but not": (["*.py", "!tests/**"], ["a.py", "src/b.py"]),
    "only but not": ("!*.py", ["r.md", "tests/e.ts"]),
    "broken class": ("[z-a]*", []),
    "not ignored ones": ("*.gen", []),
}


@pytest.mark.parametrize("case", INCLUDES)
def test_include_selects(tmp_path: Path, engine: Engine, case: str) -> None:
    names = ["a.py", "src/b.py", "tests/c.py", "tests/deep/d.py", "tests/e.ts", "r.md", "x.gen"]
    plant(tmp_path, dict.fromkeys(names, "needle") | {".gitignore": "*.gen"})
    include, expected = INCLUDES[case]
    assert sorted(paths(tmp_path, "needle", engine, include=include)) == expected


def test_every_encoding_is_searched_and_nothing_is_lost(tmp_path: Path, engine: Engine) -> None:
    plant(
        tmp_path,
        {
            "bom.txt": b"\xef\xbb\xbfneedle \xc3\xa9\n",
            "latin.txt": b"caf\xe9 needle\xff\n",
            "le.txt": "\ufeffno\r\nneedle é😀\r\n".encode("utf-16-le"),
            "be.txt": "\ufeffneedle é".encode("utf-16-be"),
            "utf8.txt": "é needle ✓",
        },
    )
    assert hits(tmp_path, "^.*needle", engine) == [
        ("be.txt", 1, "needle é"),
        ("bom.txt", 1, "needle é"),
        ("le.txt", 2, "needle é😀"),
        ("utf8.txt", 1, "é needle ✓"),
    ]
    assert hits(tmp_path, ". needle|needle$|f needle", engine) == [("utf8.txt", 1, "é needle ✓")]
    assert hits(tmp_path, "caf", engine) == [("latin.txt", 1, "caf\\xe9 needle\\xff")]
    assert hits(tmp_path, "é", engine, include="[bl]*.txt") == [
        ("be.txt", 1, "needle é"),
        ("bom.txt", 1, "needle é"),
        ("le.txt", 2, "needle é😀"),
    ]


def test_line_ends_do_not_belong_to_lines(tmp_path: Path, engine: Engine) -> None:
    plant(tmp_path, {"a.txt": b"one\r\ntwo\r\n\r\nthree", "b.txt": b"10%\r20%\rdone\nnext\r\r\n"})
    assert hits(tmp_path, "^(one|two|three)$", engine) == [
        ("a.txt", 1, "one"),
        ("a.txt", 2, "two"),
        ("a.txt", 4, "three"),
    ]
    assert [line for _, line, _ in hits(tmp_path, "^20%$", engine)] == [1]
    assert hits(tmp_path, "10.20", engine) == []


def test_binary_files_are_passed_over_and_named_when_asked_for(tmp_path: Path, engine: Engine) -> None:
    plant(tmp_path, {"a.bin": b"needle\0\1", "t.txt": "needle", "late.bin": b"x" * 5000 + b"\nneedle\n" + b"\0"})
    assert paths(tmp_path, "needle", engine) == ["t.txt"]
    found = find(tmp_path, "needle", engine=engine, scope="files", target=["a.bin", "t.txt"])
    assert [m.path for m in found.matches] == ["t.txt"]
    assert found.notes == ("'a.bin' is binary and was not searched",)


def test_a_long_line_is_cut_around_its_match(tmp_path: Path, engine: Engine) -> None:
    plant(
        tmp_path,
        {
            "min.js": "é" * 40_000
            + "needle"
            + "ü" * 40_000
            + "\nneedle"
            + "y" * 2_000
            + "\n"
            + "z" * 250
            + "needle"
            + "w" * 400
        },
    )
    first, second, third = (text for _, _, text in hits(tmp_path, "needle", engine))
    assert first == "…" + "é" * 100 + "needle" + "ü" * 393 + "…"
    assert second == "needle" + "y" * 494 + "…"
    assert third == "z" * 250 + "needle" + "w" * 244 + "…"


def test_odd_names_keep_their_bytes(tmp_path: Path, engine: Engine) -> None:
    names = ["a\nb.txt", "-e.txt", "--pre=x", "ü \t.txt", "c:1:2.txt", os.fsdecode(b"\xff.txt")]
    plant(tmp_path, dict.fromkeys(names, "needle"))
    assert paths(tmp_path, "needle", engine) == sorted(names)
    assert paths(tmp_path, "needle", engine, scope="files", target=names) == names


@pytest.mark.parametrize("pattern", ["--pre=touch pwned", "-e", "--files", "-f/etc/passwd", "--help", "-"])
def test_a_pattern_is_never_an_option(tmp_path: Path, engine: Engine, pattern: str) -> None:
    plant(tmp_path, {"a.txt": f"x {pattern} y\n"})
    assert hits(tmp_path, pattern, engine) == [("a.txt", 1, f"x {pattern} y")]
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_users_own_ripgrep_configuration_changes_nothing(
    tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = plant(tmp_path / "w", {"a.txt": "Needle"})
    (tmp_path / "rc").write_text("--ignore-case\n--hidden\n")
    monkeypatch.setenv("RIPGREP_CONFIG_PATH", str(tmp_path / "rc"))
    assert hits(root, "needle", engine) == []


OUTSIDE = [
    "../secret.txt",
    "a/../../secret.txt",
    "/etc/passwd",
    "link",
    "dirlink/secret.txt",
    "chain",
    "dirlink",
    "procroot/etc/passwd",
]


@pytest.mark.parametrize("path", OUTSIDE)
def test_nothing_outside_is_searched(tmp_path: Path, engine: Engine, path: str) -> None:
    root = plant(tmp_path / "w", {"a/x.txt": "needle"})
    plant(tmp_path, {"secret.txt": "needle root:"})
    (root / "link").symlink_to(tmp_path / "secret.txt")
    (root / "chain").symlink_to("link")
    (root / "dirlink").symlink_to(tmp_path)
    (root / "procroot").symlink_to("/proc/self/root")
    with pytest.raises(PathRefused, match="outside the workspace"):
        find(root, "needle|root:", engine=engine, scope="file", target=path)
    assert paths(root, "needle|root:", engine) == ["a/x.txt"]


def test_a_link_inside_leads_to_the_file_it_names(tmp_path: Path, engine: Engine) -> None:
    root = plant(tmp_path / "w", {"a/x.txt": "needle"})
    (root / "l").symlink_to("a/x.txt")
    assert paths(root, "needle", engine, scope="file", target="l") == ["a/x.txt"]
    (tmp_path / "door").symlink_to(root)
    assert paths(tmp_path / "door", "needle", engine) == ["a/x.txt"]


def test_a_pipe_or_device_is_refused_at_once(tmp_path: Path, engine: Engine) -> None:
    os.mkfifo(tmp_path / "pipe")
    plant(tmp_path, {"a.txt": "needle"})
    began = time.monotonic()
    with pytest.raises(PathRefused, match="not a regular file"):
        find(tmp_path, "x", engine=engine, scope="file", target="pipe")
    assert paths(tmp_path, "needle", engine) == ["a.txt"]
    assert time.monotonic() - began < 5


def test_a_target_may_be_a_folder_even_an_ignored_one(tmp_path: Path, engine: Engine) -> None:
    plant(
        tmp_path,
        {"b/x.txt": "needle", "b/y.log": "needle", "c.txt": "needle", ".gitignore": "b/\n*.log", "a.txt": "needle"},
    )
    assert paths(tmp_path, "needle", engine, scope="files", target=["b", "a.txt"]) == ["a.txt", "b/x.txt"]
    assert paths(tmp_path, "needle", engine, target="b/") == ["b/x.txt"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"scope": "file"}, "needs target="),
        ({"scope": "files", "target": []}, "needs target="),
        ({"scope": "file", "target": ["a.txt", "b"]}, "one target"),
        ({"scope": "everywhere"}, "scope is"),
        ({"target": "missing.py"}, "does not exist"),
        ({"target": "a\0b"}, "Expected the path"),
        ({"max_results": 0}, "at least 1"),
    ],
)
def test_wrong_arguments_are_explained(tmp_path: Path, engine: Engine, options: dict[str, object], says: str) -> None:
    plant(tmp_path, {"a.txt": "x"})
    with pytest.raises(ToolError, match=says):
        find(tmp_path, "x", engine=engine, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("foo(bar", r"missing \), unterminated subpattern, at character 4:\n    foo\(bar\n       \^"),
        ("*a", "nothing to repeat, at character 1"),
        ("[z-a]", "bad character range"),
        (r"a\nb", "goes line by line"),
        ("a\nb", "goes line by line"),
        ("", "empty"),
        ("(" * 3_000, "not a valid regular expression"),
    ],
)
def test_a_wrong_pattern_is_explained_alike(tmp_path: Path, engine: Engine, pattern: str, says: str) -> None:
    plant(tmp_path, {"a.txt": "x"})
    with pytest.raises(ToolError, match=says):
        find(tmp_path, pattern, engine=engine)


def test_look_around_works_with_either_engine_and_says_so(tmp_path: Path, engine: Engine) -> None:
    plant(tmp_path, {"a.py": "import os\nimport os.path\n"})
    found = find(tmp_path, r"os(?!\.)", engine=engine)
    assert [(m.line, m.text) for m in found.matches] == [(1, "import os")]
    assert found.engine == "python"
    assert bool(found.notes) == (engine == "rg")


def test_a_pattern_that_would_take_for_ever_is_stopped(tmp_path: Path, engine: Engine) -> None:
    plant(tmp_path, {"a.txt": "first (a)\n", "b.txt": "a" * 60 + "b\n"})
    began = time.monotonic()
    found = find(tmp_path, r"(?=.)(first|(a|aa)+$)", engine=engine, seconds=1.0)
    assert time.monotonic() - began < 8
    assert [m.path for m in found.matches] == ["a.txt"]
    assert "1 seconds were not enough" in found.notes[-1]


def test_a_search_stops_when_the_run_does(tmp_path: Path, engine: Engine) -> None:
    plant(tmp_path, {"b.txt": "a" * 60 + "b\n"})
    began = time.monotonic()
    found = find(tmp_path, r"(?=.)(a|aa)+$", engine=engine, stop=lambda: time.monotonic() - began > 0.3)
    assert time.monotonic() - began < 5
    assert "stopped" in found.notes[-1]


def test_unreadable_folders_do_not_hide_the_rest(tmp_path: Path, engine: Engine) -> None:
    plant(tmp_path, {"a.txt": "needle", "z.txt": "needle", "m/n.txt": "needle"})
    (tmp_path / "gone").symlink_to("nowhere")
    (tmp_path / "m").chmod(0)
    try:
        assert set(paths(tmp_path, "needle", engine)) >= {"a.txt", "z.txt"}
    finally:
        (tmp_path / "m").chmod(0o700)


def test_a_link_swapped_in_while_we_search_shows_nothing_of_outside(tmp_path: Path, engine: Engine) -> None:
    root = plant(tmp_path / "w", {"d/a.txt": "needle inside\n", "e/b.txt": "needle inside\n"})
    plant(tmp_path, {"out/a.txt": "needle OUTSIDE\n"})
    over = threading.Event()

    def swap() -> None:
        while not over.is_set():
            (root / "d").rename(root / "d_")
            (root / "d").symlink_to(tmp_path / "out")
            (root / "d").unlink()
            (root / "d_").rename(root / "d")

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        for _ in range(25 if engine == "rg" else 8):
            texts = {text for _, _, text in hits(root, "needle", engine)}
            assert texts <= {"needle inside"}
    finally:
        over.set()
        thread.join()


def test_a_huge_file_costs_little_of_the_host(tmp_path: Path, engine: Engine) -> None:
    with (tmp_path / "huge.log").open("wb") as file:
        for _ in range(50):
            file.write(b"x" * 999 + b"\n" + (b"y" * 99 + b"\n") * 10_000)
        file.write(b"needle\n" + b"z" * (30 << 20) + b" needle")
    tracemalloc.start()
    try:
        found = hits(tmp_path, "^needle", engine)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [(line, text) for _, line, text in found] == [(500_051, "needle")]
    assert peak < 8 << 20


def test_an_rg_that_cannot_run_is_replaced_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "rg").write_text("no program at all")
    (programs / "rg").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(programs / "python"))  # nothing beside it
    (programs / "python").symlink_to(Path(sys.prefix) / "bin" / "python")
    root = plant(tmp_path / "w", {"a.txt": "needle"})
    found = find(root, "needle")
    assert (found.engine, [m.path for m in found.matches]) == ("python", ["a.txt"])
    assert "cannot be started" in found.notes[0]


def test_an_rg_in_the_workspace_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(tmp_path, {"rg": f"#!/bin/sh\ntouch {tmp_path}/pwned\n", "a.txt": "needle"})
    (tmp_path / "rg").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f".{os.pathsep}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(sys, "executable", str(Path(sys.executable).resolve()))  # where no wheel put its rg
    assert ripgrep.locate() != str(tmp_path / "rg")
    assert [m.path for m in find(tmp_path, "needle").matches] == ["a.txt"]
    assert not (tmp_path / "pwned").exists()
