"""Packs are found by name on our shelf, by path beside the agent file, and never in the current folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from autopilot_runtime.core.errors import SetupError
from autopilot_runtime.core.shelf import shelf
from autopilot_runtime.tool.pack import load_pack, load_tools, shipped

PACK = '''"""Mine."""
from __future__ import annotations
from dataclasses import dataclass
from autopilot_runtime import tool, ToolContext

@dataclass
class Note:
    text: str

@tool
def note(text: str) -> Note:
    """Take a note."""
    return Note(text)

@tool(name="server.look", permission="ask")
async def look(ctx: ToolContext) -> None:
    """Look."""

def helper() -> None: ...
'''


def test_a_pack_by_name_brings_its_tools() -> None:
    assert [tool.name for tool in load_tools("files", folder=Path("/nowhere"))] == ["read_file", "write_file"]


def test_a_tools_own_name_brings_only_that_tool() -> None:
    assert [tool.name for tool in load_tools("write_file", folder=Path("/nowhere"))] == ["write_file"]


def test_what_is_read_off_the_shelf_is_what_loads() -> None:
    assert {"files", "ask"} <= set(shipped())
    brought = {"training": shipped()["params"]}  # who has that pack has these tools, too
    for pack, names in shipped().items():
        loaded = tuple(tool.name for tool in load_tools(pack, folder=Path("/nowhere")))
        assert loaded == (*names, *brought.get(pack, ())), pack


def test_a_users_pack_is_relative_to_the_agent_file(tmp_path: Path) -> None:
    (tmp_path / "my_tools.py").write_text(PACK)
    tools = load_tools("./my_tools.py", folder=tmp_path)
    assert [tool.name for tool in tools] == ["note", "server.look"]
    assert tools[1].asks and tools[1].is_async
    assert not any("my_tools" in name and " " not in name for name in sys.modules)
    assert not (tmp_path / "__pycache__").exists()


def test_a_changed_pack_counts_at_once(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(PACK)
    load_pack(file)
    info = file.stat()
    file.write_text(PACK.replace("def note(", "def memo("))
    os.utime(file, ns=(info.st_atime_ns, info.st_mtime_ns))
    assert [tool.name for tool in load_pack(file)] == ["memo", "server.look"]


def test_a_name_never_looks_into_the_current_folder(tmp_path: Path) -> None:
    (tmp_path / "tools").mkdir()
    for name in ("files", "evil"):
        (tmp_path / "tools" / f"{name}.py").write_text("raise SystemExit('ran')")
    (tmp_path / "evil.py").write_text("raise SystemExit('ran')")
    code = (
        "from pathlib import Path\n"
        "from autopilot_runtime.tool.pack import load_tools\n"
        "print([t.name for t in load_tools('files', folder=Path.cwd())])\n"
        "try:\n    load_tools('evil', folder=Path.cwd())\n"
        "except Exception as e:\n    print(type(e).__name__)\n"
    )
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, "PYTHONPATH": root},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stdout.splitlines() == ["['read_file', 'write_file']", "SetupError"], done.stderr


def test_an_unknown_name_is_refused_with_a_near_one() -> None:
    with pytest.raises(SetupError, match=r"Did you mean 'read_file'"):
        load_tools("read_fil", folder=Path("/nowhere"))
    with pytest.raises(SetupError, match=r"Shipped packs: .*files"):
        load_tools("zzzzzz", folder=Path("/nowhere"))


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("x = 1\nimport no_such_module_here\n", "mine.py:2: ModuleNotFoundError"),
        ("x = 1\n\ndef broken(:\n", "mine.py:3: SyntaxError"),
        ("def f():\n    raise ValueError('bad')\nf()\n", "mine.py:2: ValueError: bad"),
        ("raise SystemExit(3)\n", "mine.py:1: SystemExit: 3"),
        ("x = 1\n", "has no tools: put @tool"),
        (
            "from autopilot_runtime import tool\n@tool(path='x')\ndef f(): ...\n",
            "mine.py:2: SetupError: Tool f: path='x'",
        ),
    ],
)
def test_a_broken_pack_is_shown_with_its_line(tmp_path: Path, source: str, said: str) -> None:
    (tmp_path / "mine.py").write_text(source)
    with pytest.raises(SetupError) as caught:
        load_tools("mine.py", folder=tmp_path)
    assert said in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_a_missing_pack_is_named(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"There is no tool pack .*gone.py"):
        load_tools("./gone.py", folder=tmp_path)


def test_the_shelf_lies_where_the_package_lies() -> None:
    assert (shelf("tools") / "files.py").is_file()


def test_an_installed_package_has_its_shelf_in_the_wheel_and_ignores_a_neighbour(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    site = tmp_path / "site"
    (site / "autopilot_runtime").mkdir(parents=True)
    for part in ("__init__.py", "core", "tool", "block"):
        (site / "autopilot_runtime" / part).symlink_to(root / "autopilot_runtime" / part)
    # The package file itself must lie here, or its real place would be found.
    (site / "autopilot_runtime" / "core").unlink()
    (site / "autopilot_runtime" / "core").mkdir()
    for file in (root / "autopilot_runtime" / "core").glob("*.py"):
        (site / "autopilot_runtime" / "core" / file.name).write_bytes(file.read_bytes())
    (site / "tools").mkdir()
    (site / "tools" / "files.py").write_text("raise SystemExit('not ours')")
    code = "from autopilot_runtime.core.shelf import shelf; print(shelf('tools'))"

    def ask() -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "PYTHONPATH": str(site)}
        return subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    assert "SetupError: The shipped tools are missing" in ask().stderr
    (site / "autopilot_runtime_shelf" / "tools").mkdir(parents=True)
    assert ask().stdout.strip() == str(site / "autopilot_runtime_shelf" / "tools")
