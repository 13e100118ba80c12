"""The index: found by what code does, brought up to date by what changed, and never lost for good."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from autopilot_runtime.core.errors import ToolError
from autopilot_runtime.search import schema
from autopilot_runtime.search.index import Index
from autopilot_runtime.search.kinds import is_indexed, read_source
from autopilot_runtime.search.words import asked, indexed

CODE = {
    "src/net/retry.py": '''
        """Talking to servers."""
        import time

        class Backoff:
            """How long to wait between two attempts."""
            factor = 2
            def next_delay(self, attempt):
                return self.factor ** attempt

        def fetchWithRetry(url, attempts=3):
            """Ask a server again after a failed request."""
            for n in range(attempts):
                time.sleep(Backoff().next_delay(n))
        ''',
    "src/auth.py": '''
        def check_password(user, given):
            """Whether the login of a user is correct."""
            return hash(given) == user.secret_hash
        ''',
    "README.md": "# Cooking\n\nHow to boil eggs.\n",
}


def plant(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(textwrap.dedent(text).lstrip("\n"))
        os.utime(root / name, (1_700_000_000, 1_700_000_000))  # long ago: stamps can be trusted
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return plant(tmp_path / "work", CODE)


@pytest.fixture
def index(root: Path, tmp_path: Path) -> Index:
    made = Index(root, folder=tmp_path / "cache")
    made.refresh()
    return made


def names(index: Index, query: str, limit: int = 3) -> list[str]:
    return [hit.name for hit in index.search(query, limit=limit)]


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("how do we retry failed requests?", "fetchWithRetry"),
        ("fetch with retry", "fetchWithRetry"),
        ("next_delay", "Backoff.next_delay"),
        ("is the login correct", "check_password"),
        ("boiling eggs", "Cooking"),
        ("hashes", "check_password"),
    ],
)
def test_code_is_found_by_what_it_does(index: Index, query: str, first: str) -> None:
    assert names(index, query)[0] == first


def test_a_hit_says_where_and_only_what_is_its_own(index: Index) -> None:
    (hit,) = index.search("next delay attempt", limit=1)
    assert (hit.path, hit.name, hit.kind, hit.start, hit.end) == (
        "src/net/retry.py", "Backoff.next_delay", "method", 7, 8,
    )  # fmt: skip
    assert hit.score > 0


def test_nothing_to_look_for_is_an_error_and_nothing_found_is_not(index: Index) -> None:
    assert index.search("zebra crossing") == []
    with pytest.raises(ToolError, match="no word"):
        index.search("?? --")


@pytest.mark.parametrize(
    "query", ['"', "a AND (b", "NEAR(x y)", "name:secret", "*", "x^2 OR", "'; DROP TABLE files; --"]
)
def test_a_query_is_never_syntax(index: Index, query: str) -> None:
    try:
        index.search(query)
    except ToolError as error:
        assert "no word" in str(error)
    assert names(index, "retry")


def test_only_what_changed_is_read_again(index: Index, root: Path) -> None:
    assert (index.refresh().changed, index.refresh().gone) == (0, 0)
    plant(root, {"src/new.py": "def melt_butter(): ...\n"})
    (root / "src/auth.py").unlink()
    state = index.refresh()
    assert (state.files, state.changed, state.gone) == (3, 1, 1)
    assert names(index, "melt butter") == ["melt_butter"]
    assert "check_password" not in names(index, "password login")


def test_a_touched_file_keeps_its_pieces(index: Index, root: Path) -> None:
    before = index.search("login")[0].id
    os.utime(root / "src/auth.py", (1_600_000_000, 1_600_000_000))
    assert index.refresh().changed == 1
    assert index.search("login")[0].id == before
    assert index.refresh().changed == 0


def test_a_second_change_within_one_tick_of_the_clock_is_seen(index: Index, root: Path) -> None:
    path = root / "src/auth.py"
    now = time.time() + 5  # so that however slow this machine is, the index reads it within the tick
    path.write_text("def aaa(): ...\n")
    os.utime(path, (now, now))
    index.refresh()
    path.write_text("def bbb(): ...\n")
    os.utime(path, (now, now))
    index.refresh()
    assert names(index, "bbb") == ["bbb"]


def test_ignored_hidden_linked_and_large_files_stay_out(root: Path, tmp_path: Path) -> None:
    plant(root, {".gitignore": "gen/\n", "gen/a.py": "def walrus(): ...", ".hidden.py": "def walrus(): ..."})
    (tmp_path / "outside.py").write_text("def walrus(): ...")
    (root / "link.py").symlink_to(tmp_path / "outside.py")
    (root / "big.py").write_text("def walrus(): ...\n" + "#" * (2 << 20))
    (root / "binary.py").write_bytes(b"def walrus(): ...\0")
    index = Index(root, folder=tmp_path / "cache")
    index.refresh()
    assert index.search("walrus") == []


def test_nothing_is_written_into_the_workspace(index: Index, root: Path) -> None:
    assert sorted(path.name for path in root.iterdir()) == ["README.md", "src"]
    assert index.path.parent.stat().st_mode & 0o077 == 0


HOSTILE = {
    "deep.py": "x = " + "(" * 5_000 + ")" * 5_000,
    "unary.py": "x = " + "-" * 50_000 + "1",
    "chain.py": "x = a" + ".b" * 20_000 + "()",
    "sum.py": "x = " + "+".join(["1"] * 20_000),
    "calls.py": "f" + "(1)" * 5_000,
    "broken.py": "def broken(:\n  melted cheese",
    "nul_escape.py": "x = '\\0'\n# melted",
    "escape.py": "x = '\\d'\ndef fine(): ...",
    "tabs.py": "if 1:\n\tx\n        y\n",
    "surrogate.py": "x = '\ud800'".encode("utf-8", "surrogatepass").decode("utf-8", "replace"),
}


def test_hostile_files_cost_at_most_themselves(root: Path, tmp_path: Path) -> None:
    plant(root, HOSTILE)
    index = Index(root, folder=tmp_path / "cache")
    began = time.monotonic()
    state = index.refresh()
    assert state.complete
    assert state.files == len(HOSTILE) + len(CODE)
    assert names(index, "melted cheese")[0].startswith("def broken")
    assert names(index, "retry")[0] == "fetchWithRetry"
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("damage", ["garbage", "truncated", "middle", "other version", "missing table"])
def test_a_damaged_index_is_built_again(index: Index, root: Path, damage: str) -> None:
    data = index.path.read_bytes()
    if damage in ("garbage", "truncated", "middle"):
        schema.remove(index.path)
    if damage == "garbage":
        index.path.write_bytes(b"not a database at all" * 1000)
    elif damage == "truncated":
        index.path.write_bytes(data[: len(data) // 2 + 7])
    elif damage == "middle":
        index.path.write_bytes(data[:200] + b"\xff" * (len(data) - 200))
    else:
        connection = sqlite3.connect(index.path)
        connection.execute("PRAGMA user_version = 99" if damage == "other version" else "DROP TABLE pieces")
        connection.close()
    fresh = Index(root, folder=index.path.parent)
    fresh.refresh()
    try:
        found = names(fresh, "retry")
    except ToolError as error:  # damage that only the query meets
        assert "call again" in str(error)
        fresh.refresh()
        found = names(fresh, "retry")
    assert found[0] == "fetchWithRetry"
    if damage == "garbage":
        assert "built again" in fresh.notes[0]


def test_a_home_that_cannot_be_written_is_no_obstacle(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")  # a file where the folder should be: not even root can write below it
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    index = Index(root)
    assert index.path.parent.parent == tmp_path
    assert "cannot be written" in index.notes[0]
    index.refresh()
    assert names(index, "retry")


def test_a_folder_somebody_prepared_in_tmp_is_not_used(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trap = tmp_path / f"autopilot-index-{os.getuid()}"
    trap.mkdir()
    trap.chmod(0o777)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "file").write_text("")
    index = Index(root, folder=tmp_path / "file" / "x")
    assert index.path.parent not in (trap, tmp_path / "file")
    assert index.path.parent.stat().st_mode & 0o077 == 0


def test_two_processes_index_at_once(root: Path, tmp_path: Path) -> None:
    plant(root, {f"many/m{n}.py": f"def number_{n}(): return {n}\n" for n in range(300)})
    code = (
        "import sys; from pathlib import Path; from autopilot_runtime.search.index import Index;"
        "i = Index(sys.argv[1], folder=Path(sys.argv[2])); print(i.refresh().complete, len(i.search('number_7')))"
    )
    command = [sys.executable, "-c", code, str(root), str(tmp_path / "cache")]
    home = Path(__file__).resolve().parents[2]
    both = [subprocess.Popen(command, cwd=home, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [process.communicate(timeout=120)[0] for process in both] == ["True 1\n"] * 3
    with Index(root, folder=tmp_path / "cache").open() as connection:
        assert connection.execute("SELECT count(*), count(DISTINCT path) FROM files").fetchone() == (303, 303)
        orphans = "SELECT count(*) FROM pieces WHERE file NOT IN (SELECT id FROM files)"
        assert connection.execute(orphans).fetchone() == (0,)


def test_what_was_indexed_before_time_was_up_is_kept(root: Path, tmp_path: Path) -> None:
    plant(root, {f"many/m{n}.py": "def f():\n" + "    x = [a.b(c) for c in range(10)]\n" * 800 for n in range(120)})
    index = Index(root, folder=tmp_path / "cache")
    seen: list[int] = []
    state = index.refresh(stop=lambda: bool(seen) and seen[-1] > 0, progress=lambda done, total: seen.append(done))
    if not state.complete:
        rest = index.refresh()
        assert rest.complete
        assert 0 < rest.changed < 123
    assert index.refresh().changed == 0


def test_a_root_that_is_too_large_is_indexed_in_part_and_says_so(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = Index(root, folder=tmp_path / "cache")
    index.refresh()
    monkeypatch.setattr("autopilot_runtime.search.index.MAX_FILES", 2)
    state = index.refresh()
    assert (state.files, state.gone, state.complete) == (2, 0, False)
    assert "Only the first 2 files" in index.notes[0]
    assert names(index, "retry")[0] == "fetchWithRetry"


def test_identifiers_are_words_and_their_parts() -> None:
    assert indexed("parseHTTPReply_v2(self)") == "parse http reply parsehttpreply_v2"
    assert indexed("数据库 error") == "数据 据库 error"
    assert asked("Where do we parse the HTTPReply?") == ["parse", "http", "reply", "httpreply"]


def test_every_line_is_in_exactly_one_piece() -> None:
    text = textwrap.dedent(CODE["src/net/retry.py"]).lstrip("\n")
    source = read_source("src/net/retry.py", text.encode())
    assert source is not None
    assert [(p.name, p.kind) for p in source.pieces] == [
        ("src.net.retry", "module"),
        ("fetchWithRetry", "function"),
        ("Backoff", "class"),
        ("Backoff.next_delay", "method"),
    ]
    lines = [line for piece in source.pieces for line in piece.text.split("\n")]
    assert sorted(lines) == sorted(text.split("\n"))


@pytest.mark.parametrize("path", ["a.lock", "package-lock.json", "x.min.js", "data.bin", "photo.png", "noending"])
def test_what_machines_wrote_is_not_indexed(path: str) -> None:
    assert not is_indexed(path)
    assert is_indexed("Makefile")
