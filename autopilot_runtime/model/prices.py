"""What a call costs: a small dated table, and 'unknown' for everything that is not in it. Never a made-up zero."""

from __future__ import annotations

import re
from dataclasses import replace

from autopilot_runtime.core.protocols import Usage
from autopilot_runtime.model.settings import ModelSettings, Price

AS_OF = "2025-11"
"""List prices per million tokens, for the standard tier. Check the vendor's page; override with `price`."""


def _claude(input_price: float, output: float) -> Price:
    return Price(input_price, output, input_price * 0.1, input_price * 1.25)


def _plain(input_price: float, output: float, cached: float | None = None) -> Price:
    return Price(input_price, output, input_price if cached is None else cached, input_price)


PRICES: dict[str, Price] = {
    "claude-opus-4-5": _claude(5, 25),
    "claude-opus-4-1": _claude(15, 75),
    "claude-opus-4": _claude(15, 75),
    "claude-opus-4-0": _claude(15, 75),
    "claude-sonnet-4-5": _claude(3, 15),
    "claude-sonnet-4": _claude(3, 15),
    "claude-sonnet-4-0": _claude(3, 15),
    "claude-3-7-sonnet": _claude(3, 15),
    "claude-3-5-sonnet": _claude(3, 15),
    "claude-haiku-4-5": _claude(1, 5),
    "claude-3-5-haiku": _claude(0.8, 4),
    "gpt-5.1": _plain(1.25, 10, 0.125),
    "gpt-5": _plain(1.25, 10, 0.125),
    "gpt-5-mini": _plain(0.25, 2, 0.025),
    "gpt-5-nano": _plain(0.05, 0.4, 0.005),
    "gpt-4.1": _plain(2, 8, 0.5),
    "gpt-4.1-mini": _plain(0.4, 1.6, 0.1),
    "gpt-4.1-nano": _plain(0.1, 0.4, 0.025),
    "gpt-4o": _plain(2.5, 10, 1.25),
    "gpt-4o-mini": _plain(0.15, 0.6, 0.075),
    "gpt-4-turbo": _plain(10, 30),
    "o3": _plain(2, 8, 0.5),
    "o4-mini": _plain(1.1, 4.4, 0.275),
    "qwen-max": _plain(1.6, 6.4),
    "qwen-plus": _plain(0.4, 1.2),
    "qwen-turbo": _plain(0.05, 0.2),
    "gemini-2.5-pro": _plain(1.25, 10, 0.125),
    "gemini-2.5-flash": _plain(0.3, 2.5, 0.03),
    "gemini-2.5-flash-lite": _plain(0.1, 0.4, 0.01),
}
# A name may carry a snapshot date or `latest`, and a router's `vendor/` in front; nothing else is the same model.
_SNAPSHOT = re.compile(r"[-@](?:\d{8}|\d{4}-\d{2}-\d{2}|latest)$")


def price_of(model: str) -> Price | None:
    """The list price of a model, or None when the table does not know it."""
    name = model.lower().rpartition("/")[2]
    return PRICES.get(name) or PRICES.get(_SNAPSHOT.sub("", name))


def price(settings: ModelSettings, usage: Usage, *, free: bool = False) -> Usage:
    """The usage with its cost: the provider's own figure first, then the table, else unknown.

    A model on one's own machine costs no dollars, and that is known.
    """
    if usage.cost_source == "provider":
        return usage
    if free and settings.price is None:
        return replace(usage, cost_usd=0.0, cost_source="price_table")
    listed = settings.price or price_of(settings.name)
    if listed is None or usage.input_total is None or usage.output is None:
        return replace(usage, cost_usd=None, cost_source="unknown")
    fresh = max(0, usage.input_total - usage.cache_read - usage.cache_write)
    dollars = (
        fresh * listed.input
        + usage.cache_read * listed.cache_read
        + usage.cache_write * listed.cache_write
        + usage.output * listed.output
    ) / 1_000_000
    return replace(usage, cost_usd=dollars, cost_source="price_table")
