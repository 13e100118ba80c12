"""Every example runs without a key, prints what is expected of it, and leaves nothing behind."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.docs.page import ROOT, compare

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
PROJECTS = sorted((ROOT / "examples").glob("*/run*.py"))  # those of more than one file; each run*.py is a command
NEEDS = {"rule_engine-run": ["sklearn"], "optuna_search-run": ["optuna"], "mlflow_run-run": ["mlflow", "alembic"]}
QUIET = {"mlflow_run-run": ["-W", "ignore::DeprecationWarning"]}  # MLflow calls what SQLAlchemy has deprecated
EXPECTED = Path(__file__).parent / "expected"


def name_of(path: Path) -> str:
    return path.stem if path in EXAMPLES else f"{path.parent.name}-{path.stem}"


def missing_for(name: str) -> list[str]:
    return [package for package in NEEDS.get(name, []) if find_spec(package) is None]


def ran(path: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    for name in ("home", "tmp", "here"):
        (folder / name).mkdir()
    kept = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, "-W", "error", *QUIET.get(name_of(path), []), str(path)],
        cwd=folder / "here",
        env={**kept, "HOME": str(folder / "home"), "TMPDIR": str(folder / "tmp")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("path", [*EXAMPLES, *PROJECTS], ids=name_of)
def test_an_example_prints_what_is_expected_of_it(path: Path, tmp_path: Path) -> None:
    done, name = ran(path, tmp_path), name_of(path)
    if missing := missing_for(name):
        assert (done.returncode, done.stdout) == (1, "") and "pip install" in done.stderr
        assert len(done.stderr.splitlines()) == 1
        pytest.skip(f"{', '.join(missing)} is not installed; the example says so")
    assert (done.returncode, done.stderr) == (0, "")
    compare((EXPECTED / f"{name}.txt").read_text(encoding="utf-8"), done.stdout, where=name)
    left = [path for name in ("home", "tmp", "here") for path in (tmp_path / name).glob("**/*") if path.is_file()]
    kept = tmp_path / "home" / ".autopilot" / "store"  # what undo needs
    assert [str(path) for path in left if path.parent != kept] == []


def test_tuned_indexes_save_work_on_queries_that_were_not_trained_on(tmp_path: Path) -> None:
    """The figures are those of this machine's SQLite; the story is the same with every one."""
    told = ran(ROOT / "examples" / "index_tuning" / "run.py", tmp_path).stdout
    rows = [line.split() for line in told.splitlines() if line.startswith(("before", "epoch"))]
    before, *epochs = [(row[2], *_figures(row)) for row in rows]
    refused = [row for row in epochs if row[0] == "rollback"]
    assert any(train < before[1] and held_out > 2 * before[2] for _, train, held_out, _ in refused)
    assert any(train < before[1] and held_out <= before[2] for _, train, held_out, _ in refused), (
        "only writes cost more"
    )
    kept = [held_out for verdict, _, held_out, _ in epochs if verdict == "accept"]
    assert kept == sorted(kept, reverse=True) and before[2] >= 10 * kept[-1]


def test_a_search_finds_what_is_better_on_fresh_entries_too_and_the_gate_has_the_last_word(tmp_path: Path) -> None:
    """Which trial is good hangs on the version of Optuna; the story is the same with every one."""
    if missing_for("optuna_search-run"):
        pytest.skip("Optuna is not installed")
    told = ran(ROOT / "examples" / "optuna_search" / "run.py", tmp_path).stdout
    kept = [(float(row[2]), float(row[4])) for row in map(str.split, told.splitlines()) if row[0] == "accept"]
    assert kept == sorted(kept, key=lambda pair: pair[0]) and all(precision >= 0.99 for _, precision in kept)
    found = re.search(r"decided by: F1 ([\d.]+) -> ([\d.]+), precision ([\d.]+) -> ([\d.]+)", told)
    assert found is not None
    f1, better, precision, surer = map(float, found.groups())
    assert better > f1 + 0.1 and surer > precision + 0.1


def _figures(row: list[str]) -> tuple[int, int, int]:
    """Behind `train`, `held out` and `writes`."""
    train, held_out, writes = (int(row[row.index(word) + 1].replace(",", "")) for word in ("train", "out", "writes"))
    return train, held_out, writes


def test_examples_are_numbered_short_and_listed() -> None:
    page = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
    assert [path.name[:3] for path in EXAMPLES] == [f"{number:02}-" for number in range(1, len(EXAMPLES) + 1)]
    for path in EXAMPLES:
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 60, path.name
        assert f"[{path.name}]({path.name})" in page
    for path in PROJECTS:
        assert f"]({path.parent.name}/{path.name})" in page, path
    assert {path.stem for path in EXPECTED.iterdir()} == {name_of(path) for path in [*EXAMPLES, *PROJECTS]}
