"""`autopilot policy`, `dataset`, `execute`, `debug`, `diagnose`, `trace` and `ai` in a project that was trained."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from command import Command
from typer.main import get_command

from autopilot_runtime.cli.train.table import COMMANDS

ROOT = Path("autopilot/projects/myproj")
DATA = ROOT / "datasets"


def test_the_policy_says_what_it_asks_and_what_it_says_of_figures(trained: Command) -> None:
    assert "accuracy): not worse than what is accepted, else discard" in trained("policy", "explain").out
    kept = trained("policy", "check", "--json").json
    assert (kept["verdict"], kept["gates"][0]["passed"]) == ("accept", True)
    assert trained("policy", "check", "--epoch", "3", "--json", code=3).json["verdict"] == "discard"
    assert trained("policy", "check", "accuracy=0.99", "--json").json["verdict"] == "accept"
    assert "(worse)" in trained("policy", "check", "accuracy=0.1", code=3).out
    assert "There is no epoch 77" in trained("policy", "check", "--epoch", "77", code=2).err
    assert "is no figure" in trained("policy", "check", "accuracy", code=2).err


def test_data_is_registered_split_once_and_told_when_it_changes(trained: Command) -> None:
    file = trained.folder / DATA / "train.jsonl"
    trained("dataset", "register", "mail", str(DATA / "train.jsonl"), "--context", "the first mails")
    first = trained(
        "dataset",
        "split",
        "mail",
        "--ratio",
        "train=2",
        "--ratio",
        "val=1",
        "--by",
        "spam",
        "--context",
        "x",
        "--json",
    )
    assert first.json["splits"] == {"train": 8, "val": 4}
    held_out = {
        json.loads(line)["id"] for line in (trained.folder / DATA / "mail.val.jsonl").read_text().splitlines()
    }
    with file.open("a") as more:
        more.writelines(json.dumps({"id": f"new-{at}", "metadata": {"spam": True}}) + "\n" for at in range(3))
    changed = trained("dataset", "verify", "mail", "--json", code=1).json
    assert changed == [{"name": "mail", "changed": "3 added (new-0, new-1, new-2)"}]
    trained("dataset", "register", "mail", str(file), "--context", "more mails")
    trained("dataset", "split", "mail", "--by", "spam", "--context", "the new ones, too")
    later = {json.loads(line)["id"] for line in (trained.folder / DATA / "mail.val.jsonl").read_text().splitlines()}
    assert held_out <= later
    assert trained("dataset", "verify").out.strip() == "mail: the same"
    assert trained("dataset", "list", "--json").json[0]["items"] == 15
    assert "Did you mean 'mail'" in trained("dataset", "show", "mial", code=2).err


def test_what_is_executed_is_kept_with_its_reason_its_end_and_what_it_printed(trained: Command) -> None:
    (trained.folder / "f.py").write_text("import sys\nprint(sys.argv[1:])\nsys.exit(4)\n")
    ran = trained("execute", "code", "import trainer; print(trainer.HERE.name)", "--context", "look")
    assert ran.out == "myproj\n"
    trained("execute", "file", "f.py", "a", "b", "--context", "after the rollback", code=4)
    quiet = trained("execute", "module", "f", "--context", "as a module", "--json", code=4).json
    assert (quiet["exit_code"], quiet["stdout"]) == (4, "[]\n")
    assert trained("execute", "code", "while True: pass", "--timeout", "0.3", "--context", "slow", code=124).err
    trained("execute", "code", "1", code=2)
    executed = trained.folder / ".autopilot" / "executions.jsonl"
    with executed.open("a") as file:
        file.write('{"torn')
    listed = trained("debug", "executions", "list", "--context-contains", "ROLLBACK", "--json")
    assert "ends in the middle of its last line" in listed.err
    [one] = listed.json
    assert (one["ran"], one["exit_code"], one["stdout"]) == (["f.py", "a", "b"], 4, "['a', 'b']\n")
    assert "['a', 'b']" in trained("debug", "executions", "show", str(one["number"])).out
    trained("execute", "code", "2", "--context", "after the torn line")  # which it does not become a part of
    last = trained("debug", "executions", "list", "--json", "--limit", "1").json
    assert last[0]["context"] == "after the torn line"
    assert "There is no execution 99" in trained("debug", "executions", "show", "99", code=2).err
    assert trained("debug", "collect", "--json").json["projects"][0]["damage"] == []


def test_what_changes_something_is_not_done_without_a_reason(trained: Command) -> None:
    before = sorted(trained.folder.rglob("*"))
    for words in (
        ["store", "snapshot"],
        ["propose", "create", "rules", "--value", "x"],
        ["dataset", "register", "mail", str(DATA / "train.jsonl")],
        ["execute", "code", "open('new', 'w')"],
        ["trace", "collect"],
        ["ai", "generate", "2"],
    ):
        assert f"autopilot {shlex.join(words)} --context 'REASON'" in trained(*words, code=2).err
    assert sorted(trained.folder.rglob("*")) == before


def test_every_training_command_can_be_asked_by_a_program() -> None:
    for group in COMMANDS:
        command = get_command(import_module(f"autopilot_runtime.cli.train.{group}").app)
        lacking = [name for name, one in leaves(command, group) if "--json" not in options(one)]
        assert lacking == []


def leaves(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """The commands that do something, with all their words."""
    below = getattr(command, "commands", None)
    if below is None:
        yield name, command
    else:
        for word, one in below.items():
            yield from leaves(one, f"{name} {word}")


def options(command: Any) -> set[str]:
    return {spelt for one in command.params for spelt in one.opts}


def test_what_fails_is_found_item_by_item(trained: Command) -> None:
    worst = trained("diagnose", "heatmap", "--json").json
    assert [one["item"] for one in worst[:2]] == ["val-0", "val-3"]
    assert "val-0   0         0    ██████" in trained("diagnose", "heatmap").out
    assert trained("diagnose", "nodes", "--json").json[0] | {"newest": ""} == {
        "parameter": "rules", "named": 5, "changed": 5, "accepted": 4, "newest": "",
    }  # fmt: skip
    assert {one["what"] for one in trained("diagnose", "traces", "--json").json} == {
        "add money for nothing", "add the prize is yours",
    }  # fmt: skip
    failed = trained("trace", "list", "--split", "val", "--failed", "--json").json
    assert [one["item"] for one in failed] == ["val-0", "val-3"]
    assert "add money for nothing" in trained("trace", "show", "val-0").out
    assert "Did you mean 'val-0'" in trained("trace", "show", "vla-0", code=2).err
    trained("trace", "collect", "--split", "val", "--context", "for later")
    lines = (trained.folder / ROOT / "traces" / "exp-1.jsonl").read_text().splitlines()
    assert len(lines) == 6 * 12  # states, items


WIRED = """
from autopilot_runtime import AutoPilotCLI
from autopilot_runtime.training import GeneratorAgent, JudgeAgent

