"""The meter of the context window."""

import json
import time

import pytest

from autopilot_runtime.context.budget import Estimate, Meter, message_tokens, raw_tokens, rough_tokens

PROSE = "The quick brown fox jumps over the lazy dog, and then it sleeps under the old tree for a while. " * 20
CODE = "def load(path: str) -> dict:\n    with open(path) as file:\n        return json.load(file)[0]\n" * 20


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [(PROSE, 0.19, 0.30), (CODE, 0.22, 0.40), ("你好世界" * 100, 0.7, 1.1), ("1234567890" * 100, 0.3, 0.45)],
    ids=["prose", "code", "chinese", "digits"],
)
def test_the_raw_count_is_in_the_range_tokenizers_give(text: str, least: float, most: float) -> None:
    assert least <= raw_tokens(text) / len(text) <= most


def test_counting_is_linear_also_for_hostile_text() -> None:
    for text in ("`" * 1_000_000, "a" * 1_000_000, "\n \t" * 300_000, "_A" * 500_000):
        began = time.perf_counter()
        assert raw_tokens(text) > 10_000
        assert time.perf_counter() - began < 2.0


def test_an_empty_text_and_odd_characters_are_counted() -> None:
    assert raw_tokens("") == 0
    assert raw_tokens("\ud800\0\u2028🙂") > 0


def test_the_estimate_learns_the_factor_from_the_provider() -> None:
    estimate = Estimate()
    raw = raw_tokens(PROSE)
    estimate.calibrate(raw, raw * 2)
    assert estimate.tokens(PROSE) == raw * 2
    estimate.calibrate(raw, raw)
    assert estimate.factor == pytest.approx(1.5)


def test_nonsense_from_the_provider_does_not_derail_the_estimate() -> None:
    estimate = Estimate()
    estimate.calibrate(0, 100)
    estimate.calibrate(100, 0)
    assert estimate.factor == 1.0
    estimate.calibrate(10, 10_000_000)
    assert estimate.factor == 4.0


def test_the_provider_is_the_truth_and_only_what_came_since_is_estimated() -> None:
    meter = Meter(1_000)
    meter.add(PROSE)
    meter.measured(700, 50, reply="short reply")
    assert meter.used == 750
    added = meter.add("a result " * 10)
    assert added > 0
    assert meter.used == pytest.approx(750 + added, abs=1)
    assert meter.status.left == 1_000 - meter.used


def test_without_usage_the_reply_is_estimated_too() -> None:
    meter = Meter(1_000)
    before = meter.add(PROSE)
    meter.measured(None, None, reply=PROSE)
    assert meter.used == 2 * before


def test_a_rewritten_history_is_counted_anew_with_what_was_learnt() -> None:
    meter = Meter(10_000)
    meter.add(PROSE)
    raw = raw_tokens(PROSE) + 4
    meter.measured(raw * 2, 10, reply="ok")
    meter.recount(raw_tokens("summary") + 4)
    assert meter.used == round((raw_tokens("summary") + 4) * 2)


def test_the_system_prompt_counts_once_and_stays_when_the_history_is_rewritten() -> None:
    meter = Meter(10_000)
    meter.begin(PROSE)
    meter.add("hello")
    before = meter.used
    meter.begin(PROSE)
    assert meter.used == before
    meter.recount(0)
    assert meter.used == raw_tokens(PROSE) + 4


def test_what_it_knows_can_be_kept_and_taken_back() -> None:
    meter = Meter(10_000)
    meter.begin(PROSE)
    meter.measured(700, 50, reply="short")
    meter.add(CODE)
    again = Meter(10_000)
    assert again.restore(json.loads(json.dumps(meter.numbers)))
    assert again.used == meter.used
    assert again.estimate.factor == pytest.approx(meter.estimate.factor)
    for odd in (None, [], [1, 2], ["a"] * 6, {"known": 1}, [1e99] * 6):
        assert not again.restore(odd)
    assert again.used == meter.used


@pytest.mark.parametrize("text", [PROSE, CODE, "你好世界" * 100], ids=["prose", "code", "chinese"])
def test_a_count_by_length_is_near_the_real_one(text: str) -> None:
    assert 0.6 < rough_tokens(text) / message_tokens(text) < 1.6


def test_percent_rounds_up_and_may_pass_a_hundred() -> None:
    meter = Meter(100)
    meter.measured(1, 0, reply="")
    assert meter.percent == 1
    meter.measured(150, 1, reply="")
    assert meter.status.percent == 151
    assert meter.status.left == 0


def test_a_step_costs_the_same_in_a_long_conversation() -> None:
    meter = Meter(1_000_000)
    text = "some result of a step\n" * 10

    def hundred() -> float:
        began = time.perf_counter()
        for _ in range(100):
            meter.add(text)
            assert meter.used
        return time.perf_counter() - began

    first = min(hundred() for _ in range(5))
    for _ in range(3_000):
        meter.add(text)
    assert min(hundred() for _ in range(5)) < first * 5 + 0.005
