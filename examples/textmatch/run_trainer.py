"""Rules from bad to right with the Trainer: held-out messages decide, and what did not help is never tried again."""

import shutil
import tempfile
from pathlib import Path

from textmatch import HERE, Sorter, loader

from autopilot_runtime.training import MonotonicGate, Policy, TargetStopper, Trainer

with tempfile.TemporaryDirectory() as folder:
    file = Path(shutil.copy(HERE / "rules.json", folder))
    module, train, val = Sorter(file), loader("train"), loader("val")
    trainer = Trainer(
        policy=Policy(MonotonicGate("success", strict=True)),
        stoppers=TargetStopper("success", 1.0),
        accumulate_grad_batches=len(train),
    )
    result = trainer.fit(module, train, val, max_epochs=40)
    for row in result.history:
        print(f"{row.verdict:8} held out {row.metrics['success']:4.0%}  {row.extra.get('why', '')}")
    learned = trainer.validate(module, train)["success"]
    before, after = result.history[0].metrics["success"], result.metrics["success"]
    print(f"held out: {before:.0%} -> {after:.0%}, train: {learned:.0%}, after {result.epochs} epochs")
    print(file.read_text(), end="")
