"""A study proposes, the trainer measures, the study is told."""

import json
import math
from typing import Any

import pytest

from autopilot_runtime.training import (
    AutoPilotModule,
    DataLoader,
    Datum,
    EvalDatum,
    JSONParameter,
    ListDataset,
    ScalarParameter,
    SearchOptimizer,
    StrictAcceptor,
    TextParameter,
    Trainer,
)
from autopilot_runtime.training.fault import TrainingError

optuna = pytest.importorskip("optuna")


def quality(x: float, k: float) -> float:
    return 1.0 - (x - 0.3) ** 2 - abs(k - 3) / 10


def scalars() -> list[Any]:
    return [
        ScalarParameter(0.9, low=0.0, high=1.0, name="x"),
        ScalarParameter(9, low=1, high=9, integer=True, name="k"),
    ]


def searched(optimizer: SearchOptimizer, trials: int) -> list[float]:
    found = []
    for _ in range(trials):
        assert optimizer.step()
        x, k = (one.data for one in optimizer.parameters)
        found.append(quality(x, k))
        optimizer.tell(found[-1])
    return found


def test_a_loop_of_ones_own_finds_what_is_good() -> None:
    found = searched(SearchOptimizer(None, scalars(), metric="quality", seed=4), 40)
    assert max(found) > 0.95 > max(found[:3])


def test_the_seed_decides_and_nothing_else() -> None:
    runs = [searched(SearchOptimizer(None, scalars(), metric="quality", seed=seed), 15) for seed in (4, 4, 5)]
    assert runs[0] == runs[1] != runs[2]


def test_a_search_that_goes_on_elsewhere_is_the_search_it_was() -> None:
    whole = searched(SearchOptimizer(None, scalars(), metric="quality", seed=4), 24)
    first = SearchOptimizer(None, scalars(), metric="quality", seed=4)
    begun = searched(first, 13)
    first.step()  # one is open when it ends
    kept = json.loads(json.dumps(first.state_dict()))
    second = SearchOptimizer(None, scalars(), metric="quality", seed=4)
    second.load_state_dict(kept)
    for mine, theirs in zip(second.parameters, first.parameters, strict=True):
        mine.data = theirs.data  # the trainer brings the state back
    value = quality(*(one.data for one in second.parameters))
    second.tell(value)
    assert [*begun, value, *searched(second, 10)] == whole


def test_it_takes_study_and_parameters_in_either_order_and_the_study_is_the_users() -> None:
    study = optuna.create_study(direction="minimize")
    one = SearchOptimizer(scalars(), study)
    one.step()
    one.tell(2.0)
    assert SearchOptimizer(study, scalars()).study is study
    assert study.best_value == 2.0
    assert study.best_params == {one.name: one.data for one in one.parameters}


def test_a_study_on_disk_is_not_written_into_the_state(tmp_path: Any) -> None:
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(tmp_path / "journal")))
    one = SearchOptimizer(optuna.create_study(storage=storage, study_name="s"), scalars())
    searched(one, 3)
    assert one.state_dict()["trials"] == []
    again = SearchOptimizer(optuna.load_study(storage=storage, study_name="s"), scalars())
    again.load_state_dict(one.state_dict())
    assert len(again.study.trials) == 3


def test_a_space_names_choices_places_in_documents_and_distributions() -> None:
    text, document = (
        TextParameter("short", name="agent.prompt"),
        JSONParameter({"a": {"b": 1}, "keep": 1}, name="config"),
    )
    log = optuna.distributions.FloatDistribution(1e-4, 1.0, log=True)
    space = {
        "prompt": ["short", "long"],
        "config.a.b": (1, 5),
        "config.rate": log,
        "config.rule": [{"if": "x"}, {"if": "y"}],
    }
    one = SearchOptimizer(None, [text, document], space=space, seed=1)
    seen = set()
    for at in range(20):
        one.step()
        one.tell(float(at))
        assert text.data in ("short", "long")
        assert document.data["keep"] == 1
        assert document.data["a"]["b"] in range(1, 6)
        assert 1e-4 <= document.data["rate"] <= 1
        seen.add(document.data["rule"]["if"])
    assert seen == {"x", "y"}
    assert "config.a.b=" in one.why


