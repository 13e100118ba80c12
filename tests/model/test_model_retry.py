"""One retry budget, and the next model when one is down: with the clock, the dice and the sleep in our hands."""

from __future__ import annotations

import pytest

from autopilot_runtime.core.errors import ProviderError
from autopilot_runtime.core.protocols import Retrying, Text
from autopilot_runtime.model.fallback import Fallback
from autopilot_runtime.model.fault import retry_after
from autopilot_runtime.model.retry import Retry
from autopilot_runtime.model.scripted import ScriptedProvider, ScriptedReply
from autopilot_runtime.model.settings import Retries
from tests.model.talk import retries, stopped, talk, text_of


def fail(kind: str, after: float | None = None, retryable: bool = True) -> ProviderError:
    return ProviderError(kind, kind=kind, retryable=retryable, retry_after=after)  # type: ignore[arg-type]


class Slept:
    def __init__(self) -> None:
        self.times: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.times.append(seconds)


async def test_waits_double_up_to_a_cap() -> None:
    slept = Slept()
    inner = ScriptedProvider([*[fail("rate_limit")] * 9, "ok"])
    provider = Retry(inner, Retries(rate_limited=10), sleep=slept, chance=lambda: 0.0)
    assert text_of(await talk(provider)) == "ok"
    assert slept.times == [0.5, 1, 2, 4, 8, 8, 8, 8, 8]


async def test_dice_shorten_a_wait_by_a_quarter_at_most() -> None:
    slept = Slept()
    provider = Retry(ScriptedProvider([fail("server"), "ok"]), sleep=slept, chance=lambda: 1.0)
    await talk(provider)
    assert slept.times == [0.375]


async def test_an_asked_wait_is_kept_and_capped() -> None:
    slept = Slept()
    inner = ScriptedProvider([fail("rate_limit", 1.0), fail("rate_limit", 3600.0), "ok"])
    deltas = await talk(Retry(inner, sleep=slept))
    assert slept.times == [1.0, 120.0]
    assert [retry.delay for retry in retries(deltas)] == [1.0, 120.0]


async def test_seconds_are_a_budget_too() -> None:
    slept = Slept()
    inner = ScriptedProvider([fail("rate_limit", 100.0)] * 9)
    with pytest.raises(ProviderError, match="Gave up after 3 tries"):
        await talk(Retry(inner, Retries(seconds=250), sleep=slept))
    assert slept.times == [100.0, 100.0]


@pytest.mark.parametrize("attempts", [1, 2, 5])
async def test_the_number_of_tries_is_what_was_asked_for(attempts: int) -> None:
    inner = ScriptedProvider([fail("overloaded")] * 9)
    with pytest.raises(ProviderError):
        await talk(Retry(inner, Retries(attempts=attempts), sleep=Slept()))
    assert len(inner.calls) == attempts


async def test_text_of_a_failed_try_comes_before_its_retrying() -> None:
    inner = ScriptedProvider([ScriptedReply("half a rep", error="connection"), "whole"])
    deltas = await talk(Retry(inner, sleep=Slept()))
    assert [type(delta) for delta in deltas][:3] == [Text, Retrying, Text]
    assert text_of(deltas) == "whole"


async def test_a_stream_of_a_users_provider_that_just_stops_is_truncated() -> None:
    class Stops:
        name = model = "stops"

        async def stream(self, messages, *, system, max_tokens=None):  # type: ignore[no-untyped-def]
            yield Text("looks finished")

        async def close(self) -> None: ...

    with pytest.raises(ProviderError, match="without saying") as caught:
        await talk(Retry(Stops(), sleep=Slept()))
    assert caught.value.kind == "truncated"


async def test_a_cut_without_text_is_a_cut_and_not_empty() -> None:
    end = stopped(await talk(Retry(ScriptedProvider([("", "length")]), sleep=Slept())))
    assert end.reason == "length"


@pytest.mark.parametrize(
    "kind", ["rate_limit", "overloaded", "server", "connection", "timeout", "truncated", "protocol"]
)
async def test_the_next_model_takes_over(kind: str) -> None:
    first, second = ScriptedProvider([fail(kind)], model="one"), ScriptedProvider(["ok"], model="two")
    provider = Fallback([first, second])
    assert provider.model == "one"
    deltas = await talk(provider)
    assert text_of(deltas) == "ok" and provider.model == "two"
    assert "two" in retries(deltas)[0].error


@pytest.mark.parametrize("kind", ["auth", "not_found", "bad_request", "context", "refusal", "too_long"])
async def test_a_mistake_is_loud_and_does_not_move_on(kind: str) -> None:
    second = ScriptedProvider(["ok"])
    with pytest.raises(ProviderError):
        await talk(Fallback([ScriptedProvider([fail(kind)]), second]))
    assert second.calls == []


async def test_a_model_that_is_down_rests_a_while() -> None:
    now = [0.0]
    first = ScriptedProvider([fail("server"), "first again"], model="one")
    second = ScriptedProvider(["a", "b"], model="two")
    provider = Fallback([first, second], clock=lambda: now[0])
    assert text_of(await talk(provider)) == "a"
    assert text_of(await talk(provider)) == "b" and len(first.calls) == 1
    now[0] = 61.0
    assert text_of(await talk(provider)) == "first again"


async def test_when_all_are_down_the_last_error_is_raised() -> None:
    provider = Fallback([ScriptedProvider([fail("server")] * 2), ScriptedProvider([fail("overloaded")] * 2)])
    for _ in range(2):
        with pytest.raises(ProviderError):
            await talk(provider)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:20 GMT"}, 10.0),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:05 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "nan"}, None),
        ({}, None),
    ],
)
def test_every_form_of_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, 10.0) == seconds
