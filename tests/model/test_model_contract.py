"""Every provider of ours keeps the provider contract."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from autopilot_runtime.core.protocols import Provider, Usage
from autopilot_runtime.model.cassette import Chunk, Record
from autopilot_runtime.model.connect import connect
from autopilot_runtime.model.fallback import Fallback
from autopilot_runtime.model.replay import ReplayProvider
from autopilot_runtime.model.retry import Retry
from autopilot_runtime.model.scripted import ScriptedProvider
from tests.contracts.provider_contract import ProviderContract
from tests.fake_provider import FakeModel
from tests.model.talk import KEY, settings


class OverHttp(ProviderContract):
    wire = ""

    @pytest.fixture(autouse=True)
    def _key(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MODEL_TEST_KEY", KEY)

    @contextmanager
    def provider(self, *replies: str) -> Iterator[Provider]:
        with FakeModel(replies) as fake:
            yield connect(settings(fake, self.wire))


class TestAnthropic(OverHttp):
    wire = "anthropic"


class TestChat(OverHttp):
    wire = "chat"


class TestResponses(OverHttp):
    wire = "responses"


class TestScripted(ProviderContract):
    @contextmanager
    def provider(self, *replies: str) -> Iterator[Provider]:
        yield ScriptedProvider(replies)


class TestRetryAndFallback(ProviderContract):
    @contextmanager
    def provider(self, *replies: str) -> Iterator[Provider]:
        yield Fallback([Retry(ScriptedProvider(replies)), ScriptedProvider([])])


class TestRecording(ProviderContract):
    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path) -> None:
        self.place = tmp_path / "tape.jsonl"

    @contextmanager
    def provider(self, *replies: str) -> Iterator[Provider]:
        yield ReplayProvider(self.place, mode="record", inner=ScriptedProvider(replies))


class TestReplaying(TestRecording):
    @contextmanager
    def provider(self, *replies: str) -> Iterator[Provider]:
        with super().provider() as recorder:
            assert isinstance(recorder, ReplayProvider)
            for step, reply in enumerate(replies, 1):
                recorder.cassette.add(record_of(step, reply))
        self.place.touch()
        yield ReplayProvider(self.place)


def record_of(step: int, reply: str) -> Record:
    return Record(step, "hello", (Chunk(reply[:9]), Chunk(reply[9:])), Usage(1, output=1), "m")
