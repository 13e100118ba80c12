"""An agent trains a module through control blocks: real runs, real sandbox, a project file, a record that stays."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autopilot_runtime import AgentFile, AgentFileError, EventType, Runtime, ScriptedProvider
from autopilot_runtime.training import Record
from autopilot_runtime.training.benchproject import _open, bench_of

PROJECT = '''
"""Knows the words that stand in its vocabulary."""

from autopilot_runtime.training import (
    AutoPilotModule, DataLoader, Datum, EvalDatum, ListDataset, Loss, ScalarParameter, SuccessRate, TextGradient,
    TextParameter,
)


class Unknown(Loss):
    def forward(self, data, targets=None):
        return [TextGradient(f"does not know {one.id}", "known", "high", (one.id,)) for one in data if not one]


class Vocabulary(AutoPilotModule):
    def __init__(self):
        self.known = TextParameter("")
        self.size = ScalarParameter(3, low=1, high=9, integer=True)
        self.loss = Unknown()
        self.accuracy = SuccessRate("accuracy")

    def forward(self, batch):
        words = self.known.data.split()[: self.size.data * 2]
        return [EvalDatum(id=one.id, success=one.metadata["word"] in words) for one in batch]


def items(*words):
    return DataLoader(ListDataset([Datum(id=f"item-{one}", metadata={"word": one}) for one in words]), batch_size=2)


train = items("ab", "cd", "ef")
val = items("cd", "gh")
monitor = "accuracy"
budget = {"calls": 60, "proposals": 5}
module = Vocabulary()
'''


def act(code: str, *payloads: str) -> str:
    return f"```codepilot\n{code}\n```\n" + "".join(f"\n```text\n{one}\n```\n" for one in payloads)


DONE = "```completion\ndone\n```"


class Lab:
    """A folder with a project, and agents that work on it one after the other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "train.py").write_text(PROJECT)
        (folder / "work").mkdir()
        self.events: list[Any] = []

    def agent(self, **config: Any) -> Path:
        config = {"project": "./train.py:module", **config}
        tools = [{"name": "training", "config": config}]
        agent = {"name": "Lab", "model": {"provider": "scripted", "name": "s"}, "runtime": {"work_dir": "work"}}
        path = self.folder / "agent.yaml"
        path.write_text(json.dumps({"agent": {**agent, "tools": tools}}))
        return path

    def run(self, *replies: str, **config: Any) -> list[str]:
        """What the model read after each reply."""
        model = ScriptedProvider([*replies, DONE])
        with Runtime(self.agent(**config), provider=model) as runtime:
            runtime.hooks.clear()
            self.events += list(runtime.stream("Improve it"))
            assert runtime.last is not None and runtime.last.status == "completed", runtime.last
        return [call.messages[-1].content for call in model.calls[1:]]

    def record(self) -> Record:
        return Record.open(self.folder / ".autopilot" / "record.db")


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    yield Lab(tmp_path)
    for project in [one for one in _open if one.startswith(str(tmp_path))]:
        _open.pop(project).close()


def test_an_agent_improves_a_module_through_control_blocks_alone(lab: Lab) -> None:
    first, second, third = lab.run(
        act("print(list_parameters()['accepted'])\nevaluate()\nread_gradient()\nread_failures(limit=1)"),
        act(
            'made = propose_parameter("known", why="no word is known")\n'
            'tried = evaluate(made["candidate"])\n'
            'if tried["metrics"]["accuracy"] > 0.5:\n'
            '    print(submit(made["candidate"], why="all of the training words")["verdict"])\n'
            'journal("a list of words is what it needs")',
            "ab cd ef",
        ),
        act('print(read_parameter("known")["value"])\nhistory()\nbudget()\nstop("nothing is left to gain")'),
    )
    assert "3 of 3 items failed" in first and "[high, known] does not know item-ab" in first
    assert '"word": "ab"' in first and "item-cd: wrong" not in first
    assert "-> candidate " in second and "0 of 3 items failed" in second and "\naccept\n" in second
    assert "ab cd ef" in third and "tried: no word is known" in third and "budget left: calls" in third

    bench = bench_of(f"{lab.folder / 'train.py'}:module")
    bench.close()
    with lab.record() as record:
        rows = record.epochs("train")
        assert [row.verdict for row in rows] == ["seed", "accept"] and rows[-1].metrics["accuracy"] == 0.5
        journal = record.context("train", source="agent")
        assert [one.decision for one in journal] == ["propose", "submit", "note", "stop"]
        assert record.experiment("train").status == "completed"


