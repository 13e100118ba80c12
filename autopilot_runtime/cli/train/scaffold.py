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
    QualityFirstPolicy,
    RuleOptimizer,
    SuccessRate,
    TextGradient,
)

HERE = Path(__file__).parent


class Misjudged(Loss):
    """Says which messages were taken for what they are not, and which word might tell."""

    def forward(self, data, batch):
        return [TextGradient(one.feedback, "words.txt", items=[one.id]) for one in data if not one]


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
        advice = f"remove {found[0]}" if found else f"add {text.split()[0]}"
        return EvalDatum(id=message.id, success=bool(found) == is_spam, feedback=advice)

    def configure_optimizers(self):
        return RuleOptimizer(self.parameters(), follow)


def follow(rules, gradient):
    """Do what the first feedback asks for. An agent can do this: AgentOptimizer(RuntimeAgent("optimizer"), ...)."""
    verb, word = gradient.render().split("] ", 1)[-1].split()[:2]
    words = rules.read("words.txt").decode().split()
    changed = [*words, word] if verb == "add" else [one for one in words if one != word]
    rules.write("words.txt", "\\n".join(changed) + "\\n")
    return rules


def load(name):
    return ListDataset.from_jsonl(HERE / "datasets" / f"{name}.jsonl")


module = Classifier
train = DataLoader(load("train"), batch_size=4, shuffle=True, seed=1)
val = DataLoader(load("val"), batch_size=4)
policy = QualityFirstPolicy("accuracy")
monitor = "accuracy"
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

    autopilot optimize train --epochs 5 --context 'why'
    autopilot report
    autopilot explain 1

`trainer.py` says what is trained and what a candidate must do to be kept, `rules/` is what may be changed,
`datasets/` is what it is measured on. Experiments are kept in `experiments/`.
"""

_SPAM = {
    "train": [
        "win money now",
        "cheap watches here",
        "win a prize",
        "free money inside",
        "cheap pills here",
        "claim a prize",
    ],
    "val": ["money for nothing", "cheap flights here", "you win again", "a prize for you", "free pills"],
}
_HAM = {
    "train": [
        "lunch at noon",
        "notes from the meeting",
        "hello from rome",
        "see the notes",
        "call me at noon",
        "hello again",
    ],
    "val": ["the meeting is at noon", "notes for you", "hello from the team", "call the team", "see you in rome"],
}


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
