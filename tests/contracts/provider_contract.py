"""What every `Provider` must do. Subclass `ProviderContract`, say how to make one, and run it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractContextManager

from autopilot_runtime.core.message import Message
from autopilot_runtime.core.protocols import Delta, Provider, Stopped, Text, Used

HELLO = [Message("user", "hello", "task")]


async def gather(provider: Provider, messages: Sequence[Message] = HELLO) -> list[Delta]:
    """All deltas of one call."""
    return [delta async for delta in provider.stream(messages, system="be brief")]


def text_of(deltas: Sequence[Delta]) -> str:
    """The reply."""
    return "".join(delta.text for delta in deltas if isinstance(delta, Text))


class ProviderContract:
    """`provider(*replies)` is a context in which calls get these replies, in order."""

    def provider(self, *replies: str) -> AbstractContextManager[Provider]:
        raise NotImplementedError

    async def test_a_reply_is_text_then_its_usage_then_the_end(self) -> None:
        with self.provider("one reply, somewhat longer than a single chunk of it") as provider:
            deltas = await gather(provider)
            await provider.close()
        assert text_of(deltas) == "one reply, somewhat longer than a single chunk of it"
        assert deltas[-1] == Stopped("end")
        assert [type(delta) for delta in deltas].count(Stopped) == 1
        assert isinstance(deltas[-2], Used)

    async def test_it_says_who_it_is(self) -> None:
        with self.provider("x") as provider:
            assert isinstance(provider, Provider)
            assert provider.name and provider.model
            await provider.close()

    async def test_every_reply_is_used_once_and_in_order(self) -> None:
        with self.provider("first", "second", "third") as provider:
            history = list(HELLO)
            for expected in ("first", "second", "third"):
                got = text_of(await gather(provider, history))
                assert got == expected
                history += [Message("assistant", got), Message("user", "hello")]
            await provider.close()

    def test_it_works_in_one_event_loop_after_the_other(self) -> None:
        with self.provider("first", "second", "third") as provider:
            got = []
            for number in range(3):
                history = [HELLO[0], *[Message("assistant", "x"), Message("user", "hello")] * number]
                got.append(text_of(asyncio.run(gather(provider, history))))
        assert got == ["first", "second", "third"]

    async def test_a_stream_that_is_left_half_way_does_not_harm_the_next(self) -> None:
        with self.provider("a reply of which only the first chunk is read " * 4, "second") as provider:
            stream = provider.stream(HELLO, system="")
            async for delta in stream:
                if isinstance(delta, Text):
                    break
            await stream.aclose()  # type: ignore[attr-defined]
            history = [*HELLO, Message("assistant", "x"), Message("user", "hello")]
            assert text_of(await gather(provider, history)) == "second"
            await provider.close()

    async def test_characters_come_through_unchanged(self) -> None:
        hard = 'tab\t nul\x00 crlf\r\n é 漢 😀 \u2028 \\ " ``` </status> end'
        with self.provider(hard) as provider:
            assert text_of(await gather(provider)) == hard
            await provider.close()

    async def test_it_can_be_closed_twice_and_without_a_call(self) -> None:
        with self.provider() as provider:
            await provider.close()
            await provider.close()