def test_what_training_tells_is_on_the_stream_of_the_run(lab: Lab) -> None:
    lab.run(act('m = propose_parameter("known", value="cd", why="w")\nsubmit(m["candidate"], why="w")'))
    order = [EventType.FIT_START, EventType.PROPOSED, EventType.EVAL_START, EventType.GATE_PASSED, EventType.ACCEPTED]
    told = [event for event in lab.events if event.type in order]
    assert list(dict.fromkeys(event.type for event in told if event.type is not EventType.EVAL_START)) == [
        one for one in order if one is not EventType.EVAL_START
    ]
    assert len({event.seq for event in lab.events}) == len(lab.events)
    accepted = next(event for event in told if event.type is EventType.ACCEPTED)
    assert accepted.metrics["accuracy"] == 0.5 and accepted.commit
    call = [event for event in lab.events if event.type is EventType.TOOL_CALL][-1]
    assert call.tool == "submit" and call.label.startswith("Submitting ")


def test_held_out_items_stay_hidden_whatever_is_asked(lab: Lab) -> None:
    everything = lab.run(
        act("read_failures(split='val')"),
        act("read_failures(split='test')"),
        act("evaluate(split='val')\nread_metrics()\nhistory()\nlist_parameters()\ndiff('seed', 'accepted')"),
        act("evaluate(split='test')"),
        act('read_parameter("known", path="../train.py")'),
    )
    assert "cannot be read" in everything[0] and "cannot be read" in everything[1]
    assert "gh" not in "".join(everything)
    assert "accuracy" in everything[2]
    assert "split must be" in everything[3] or "'test'" in everything[3]
    assert "is no files" in everything[4]


def test_an_act_without_a_reason_is_refused_before_anything_is_done(lab: Lab) -> None:
    missing, empty = lab.run(
        act('propose_parameter("known", value="x")'), act('propose_parameter("known", value="x", why="")')
    )
    assert "misses 'why'" in missing
    assert "Say why" in empty
    bench_of(f"{lab.folder / 'train.py'}:module").close()
    with lab.record() as record:
        assert record.context("train", source="agent") == []


def test_a_value_in_the_place_of_the_reason_leads_back_to_where_each_belongs(lab: Lab) -> None:
    alone, twice, both, good = lab.run(
        act('propose_parameter("known", "ab cd")'),
        act('propose_parameter("known", "ab cd", why="both are unknown")'),
        act('propose_parameter("known", "ab cd")', "ab cd"),
        act('propose_parameter("known", why="both are unknown")\nevaluate()', "ab cd"),
    )
    assert "takes 1 payload block, but none follows the control block. Put each content in a fence" in alone
    assert "got 'why' twice. Signature: propose_parameter(name: str, why: str, value: Any = None" in twice
    assert "the second argument is the reason" in both
    assert "+ab cd" in good and "budget left: calls" in good
    labels = [event.data.get("label") for event in lab.events if event.type is EventType.TOOL_CALL]
    assert "Evaluating the accepted state on train" in labels


def test_values_of_every_kind_are_checked_and_a_fault_is_told(lab: Lab) -> None:
    good, high, text, same, name, frozen = lab.run(
        act('propose_parameter("size", value=5, why="w")'),
        act('propose_parameter("size", why="w")', "12"),
        act('propose_parameter("size", why="w")', "many"),
        act('propose_parameter("size", value=3, why="w")'),
        act('propose_parameter("knwon", value="x", why="w")'),
        act('propose_parameter("known", value="x", path="a.txt", why="w")'),
    )
    assert "-3" in good and "+5" in good
    assert "must lie in [1, 9]" in high
    assert "takes a JSON document" in text
    assert "nothing was proposed" in same
    assert "Did you mean 'known'" in name
    assert "is no files" in frozen


def test_a_blocked_strategy_is_refused_also_in_a_later_run(lab: Lab) -> None:
    lab.run(act('block_strategy("list more", why="it overfits")'))
    bench_of(f"{lab.folder / 'train.py'}:module").close()
    (said,) = lab.run(act('propose_parameter("known", value="x", why="w", strategy="list more")'))
    assert "'list more' is blocked: it overfits" in said