class ProjectCLI(AutoPilotCLI, project="myproj"):
    def __init__(self):
        super().__init__()
        items = '[{"text": "free money", "spam": true}, {"text": "lunch", "spam": false}]'
        self.generator = GeneratorAgent(lambda task: items, "messages, spam or not")
        self.judge = JudgeAgent(lambda task: '{"reasons": ["it is short"], "score": 0.4, "passed": false}')

ProjectCLI()()
"""


def test_the_agents_a_project_has_wired_make_data_and_judge(trained: Command) -> None:
    (trained.folder / ROOT / "agents.py").write_text(WIRED)
    (trained.folder / "results.jsonl").write_text('{"id": "a", "output": "x", "target": "y"}\n')

    def mine(*words: str, code: int = 0) -> str:
        ran = subprocess.run(
            [sys.executable, str(ROOT / "agents.py"), *words], cwd=trained.folder, env=trained.env,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert ran.returncode == code, ran.stderr
        return ran.stdout + ran.stderr

    assert "self.generator = GeneratorAgent(" in trained("ai", "generate", "2", "--context", "more", code=2).err
    assert "2 items" in mine("ai", "generate", "2", "--context", "more data")
    made = (trained.folder / DATA / "generated.jsonl").read_text()
    assert [json.loads(line)["metadata"]["text"] for line in made.splitlines()] == ["free money", "lunch"]
    short = mine("ai", "generate", "3", "--out", "three.jsonl", "--context", "too many", code=1)
    assert "made 2 of 3 items" in short
    assert len((trained.folder / "three.part.jsonl").read_text().splitlines()) == 2
    assert "There is a file" in mine("ai", "generate", "2", "--context", "again", code=2)
    [verdict] = json.loads(mine("ai", "judge", "results.jsonl", "--context", "how good", "--json"))
    assert (verdict["item"], verdict["success"], verdict["metrics"]["score"]) == ("a", False, 0.4)
    assert "0 of 12 pass" in mine("ai", "judge", "--context", "what is on record")
