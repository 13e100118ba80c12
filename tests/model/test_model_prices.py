"""Costs: the provider's own figure, else the table, else unknown."""

from __future__ import annotations

import pytest

from autopilot_runtime.core.protocols import Usage
from autopilot_runtime.model.prices import PRICES, price, price_of
from autopilot_runtime.model.settings import ModelSettings, Price

USAGE = Usage(input_total=1_000_000, output=1_000_000)


def test_cached_tokens_have_their_own_price() -> None:
    usage = Usage(1_000_000, cache_read=600_000, cache_write=100_000, output=10_000)
    cost = price(ModelSettings("anthropic", "claude-sonnet-4-5"), usage)
    assert cost.cost_usd == pytest.approx(0.3 * 3 + 0.6 * 0.3 + 0.1 * 3.75 + 0.01 * 15)
    assert cost.cost_source == "price_table"


@pytest.mark.parametrize(
    "name", ["claude-sonnet-4-5-20250929", "anthropic/claude-sonnet-4-5", "claude-sonnet-4-5@20250929"]
)
def test_snapshots_and_routes_of_a_model_cost_the_same(name: str) -> None:
    assert price_of(name) == PRICES["claude-sonnet-4-5"]


@pytest.mark.parametrize(
    "name", ["claude-sonnet-4-9", "gpt-4o-audio-preview", "gpt-5-pro", "my-model", "", "qwen-max-vl"]
)
def test_what_is_not_in_the_table_is_unknown_and_not_free(name: str) -> None:
    cost = price(ModelSettings("openai", name), USAGE)
    assert cost.cost_usd is None and cost.cost_source == "unknown"


def test_an_unknown_usage_has_no_price() -> None:
    assert price(ModelSettings("openai", "gpt-4o"), Usage()).cost_usd is None


def test_ones_own_machine_is_free_and_known_to_be() -> None:
    cost = price(ModelSettings("ollama", "llama"), Usage(), free=True)
    assert cost.cost_usd == 0.0 and cost.cost_source == "price_table"


def test_a_price_in_the_settings_wins() -> None:
    cost = price(ModelSettings("openai", "mine", price=Price(1, 2, 0, 0)), USAGE)
    assert cost.cost_usd == pytest.approx(3.0)


def test_what_the_provider_says_wins_over_all() -> None:
    told = Usage(10, output=10, cost_usd=0.5, cost_source="provider")
    assert price(ModelSettings("openai", "gpt-4o"), told) is told
