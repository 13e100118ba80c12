"""A fit to be killed: `python longfit.py FOLDER` trains, or goes on training, and prints how it ended.

It has files, two modules that hang together, an optimizer that is expensive to ask, and writes a line for every
evaluation and every question, so that a test can see what was done twice.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from autopilot_runtime.training import (
    AutoPilotModule,
    DataLoader,
    Datum,
    EvalDatum,
    Experiment,
    ListDataset,
    Loss,
    Module,
    Optimizer,
    PathParameter,
    QualityFirstPolicy,
    RandomSampler,
    TextGradient,
    TextParameter,
    Trainer,
)

FOLDER = Path(sys.argv[1]) if len(sys.argv) > 1 else Path()
EPOCHS = 6


def note(*what: Any) -> None:
    """A line that survives the kill."""
    fd = os.open(FOLDER / "notes.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(fd, (json.dumps(what) + "\n").encode())
    os.close(fd)


class Words(Module):
    """Knows the words in its file."""

    def __init__(self) -> None:
        self.file = PathParameter(FOLDER / "live", "*.txt")

    def forward(self, batch: Any) -> Any:
        known = self.file.read("known.txt").decode().split()
        return [EvalDatum(id=one.id, success=one.metadata["word"] in known) for one in batch]


class Strict(Module):
    """Accepts what begins with a letter it allows."""

    def __init__(self) -> None:
        self.letters = TextParameter("abcdefgh")

    def forward(self, found: Any) -> Any:
        return [EvalDatum(id=one.id, success=one.success and one.id[5] in self.letters.data) for one in found]


class Missing(Loss):
    def forward(self, data: Any, targets: Any = None) -> Any:
        return [TextGradient(f"unknown {one.id[5:]}", "known.txt", items=(one.id,)) for one in data if not one]


class Asked(Optimizer):
    """Asks somebody who is expensive; every third answer is a bad one."""

    asked = 0

    def step(self) -> None:
        self.asked += 1
        for parameter in self.parameters:
            if isinstance(parameter, PathParameter) and parameter.grad is not None:
                note("asked", self.asked)
                word = parameter.grad.render().split("unknown ")[1].split()[0]
                known = parameter.read("known.txt").decode()
                parameter.write("known.txt", (known[:3] if self.asked % 3 == 0 else f"{known}{word}\n").encode())
                self.why = f"answer {self.asked}: {word}"

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "asked": self.asked}

    def load_state_dict(self, state: Any) -> None:
        super().load_state_dict(state)
        self.asked = state["asked"]


class System(AutoPilotModule):
    def __init__(self) -> None:
        self.words, self.strict, self.loss = Words(), Strict(), Missing()

    def forward(self, batch: Any) -> Any:
        return self.strict(self.words(batch))

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.seen("train", batch)
        return self(batch)

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        self.seen("val", batch)
        return self(batch)

    def seen(self, split: str, batch: Any) -> None:
        epoch = self.trainer.current_epoch if split == "train" and self.trainer is not None else None
        note(split, epoch, self.words.file.read("known.txt").decode(), [one.id for one in batch])

    def configure_optimizers(self) -> Any:
        return Asked(self.parameters())


def loaders() -> tuple[DataLoader, DataLoader]:
    items = ListDataset(
        [
            Datum(id=f"item-{word}", metadata={"word": word})
            for word in ["ab", "cd", "ef", "gh", "ba", "dc", "fe", "hg"]
        ]
    )
    return DataLoader(items, batch_size=2, sampler=RandomSampler(items, seed=3)), DataLoader(items, batch_size=1)


def main() -> None:
    module = System()
    trainer = Trainer(
        policy=QualityFirstPolicy("success"),
        experiment=Experiment("long", path=FOLDER / "record"),
        accumulate_grad_batches=2,
    )
    result = trainer.fit(module, *loaders(), max_epochs=EPOCHS, ckpt_path="last")
    print(json.dumps({"status": result.status, "commit": result.commit, "metrics": dict(result.metrics),
                      "rows": [[row.epoch, row.commit, row.parent, row.verdict, row.reason, dict(row.metrics)]
                               for row in result.history]}))  # fmt: skip


if __name__ == "__main__":
    (FOLDER / "live").mkdir(parents=True, exist_ok=True)
    if not (FOLDER / "live" / "known.txt").exists():
        (FOLDER / "live" / "known.txt").write_text("ab\n", encoding="utf-8")
    main()
