"""Every code block and command of README and docs is true: it runs, and prints what the page says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from autopilot_runtime import EventType
from autopilot_runtime.cli.wire import NAMES
from autopilot_runtime.runtime.agentfile import json_schema
from autopilot_runtime.tool.pack import shipped
from tests.docs.keys import PAGE, SECTIONS, with_tables
from tests.docs.page import ROOT, Page, blocks, compare
from tests.docs.replies import answer
from tests.fake_provider import FakeModel

PAGES = sorted(
    path for pattern in ("*.md", "docs/*.md", "examples/*.md", "sessions/*.md") for path in ROOT.glob(pattern)
)
EXECUTED = {
    "README.md",
    "docs/agent-file.md",
    "docs/write-a-tool.md",
    "docs/test-without-a-key.md",
    "docs/events.md",
    "docs/sandbox.md",
    "docs/tools.md",
    "docs/search.md",
    "docs/sessions.md",
    "docs/training.md",
    "docs/train-cli.md",
}
LINK = re.compile(r"!?\[[^\]]*\]\(([^)#\s]+)(#[^)]*)?\)")


@pytest.fixture(scope="module")
def model() -> Iterator[FakeModel]:
    """A model server for all pages."""
    with FakeModel(answer) as fake:
        yield fake


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_page_does_what_it_says(path: Path, tmp_path: Path, model: FakeModel) -> None:
    ran = Page(path, tmp_path, model_url=model.url).run()
    assert ran or str(path.relative_to(ROOT)) not in EXECUTED


def test_no_page_is_missing() -> None:
    assert {str(path.relative_to(ROOT)) for path in PAGES} >= EXECUTED


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(path: Path) -> None:
    for target, _ in LINK.findall(
        re.sub(r"(?s)^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    ):
        if not target.startswith(("http:", "https:", "mailto:")):
            assert (path.parent / target).exists(), f"{path.name}: {target}"


def test_the_two_commands_of_the_readme_stand_alone_on_their_lines() -> None:
    lines = [block.text for block in blocks(ROOT / "README.md") if block.language == "bash"]
    assert "python3 -m venv .venv && .venv/bin/pip install -e . && .venv/bin/autopilot demo\n" in lines
    assert ".venv/bin/pip install -e '.[test]' && .venv/bin/pytest\n" in lines


def test_a_page_that_shows_something_else_is_found_out() -> None:
    compare("a\n…\nd 0.3 s\n", "a\nb\nc\nd 12 s\n", where="here")
    for wrong in ("a\n…\ne\n", "a\nb\n", "…\nc\nb\n…\n", "a\nb\nc\nd\n…\nd\n"):
        with pytest.raises(AssertionError, match="here shows something else"):
            compare(wrong, "a\nb\nc\nd\n", where="here")


def test_the_page_of_the_agent_file_has_every_key_of_the_schema() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == with_tables(page), "run: python -m tests.docs.keys"
    sections = {name for name in json_schema()["$defs"] if "properties" in json_schema()["$defs"][name]}
    assert set(SECTIONS.values()) == sections


@pytest.mark.parametrize("name", sorted(EXECUTED))
def test_no_block_of_a_page_is_only_for_show(name: str) -> None:
    before = ""
    for block in blocks(ROOT / name):
        ran = block.language in ("bash", "python", "json") or block.name is not None
        assert ran or (block.language == "text" and before in ("bash", "python")), f"{name}:{block.line}"
        before = block.language


def test_the_page_of_tools_has_every_tool_that_is_shipped() -> None:
    page = (ROOT / "docs/tools.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \|", page, re.MULTILINE)
    assert rows == [(pack, name) for pack, names in shipped().items() for name in names]


def test_the_page_of_events_has_every_type_with_its_name_on_the_line() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \| `([a-z.]+)` \|", (ROOT / "docs/events.md").read_text(), re.MULTILINE)
    assert rows == [(kind.name, NAMES[kind]) for kind in EventType]
