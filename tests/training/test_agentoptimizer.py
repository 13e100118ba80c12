"""An agent changes the parameters: on copies, checked as a whole, told what went before."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from autopilot_runtime import SetupError
from autopilot_runtime.core.protocols import RunResult, Usage
from autopilot_runtime.training import (
    AgentOptimizer,
    JSONParameter,
    Parameter,
    ParameterRefused,
    ScalarParameter,
    TextGradient,
    TextParameter,
    TrainingError,
)
from autopilot_runtime.training.agentoptimizer import StepFailed

Work = Callable[[Path], Any]


class Editor:
    """An agent that edits files in the folder it is put in, by one function a task."""

    def __init__(self, *work: Work) -> None:
        self.work, self.tasks = list(work), list[str]()
        self.folder = Path()

    def within(self, folder: Path) -> Editor:
        self.folder = folder
        return self

    async def run(self, task: str) -> RunResult:
        self.tasks.append(task)
        answer = self.work.pop(0)(self.folder)
        if isinstance(answer, RunResult):
            return answer
        summary = answer if isinstance(answer, str) else "Strategy: edit\nI edited."
        return RunResult("completed", summary, usage=Usage(100, output=10, cost_usd=0.5))


def write(name: str, text: str | bytes, why: str = "Strategy: rewrite\nClearer.") -> Work:
    def work(folder: Path) -> str:
        (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)
        return why

    return work


def nothing(folder: Path) -> None:
    return None


@pytest.fixture
def prompt() -> TextParameter:
    return with_feedback(TextParameter("Be brief.", name="prompt"))


def with_feedback(parameter: Any, text: str = "too curt", severity: str = "") -> Any:
    parameter.receive(TextGradient(text, severity=severity))
    return parameter


def test_the_agent_edits_a_copy_and_the_parameter_takes_it(prompt: TextParameter) -> None:
    agent = Editor(write("prompt.md", "Be kind.", "Strategy: warmth\nIt was curt."))
    optimizer = AgentOptimizer(agent, [prompt])
    assert optimizer.step() == 1
    assert prompt.data == "Be kind."
    assert optimizer.why == "Strategy: warmth\nIt was curt." and optimizer.strategy == "warmth"
    assert optimizer.usage.cost_usd == 0.5 and optimizer.last is not None and optimizer.last.status == "completed"
    task = agent.tasks[0]
    assert "Be brief." in task and "too curt" in task and "prompt.md" in task and str(agent.folder) in task
    assert not agent.folder.exists(), "the scratch folder stayed"


def test_agent_and_parameters_come_in_either_order_and_by_name(prompt: TextParameter) -> None:
    for make in (
        lambda agent: AgentOptimizer(agent, [prompt]),
        lambda agent: AgentOptimizer([prompt], agent),
        lambda agent: AgentOptimizer(iter([prompt]), agent),
        lambda agent: AgentOptimizer(agent=agent, parameters=[prompt]),
        lambda agent: AgentOptimizer(parameters=prompt, agent=agent),
        lambda agent: AgentOptimizer(agent, params=[{"params": [prompt], "lr": 1}]),
    ):
        assert make(Editor(nothing)).parameters == [prompt]
    with pytest.raises(TrainingError, match="needs an agent"):
        AgentOptimizer([prompt])
    with pytest.raises(TrainingError, match="needs parameters"):
        AgentOptimizer(Editor())


def test_without_feedback_nobody_is_asked() -> None:
    optimizer = AgentOptimizer(Editor(), [TextParameter("x", name="p")])
    assert optimizer.step() == 0
    assert optimizer.why == "there was no feedback"


def test_every_kind_of_parameter_is_a_file_and_comes_back_as_it_was_meant() -> None:
    class Table(Parameter):
        def __init__(self) -> None:
            self.rows = ["a"]
            super().__init__(name="table")

        def snapshot(self) -> bytes:
            return ",".join(self.rows).encode()

        def restore(self, state: bytes) -> None:
            self.rows = state.decode().split(",")

    text, config = TextParameter("no end of line", name="a.text"), JSONParameter({"k": [1]}, name="config")
    number, table = ScalarParameter(3, low=1, high=9, integer=True, name="n"), Table()
    crlf = TextParameter("a\r\nb\r\n", name="crlf")
    for one in (text, config, number, table, crlf):
        with_feedback(one)

    def work(folder: Path) -> None:
        assert {one.name for one in folder.iterdir()} == {"a.text.md", "config.json", "n.txt", "table.txt", "crlf.md"}
        assert (folder / "crlf.md").read_bytes() == b"a\r\nb\r\n"
        (folder / "a.text.md").write_text("changed\n")
        (folder / "config.json").write_text('{"k": [1, 2]}')
        (folder / "n.txt").write_text("7\n")
        (folder / "table.txt").write_text("a,b")

    agent = Editor(work)
    assert AgentOptimizer(agent, [text, config, number, table, crlf]).step() == 4
    assert (text.data, config.data, number.data, table.rows) == ("changed", {"k": [1, 2]}, 7, ["a", "b"])
    assert crlf.data == "a\r\nb\r\n"
    assert "from 1 to 9" in agent.tasks[0]


def test_json_that_was_only_reformatted_is_no_change() -> None:
    config = with_feedback(JSONParameter({"b": 1, "a": 2}, name="config"))
    assert AgentOptimizer(Editor(write("config.json", '{"a":2,"b":1}')), [config]).step() == 0


def test_a_frozen_parameter_is_not_handed_out(prompt: TextParameter) -> None:
    frozen = TextParameter("secret sauce", name="frozen", requires_grad=False)
    agent = Editor(nothing)
    AgentOptimizer(agent, [prompt, frozen]).step()
    assert "secret sauce" not in agent.tasks[0]


def test_a_refused_value_goes_back_once_with_its_fault() -> None:
    number = with_feedback(ScalarParameter(3, low=1, high=9, name="n"))
    agent = Editor(write("n.txt", "12"), write("n.txt", "8"))
    assert AgentOptimizer(agent, [number]).step() == 1
    assert number.data == 8.0
    assert "Your last change was refused" in agent.tasks[1] and "must lie in [1, 9]" in agent.tasks[1]
    shown = "Against what is shown above:\n\n```diff\n--- a/n.txt\n+++ b/n.txt\n"
    assert shown in agent.tasks[1] and "+12" in agent.tasks[1], "who mends it may be a run that did not make it"
    assert agent.tasks[1].startswith(agent.tasks[0])


def test_what_was_said_of_several_parameters_alike_is_shown_once() -> None:
    one, two = with_feedback(TextParameter("a", name="one")), with_feedback(TextParameter("b", name="two"))
    other = with_feedback(TextParameter("c", name="other"), "too long")
    agent = Editor(nothing)
    AgentOptimizer(agent, [one, two, other]).step()
    assert "On `one`, `two`:\n- too curt\n\nOn `other`:\n- too long" in agent.tasks[0]


def test_a_change_that_stays_refused_changes_nothing_at_all(prompt: TextParameter) -> None:
    number = with_feedback(ScalarParameter(3, high=9, name="n"))

    def work(folder: Path) -> None:
        (folder / "prompt.md").write_text("good")
        (folder / "n.txt").write_text("many")

    optimizer = AgentOptimizer(Editor(work, work), [prompt, number])
    with pytest.raises(ParameterRefused, match=r"n\.txt: n takes a finite number, not 'many'"):
        optimizer.step()
    assert prompt.data == "Be brief." and number.data == 3
    assert optimizer.history == []


@pytest.mark.parametrize(
    ("harm", "fault"),
    [
        (lambda folder: (folder / "notes.txt").write_text("x"), "notes.txt belongs to no parameter"),
        (lambda folder: (folder / "prompt.md").unlink(), "prompt.md is gone"),
        (lambda folder: (folder / "prompt.md").write_bytes(b"\xff\xfe"), "prompt.md is not UTF-8"),
        (lambda folder: _linked(folder / "prompt.md"), "prompt.md is no regular file"),
        (lambda folder: (folder / "out").symlink_to("/"), "out belongs to no parameter"),
        (lambda folder: _large(folder / "prompt.md"), "is the most"),
    ],
)
def test_what_an_agent_must_not_leave_is_refused(prompt: TextParameter, harm: Work, fault: str) -> None:
    with pytest.raises(ParameterRefused, match=re.escape(fault)):
        AgentOptimizer(Editor(harm, nothing), [prompt]).step()
    assert prompt.data == "Be brief."


def _linked(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/hostname")


def _large(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(9 << 20)


def test_an_agent_that_reaches_past_its_copies_is_undone(prompt: TextParameter) -> None:
    def work(folder: Path) -> None:
        prompt.data = "seized"

    with pytest.raises(StepFailed, match="changed prompt in place"):
        AgentOptimizer(Editor(work), [prompt]).step()
    assert prompt.data == "Be brief."


def test_the_next_task_tells_what_was_tried_and_what_is_blocked(prompt: TextParameter) -> None:
    agent = Editor(write("prompt.md", "v1", "Strategy: shout\nlouder"), write("prompt.md", "v2"))
    optimizer = AgentOptimizer(agent, [prompt], instructions="Mind the users.")
    optimizer.step()
    optimizer.told("discard", "accuracy 0.4 does not meet >= 0.5")
    optimizer.told("accept", "nothing new was tried")  # the verdict on a change is given once
    optimizer.block_strategy("add examples", "they leak")
    optimizer.step()
    task = agent.tasks[1]
    assert "- discard: Strategy: shout louder (because: accuracy 0.4 does not meet >= 0.5)" in task
    assert "- add examples: they leak" in task and "Mind the users." in task
    assert "nothing new was tried" not in task


def test_a_blocked_strategy_is_refused_by_its_name(prompt: TextParameter) -> None:
    agent = Editor(write("prompt.md", "v1", "Strategy: Shout\n!"), write("prompt.md", "v2", "Strategy: whisper\n."))
    optimizer = AgentOptimizer(agent, [prompt])
    optimizer.block_strategy("shout", "users complained")
    optimizer.step()
    assert "'shout' is blocked: users complained" in agent.tasks[1]
    assert prompt.data == "v2" and optimizer.strategy == "whisper"


def test_what_it_remembers_goes_on_in_another_process(prompt: TextParameter) -> None:
    optimizer = AgentOptimizer(Editor(write("prompt.md", "v1")), [prompt])
    optimizer.step()
    optimizer.told("discard", "worse")
    state = json.loads(json.dumps(optimizer.state_dict()))
    agent = Editor(nothing)
    other = AgentOptimizer(agent, [prompt])
    other.load_state_dict(state)
    other.step()
    assert "(because: worse)" in agent.tasks[0]


def test_the_most_severe_feedback_comes_first_and_what_is_too_much_is_said(prompt: TextParameter) -> None:
    for number in range(100):
        prompt.receive(TextGradient(f"nit {number} " + "x" * 1_000, severity="low"))
    prompt.receive(TextGradient("it insults people " + "y" * 5_000, severity="critical"))
    agent = Editor(nothing)
    AgentOptimizer(agent, [prompt]).step()
    task = agent.tasks[0]
    assert task.index("it insults people") < task.index("too curt") < task.index("nit 0")
    assert "characters left out" in task and "less severe ones are left out" in task
    assert len(task) < 25_000


def test_an_agent_without_file_tools_answers_with_whole_files(prompt: TextParameter) -> None:
    other = with_feedback(TextParameter("x", name="other"))

    def model(task: str) -> str:
        return "Strategy: rewrite\n\n````text filename=prompt.md\nUse fences:\n```\ncode\n```\n````\n```\nnoise\n```"

    assert AgentOptimizer(model, [prompt, other]).step() == 1
    assert prompt.data == "Use fences:\n```\ncode\n```"
    assert other.data == "x"


def test_a_block_that_names_a_file_outside_writes_nothing(prompt: TextParameter, tmp_path: Path) -> None:
    target = tmp_path / "evil.md"
    for name in (str(target), "../../evil.md", "prompt.md/../../evil.md"):
        assert AgentOptimizer(lambda task, name=name: f"```md filename={name}\nx\n```", [prompt]).step() == 0
    assert not target.exists() and prompt.data == "Be brief."


def test_a_run_that_comes_to_no_end_is_no_change_and_the_third_ends_training(prompt: TextParameter) -> None:
    def cut_off(folder: Path) -> RunResult:
        (folder / "prompt.md").write_text("half a sent")
        return RunResult("max_steps", error=RuntimeError("15 steps"))

    optimizer = AgentOptimizer(Editor(cut_off, cut_off, cut_off), [prompt])
    for _ in range(2):
        with pytest.raises(StepFailed, match="ended as max_steps: 15 steps"):
            optimizer.step()
    with pytest.raises(TrainingError, match="failed 3 times in a row") as caught:
        optimizer.step()
    assert not isinstance(caught.value, ParameterRefused)
    assert prompt.data == "Be brief."


def test_an_agent_that_hangs_is_given_up(prompt: TextParameter) -> None:
    never = threading.Event()
    with pytest.raises(StepFailed, match=r"no answer within 0\.05 s"):
        AgentOptimizer(lambda task: never.wait(), [prompt], timeout=0.05).step()
    never.set()


def test_what_is_missing_is_said_before_anything_is_paid_for(prompt: TextParameter) -> None:
    class Keyless(Editor):
        def ready(self) -> None:
            raise SetupError("no key")

    with pytest.raises(SetupError, match="no key"):
        AgentOptimizer(Keyless(), [prompt])


# ---------------------------------------------------------------- parameters that are files


class Tree(Parameter):
    """Files below a folder, with the methods that such parameters have."""

    def __init__(self, folder: Path, name: str = "rules") -> None:
        self.folder = folder
        super().__init__(name=name)

    def files(self) -> dict[str, bytes]:
        return {p.relative_to(self.folder).as_posix(): p.read_bytes() for p in self._all()}

    def _all(self) -> Iterator[Path]:
        return (path for path in sorted(self.folder.rglob("*")) if path.is_file())

    def write(self, path: str, data: bytes) -> None:
        if not path.endswith(".txt"):
            raise ParameterRefused(f"{path} does not match *.txt")
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)

    def delete(self, path: str) -> None:
        (self.folder / path).unlink()

    def snapshot(self) -> bytes:
        return json.dumps({name: data.hex() for name, data in self.files().items()}).encode()

    def restore(self, state: bytes) -> None:
        for path in list(self._all()):
            path.unlink()
        for name, data in json.loads(state).items():
            self.write(name, bytes.fromhex(data))


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    (tmp_path / "live").mkdir()
    (tmp_path / "live" / "a.txt").write_bytes(b"a\r\n")
    (tmp_path / "live" / "b.txt").write_bytes(bytes(range(256)))
    made: Tree = with_feedback(Tree(tmp_path / "live"))
    return made


def test_files_are_changed_added_and_deleted_and_the_rest_is_not_touched(tree: Tree) -> None:
    def work(folder: Path) -> None:
        assert (folder / "rules" / "b.txt").read_bytes() == bytes(range(256))
        (folder / "rules" / "a.txt").unlink()
        (folder / "rules" / "sub").mkdir()
        (folder / "rules" / "sub" / "c.txt").write_bytes(b"new")

    stamp = (tree.folder / "b.txt").stat().st_mtime_ns
    agent = Editor(work)
    assert AgentOptimizer(agent, [tree]).step() == 1
    assert tree.files() == {"b.txt": bytes(range(256)), "sub/c.txt": b"new"}
    assert (tree.folder / "b.txt").stat().st_mtime_ns == stamp
    assert "a\r\n" in agent.tasks[0] and "- rules/b.txt (256 bytes)" in agent.tasks[0]


def test_a_file_the_parameter_does_not_take_undoes_the_whole_change(tree: Tree, prompt: TextParameter) -> None:
    def work(folder: Path) -> None:
        (folder / "prompt.md").write_text("changed")
        (folder / "rules" / "a.txt").write_text("changed")
        (folder / "rules" / "z.exe").write_text("no")

    with pytest.raises(ParameterRefused, match=r"z\.exe does not match"):
        AgentOptimizer(Editor(work, nothing), [prompt, tree]).step()
    assert prompt.data == "Be brief." and tree.files()["a.txt"] == b"a\r\n"


def test_a_folder_that_became_a_link_is_refused(tree: Tree) -> None:
    def work(folder: Path) -> None:
        (folder / "rules" / "out").symlink_to("/etc")

    with pytest.raises(ParameterRefused, match="rules/out is no regular file"):
        AgentOptimizer(Editor(work, nothing), [tree]).step()
