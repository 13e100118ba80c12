"""From settings to a provider: names, keys, addresses, the choice of the wire, and nothing heavy too early."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from autopilot_runtime.core.errors import SetupError
from autopilot_runtime.core.protocols import Provider
from autopilot_runtime.model.compatible import PRESETS
from autopilot_runtime.model.connect import base_url, connect, missing_key, warm, wire_api
from autopilot_runtime.model.settings import ModelSettings
from tests.fake_provider import FakeModel, Status
from tests.model.talk import KEY, QUICK, settings, talk, text_of


def inner(provider: Provider) -> Any:
    return provider.inner  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("antropic", "anthropic"), ("OpenAI", "openai"), ("olama", "ollama"), ("open-router", "openrouter")],
)
def test_a_misspelt_provider_gets_a_hint(wrong: str, right: str) -> None:
    with pytest.raises(SetupError, match=f"Did you mean '{right}'"):
        connect(ModelSettings(wrong, "m"))


def test_what_resembles_nothing_gets_the_list() -> None:
    with pytest.raises(SetupError, match="Known: anthropic, openai, alibaba"):
        connect(ModelSettings("zzz", "m"))


@pytest.mark.parametrize(
    ("provider", "env", "expected"),
    [
        ("anthropic", {}, "https://api.anthropic.com"),
        ("anthropic", {"ANTHROPIC_BASE_URL": "http://proxy:1/v1/"}, "http://proxy:1"),
        ("openai", {}, "https://api.openai.com/v1"),
        ("openai", {"OPENAI_BASE_URL": "http://proxy:2/v1"}, "http://proxy:2/v1"),
        ("ollama", {"OPENAI_BASE_URL": "http://proxy:2/v1"}, "http://localhost:11434/v1"),
        ("alibaba", {}, "https://dashscope-intl.aliyuncs.com/compatible-mode/v1"),
    ],
)
def test_addresses(provider: str, env: dict[str, str], expected: str) -> None:
    assert base_url(ModelSettings(provider, "m"), env=env) == expected
    own = ModelSettings(provider, "m", base_url="https://mine/api")
    assert base_url(own, env=env) == "https://mine/api"


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://x/", "http://", "file:///etc/passwd"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(SetupError, match="not an http"):
        connect(ModelSettings("openai", "m", base_url=url))


@pytest.mark.parametrize(
    ("env", "more", "expected"),
    [
        ({}, {}, "responses"),
        ({"OPENAI_BASE_URL": "http://proxy/v1"}, {}, "chat"),
        ({"OPENAI_BASE_URL": "https://api.openai.com/v1"}, {}, "responses"),
        ({}, {"base_url": "http://api.openai.com.evil.example/v1"}, "chat"),
        ({"OPENAI_BASE_URL": "http://proxy/v1"}, {"wire_api": "responses"}, "responses"),
        ({}, {"wire_api": "chat"}, "chat"),
    ],
)
def test_the_wire_is_chosen_by_where_it_really_goes(env: dict[str, str], more: dict[str, Any], expected: str) -> None:
    chosen = ModelSettings("openai", "m", **more)
    assert wire_api(chosen, env=env) == expected
    assert expected in type(inner(connect(chosen, env=env))).__name__.lower()


async def test_the_sdks_own_variables_lead_to_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeModel(["one", "two"]) as fake:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", fake.url)
        monkeypatch.setenv("OPENAI_BASE_URL", fake.openai_url)
        monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        assert text_of(await talk(ModelSettings("anthropic", "m"))) == "one"
        assert text_of(await talk(ModelSettings("openai", "m"))) == "two"
    assert [request.path for request in fake.requests] == ["/v1/messages", "/v1/chat/completions"]


def test_missing_keys_are_known_without_a_call() -> None:
    assert missing_key(ModelSettings("anthropic", "m"), env={}) == "ANTHROPIC_API_KEY"
    assert missing_key(ModelSettings("alibaba", "m"), env={"DASHSCOPE_API_KEY": " "}) == "DASHSCOPE_API_KEY"
    assert missing_key(ModelSettings("openai", "m", api_key_env="MINE"), env={"MINE": "x"}) is None
    assert missing_key(ModelSettings("ollama", "m"), env={}) is None
    assert missing_key(ModelSettings("vllm", "m", api_key_env="MINE"), env={}) == "MINE"


async def test_a_host_without_a_key_gets_a_placeholder() -> None:
    with FakeModel(["ok"]) as fake:
        assert text_of(await talk(ModelSettings("ollama", "m", base_url=fake.openai_url))) == "ok"
    assert fake.requests[0].headers["authorization"] == "Bearer no-key-needed"


async def test_a_changed_key_is_used_by_the_next_call(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeModel(["a", "b"]) as fake:
        provider = connect(settings(fake, "chat"))
        for value in ("sk-first-000000", "sk-second-00000"):
            monkeypatch.setenv("MODEL_TEST_KEY", value)
            await talk(provider)
        await provider.close()
    assert [r.headers["authorization"] for r in fake.requests] == ["Bearer sk-first-000000", "Bearer sk-second-00000"]


async def test_fallbacks_of_another_vendor_take_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_TEST_KEY", KEY)
    with FakeModel(lambda _: Status(529)) as down, FakeModel(["from the other"]) as up:
        chosen = settings(down, "anthropic", fallbacks=(settings(up, "chat"),), retries=QUICK)
        provider = connect(chosen)
        assert text_of(await talk(provider)) == "from the other"
        assert (provider.name, provider.model) == ("openai", "gpt-test")
        await provider.close()
    assert len(down.requests) == 3


def test_every_preset_can_be_connected_without_key_sdk_or_network() -> None:
    code = (
        "import sys, os\n"
        "os.environ.clear()\n"
        "from autopilot_runtime.model.connect import connect\n"
        "from autopilot_runtime.model.compatible import PRESETS\n"
        "from autopilot_runtime.model.settings import ModelSettings\n"
        "for name, preset in PRESETS.items():\n"
        "    if preset.family != 'local':\n"
        "        assert connect(ModelSettings(name, 'm')).name == name\n"
        "heavy = {'anthropic', 'openai', 'httpx2', 'pydantic', 'yaml'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=60)
    assert len(PRESETS) == 10


def test_warming_happens_once_per_process_and_in_the_background() -> None:
    code = (
        "import sys\n"
        "from autopilot_runtime.model.connect import warm\n"
        "from autopilot_runtime.model.settings import ModelSettings\n"
        "thread = warm(ModelSettings('openai', 'm'))\n"
        "assert thread.daemon and warm(ModelSettings('alibaba', 'm')) is None\n"
        "thread.join()\n"
        "assert 'openai' in sys.modules and 'anthropic' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    assert warm(ModelSettings("scripted", "x")) is None


def test_another_package_can_bring_a_provider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "their_model.py").write_text(
        "from autopilot_runtime.model.scripted import ScriptedProvider\n"
        "def make(settings): return ScriptedProvider(['theirs'], model=settings.name, name='theirs')\n"
        "def wrong(settings): return 'not a provider'\n"
    )
    info = tmp_path / "their_model-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-model\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[autopilot_runtime.providers]\ntheirs = their_model:make\nwrong = their_model:wrong\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    provider = connect(ModelSettings("theirs", "m1"))
    assert (provider.name, provider.model) == ("theirs", "m1")
    with pytest.raises(SetupError, match="did not return a Provider"):
        connect(ModelSettings("wrong", "m1"))
