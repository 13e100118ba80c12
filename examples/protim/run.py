"""An agent's prompt, trained by another agent: it proposes, held-out tickets decide. `--live` asks real models."""

import shutil
import sys
import tempfile
from pathlib import Path

from model import Obedient
from tickets import loader, score

from autopilot_runtime import ScriptedProvider
from autopilot_runtime.training import (
    AgentModule,
    AgentOptimizer,
    MonotonicGate,
    Policy,
    RuntimeAgent,
    TargetStopper,
    Trainer,
)

HERE, LIVE = Path(__file__).parent, "--live" in sys.argv
# What the proposer said when this was recorded. It works all the same: control blocks, in a sandbox, on copies.
recorded = None if LIVE else ScriptedProvider.from_file(HERE / "replies.txt")


class Desk(AgentModule):
    """The agent file as a module: its prompt is the parameter, running it on a ticket is the forward pass."""

    def configure_optimizers(self) -> AgentOptimizer:
        return AgentOptimizer(RuntimeAgent("proposer", provider=recorded), self.parameters())


with tempfile.TemporaryDirectory() as folder:
    for name in ("agent.yaml", "prompt.md"):
        shutil.copy(HERE / name, folder)
    module = Desk(Path(folder, "agent.yaml"), score=score, provider=None if LIVE else Obedient())
    train = loader("train")
    trainer = Trainer(
        policy=Policy(MonotonicGate("score", strict=True)),
        stoppers=TargetStopper("score", 1.0),
        accumulate_grad_batches=len(train),
    )
    result = trainer.fit(module, train, loader("val"), max_epochs=8)
    for row in result.history:
        strategy = str(row.extra.get("why", "")).splitlines()[:1]
        print(f"{row.verdict:8} held out {row.metrics['score']:4.0%}  {''.join(strategy)}")
    print(f"held out: {result.history[0].metrics['score']:.0%} -> {result.metrics['score']:.0%}. The prompt now:")
    print(Path(folder, "prompt.md").read_text(), end="")
