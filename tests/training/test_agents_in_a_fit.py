"""Agents inside a whole fit: one proposes, one judges, one is what is trained; and nobody is asked twice."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from autopilot_runtime import EventType, ScriptedProvider
from autopilot_runtime.core.message import Message
from autopilot_runtime.training import (
    AgentModule,
    AgentOptimizer,
    AutoPilotModule,
    DataLoader,
    Datum,
    EvalDatum,
    Experiment,
    JudgeAgent,
    JudgeLoss,
    ListDataset,
    LocalExecutor,
    MeanMetric,
    MinGate,
    PathParameter,
    QualityFirstPolicy,
    RuntimeAgent,
    Trainer,
)


def items(*names: str) -> DataLoader:
    return DataLoader(
        ListDataset([Datum(id=name, metadata={"task": f"Greet {name}"}) for name in names]), batch_size=2
    )


TRAIN, VAL = items("Ada", "Bob"), items("Cid")


def proposing(text: str, strategy: str) -> str:
    """What a model says that writes the prompt anew."""
    return (
        f'```codepilot\nwrite_file("prompt/prompt.md")\n```\n\n```text\n{text}\n```\n\n'
        f"```completion\nStrategy: {strategy}\nprompt.md says more now.\n```\n"
    )


def judging(messages: Sequence[Message]) -> str:
    """A model that likes names."""
    output = messages[-1].content.partition("Output:")[2].partition("What stands")[0]
    named = any(name in output for name in ("Ada", "Bob", "Cid"))
    answer = {
        "reasons": ["it is personal" if named else "it names nobody"],
        "score": 1.0 if named else 0.2,
        "passed": named,
    }
    return f"```completion\n{json.dumps(answer)}\n```"


class Greeter(AutoPilotModule):
    """Greets as its prompt file says."""

    def __init__(self, folder: Path, agent: Any, judge: Any) -> None:
        self.prompt = PathParameter(folder / "prompt.md")
        self.loss = JudgeLoss(judge)
        self.score = MeanMetric("score")
        self.agent = agent

    def forward(self, batch: Any) -> Any:
        prompt = self.prompt.text
        return [EvalDatum(id=one.id, metadata={"said": prompt.replace("NAME", one.id)}) for one in batch]

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        results = self(batch)
        self.loss(results, batch)  # it notes its score on the results
        return results

    def configure_optimizers(self) -> Any:
        return AgentOptimizer(self.agent, self.parameters())


@pytest.fixture
def prompt(tmp_path: Path) -> Path:
    path = tmp_path / "live" / "prompt.md"
    path.parent.mkdir()
    path.write_bytes(b"Hello!\r\n")
    return path


def test_one_agent_improves_a_prompt_that_another_one_judges(prompt: Path, tmp_path: Path) -> None:
    proposer = ScriptedProvider([proposing("Hi!", "be shorter"), proposing("Hello NAME!", "use the name")])
    judge = ScriptedProvider(judging)
    module = Greeter(
        prompt.parent, RuntimeAgent("proposer", provider=proposer), JudgeAgent(RuntimeAgent("judge", provider=judge))
    )
    events: list[Any] = []
    seen: list[bytes] = []
    trainer = Trainer(
        policy=[MinGate("score", 0.5)], monitor="score", experiment=Experiment("protim", path=tmp_path / "kept")
    )
    trainer.stream.listen(events.append)
    trainer.stream.listen(
        lambda event: seen.append(prompt.read_bytes()) if event.type is EventType.EVAL_END else None
    )
    result = trainer.fit(module, TRAIN, VAL, max_epochs=2)
    assert [row.verdict for row in result.history] == ["seed", "discard", "accept"]
    assert result.metrics["score"] == 1.0 and prompt.read_text() == "Hello NAME!\n"
    assert set(seen) == {b"Hello!\r\n"}, "the live file held something that was not accepted"
    first, second = (call.messages[-1].content for call in proposer.calls)
    assert "it names nobody" in first and "What was tried" not in first
    assert "- discard: Strategy: be shorter" in second and "score 0.2 does not meet >= 0.5" in second
    assert "Hello!" in second, "a discarded change must not be what the next one begins with"
    assert trainer.budget.spent["tokens"] > 0
    told = [event.type for event in events]
    assert told.count(EventType.PROPOSED) == 2 and told.count(EventType.ACCEPTED) == 1
    with Experiment("protim", path=tmp_path / "kept").record as record:
        why = [one.text for one in record.context("protim", source="optimizer")]
        assert why[-1].startswith("Strategy: use the name")


def test_a_refused_change_costs_an_epoch_and_no_more(prompt: Path, tmp_path: Path) -> None:
    stray = '```codepilot\nwrite_file("notes.txt")\n```\n\n```text\nx\n```\n\n```completion\ndone\n```\n'
    proposer = ScriptedProvider([stray, stray, proposing("Hello NAME!", "use the name")])
    module = Greeter(prompt.parent, RuntimeAgent("proposer", provider=proposer), judging_function)
    trainer = Trainer(policy=QualityFirstPolicy("score"))
    events: list[Any] = []
    trainer.stream.listen(events.append)
    result = trainer.fit(module, TRAIN, VAL, max_epochs=2)
    assert [row.verdict for row in result.history] == ["seed", "discard", "accept"]
    refused = next(event for event in events if event.type is EventType.STEP_REJECTED)
    assert "notes.txt belongs to no parameter" in refused.error


def judging_function(result: EvalDatum, target: Datum) -> Any:
    return (1.0, "") if target.id in result.metadata["said"] else (0.2, "it names nobody")


@pytest.mark.parametrize("workers", [0, 2])
def test_a_state_that_the_judge_could_not_judge_is_discarded_for_that_reason(prompt: Path, workers: int) -> None:
    def down_later(result: EvalDatum, target: Datum) -> Any:
        if "NAME" not in prompt.read_text() and "Cid" in result.metadata["said"]:
            raise ConnectionError("the judge is down")
        return judging_function(result, target)

    proposer = ScriptedProvider([proposing("Hello NAME!", "use the name")])
    module = Greeter(prompt.parent, RuntimeAgent("proposer", provider=proposer), down_later)
    module.loss.retries = 0
    executor = LocalExecutor(workers) if workers else None
    trainer = Trainer(policy=QualityFirstPolicy("score"), retries=0, executor=executor)
    result = trainer.fit(module, TRAIN, items("Cid", "Di", "Ed", "Flo"), max_epochs=1)
    if executor is not None:
        executor.shutdown()
    assert result.history[-1].verdict == "discard"
    assert "the judge is down" in result.history[-1].reason


class Killed(Exception):
    """Instead of a SIGKILL."""


def test_after_a_kill_neither_agent_is_asked_again_for_what_it_answered(prompt: Path, tmp_path: Path) -> None:
    def fit(proposer: Any, judge: Any, *, dies: bool) -> Any:
        module = Greeter(prompt.parent, RuntimeAgent("proposer", provider=proposer), judge)
        trainer = Trainer(policy=QualityFirstPolicy("score"), experiment=Experiment("e", path=tmp_path / "kept"))
        if dies:

            class Dies:
                def on_validation_start(self, trainer: Any, module: Any) -> None:
                    if trainer.global_step:
                        raise Killed

            trainer.callbacks.append(Dies())
        return trainer.fit(module, TRAIN, VAL, max_epochs=1, ckpt_path="last")

    asked: list[str] = []

    def judge(result: EvalDatum, target: Datum) -> Any:
        asked.append(target.id)
        return judging_function(result, target)

    with pytest.raises(Killed):
        fit(ScriptedProvider([proposing("Hello NAME!", "use the name")]), judge, dies=True)
    assert asked == ["Cid", "Ada", "Bob"] and prompt.read_bytes() == b"Hello!\r\n"
    asked.clear()
    result = fit(ScriptedProvider([]), judge, dies=False)
    assert [row.verdict for row in result.history] == ["seed", "accept"]
    assert asked == ["Cid"], "only the validation of the new state was left to be judged"
    assert prompt.read_text() == "Hello NAME!\n"


# ---------------------------------------------------------------- an agent trains an agent


def greeting_model() -> ScriptedProvider:
    """A model that does what the system prompt of its agent says, as far as that goes."""
    made: list[ScriptedProvider] = []

    def reply(messages: Sequence[Message]) -> str:
        system, task = made[0].calls[-1].system, messages[-1].content
        name = task.partition("Greet ")[2].split()[0]
        return f"```completion\n{f'Hello {name}' if 'use the name' in system else 'Hello you'}\n```"

    made.append(ScriptedProvider(reply))
    return made[0]


def named(answer: str, item: Datum) -> Any:
    return (1.0, "") if item.id in answer else (0.0, "the greeting names nobody")


@pytest.mark.parametrize("where", ["inline", "file"])
def test_an_agents_own_prompt_is_trained_by_running_that_agent(tmp_path: Path, where: str) -> None:
    (tmp_path / "greeter.md").write_text("You greet people.")
    prompt = "./greeter.md" if where == "file" else "You greet people."
    agent = {"name": "Greeter", "system_prompt": prompt, "model": {"provider": "scripted", "name": "s"}, "tools": []}
    (tmp_path / "greeter.yaml").write_text(json.dumps({"agent": agent}))
    name = "prompt/greeter.md" if where == "file" else "prompt.md"
    proposer = ScriptedProvider(
        [proposing("You greet people; use the name.", "name them").replace("prompt/prompt.md", name)]
    )

    class SelfTaught(AgentModule):
        def configure_optimizers(self) -> Any:
            return AgentOptimizer(RuntimeAgent("proposer", provider=proposer), self.parameters())

    model = greeting_model()
    module = SelfTaught(tmp_path / "greeter.yaml", score=named, provider=model)
    result = Trainer(policy=QualityFirstPolicy("score")).fit(module, TRAIN, VAL, max_epochs=1)
    assert [row.verdict for row in result.history] == ["seed", "accept"]
    assert [row.metrics["score"] for row in result.history] == [0.0, 1.0]
    assert "the greeting names nobody" in proposer.calls[0].messages[-1].content
    assert "use the name" in module.text and module.usage is not None and module.usage.calls == 4
    if where == "file":
        assert (tmp_path / "greeter.md").read_text().strip() == "You greet people; use the name."


def test_a_model_that_is_down_is_an_error_and_no_bad_score(tmp_path: Path) -> None:
    agent = {"name": "Greeter", "system_prompt": "x", "model": {"provider": "scripted", "name": "s"}, "tools": []}
    (tmp_path / "greeter.yaml").write_text(json.dumps({"agent": agent}))
    module = AgentModule(tmp_path / "greeter.yaml", score=named, provider=ScriptedProvider([]))
    trainer = Trainer(policy=QualityFirstPolicy("score"), retries=0)
    with pytest.raises(Exception, match=r"the agent's run on Cid failed: .*has 0 replies"):
        trainer.fit(module, TRAIN, VAL, max_epochs=1)


def test_running_out_of_steps_is_the_agents_own_fault(tmp_path: Path) -> None:
    agent = {
        "name": "Greeter",
        "system_prompt": "x",
        "model": {"provider": "scripted", "name": "s"},
        "runtime": {"max_steps": 1},
        "tools": ["read_file"],
    }
    (tmp_path / "greeter.yaml").write_text(json.dumps({"agent": agent}))
    busy = ScriptedProvider(lambda messages: "```codepilot\nprint(1)\n```")
    (found,) = AgentModule(tmp_path / "greeter.yaml", score=named, provider=busy).eval()(
        [Datum(id="Ada", metadata={"task": "Greet Ada"})]
    )
    assert not found and "came to no end (max_steps)" in found.feedback and "score" not in found.metrics
