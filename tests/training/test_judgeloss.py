"""A judge inside the loop: its findings flow to the parameters they are about, its failures are no scores."""

from __future__ import annotations

import asyncio
import pickle
import threading
from pathlib import Path
from typing import Any

import pytest

from autopilot_runtime.core.protocols import RunResult
from autopilot_runtime.training import (
    Batch,
    Datum,
    EvalDatum,
    EvaluationFailed,
    JudgeAgent,
    JudgeLoss,
    Module,
    RuntimeAgent,
    TextGradient,
    TextParameter,
    TrainingError,
    no_grad,
)


class Greeter(Module):
    def __init__(self) -> None:
        self.prompt = TextParameter("hi")
        self.tone = TextParameter("flat")

    def forward(self, batch: Any) -> Any:
        return [EvalDatum(id=f"r-{one.id}", metadata={"said": self.prompt.data}) for one in batch]


ITEMS = Batch(items=[Datum(id="a"), Datum(id="b")])


def test_the_judge_is_really_called_once_for_each_result_with_its_own_target() -> None:
    calls: list[tuple[str, str]] = []

    def judge(result: EvalDatum, target: Datum) -> dict[str, Any]:
        calls.append((result.id, target.id))
        return {"score": 0.25, "feedback": f"bad on {target.id}", "attribution": "prompt"}

    module, loss = Greeter(), JudgeLoss(judge)
    results = module(ITEMS)
    found = loss(results, ITEMS)
    assert calls == [("r-a", "a"), ("r-b", "b")]
    assert [one.metrics for one in found] == [{"score": 0.25, "loss": 0.75}] * 2
    assert loss.mean_score == pytest.approx(0.75)
    loss.backward()
    assert module.prompt.grad is not None
    assert module.prompt.grad.render() == "[prompt] bad on a (seen in: a)\n[prompt] bad on b (seen in: b)"
    assert module.tone.grad is None, "feedback on one parameter reached another"


def test_what_was_found_is_noted_on_the_results_for_the_metrics() -> None:
    module = Greeter()
    results = module(ITEMS)
    JudgeLoss(lambda result: (0.4, "curt", False))(results, ITEMS)
    assert results[0].metrics == {"score": 0.4, "loss": 0.6}
    assert results[0].feedback == "curt" and not results[0]


def test_feedback_for_all_is_put_together_once_and_shared() -> None:
    rounds: list[int] = []

    class Counting:
        def collate(self, gradients: Any) -> TextGradient:
            rounds.append(len(gradients))
            return TextGradient("be warm")

    module, loss = Greeter(), JudgeLoss(lambda result: "cold", Counting())
    loss(module(ITEMS), ITEMS)
    loss(module(ITEMS), ITEMS)
    loss.backward()
    assert rounds == [4]
    assert module.prompt.grad == module.tone.grad == TextGradient("be warm")


def test_feedback_from_before_is_kept_beside_the_new() -> None:
    module, loss = Greeter(), JudgeLoss(lambda result: "cold")
    module.prompt.grad = TextGradient("old")
    loss(module(ITEMS), ITEMS)
    loss.backward()
    assert module.prompt.grad is not None
    assert module.prompt.grad.render().splitlines()[0] == "old"


def test_praise_is_no_feedback() -> None:
    module, loss = Greeter(), JudgeLoss(lambda result: {"score": 1, "reasons": ["perfect"]})
    found = loss(module(ITEMS), ITEMS)
    loss.backward()
    assert module.prompt.grad is None and found[0].feedback == "perfect"


def test_a_judge_that_raises_for_one_item_is_an_error_there_and_no_score() -> None:
    def judge(result: EvalDatum, target: Datum) -> Any:
        if target.id == "a":
            raise ZeroDivisionError("in the judge")
        return {"score": 0.5, "feedback": "meh"}

    module, loss = Greeter(), JudgeLoss(judge, retries=0)
    results = module(ITEMS)
    found = loss(results, ITEMS)
    assert "ZeroDivisionError: in the judge" in found[0].error_message and found[0].metrics == {}
    assert "not judged" in results[0].error_message and results[0].metrics == {}
    assert loss.mean_score == pytest.approx(0.5)
    loss.backward()
    assert module.prompt.grad is not None and "in the judge" not in module.prompt.grad.render()


