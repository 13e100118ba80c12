"""Text search among files that are meant to harm it, and programs that break, hang or outlive the host."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from autopilot_runtime.core.errors import ToolError
from autopilot_runtime.search import child, ripgrep
from autopilot_runtime.search.child import Clock
from autopilot_runtime.search.text import Engine, find
from tests.ordinary import as_an_ordinary_user

ENGINES = ["python", *(["rg"] if ripgrep.locate() else [])]
ROOT = Path(__file__).resolve().parents[2]
linux = pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="looks for processes in /proc")
with_rg = pytest.mark.skipif("rg" not in ENGINES, reason="ripgrep is not installed")


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Engine:
    return request.param  # type: ignore[no-any-return]


def plant(root: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def paths(root: Path, pattern: str, engine: Engine, **options: object) -> list[str]:
    return [match.path for match in find(root, pattern, engine=engine, **options).matches]  # type: ignore[arg-type]


def soon(reached: Callable[[], bool], seconds: float = 20.0) -> bool:
    until = time.monotonic() + seconds
    while not reached():
        if time.monotonic() > until:
            return False
        threading.Event().wait(0.02)
    return True


def running_in(folder: Path) -> list[int]:
    """The processes, dead ones that nobody waited for too, whose parent is or was we, by the folder they work in."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it may end while we look
            if (process / "cwd").readlink() == folder.resolve():
                found.append(int(process.name))
    return found


