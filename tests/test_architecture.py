"""The house rules that a machine can check: floors, cycles, sizes, and a cheap import."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "autopilot_runtime"
FILES = sorted(PACKAGE.rglob("*.py"))
HEAVY = ("anthropic", "openai", "sqlalchemy", "pydantic", "rich", "typer", "yaml", "httpx2", "pexpect", "asyncio")


def test_imports_go_down_the_floors() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    found = subprocess.run([lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert found.returncode == 0, found.stdout


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_file_is_one_idea(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= 400, "more than 400 lines: look for the second job hiding in it"
    tree = ast.parse(text)
    if tree.body:
        assert ast.get_docstring(tree), "the first line of a file says its one job"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 60, f"{node.name} is longer than 60 lines"


def test_nobody_inside_imports_from_the_front_door() -> None:
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                assert node.module != "autopilot_runtime" or path.name in ("__main__.py",), path


def test_importing_the_package_loads_nothing_and_prints_nothing() -> None:
    code = f"import sys, autopilot_runtime; print([m for m in {HEAVY!r} if m in sys.modules])"
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (found.stdout, found.stderr) == ("[]\n", "")


def test_the_whole_public_api_can_be_imported_and_is_documented() -> None:
    import autopilot_runtime

    assert len(autopilot_runtime.__all__) <= 60
    assert sorted(autopilot_runtime.__all__, key=str.lower) == autopilot_runtime.__all__
    for name in autopilot_runtime.__all__:
        assert getattr(autopilot_runtime, name) is not None
        assert name in dir(autopilot_runtime)
    with pytest.raises(AttributeError, match="nope"):
        _ = autopilot_runtime.nope