def test_a_flaky_judge_is_asked_again() -> None:
    answers: list[Any] = [OSError("flake"), {"score": 0.5}]

    def judge(result: Any) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert JudgeLoss(judge)("text", Datum(id="a")).metrics["score"] == 0.5


def test_a_judge_that_hangs_is_given_up_and_the_others_are_judged() -> None:
    never = threading.Event()

    def judge(result: EvalDatum, target: Datum) -> Any:
        if target.id == "a":
            never.wait()
        return 0.5

    found = JudgeLoss(judge, timeout=0.1)(Greeter()(ITEMS), ITEMS)
    never.set()
    assert "no answer within 0.1 s" in found[0].error_message and found[1].metrics["score"] == 0.5


def test_a_judge_that_is_down_ends_the_training() -> None:
    def judge(result: Any) -> Any:
        raise ConnectionError("refused")

    loss = JudgeLoss(judge, retries=0)
    many = Batch(items=[Datum(id=str(n)) for n in range(25)])
    with pytest.raises(EvaluationFailed, match=r"20 results in a row could not be judged: .*refused"):
        loss([EvalDatum() for _ in many], many)


def test_async_judges_work_side_by_side_and_stay_in_order() -> None:
    both = asyncio.Barrier(2)

    async def judge(result: EvalDatum, target: Datum) -> float:
        await both.wait()  # each waits for the other: one after the other would never end
        return 0.1 if target.id == "a" else 0.2

    found = JudgeLoss(judge, timeout=30)(Greeter()(ITEMS), ITEMS)
    assert [one.metrics["score"] for one in found] == [0.1, 0.2]


def test_an_object_an_agent_and_a_judge_agent_are_judges() -> None:
    class Own:
        def judge(self, result: Any, target: Any) -> float:
            return 0.5

    class Agent:
        async def run(self, task: str) -> RunResult:
            return RunResult("completed", '{"score": 0.5}')

    for judge in (Own(), Agent(), JudgeAgent(Agent(), "rubric")):
        assert JudgeLoss(judge=judge)("out", Datum(id="a")).metrics["score"] == 0.5
    with pytest.raises(TrainingError, match="no judge"):
        JudgeLoss(3)


def test_results_and_targets_of_different_number_are_refused() -> None:
    with pytest.raises(TrainingError, match="2 results and 3 targets"):
        JudgeLoss(lambda result: 1)(["a", "b"], ["x", "y", "z"])


def test_what_held_out_data_shows_is_never_learned_from() -> None:
    module, loss = Greeter(), JudgeLoss(lambda result: {"score": 0.5, "feedback": "seen in held-out data"})
    with no_grad():
        loss(module.eval()(ITEMS), ITEMS)
    assert loss.mean_score == 0.5
    loss.backward()
    assert module.prompt.grad is None


def test_a_state_is_not_measured_without_the_results_that_could_not_be_judged() -> None:
    def judge(result: EvalDatum, target: Datum) -> float:
        if target.id == "a":
            raise OSError("down")
        return 1.0

    with no_grad(), pytest.raises(EvaluationFailed, match=r"not judged: .*down"):
        JudgeLoss(judge, retries=0)(Greeter().eval()(ITEMS), ITEMS)


def test_a_judge_goes_along_to_another_process(tmp_path: Path) -> None:
    judge = JudgeAgent(RuntimeAgent("judge"), "rubric", checkpoint=tmp_path / "kept.jsonl")
    there = pickle.loads(pickle.dumps(JudgeLoss(judge)))
    assert there.judge.rubric == "rubric"
    there.judge._answers.put("key", {"score": 1})
    assert (tmp_path / "kept.jsonl").read_text().startswith('{"key": "key"')
