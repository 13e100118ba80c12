"""Every public name of `autopilot_runtime.training` is what it says, in whatever order things are imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from autopilot_runtime import training

ROOT = Path(__file__).parents[2]


def fresh(code: str) -> list[str]:
    """What a new process prints, in words."""
    command = [sys.executable, "-c", f"import sys, autopilot_runtime.training as t\n{code}"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()


def test_no_public_name_is_also_the_name_of_a_file() -> None:
    # Once the file is imported, the module would stand in the place of what is meant.
    public = set(fresh("print(*dir(t))"))
    assert {path.stem for path in Path(training.__file__).parent.glob("*.py")} & public == set()
    assert {"Trainer", "completed", "Record"} <= public


def test_importing_the_package_loads_none_of_its_parts() -> None:
    parts = "[one for one in sys.modules if one.startswith('autopilot_runtime.training.')]"
    assert fresh(f"print(len({parts}), 'sqlite3' in sys.modules)") == ["0", "False"]