@pytest.mark.parametrize(
    ("space", "parameter", "said"),
    [
        (None, TextParameter("a", name="prompt"), "nobody says between what 'prompt'"),
        (None, ScalarParameter(1.0, name="free"), "nobody says between what 'free'"),
        ({"promt": ["a"]}, TextParameter("a", name="prompt"), "Did you mean 'prompt'"),
        ({"prompt.key": ["a"]}, TextParameter("a", name="prompt"), "no parameter of this optimizer"),
        ({"prompt": "ab"}, TextParameter("a", name="prompt"), "is no range"),
        ({"prompt": []}, TextParameter("a", name="prompt"), "is no range"),
    ],
)
def test_what_cannot_be_searched_is_said(space: Any, parameter: Any, said: str) -> None:
    with pytest.raises(TrainingError, match=said):
        SearchOptimizer(None, [parameter], space=space).step()


def test_two_truth_values_are_choices_and_no_range() -> None:
    flag = JSONParameter({"on": False}, name="flag")
    one = SearchOptimizer(None, [flag], space={"flag.on": (True, False)}, seed=2)
    seen = set()
    for _ in range(12):
        one.step()
        one.tell(1.0)
        seen.add(flag.data["on"])
    assert seen == {True, False}
    assert all(isinstance(value, bool) for value in seen)


def test_a_loop_that_never_measures_is_told_so() -> None:
    one = SearchOptimizer(None, scalars())
    with pytest.raises(TrainingError, match=r"call step\(\) first"):
        one.tell(1.0)
    one.step()
    with pytest.raises(TrainingError, match=r"trial 0 was never answered"):
        one.step()


def test_a_value_that_is_no_number_is_a_failed_trial_and_no_best() -> None:
    one = SearchOptimizer(None, scalars())
    one.step()
    one.tell(math.nan)
    assert one.study.trials[0].state.name == "FAIL"
    one.step()
    one.tell(0.5)
    assert one.study.best_value == 0.5


def test_a_study_with_two_objectives_is_refused() -> None:
    with pytest.raises(TrainingError, match="several objectives"):
        SearchOptimizer(optuna.create_study(directions=["minimize", "maximize"]), scalars())


class Curve(AutoPilotModule):
    """Good where x is 0.3 and k is 3."""

    def __init__(self, **options: Any) -> None:
        self.x = ScalarParameter(0.9, low=0.0, high=1.0)
        self.k = ScalarParameter(9, low=1, high=9, integer=True)
        self.options = options

    def forward(self, batch: Any) -> Any:
        return [EvalDatum(id=one.id, success=True, metrics={"q": quality(self.x.data, self.k.data)}) for one in batch]

    def configure_optimizers(self) -> Any:
        return SearchOptimizer(None, self.parameters(), metric="q", **self.options)


def test_the_trainer_tells_the_study_how_each_candidate_measured_accepted_or_not() -> None:
    module = Curve(seed=4)
    items = DataLoader(ListDataset([Datum(id=str(at)) for at in range(4)]), batch_size=2)
    trainer = Trainer(acceptor=StrictAcceptor(), monitor="q", accumulate_grad_batches=2)
    result = trainer.fit(module, items, items, max_epochs=25)
    study = trainer.optimizers[0].study
    first, *trials = study.trials
    assert first.params == {"x": 0.9, "k": 9}  # what was given is the first that was measured
    assert [one.value for one in trials] == [pytest.approx(row.metrics["q"]) for row in result.history[1:]]
    assert {row.verdict for row in result.history[1:]} == {"accept", "discard"}
    assert result.metrics["q"] == pytest.approx(study.best_value)
    assert quality(module.x.data, module.k.data) == pytest.approx(study.best_value)
    assert study.best_value > 0.9


def test_with_several_batches_an_epoch_one_trial_waits_for_its_validation() -> None:
    module = Curve(seed=4)
    items = DataLoader(ListDataset([Datum(id=str(at)) for at in range(6)]), batch_size=2)
    trainer = Trainer(acceptor=StrictAcceptor(), monitor="q")
    trainer.fit(module, items, items, max_epochs=3)
    assert len(trainer.optimizers[0].study.trials) == 4
