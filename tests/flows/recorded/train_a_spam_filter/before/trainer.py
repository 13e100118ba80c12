"""What is trained, on which data, and what a candidate must do to be kept. Replace it piece by piece."""

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
                rules.write("words.txt", "\n".join(words + [word] * (verb == "add")) + "\n")
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
