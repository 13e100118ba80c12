"""AGENTS.md: the chain from the repository's root to the workspace, nearest last, and nothing from outside."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from autopilot_runtime.runtime.instructions import MAX_BYTES, find_instructions


@pytest.fixture
def repo(tmp_path):
    root = tmp_path / "repo"
    (root / ".git").mkdir(parents=True)
    (root / "services/api").mkdir(parents=True)
    return root


def texts(folder, **kwargs):
    return [one.text for one in find_instructions(folder, **kwargs)]


def test_the_chain_goes_from_the_root_to_the_workspace_nearest_last(repo):
    (repo / "AGENTS.md").write_text("root\nrules\n")
    (repo / "services/api/AGENTS.md").write_text("api")
    (repo.parent / "AGENTS.md").write_text("outside of the repository")
    found = find_instructions(repo / "services/api")
    assert [(one.shown, one.text, one.lines) for one in found] == [
        ("AGENTS.md", "root\nrules\n", 2),
        (str(Path("services/api/AGENTS.md")), "api", 1),
    ]


def test_without_a_repository_only_the_workspace_counts(tmp_path):
    (tmp_path / "work").mkdir()
    (tmp_path / "AGENTS.md").write_text("not mine")
    assert texts(tmp_path / "work") == []
    (tmp_path / "work/AGENTS.md").write_text("mine")
    assert texts(tmp_path / "work") == ["mine"]


def test_a_repository_that_holds_the_home_does_not_count(tmp_path, monkeypatch):
    (tmp_path / "home/.git").mkdir(parents=True)
    (tmp_path / "home/work").mkdir()
    (tmp_path / "home/AGENTS.md").write_text("dotfiles")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    assert texts(tmp_path / "home/work") == []


def test_other_names_only_when_asked_for(repo):
    (repo / "CLAUDE.md").write_text("c")
    (repo / "AGENTS.md").write_text("a")
    assert texts(repo) == ["a"]
    assert texts(repo, names=("AGENTS.md", "CLAUDE.md")) == ["a", "c"]
    assert texts(repo, names=()) == []


def test_the_nearest_file_is_served_first_when_there_is_too_much(repo):
    (repo / "AGENTS.md").write_text("far\n" * 20_000)
    (repo / "services/api/AGENTS.md").write_text("near\n" * 10)
    far, near = find_instructions(repo / "services/api")
    assert near.text == "near\n" * 10 and not near.cut
    assert far.cut and far.text.endswith("far\n[cut here: the file is longer]\n")
    assert len(far.text) + len(near.text) < MAX_BYTES + 100
    (repo / "services/api/AGENTS.md").write_text("x" * MAX_BYTES)
    assert len(find_instructions(repo / "services/api")) == 1


def test_a_link_may_stay_inside_and_not_leave(repo):
    (repo / "docs").mkdir()
    (repo / "docs/rules.md").write_text("inside")
    (repo / "AGENTS.md").symlink_to(repo / "docs/rules.md")
    assert texts(repo) == ["inside"]
    (repo.parent / "secret").write_text("outside")
    (repo / "services/AGENTS.md").symlink_to(repo.parent / "secret")
    assert texts(repo / "services") == ["inside"]
    (repo / "AGENTS.md").unlink()
    (repo / "AGENTS.md").symlink_to("AGENTS.md")
    assert texts(repo) == []


def test_one_file_under_two_names_is_shown_once(repo):
    (repo / "AGENTS.md").write_text("once")
    (repo / "services/AGENTS.md").symlink_to(repo / "AGENTS.md")
    assert texts(repo / "services") == ["once"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
def test_special_files_do_not_hang(repo):
    os.mkfifo(repo / "AGENTS.md")
    (repo / "services/AGENTS.md").mkdir()
    (repo / "services/api/AGENTS.md").symlink_to("/dev/zero")
    assert texts(repo / "services/api") == []


def test_odd_bytes_become_text_that_can_be_sent(repo):
    (repo / "AGENTS.md").write_bytes(b"\xef\xbb\xbfcaf\xe9\0 \xed\xa0\x80")
    (text,) = texts(repo)
    assert text.startswith("caf")
    assert "\0" not in text
    text.encode("utf-8")
    (repo / "AGENTS.md").write_text(" \n\n")
    assert texts(repo) == []
