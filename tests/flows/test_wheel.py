"""A wheel built from this checkout works in an empty folder, offline: agents, tool packs and demo are in it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import time
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHELF = "autopilot_runtime_shelf"
OFFLINE = (["unshare", "-rn"], ["unshare", "-n"])


@dataclass(frozen=True)
class Installed:
    """A virtual environment that has our wheel, and an empty folder to stand in."""

    wheel: Path
    bin: Path
    folder: Path
    home: Path

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """One of its commands, in the empty folder, without network where the system lets us."""
        env = {"PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}", "HOME": str(self.home), "LANG": "C.UTF-8"}
        return subprocess.run(
            [*_offline(), str(self.bin / command[0]), *command[1:]],
            cwd=self.folder,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


def _offline() -> list[str]:
    for prefix in OFFLINE:
        try:
            probe = subprocess.run([*prefix, "true"], capture_output=True, timeout=10, check=False)
        except FileNotFoundError:
            return []
        if probe.returncode == 0:
            return prefix
    return []


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Built, and installed where nothing of the checkout can be seen; its dependencies are those of this Python."""
    place = tmp_path_factory.mktemp("wheel")
    _quietly([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(place)], cwd=ROOT)
    (wheel,) = place.glob("*.whl")
    venv.create(place / "venv", with_pip=False, symlinks=True)
    scheme = {"base": str(place / "venv"), "platbase": str(place / "venv")}
    site = Path(sysconfig.get_path("purelib", "venv", scheme))
    bin_dir = Path(sysconfig.get_path("scripts", "venv", scheme))
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(bin_dir / "python"),
        "install",
        "-q",
        "--no-deps",
        "--no-index",
    ]
    _quietly([*pip, str(wheel)], cwd=place)
    dependencies = place / "dependencies"
    dependencies.mkdir()
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        # Not the checkout itself, which an editable install would bring in through a .pth file.
        if entry.suffix != ".pth" and not entry.name.startswith(("autopilot_runtime", "_editable", "__editable")):
            (dependencies / entry.name).symlink_to(entry)
    (site / "dependencies.pth").write_text(f"{dependencies}\n")
    for name in ("empty", "home"):
        (place / name).mkdir()
    return Installed(wheel, bin_dir, place / "empty", place / "home")


def _quietly(command: list[str], *, cwd: Path) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def _places(text: str) -> str:
    """The text without the folders in which agent files lie: those differ."""
    return re.sub(r"\S*/(?=agentfiles/)", "", text)


def test_the_wheel_holds_every_shipped_file_and_nothing_of_the_workshop(installed: Installed) -> None:
    names = set(zipfile.ZipFile(installed.wheel).namelist())
    for kind in ("agentfiles", "tools", "sessions/demo", "examples/index_tuning"):
        tracked = subprocess.run(
            ["git", "ls-files", "-z", kind], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
        ).stdout
        files = [name for name in tracked.split("\0") if name and (ROOT / name).is_file()]
        files = files or [str(path.relative_to(ROOT)) for path in (ROOT / kind).rglob("*.y*ml")]
        assert files
        assert {f"{SHELF}/{name}" for name in files} <= names
    assert {name.split("/")[0] for name in names} <= {"autopilot_runtime", SHELF} | {
        name.split("/")[0] for name in names if ".dist-info/" in name
    }
    assert not [name for name in names if name.endswith((".pyc", ".pem", ".env"))]
    assert {"autopilot_runtime/py.typed", "autopilot_runtime/runtime/prompt.md"} <= names


def test_the_demo_runs_from_the_wheel_in_at_most_twenty_seconds(installed: Installed) -> None:
    begun = time.monotonic()
    done = installed.run("autopilot", "demo")
    took = time.monotonic() - begun
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^    │ FAILED \(failures=1\)\n(?s:.*)^    │ OK\n", done.stdout, re.MULTILINE)
    assert took <= 20
    assert [path.name for path in installed.folder.iterdir()] == ["autopilot-demo"]
    assert re.search(r"^val steps [\d,]+ -> [\d,]+ = x\d\d+ fewer, ", done.stdout, re.MULTILINE)
    assert (installed.folder / "autopilot-demo" / "report.html").is_file()


def test_shipped_agents_and_packs_are_found_by_name(installed: Installed) -> None:
    version = installed.run("autopilot", "--version")
    assert re.fullmatch(r"autopilot \d+\.\d+\.\d+\n", version.stdout), version.stderr
    checkout = {**os.environ, "PYTHONPATH": str(ROOT)}
    for agent in sorted(path.stem for path in (ROOT / "agentfiles").glob("*.yaml")):
        command = ["autopilot_runtime", "lint", agent]
        here = installed.run("autopilot", *command[1:])
        there = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=installed.folder,
            env=checkout,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert here.returncode == there.returncode, here.stdout + here.stderr
        assert _places(here.stdout + here.stderr) == _places(there.stdout + there.stderr)
    code = "import autopilot_runtime.core.shelf as s; print(s.shelf('tools'))"
    assert installed.run("python", "-c", code).stdout.strip().endswith(f"{SHELF}/tools")


def test_the_library_works_from_the_wheel(installed: Installed) -> None:
    code = """
from autopilot_runtime import Runtime, ScriptedProvider
fence = "`" * 3
blocks = ("codepilot", "write_file('a.txt')"), ("text", "hello"), ("completion", "Written.")
reply = "Yes.\\n\\n" + "\\n\\n".join(f"{fence}{kind}\\n{body}\\n{fence}" for kind, body in blocks)
open("agent.yaml", "w").write("agent: {name: A, model: {provider: scripted, name: none}, runtime: {work_dir: ws}}")
with Runtime("agent.yaml", provider=ScriptedProvider([reply])) as runtime:
    runtime.hooks.clear()
    print(runtime.run("write"))
print(repr(open("ws/a.txt").read()))
"""
    done = installed.run("python", "-W", "error", "-c", code)
    assert done.stdout == "Written.\n'hello\\n'\n", done.stdout + done.stderr
