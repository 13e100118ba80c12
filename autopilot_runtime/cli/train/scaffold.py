"""The files of a new project: a small classifier that trains without a key, to be replaced piece by piece."""

from __future__ import annotations

import json
from pathlib import Path

TRAINER = '''"""What is trained, on which data, and what a candidate must do to be kept. Replace it piece by piece."""

from pathlib import Path

from autopilot_runtime.training import (
    AutoPilotModule,
    DataLoader,
    EvalDatum,
    ListDataset,
    Loss,
    PathParameter,
    PlateauStopper,
    QualityFirstPolicy,
    RuleOptimizer,
    SuccessRate,
    TextGradient,
    parts_of,
)

HERE = Path(__file__).parent


class Misjudged(Loss):
    """Says which messages were taken for what they are not, and which words might tell."""

    def forward(self, data, batch):
        found = []
        for one in data:
            verb, *words = one.feedback.split()
            found += [TextGradient(f"{verb} {word}", "words.txt", items=[one.id]) for word in words if not one]
        return found


class Classifier(AutoPilotModule):
    """A message that holds one of the words in rules/words.txt is spam."""

    def __init__(self):
        self.rules = PathParameter(HERE / "rules", "*.txt")  # what may be changed
        self.loss = Misjudged()
        self.accuracy = SuccessRate("accuracy")

    def forward(self, batch):
        words = self.rules.read("words.txt").decode().split()
        return [self.judge(message, words) for message in batch]

    def judge(self, message, words):
        text, is_spam = message.metadata["text"], message.metadata["spam"]
        found = [word for word in words if word in text.split()]
        advice = f"remove {' '.join(found)}" if found else f"add {text}"
        return EvalDatum(id=message.id, success=bool(found) == is_spam, feedback=advice)

    def configure_optimizers(self):
        return Editor(self.parameters())


class Editor(RuleOptimizer):
    """Does what the first feedback asks for, and never again what was discarded. An agent could stand here:
    AgentOptimizer(RuntimeAgent("proposer"), self.parameters())."""

    def propose(self, rules, gradient):
        for advice in (part.text for part in parts_of(gradient)):
            if not self.is_blocked(advice):
                verb, word = advice.split()
                words = [one for one in rules.read("words.txt").decode().split() if one != word]
                rules.write("words.txt", "\\n".join(words + [word] * (verb == "add")) + "\\n")
                self.why = advice
                return rules
        return None

    def told(self, verdict, reason):
        if verdict != "accept":
            self.block_strategy(self.why, reason)


def load(name):
    return ListDataset.from_jsonl(HERE / "datasets" / f"{name}.jsonl")


module = Classifier
train = DataLoader(load("train"), batch_size=4, shuffle=True, seed=1)
val = DataLoader(load("val"), batch_size=4)
policy = QualityFirstPolicy("accuracy")
monitor = "accuracy"
stoppers = [PlateauStopper("accuracy", patience=5)]
accumulate_grad_batches = 100  # one step an epoch
'''

CLI = '''"""This project as a command of its own: python cli.py optimize train --context 'why'"""

from trainer import Classifier

from autopilot_runtime import AutoPilotCLI


class ProjectCLI(AutoPilotCLI, project={name!r}):
    def __init__(self):
        super().__init__()
        self.module = Classifier()


if __name__ == "__main__":
    ProjectCLI()()
'''

README = """# {name}

    autopilot optimize train --epochs 12 --context 'why'
    autopilot report
    autopilot explain 1

`trainer.py` says what is trained and what a candidate must do to be kept, `rules/` is what may be changed,
`datasets/` is what it is measured on. Experiments are kept in `experiments/`.
"""

_SPAM = {
    "train": [
        "the money is yours win now",
        "cheap watches",
        "you win a prize",
        "free money inside",
        "a cheap cure",
        "prize inside",
    ],
    "val": [
        "money for nothing",
        "cheap flights here",
        "win again",
        "the prize is yours",
        "free pills",
        "all free today",
    ],
}
_HAM = {
    "train": ["lunch at noon", "the notes", "hello from rome", "a walk", "you at noon", "hello again"],
    "val": ["the meeting is at noon", "a table for you", "hello all", "call the team", "you in rome", "hello"],
}  # fmt: skip


def write_project(folder: Path, name: str) -> list[Path]:
    """Write them into a new folder; gives what was written."""
    files = {
        "trainer.py": TRAINER,
        "cli.py": CLI.format(name=name),
        "README.md": README.format(name=name),
        "rules/words.txt": "hello\n",
        **{f"datasets/{split}.jsonl": _dataset(split) for split in ("train", "val")},
    }
    for place in (folder / "experiments", folder / "ai"):
        place.mkdir(parents=True, exist_ok=True)
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8", newline="\n")
    return [folder / path for path in files]


def _dataset(split: str) -> str:
    pairs = [(text, True) for text in _SPAM[split]] + [(text, False) for text in _HAM[split]]
    lines = [
        json.dumps({"id": f"{split}-{at}", "metadata": {"text": text, "spam": spam}})
        for at, (text, spam) in enumerate(pairs)
    ]
    return "\n".join(lines) + "\n"
