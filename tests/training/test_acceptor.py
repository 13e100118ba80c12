"""Whether a candidate is better, or was lucky."""

import random
from collections.abc import Callable

import pytest

from autopilot_runtime.training.acceptor import (
    Acceptor,
    PairedAcceptor,
    Scores,
    StrictAcceptor,
    WilcoxonAcceptor,
    signed_rank,
    standard_error,
)
from autopilot_runtime.training.fault import TrainingError

ALL = [StrictAcceptor(), PairedAcceptor(), WilcoxonAcceptor()]


def once(*scores: float) -> Scores:
    return {f"item{number}": [score] for number, score in enumerate(scores)}


def nothing_more(replicates: int) -> tuple[Scores, Scores]:
    raise AssertionError(f"asked for {replicates} replicates")


class Bench:
    """Two states with true scores per item, measured with noise; counts what it was asked for."""

    def __init__(self, gain: float, *, items: int = 40, noise: float = 0.1, seed: int = 0) -> None:
        self.rng, self.noise, self.items = random.Random(seed), noise, items
        self.truth = {f"item{number}": self.rng.random() for number in range(items)}
        self.new: dict[str, list[float]] = {item: [] for item in self.truth}
        self.old: dict[str, list[float]] = {item: [] for item in self.truth}
        self.gain, self.measured = gain, 0
        self.more(1)

    def more(self, replicates: int) -> tuple[Scores, Scores]:
        for side, extra in ((self.new, self.gain), (self.old, 0.0)):
            for item, values in side.items():
                while len(values) < replicates:
                    values.append(self.truth[item] + extra + self.rng.gauss(0, self.noise))
                    self.measured += 1
        return self.new, self.old

    def judge(self, acceptor: Acceptor) -> bool:
        return acceptor.judge(self.new, self.old, more=self.more, noise=self.noise).passed


@pytest.mark.parametrize("acceptor", ALL, ids=lambda one: type(one).__name__)
class TestEveryAcceptor:
    def test_it_is_one(self, acceptor: Acceptor) -> None:
        assert isinstance(acceptor, Acceptor)

    def test_the_first_state_has_nothing_to_beat(self, acceptor: Acceptor) -> None:
        assert acceptor.judge(once(0.1), {}, more=nothing_more, noise=0.0).passed

    def test_the_same_scores_are_no_gain(self, acceptor: Acceptor) -> None:
        judged = acceptor.judge(once(*[0.5] * 9), once(*[0.5] * 9), more=nothing_more, noise=0.0)
        assert not judged.passed
        assert judged.gate == type(acceptor).__name__

    def test_better_everywhere_is_better(self, acceptor: Acceptor) -> None:
        judged = acceptor.judge(once(*[0.9] * 9), once(*[0.5] * 9), more=nothing_more, noise=0.0)
        assert judged.passed
        assert judged.value == pytest.approx(0.4)

    def test_worse_is_not_better(self, acceptor: Acceptor) -> None:
        assert not acceptor.judge(once(*[0.4] * 9), once(*[0.5] * 9), more=nothing_more, noise=0.0).passed

    def test_an_item_that_could_not_be_measured_counts_against_the_new_state(self, acceptor: Acceptor) -> None:
        judged = acceptor.judge(once(0.9, 0.9), once(0.1, 0.1, 0.1), more=nothing_more, noise=0.0)
        assert not judged.passed
        assert "1 of 3 items gave no score: item2" in judged.reason

    def test_an_item_that_failed_for_the_old_state_does_not_bind_the_new(self, acceptor: Acceptor) -> None:
        old: Scores = {**once(*[0.5] * 8), "item8": []}
        assert acceptor.judge(once(*[0.9] * 9), old, more=nothing_more, noise=0.0).passed

    @pytest.mark.parametrize("odd", [float("nan"), float("inf")])
    def test_what_is_no_number_never_passes(self, acceptor: Acceptor, odd: float) -> None:
        judged = acceptor.judge(once(0.9, odd), once(0.1, 0.1), more=nothing_more, noise=0.0)
        assert not judged.passed
        assert "no finite number" in judged.reason


def test_strict_takes_any_rise_and_no_less_than_asked() -> None:
    assert StrictAcceptor().judge(once(0.51, 0.5), once(0.5, 0.5), more=nothing_more).passed
    assert not StrictAcceptor(0.01).judge(once(0.51, 0.5), once(0.5, 0.5), more=nothing_more).passed


def test_paired_without_noise_takes_any_rise() -> None:
    assert PairedAcceptor().judge(once(0.51, 0.5), once(0.5, 0.5), more=nothing_more).passed


def test_a_clear_gain_costs_no_second_measurement() -> None:
    bench = Bench(0.2)
    assert bench.judge(PairedAcceptor())
    assert bench.measured == 80


def test_a_doubtful_gain_is_measured_again_twice_as_often_each_time() -> None:
    asked: list[int] = []
    bench = Bench(0.02, seed=3)

    def more(replicates: int) -> tuple[Scores, Scores]:
        asked.append(replicates)
        return bench.more(replicates)

    PairedAcceptor(k=50, futile=99, max_replicates=6).judge(bench.new, bench.old, more=more, noise=0.1)
    assert asked == [2, 4, 6]