def test_the_budget_holds_and_every_result_says_what_is_left(lab: Lab) -> None:
    left, over = lab.run(
        act(
            'for n in range(5):\n    m = propose_parameter("known", value=f"w{n}", why="w")\nprint(m["budget_left"])'
        ),
        act('propose_parameter("known", value="one more", why="w")'),
    )
    assert "'proposals': 0" in left
    assert "of the budget of 5 proposals" in over


def test_an_agent_goes_on_where_another_one_was_ended(lab: Lab) -> None:
    lab.run(act('m = propose_parameter("known", value="cd", why="w")\nsubmit(m["candidate"], why="w")'))
    bench_of(f"{lab.folder / 'train.py'}:module").close()
    said = lab.run(
        act('print(read_parameter("known")["value"])\nread_metrics()\nhistory()'),
        act(
            'snapshot("good", why="keep")\n'
            'm = propose_parameter("known", value="cd gh", why="more")\n'
            'submit(m["candidate"], why="w")\n'
            'print(rollback("good", why="back")["accepted"] == snapshot("now", why="w")["commit"])\n'
            'branch("idea", why="w", commit=m["candidate"])\n'
            'n = propose_parameter("size", value=4, why="w", on="idea")\n'
            'print(read_parameter("known", commit=n["candidate"])["value"])\n'
            'o = propose_parameter("size", value=4, why="w")\n'
            'print(merge(m["candidate"], o["candidate"], why="w")["candidate"] == n["candidate"])'
        ),
    )
    assert "\ncd\n" in said[0] and "tried: w" in said[0]
    assert said[1].count("True") == 2 and "\ncd gh\n" in said[1]


def test_a_project_that_is_not_there_is_a_fault_of_the_agent_file_with_its_place(lab: Lab) -> None:
    with pytest.raises(AgentFileError, match=r"agent\.yaml:1:\d+ .*project: there is no file .*nope\.py"):
        AgentFile.load(lab.agent(project="./nope.py:module"))
    with pytest.raises(AgentFileError, match="leads outside the project"):
        AgentFile.load(lab.agent(project="../../train.py:module"))
    with pytest.raises(AgentFileError, match="did you mean 'project'"):
        AgentFile.load(lab.agent(projct="x"))
    (said,) = lab.run(act("budget()"), project="./train.py:modul")
    assert "has no 'modul'" in said and "Did you mean 'module'" in said


def test_a_project_that_raises_is_told_with_its_line(lab: Lab) -> None:
    (lab.folder / "train.py").write_text("module = 1 / 0\n")
    (said,) = lab.run(act("budget()"))
    assert "train.py:1: ZeroDivisionError" in said


def test_the_agents_own_file_tools_may_not_write_the_project(lab: Lab) -> None:
    assert lab.folder / "train.py" in AgentFile.load(lab.agent()).protected


def test_both_packs_listed_are_one(lab: Lab) -> None:
    path = lab.agent()
    agent = json.loads(path.read_text())
    agent["agent"]["tools"].append({"name": "params", "config": agent["agent"]["tools"][0]["config"]})
    path.write_text(json.dumps(agent))
    with Runtime(path, provider=ScriptedProvider([])) as runtime:
        names = runtime.registry.names()
    assert len(names) == len(set(names)) == 18
    assert {"list_parameters", "propose_parameter", "submit", "merge", "stop"} <= set(names)


def test_the_shipped_optimizer_trains_what_stands_in_the_folder_it_is_called_from(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(lab.folder)
    reply = act('m = propose_parameter("known", value="cd", why="w")\nsubmit(m["candidate"], why="w")')
    with Runtime("optimizer", provider=ScriptedProvider([reply + "\n" + DONE])) as runtime:
        runtime.hooks.clear()
        assert runtime.run("Improve it") == "done"
        assert (
            "held-out" in runtime.system_prompt and "propose_parameter(name: str, why: str" in runtime.system_prompt
        )
    bench = bench_of(f"{lab.folder / 'train.py'}:module")
    with bench.at_work() as fit:
        assert fit.accepted_metrics["accuracy"] == 0.5