def zombies() -> list[int]:
    """Children of this process that have ended and were not waited for."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, parent = (process / "stat").read_text().rpartition(")")[2].split()[:2]
            if state == "Z" and int(parent) == os.getpid():
                found.append(int(process.name))
    return found


PLAIN_GLOBS = ["*", "*.py", "**", "**/*", "[a-z]*", "src/**"]


@pytest.mark.parametrize("include", [None, *PLAIN_GLOBS])
def test_no_glob_opens_a_hidden_file_that_it_does_not_name(tmp_path: Path, engine: Engine, include: str) -> None:
    hidden = [".env", ".env.py", ".ssh/id", "src/.env", "src/.x/a.py"]
    plant(tmp_path, dict.fromkeys([*hidden, "src/a.py"], "needle"))
    plant(tmp_path, {".gitignore": "!.env\n!.*\n", "src/.ignore": "!.env\n"})
    assert set(paths(tmp_path, "needle", engine, include=include)) <= {"src/a.py"}
    assert paths(tmp_path, "needle", engine, include=[".env", "*.py"]) == [".env", "src/.env", "src/a.py"]
    assert paths(tmp_path, "needle", engine, target="src/.x") == ["src/.x/a.py"]


def test_a_nul_anywhere_makes_a_file_binary_whatever_was_read_before_it(tmp_path: Path, engine: Engine) -> None:
    late = {f"{n}.txt": b"needle\n" * 12_000 + b"\0" for n in range(8)}
    plant(tmp_path, {"long.js": b"x" * 300_000 + b"\nneedle", "z.txt": "needle"} | late)
    for _ in range(3):
        assert paths(tmp_path, "needle", engine) == ["long.js", "z.txt"]
    found = find(tmp_path, "needle", engine=engine, scope="files", target=["7.txt", "z.txt"])
    assert [match.path for match in found.matches] == ["z.txt"]
    assert found.notes == ("'7.txt' is binary and was not searched",)


def test_targets_inside_each_other_are_searched_once(tmp_path: Path, engine: Engine) -> None:
    plant(tmp_path, {"a/b/x.txt": "needle", "a/y.txt": "needle", ".gitignore": "b/\n"})
    assert paths(tmp_path, "needle", engine, target=["a", "a/y.txt", "a/b"]) == ["a/y.txt", "a/b/x.txt"]


def test_the_first_results_are_always_the_same_ones(tmp_path: Path, engine: Engine) -> None:
    plant(tmp_path, {f"d{n % 7}/f{n}.txt": "x\nneedle\nneedle\n" for n in range(120)})
    expected = sorted((f"d{n % 7}/f{n}.txt" for n in range(120)), key=lambda path: path.split("/"))[:4]
    for _ in range(5):
        found = find(tmp_path, "needle", engine=engine, max_results=7)
        assert [(m.path, m.line) for m in found.matches] == [(p, n) for p in expected for n in (2, 3)][:7]
        assert found.more


@with_rg
@pytest.mark.parametrize(
    "pattern", ["foo(bar", ")|(", "*a", "[z-a]", r"a\nb", r"\p{Foo}", "a{2,1}", "(?<n>a)(?<n>b)", "(?z)a", "\\"]
)
def test_both_engines_explain_a_wrong_pattern_in_the_same_words(tmp_path: Path, pattern: str) -> None:
    plant(tmp_path, {"a.txt": "x"})
    said = []
    for engine in ("rg", "python"):
        with pytest.raises(ToolError) as caught:
            find(tmp_path, pattern, engine=engine)  # type: ignore[arg-type]
        said.append(str(caught.value))
    assert said[0] == said[1]
    assert "not a valid regular expression" in said[0]


@pytest.mark.parametrize("pattern", [r"\w{500}{400}", "(" * 300 + "x" + ")" * 300])
def test_a_pattern_too_large_for_ripgrep_is_tried_by_python(tmp_path: Path, engine: Engine, pattern: str) -> None:
    plant(tmp_path, {"a.txt": "x\n"})
    try:
        found = find(tmp_path, pattern, engine=engine)
    except ToolError as error:
        assert "too large or too deeply nested" in str(error)
    else:
        assert found.engine == "python"


def test_a_gigabyte_of_nothing_is_no_text(tmp_path: Path, engine: Engine) -> None:
    plant(tmp_path, {"a.txt": "needle\n", "hole": b"", "tail.log": b"needle\n" + b"x\n" * 40_000})
    os.truncate(tmp_path / "hole", 1 << 30)
    os.truncate(tmp_path / "tail.log", 1 << 30)
    began = time.monotonic()
    assert paths(tmp_path, "needle", engine) == ["a.txt"]
    found = find(tmp_path, "x", engine=engine, scope="file", target="hole")
    assert found.notes == ("'hole' is binary and was not searched",)
    assert time.monotonic() - began < 20


@linux
@with_rg
def test_a_line_that_does_not_fit_into_memory_is_left_to_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "_MEMORY", 96 << 20)
    plant(tmp_path, {"data.json": b"needle\n" + b"x" * (160 << 20)})
    found = find(tmp_path, "needle")
    assert ([m.path for m in found.matches], found.engine) == (["data.json"], "python")
    assert "ripgrep broke down" in found.notes[0]


def test_links_that_go_round_are_not_followed(tmp_path: Path, engine: Engine) -> None:
    plant(tmp_path, {"a/x.txt": "needle"})
    (tmp_path / "a" / "up").symlink_to("..")
    (tmp_path / "self").symlink_to("self")
    (tmp_path / "a" / "here").symlink_to(".")
    assert paths(tmp_path, "needle", engine) == ["a/x.txt"]
    assert paths(tmp_path, "needle", engine, target="a/up") == ["a/x.txt"]
    with pytest.raises(ToolError, match="self"):
        paths(tmp_path, "needle", engine, scope="file", target="self")


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="there are no such users")
def test_what_may_not_be_read_is_passed_over_and_named_when_asked_for(engine: Engine) -> None:
    with tempfile.TemporaryDirectory() as place:
        root = plant(Path(place), {"a.txt": "needle", "closed/b.txt": "needle", "z.txt": "needle", "m.txt": "needle"})
        root.chmod(0o755)
        (root / "m.txt").chmod(0)
        (root / "closed").chmod(0)
        with as_an_ordinary_user():
            if engine == "python" and not os.access(sys.executable, os.X_OK, effective_ids=True):
                pytest.skip("this Python is for its owner only")
            assert paths(root, "needle", engine) == ["a.txt", "z.txt"]
            found = find(root, "needle", engine=engine, scope="files", target=["m.txt", "z.txt"])
        assert [m.path for m in found.matches] == ["z.txt"]
        assert found.notes == ("'m.txt' cannot be read: Permission denied",)
        (root / "closed").chmod(0o755)


@pytest.fixture
def hanging_rg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An `rg` that never ends and does not let itself be asked to."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "rg").write_text(
        f"#!{sys.executable} -ISs\nimport signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nsignal.pause()\n"
    )
    (programs / "rg").chmod(0o755)
    monkeypatch.setattr(ripgrep, "locate", lambda: str(programs / "rg"))


@linux
@pytest.mark.usefixtures("hanging_rg")
def test_an_rg_that_hangs_is_killed_when_the_run_stops_and_leaves_nothing(tmp_path: Path) -> None:
    root = plant(tmp_path / "w", {"a.txt": "needle"})
    stopped = threading.Event()
    results: list[tuple[str, ...]] = []
    search = threading.Thread(target=lambda: results.append(find(root, "needle", stop=stopped.is_set).notes))
    search.start()
    assert soon(lambda: bool(running_in(root)))
    began = time.monotonic()
    stopped.set()
    search.join(timeout=20)
    assert time.monotonic() - began < 1
    assert not running_in(root) and not zombies()
    assert "stopped" in results[0][-1]


@linux
@pytest.mark.usefixtures("hanging_rg")
def test_an_rg_that_hangs_is_killed_when_its_time_is_up(tmp_path: Path) -> None:
    root = plant(tmp_path / "w", {"a.txt": "needle"})
    found = find(root, "needle", seconds=0.2)
    assert "0.2 seconds were not enough" in found.notes[-1]
    assert not running_in(root) and not zombies()


@linux
def test_a_worker_does_not_outlive_a_host_that_is_killed(tmp_path: Path) -> None:
    root = plant(tmp_path / "w", {"b.txt": "a" * 60 + "b\n"})
    code = (
        "import sys; from autopilot_runtime.search.text import find; find(sys.argv[1], r'(?=.)(a|aa)+$', seconds=60)"
    )
    host = subprocess.Popen([sys.executable, "-c", code, str(root)], cwd=ROOT)
    assert soon(lambda: bool(running_in(root)))
    host.kill()
    host.wait()
    assert soon(lambda: not running_in(root), seconds=5)


@linux
def test_a_child_may_take_no_more_time_than_the_search(tmp_path: Path) -> None:
    shown = "from resource import *; print(getrlimit(RLIMIT_CPU)[0], getrlimit(RLIMIT_AS)[0])"
    wait = "import sys; sys.stdin.read();"  # until the limits are set
    done = child.run([sys.executable, "-c", wait + shown], cwd=str(tmp_path), clock=Clock(7), sent=b"go")
    seconds, memory = map(int, done.output.split())
    assert 0 < seconds <= 8 * (os.cpu_count() or 1) + 1
    assert memory == 2 << 30


def test_a_large_order_reaches_a_child_that_is_slow_to_read(tmp_path: Path) -> None:
    code = "import sys, time; time.sleep(0.3); print(len(sys.stdin.read()))"
    done = child.run([sys.executable, "-c", code], cwd=str(tmp_path), clock=Clock(20), sent=b"x" * 3_000_000)
    assert (done.code, done.output.strip()) == (0, b"3000000")


@linux
def test_a_child_that_never_reads_is_killed_and_nobody_waits_for_it(tmp_path: Path) -> None:
    before = threading.active_count()
    code = "import time; time.sleep(60)"
    done = child.run([sys.executable, "-c", code], cwd=str(tmp_path), clock=Clock(0.3), sent=b"x" * 3_000_000)
    assert done.code is None
    assert soon(lambda: threading.active_count() <= before, seconds=5)
    assert not running_in(tmp_path) and not zombies()


def test_nothing_of_the_environment_reaches_a_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "hush")
    code = textwrap.dedent("import os; print(sorted(os.environ))")
    done = child.run([sys.executable, "-I", "-c", code], cwd=str(tmp_path), clock=Clock(20))
    assert b"SECRET" not in done.output
