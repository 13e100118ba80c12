"""The code of the document that the training loop was born from runs here, with nothing changed but the imports."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from autopilot_runtime.training import DataLoader, Datum, EvalDatum, ListDataset, NumericGradient, TextParameter

CLAUDE = """#!{python}
import json, pathlib, sys
sys.stdin.read()
for path in pathlib.Path().glob("*.md"):
    path.write_text(path.read_text() + " Be kind.")
end = {{"type": "result", "subtype": "success", "is_error": False, "result": "Added kindness.", "num_turns": 1}}
end |= {{"session_id": "s", "total_cost_usd": 0.01, "usage": {{"input_tokens": 10, "output_tokens": 5}}}}
print(json.dumps(end))
"""


@pytest.fixture
def claude(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An executable in the place of Claude Code, which edits what it is given."""
    path = tmp_path / "bin" / "claude"
    path.parent.mkdir()
    path.write_text(CLAUDE.format(python=sys.executable))
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(path.parent))


def train_loader() -> DataLoader:
    return DataLoader(ListDataset([Datum(id="a"), Datum(id="b")]), batch_size=1)


class Answers:
    """What the modules below do with a batch."""

    prompt: TextParameter

    def forward(self, batch: Any) -> Any:
        return EvalDatum(id=batch.id, success="kind" in self.prompt.data, metadata={"answer": self.prompt.data})


class MyJudge:
    """Misses kindness."""

    def judge(self, result: Any, target: Any) -> Any:
        return {"score": float(result.success), "feedback": "" if result.success else "it is not kind"}


def test_the_manual_loop(claude: None) -> None:
    from autopilot_runtime.training import AgentOptimizer, ClaudeCodeAgent, ConcatCollator, JudgeLoss, Module

    class MyModule(Answers, Module):
        def __init__(self) -> None:
            super().__init__()
            self.prompt = TextParameter("Answer.")

    loader = train_loader()
    # the block
    module = MyModule()
    loss = JudgeLoss(judge=MyJudge(), collator=ConcatCollator())
    optimizer = AgentOptimizer(agent=ClaudeCodeAgent(), parameters=module.parameters())
    module.train()
    for epoch in range(5):  # noqa: B007
        for batch in loader:
            data = module(batch)
            loss(data, batch)
            loss.backward()  # structured feedback fills param.grad
            optimizer.step()  # optimizer applies improvements (e.g. edits code)
            optimizer.zero_grad()
    # what it did
    assert module.prompt.data == "Answer. Be kind."
    assert epoch == 4


def test_the_optimizer_of_ones_own() -> None:
    from autopilot_runtime.training import Optimizer, Parameter

    class ThresholdOptimizer(Optimizer):
        def step(self):
            for param in self._parameters:
                if param.grad is not None:
                    old = float(param.data)
                    param.data = str(old + 0.01 * param.grad.value)

    param = Parameter("0.5")
    optimizer = ThresholdOptimizer([param])
    param.receive(NumericGradient(10))
    optimizer.step()
    assert param.data == "0.6"


def test_the_automated_loop(claude: None, tmp_path: Path) -> None:
    from autopilot_runtime.training import (
        AgentOptimizer,
        AutoPilotModule,
        ClaudeCodeAgent,
        Experiment,
        JudgeLoss,
        QualityFirstPolicy,
        Trainer,
    )

    class MyModule(Answers, AutoPilotModule):
        def __init__(self) -> None:
            super().__init__()
            self.prompt = TextParameter("Answer.")
            self.loss = JudgeLoss(judge=MyJudge())

        def training_step(self, batch, batch_idx):
            return self.forward(batch)

        def configure_optimizers(self):
            return AgentOptimizer(agent=ClaudeCodeAgent(), parameters=self.parameters())

    module, loader, my_policy = MyModule(), train_loader(), QualityFirstPolicy("success")
    my_experiment = Experiment("mine", path=tmp_path / "kept")
    # the block
    trainer = Trainer(callbacks=[], policy=my_policy, experiment=my_experiment)
    trainer.fit(module, train_dataloaders=loader, max_epochs=10)
    # what it did
    assert module.prompt.data == "Answer. Be kind."
    assert trainer.history[-1].metrics["success"] == 1.0


def test_the_minimal_example(capsys: pytest.CaptureFixture[str]) -> None:
    from autopilot_runtime.training import DataLoader, Datum, ListDataset

    loader = DataLoader(ListDataset([Datum(), Datum(), Datum()]), batch_size=1)
    batch = next(iter(loader))
    print(batch.id)
    assert capsys.readouterr().out.strip() == batch.items[0].id


def test_the_command_of_a_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from autopilot_runtime import AutoPilotCLI
    from autopilot_runtime.cli.train.place import Workspace

    monkeypatch.chdir(tmp_path)
    Workspace.made(tmp_path)
    (tmp_path / "autopilot" / "projects" / "my-project").mkdir(parents=True)
    my_module, MyGenerator, MyJudge = object(), object, object

    class MyCLI(AutoPilotCLI, project="my-project"):
        def __init__(self):
            super().__init__()
            self.module = my_module
            self.generator = MyGenerator()
            self.judge = MyJudge()

    monkeypatch.setattr(sys, "argv", ["cli.py", "project", "list", "--json"])
    with pytest.raises(SystemExit) as end:
        MyCLI()()
    assert end.value.code == 0


def test_every_name_of_its_imports_is_there(tmp_path: Path) -> None:
    from autopilot_runtime import training

    named = """Datum EvalDatum Module AutoPilotModule Parameter Gradient Loss Optimizer Trainer Metric Experiment
    Store Environment LocalEnvironment CheckpointIO JSONCheckpointIO Callback EpochLoop ListDataset DataLoader
    DataModule Stage RandomSampler SequentialSampler BatchSampler WeightedSampler PathParameter JudgeLoss
    AgentOptimizer ClaudeCodeAgent IsolatedEnvironment ConcatCollator GeneratorAgent JudgeAgent Policy"""
    missing = [name for name in named.split() if not hasattr(training, name)]
    assert missing == [], json.dumps(missing)
