"""Every example runs without a key, prints what is expected of it, and leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.page import ROOT, compare

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
EXPECTED = Path(__file__).parent / "expected"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_prints_what_is_expected_of_it(path: Path, tmp_path: Path) -> None:
    for name in ("home", "tmp", "here"):
        (tmp_path / name).mkdir()
    kept = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "error", str(path)],
        cwd=tmp_path / "here",
        env={**kept, "HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path / "tmp")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    compare((EXPECTED / f"{path.stem}.txt").read_text(encoding="utf-8"), done.stdout, where=path.name)
    left = [path for name in ("home", "tmp", "here") for path in (tmp_path / name).glob("**/*") if path.is_file()]
    kept = tmp_path / "home" / ".autopilot" / "store"  # what undo needs
    assert [str(path) for path in left if path.parent != kept] == []


def test_examples_are_numbered_short_and_listed() -> None:
    page = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
    assert [path.name[:3] for path in EXAMPLES] == [f"{number:02}-" for number in range(1, len(EXAMPLES) + 1)]
    for path in EXAMPLES:
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 60, path.name
        assert f"[{path.name}]({path.name})" in page
    assert {path.stem for path in EXPECTED.iterdir()} == {path.stem for path in EXAMPLES}
