"""Searching as a model does it in a run, with the settings of the documentation and a real endpoint."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from autopilot_runtime import EventType
from tests.flows.stage import Stage, act, finish
from tests.search.embedding_server import Server, serving

KEY = "pa-voyage-0123456789abcdef"
# As the documentation of agent files shows it; the address is that of the server here.
TOOL = """
- name: "semantic_search"
  enabled: true
  config:
    api_key_env: "VOYAGE_API_KEY"
    model: "voyage-code-3"
    base_url: "{url}"
    provider: "openai"
    max_results: 2
    timeout: 60
    max_output_chars: 8000
"""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("VOYAGE_API_KEY", KEY)
    with serving() as made:
        yield made


def plant(stage: Stage) -> None:
    (stage.work / "a.py").write_text("def hot():\n    burn(flame)\n\ndef moist():\n    return rain + hot()\n")
    (stage.work / "b.py").write_text("from a import moist\n\ndef pay():\n    moist()\n    return invoice\n")


async def test_the_documented_settings_search_by_meaning(stage: Stage, server: Server) -> None:
    plant(stage)
    code = "for hit in semantic_search('where does it get wet', top_k=5):\n    print(hit['name'], hit['path'])"
    stage.open(act(code), finish(), tools=yaml.safe_load(TOOL.format(url=server.url)))
    await stage.run()
    heard = stage.heard(1).partition("[STATUS]")[0]
    assert "moist a.py" in heard
    assert heard.count(".py\n") == 2  # max_results
    assert server.requests[0]["input"] == ["where does it get wet"]
    assert {one["model"] for one in server.requests} == {"voyage-code-3"}
    assert {one["key"] for one in server.requests} == {f"Bearer {KEY}"}
    assert KEY not in json.dumps([event.to_dict() for event in stage.events])
    assert sorted(path.name for path in stage.work.iterdir()) == ["a.py", "b.py"]
    calls = len(server.requests)
    stage.open(act("semantic_search('wet')"), finish(), tools=yaml.safe_load(TOOL.format(url=server.url)))
    await stage.run()
    assert len(server.requests) == calls + 1  # the index is there, so only the question is sent


async def test_a_refused_key_is_told_and_the_words_still_find(stage: Stage, server: Server) -> None:
    plant(stage)
    server.fault = (401, {"error": {"message": f"bad key {KEY}"}})
    stage.open(act("semantic_search('moist')"), finish(), tools=yaml.safe_load(TOOL.format(url=server.url)))
    await stage.run()
    heard = stage.heard(1)
    assert "a.py:4-5 function moist" in heard
    assert "refused the key (401)" in heard and "matched by their words instead" in heard
    assert KEY not in stage.conversation
    assert len(server.requests) == 1


async def test_every_mode_works_in_a_run_without_a_key(stage: Stage, server: Server) -> None:
    plant(stage)
    code = """
        print([e['caller'] for e in semantic_search('moist', mode='trace_callers')])
        print([e['callee'] for e in semantic_search('moist', mode='trace_callees')])
        print(len(semantic_search('moist', mode='trace_graph', depth=1)))
        print([m['line'] for m in find('moist', include='*.py')])
        find('moist(')
    """
    stage.open(act(code), finish(), tools=["find", "semantic_search"])
    await stage.run()
    heard = stage.heard(1)
    lines = heard.splitlines()
    assert [line for line in lines if line in ("['pay']", "['hot']", "2", "[4, 1, 4]")] == [
        "['pay']", "['hot']", "2", "[4, 1, 4]",
    ]  # fmt: skip
    assert "not a valid regular expression" in heard
    assert not server.requests
    assert not stage.of(EventType.HOOK_ERROR)
