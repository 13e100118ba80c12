"""Items made by an agent: checked, different, and kept."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from autopilot_runtime.training import Datum, GeneratorAgent, TrainingError


@dataclass
class Question(Datum):
    text: str = ""
    answer: int = 0


class Maker:
    """Answers from a list of lists of fields."""

    def __init__(self, *rounds: Any) -> None:
        self.rounds, self.tasks = list(rounds), list[str]()

    def run(self, task: str) -> str:
        self.tasks.append(task)
        answer = self.rounds.pop(0) if self.rounds else []
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, str) else f"Here:\n```json\n{json.dumps(answer)}\n```"


def q(text: str, answer: Any = 1) -> dict[str, Any]:
    return {"text": text, "answer": answer}


def test_items_are_of_the_type_asked_for_and_the_agent_is_told_its_fields() -> None:
    maker = Maker([q("1+1?", 2), q("1+2?", 3)])
    items = GeneratorAgent(maker, "Small sums.", Question).generate(2, examples=[Question(text="0+0?")])
    assert [(one.text, one.answer) for one in items] == [("1+1?", 2), ("1+2?", 3)]
    assert '"text" (str)' in maker.tasks[0] and "Small sums." in maker.tasks[0] and "0+0?" in maker.tasks[0]


def test_what_will_not_do_is_told_and_asked_for_again() -> None:
    maker = Maker([q("a", "two"), {"txt": "b"}, q("C"), q(" c ")], [q("d", -1)], [q("e"), q("f"), q("g")])

    def positive(item: Question) -> bool:
        return item.answer > 0

    made = GeneratorAgent(maker, "x", Question, check=positive)
    assert [one.text for one in made.generate(4)] == ["C", "e", "f", "g"]
    complaints = maker.tasks[1]
    assert "answer is str, and must be int" in complaints
    assert "Did you mean 'text'?" in complaints
    assert "there is one like it already" in complaints
    assert "refused by the check" in maker.tasks[2]
    assert len(made.rejected) == 4


def test_an_agent_that_makes_nothing_new_is_given_up_and_what_there_is_stays(tmp_path: Path) -> None:
    kept = tmp_path / "items.jsonl"
    maker = Maker([q("a")], ConnectionError("down"), "no list", [q("a")])
    made = GeneratorAgent(maker, "x", Question, checkpoint=kept)
    with pytest.raises(TrainingError, match=r"made 1 of 2 items, then nothing .* in 3 tries"):
        made.generate(2)
    assert [one.text for one in made.items] == ["a"]


def test_a_second_process_makes_only_what_is_missing(tmp_path: Path) -> None:
    kept = tmp_path / "items.jsonl"
    GeneratorAgent(Maker([q("a"), q("b")]), "x", Question, checkpoint=kept).generate(2)
    maker = Maker([q("c")])
    again = GeneratorAgent(maker, "x", Question, checkpoint=kept)
    assert [one.text for one in again.generate(3)] == ["a", "b", "c"]
    assert maker.tasks[0].startswith("Make 1 items.")
    untouched = Maker()
    assert len(GeneratorAgent(untouched, "x", Question, checkpoint=kept).generate(3)) == 3
    assert untouched.tasks == []


def test_plain_items_keep_what_they_were_given_as_metadata() -> None:
    items = GeneratorAgent(Maker([{"id": "k", "word": "sun"}]), "words").generate(1)
    assert items[0].id == "k" and items[0].metadata == {"word": "sun"}
