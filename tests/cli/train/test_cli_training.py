"""The training commands as somebody types them, from an empty folder on."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from command import Command

from autopilot_runtime.cli.train.table import COMMANDS

ROOT = Path("autopilot/projects/myproj")


def test_the_four_lines_of_a_cold_start_train_a_project_without_a_key(autopilot: Command) -> None:
    autopilot("workspace", "init", "--context", "initialize workspace")
    autopilot("project", "init", "myproj", "--context", "bootstrap project")
    autopilot("experiment", "create", "exp-1", "--context", "initial experiment")
    ended = autopilot("optimize", "train", "--context", "first training epoch")
    assert "candidate 0 (1/1): kept" in ended.err
    assert "exp-1: completed after 1 epochs, 1 kept." in ended.out
    lines = (autopilot.folder / ".autopilot" / "executions.jsonl").read_text().splitlines()
    assert [json.loads(line)["context"] for line in lines] == [
        "initialize workspace", "bootstrap project", "initial experiment", "first training epoch",
    ]  # fmt: skip
    entries = autopilot("experiment", "show", "--context-log", "--context-source", "user", "--json").json
    assert [one["text"] for one in entries] == ["initial experiment", "first training epoch"]


def test_training_goes_on_and_everything_about_it_can_be_asked(begun: Command) -> None:
    begun("optimize", "train", "--context", "one")
    more = begun("optimize", "train", "--epochs", "14", "--context", "more", "--json").json
    assert more["status"] == "stopped"  # by the plateau
    verdicts = {row["verdict"] for row in more["rows"]}
    assert verdicts == {"seed", "accept", "discard"}
    status = begun("status", "--json").json
    assert status["metrics"] == more["metrics"]
    assert status["epoch"] == more["rows"][-1]["epoch"]
    bad = next(row["epoch"] for row in more["rows"] if row["verdict"] == "discard")
    told = begun("explain", str(bad)).out
    assert f"Candidate {bad} of exp-1: not kept." in told
    assert "worse" in told
    assert begun("explain", str(bad), "--json").json["verdict"] == "discard"
    report = begun("report")
    assert "The whole story:" in report.out
    assert "<svg" in (begun.folder / "report.html").read_text()
    assert "epoch 0" in begun("tree").out
    assert begun("query", "accuracy>0.5", "--epochs", "--json").json
    assert [row["slug"] for row in begun("query", "--status", "completed", "--json").json] == ["exp-1"]


def test_files_go_back_to_what_they_were_and_forth_again(begun: Command) -> None:
    words = begun.folder / ROOT / "rules" / "words.txt"
    first = words.read_bytes()
    begun("optimize", "train", "--epochs", "3", "--context", "train")
    trained = words.read_bytes()
    assert trained != first
    begun("checkout", "exp-1", "--at", "seed", "--context", "look at the beginning")
    assert words.read_bytes() == first
    begun("stabilize", "--context", "take the best")
    assert words.read_bytes() == trained


@pytest.mark.parametrize(
    "words",
    [
        ["workspace", "init"],
        ["project", "init", "other"],
        ["experiment", "create", "exp 2"],
        ["optimize", "train"],
        ["checkout", "exp-1"],
        ["stabilize"],
    ],
)
def test_what_changes_something_needs_a_reason_and_says_how_to_give_it(begun: Command, words: list[str]) -> None:
    before = sorted(path for path in begun.folder.rglob("*"))
    ended = begun(*words, code=2)
    shown = " ".join(f"'{word}'" if " " in word else word for word in words)
    assert f"autopilot {shown} --context 'REASON'" in ended.err
    assert sorted(path for path in begun.folder.rglob("*")) == before


def test_a_stopped_training_goes_on_where_it_was(begun: Command) -> None:
    trainer = begun.folder / ROOT / "trainer.py"
    marked = trainer.read_text().replace(
        "    def forward(self, batch):\n", '    def forward(self, batch):\n        print("working", flush=True)\n'
    )
    trainer.write_text(marked)
    process = begun.start("optimize", "train", "--epochs", "500", "--context", "long")
    assert process.stdout is not None
    for _ in range(20):
        process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate()
    assert process.returncode == 143
    assert "The same command goes on." in err
    assert begun("status", "--json").json["status"] == "cancelled"
    begun("optimize", "train", "--context", "go on")
    assert begun("status", "--json").json["status"] == "completed"


def test_any_python_file_can_be_trained(autopilot: Command) -> None:
    (autopilot.folder / "train.py").write_text(
        """
from autopilot_runtime.training import *
from autopilot_runtime.training import AutoPilotModule, Datum, EvalDatum, ScriptedOptimizer, TextParameter, MinGate

class Guess(AutoPilotModule):
    def __init__(self):
        self.word = TextParameter("a")
    def forward(self, item):
        return EvalDatum(success=self.word.data == "b")
    def configure_optimizers(self):
        return ScriptedOptimizer(self.parameters(), ["b", "c"])

train = val = [Datum(id="x")]
policy = MinGate("success", 1.0)
""".replace("from autopilot_runtime.training import *\n", "")
    )
    ended = autopilot("train", "train.py:Guess", "--epochs", "2", "--report", "out.html")
    assert "candidate 0 (1/2): kept" in ended.err
    assert "candidate 1 (2/2): not kept" in ended.err
    assert (autopilot.folder / "out.html").exists()
    assert autopilot("explain", "1", "--json").json["verdict"] == "discard"
    assert (
        "There is: Guess" in autopilot("train", "train.py:Guss", code=2).err
        or "Did you mean" in autopilot("train", "train.py:Guss", code=2).err
    )


def test_a_project_can_have_a_command_of_its_own(begun: Command) -> None:
    begun("optimize", "train", "--context", "by the command for all")
    ran = subprocess.run(
        [sys.executable, "cli.py", "optimize", "train", "--context", "by my own command"],
        cwd=begun.folder / ROOT, env=begun.env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert "exp-1: completed" in ran.stdout


def test_every_command_explains_itself(autopilot: Command) -> None:
    top = autopilot("--help").out
    there = [name for name in COMMANDS if find_spec(f"autopilot_runtime.cli.train.{name}") is not None]
    assert len(there) > 10
    # In one process: starting it twenty times would say no more.
    script = """
import sys
from autopilot_runtime.cli.app import app
for name in sys.argv[1:]:
    app(args=[name, "--help"], prog_name="autopilot", standalone_mode=False)
"""
    ran = subprocess.run(
        [sys.executable, "-c", script, *there],
        env=autopilot.env, cwd=autopilot.folder, capture_output=True, text=True, check=True,
    )  # fmt: skip
    for name in there:
        assert f" {name} " in top
        assert f"Usage: autopilot {name}" in ran.stdout


def test_outside_a_workspace_it_says_how_to_make_one(autopilot: Command) -> None:
    for words in (["status"], ["experiment", "list"], ["report"]):
        assert "autopilot workspace init --context" in autopilot(*words, code=2).err