def test_the_reason_names_the_numbers() -> None:
    judged = PairedAcceptor(k=2).judge(once(0.5, 0.5), once(0.1, 0.1), more=nothing_more, noise=0.1)
    # by hand: gain 0.4, standard error 0.1 * sqrt(4) / 2 = 0.1
    assert judged.reason == "gain +0.4 is 4.00 standard errors over 2 items x 1"
    assert judged.bound == ">= 2.00 standard errors"


def test_replicates_that_scatter_more_than_the_noise_that_was_said_are_believed() -> None:
    wild: Scores = {"a": [0.0, 1.0], "b": [1.0, 0.0]}
    calm: Scores = {"a": [0.5, 0.5], "b": [0.5, 0.5]}
    # pooled variance 1.0 / 4 degrees of freedom, sigma 0.5; 0.5 * sqrt(4 / 2) / 2
    assert standard_error(wild, calm, 0.01) == pytest.approx(0.35355339)
    assert standard_error(wild, calm, 0.7) == pytest.approx(0.49497475)


def test_what_cannot_be_measured_again_is_not_accepted_on_a_doubt() -> None:
    bench = Bench(0.02, seed=3)
    judged = PairedAcceptor(k=50, futile=99).judge(
        bench.new, bench.old, more=lambda _: (bench.new, bench.old), noise=0.1
    )
    assert not judged.passed
    assert "nothing more could be measured" in judged.reason


def share(acceptor: Acceptor, gain: float, times: int = 400) -> float:
    return sum(Bench(gain, seed=seed).judge(acceptor) for seed in range(times)) / times


def test_no_better_passes_a_paired_test_as_rarely_as_alpha_says_and_half_the_time_a_strict_one() -> None:
    assert share(PairedAcceptor(alpha=0.05), 0.0) <= 0.05
    assert 0.4 < share(StrictAcceptor(), 0.0) < 0.6


def test_a_real_gain_passes_a_paired_test() -> None:
    # two standard errors at the first look, 5.7 at the last
    assert share(PairedAcceptor(alpha=0.05), 0.045) > 0.9


@pytest.mark.parametrize("acceptor", [WilcoxonAcceptor(0.05), WilcoxonAcceptor(0.05, max_replicates=4)])
def test_wilcoxon_holds_its_level_also_with_further_looks(acceptor: WilcoxonAcceptor) -> None:
    assert share(acceptor, 0.0) <= 0.06
    assert share(acceptor, 0.06) > 0.75


def test_wilcoxon_says_from_how_many_items_it_knows() -> None:
    judged = WilcoxonAcceptor().judge(once(1, 1, 1, 1, 0), once(0, 0, 0, 0, 0), more=nothing_more)
    assert not judged.passed  # 1/16 is the least that four items can give
    assert judged.reason == "gain +0.8, p 0.0625 from 4 items of 5 that differ"


FLIPS: list[tuple[str, Callable[[random.Random], list[float]], float]] = [
    ("few", lambda _: [0.3, -0.1, 0.25, 0.5, -0.05, 0.12, 0.4, 0.07], 0.02734375),
    ("ties and zeros", lambda _: [1, 1, -1, 2, 2, 0, 3, -2, 1, 0, 1], 0.087890625),
]


@pytest.mark.parametrize(("name", "values", "p"), FLIPS, ids=[name for name, *_ in FLIPS])
def test_signed_ranks_as_scipy_has_them(name: str, values: Callable[[random.Random], list[float]], p: float) -> None:
    # scipy 1.17.1: wilcoxon(..., alternative="greater"), method="exact", or all permutations where there are ties
    assert signed_rank(values(random.Random(0))) == pytest.approx(p, abs=1e-12)


def test_signed_ranks_of_many_as_scipy_has_them() -> None:
    # scipy 1.17.1: method="asymptotic", correction=True; the last: method="exact"
    rng = random.Random(7)
    many = [round(rng.gauss(0.1, 0.5), 3) for _ in range(80)]
    tied = [round(rng.gauss(0.1, 0.5), 1) for _ in range(90)]
    some = [rng.gauss(0.1, 0.5) for _ in range(40)]
    assert signed_rank(many) == pytest.approx(0.13394095090822333, rel=1e-9)
    assert signed_rank(tied) == pytest.approx(0.0003683666778572479, rel=1e-9)
    assert signed_rank(some) == pytest.approx(0.04085691561522253, rel=1e-9)


def test_nothing_that_differs_is_no_evidence() -> None:
    assert signed_rank([0.0, 0.0]) == signed_rank([]) == 1.0


@pytest.mark.parametrize(
    "make",
    [
        lambda: PairedAcceptor(alpha=0),
        lambda: PairedAcceptor(max_replicates=0),
        lambda: WilcoxonAcceptor(1.0),
        lambda: WilcoxonAcceptor(max_replicates=0),
    ],
)
def test_settings_that_make_no_sense_are_refused(make: Callable[[], object]) -> None:
    with pytest.raises(TrainingError):
        make()
