"""Shows every candidate of train.py: the work on both kinds of queries, what writing costs, what became of it."""

import shutil
import tempfile
from pathlib import Path

from train import Shop, max_epochs, policy, train, val

from autopilot_runtime.training import Callback, Trainer


class Table(Callback):
    def on_validation_end(self, trainer: Trainer, module: Shop, metrics: dict) -> None:
        learnt_from = sum(one.metrics["steps"] for batch in train for one in module(batch))
        work = f"train {learnt_from:7,}  held out {metrics['steps']:7,}"
        self.figures = f"{work}  writes {metrics['writes']:5,}"

    def on_fit_start(self, trainer: Trainer, module: Shop) -> None:
        print("VM steps of ...")

    def on_sanity_check_end(self, trainer: Trainer, module: Shop) -> None:
        print(f"before            {self.figures}")

    def on_epoch_end(self, trainer: Trainer, module: Shop) -> None:
        row = trainer.history[-1]
        why = "" if row.verdict == "accept" else f": {row.reason}"
        print(f"epoch {row.epoch} {row.verdict:8}  {self.figures}  {row.extra['why']}{why}")


with tempfile.TemporaryDirectory() as folder:
    file = Path(shutil.copy(Path(__file__).with_name("indexes.sql"), folder))
    result = Trainer(Table(), policy).fit(Shop(file), train, val, max_epochs=max_epochs)
    before, after = result.history[0].metrics["steps"], result.metrics["steps"]
    print(f"held-out work: {before:,} -> {after:,} steps, x{before / after:.0f} less")
    print(file.read_text(), end="")
