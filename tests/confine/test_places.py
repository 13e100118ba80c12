"""What a wall shows and hides, worked out before anything is built."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from autopilot_runtime.confine import gitidentity, places, seatbelt
from autopilot_runtime.confine.policy import Policy
from autopilot_runtime.confine.proxy import AllowList
from autopilot_runtime.confine.repository import outside
from autopilot_runtime.confine.view import view

if sys.platform == "win32":
    pytest.skip("walls of POSIX systems", allow_module_level=True)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    for folder in (
        ".ssh",
        ".cargo/bin",
        ".pyenv/shims",
        ".pyenv/libexec",
        ".local/bin",
        ".local/share/keyrings",
        "bin",
    ):
        (home / folder).mkdir(parents=True)
    (home / ".cargo" / "credentials.toml").write_text("token")
    (home / ".rustup").mkdir()
    return home


def env(home: Path, *folders: str) -> dict[str, str]:
    return {"HOME": str(home), "PATH": ":".join([*(str(home / folder) for folder in folders), "/usr/bin"])}


def test_the_installations_behind_path_are_shown_and_the_home_never(home: Path, tmp_path: Path) -> None:
    found = places.tools(
        env(home, ".cargo/bin", ".pyenv/shims", ".local/bin", "bin", "."), home=str(home), work_dir="/w"
    )
    assert {str(home / name) for name in (".cargo/bin", ".rustup", ".pyenv", ".local/bin", "bin")} <= set(found)
    assert not any(places.within(str(home), place) for place in found)
    assert not any(places.within(str(home / ".local/share/keyrings"), place) for place in found)
    assert not any(places.within(str(home / ".cargo/credentials.toml"), place) for place in found)


def test_a_virtual_environment_brings_the_python_it_was_made_from(home: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(work / ".venv")], check=True)
    found = places.tools({"PATH": "/usr/bin"}, home=str(home), work_dir=str(work))
    assert os.path.realpath(sys.base_prefix) in found or places.within(sys.base_prefix, "/usr")


def test_a_virtual_environment_cannot_bring_anything_else(home: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    (work / ".venv").mkdir(parents=True)
    (work / ".venv" / "pyvenv.cfg").write_text(f"home = {home}/.ssh\n")
    found = places.tools({"PATH": "/usr/bin"}, home=str(home), work_dir=str(work))
    assert not any(places.within(str(home / ".ssh"), place) for place in found)


def test_links_that_an_agent_may_have_made_show_nothing(home: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    (work / ".venv" / "bin").mkdir(parents=True)
    (work / ".venv" / "bin" / "tool").symlink_to("/etc/passwd")
    (work / "all").symlink_to("/")
    given = {"PATH": f"{work}/.venv/bin:/{home}:/usr/bin", "VIRTUAL_ENV": f"{work}/all", "PYTHONPATH": "/"}
    seen = view(Policy(str(work)), {"HOME": str(home), **given})
    assert not seen.shows("/etc/shadow")
    assert not seen.shows(str(home / "bin"))
    assert not any(place in ("/", "/etc", str(home)) for place in seen.readable)


def test_pipes_where_settings_should_be_hold_nothing_up(home: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    (work / ".venv").mkdir(parents=True)
    os.mkfifo(work / ".venv" / "pyvenv.cfg")
    os.mkfifo(work / "fifo")
    (work / ".git").write_text("gitdir: fifo\n")
    os.mkfifo(home / ".gitconfig")
    assert view(Policy(str(work)), env(home)).work_dir == str(work)
    assert gitidentity.settings(str(home)) == ""


def test_a_place_in_the_workspace_that_leads_out_is_refused(home: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (work / "out").symlink_to("/etc")
    with pytest.raises(OSError, match="leads out of"):
        view(Policy(str(work), writable=(str(work / "out"),)), env(home))


def test_keys_in_a_workspace_that_is_a_home_are_hidden(home: Path) -> None:
    seen = view(Policy(str(home)), env(home))
    assert not seen.shows(str(home / ".ssh"))
    assert not seen.shows(str(home / ".cargo" / "credentials.toml"))
    assert seen.shows(str(home / "bin"))
    named = view(Policy(str(home), readable=(str(home / ".ssh"),)), env(home))
    assert named.shows(str(home / ".ssh"))


def test_a_part_of_a_repository_shows_its_history_and_no_more(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path / "whole")], check=True)
    part = tmp_path / "whole" / "part"
    part.mkdir()
    found = outside(str(part))
    assert (found.readable, found.writable) == ((str(tmp_path / "whole" / ".git"),), ())


def test_a_worktree_may_commit_and_a_forged_one_gets_nothing(tmp_path: Path) -> None:
    git = ["git", "-C", str(tmp_path / "main"), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run(["git", "init", "-q", str(tmp_path / "main")], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "x"], check=True)
    subprocess.run([*git, "worktree", "add", "-q", str(tmp_path / "tree")], check=True)
    common = str(tmp_path / "main" / ".git")
    found = outside(str(tmp_path / "tree"))
    assert found.writable == (common,)
    assert found.protected == (f"{common}/hooks", f"{common}/config")
    forged = tmp_path / "forged"
    forged.mkdir()
    # A whole chain of forged links, all of it in the workspace, to somebody else's repository.
    (forged / "fake").mkdir()
    (forged / "fake" / "gitdir").write_text(f"{forged}/.git\n")
    (forged / "fake" / "commondir").write_text(f"{common}\n")
    for target in (f"{common}/worktrees/tree", str(tmp_path / "home"), "/etc", "fake"):
        (forged / ".git").write_text(f"gitdir: {target}\n")
        assert outside(str(forged)) == outside("/nowhere")


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("[user]\n\tname = A\n\temail = a@b.c", ["name = A", "email = a@b.c"]),
        ("[credential]\n\thelper = store\n[user]\n\tname = A", ["name = A"]),
        ('[url "https://token@host/"]\n\tinsteadOf = x', []),
        ("[http]\n\textraheader = AUTHORIZATION: basic x", []),
        ("[core]\n\tautocrlf = input\n\thooksPath = /x\n\tsshCommand = y", ["autocrlf = input"]),
        ("[alias]\n\tst = status \\\n\t  --short\n[github]\n\ttoken = x", []),
    ],
)
def test_git_settings_without_what_is_secret(line: str, kept: list[str]) -> None:
    shown = [text.strip() for text in gitidentity.harmless(line).splitlines() if text.strip()]
    assert [text for text in shown if not text.startswith("[")] == kept


@pytest.mark.parametrize(
    ("hosts", "host", "port", "allowed"),
    [
        (["pypi.org"], "pypi.org", 443, True),
        (["pypi.org"], "PyPI.org.", 443, True),
        (["pypi.org"], "evil-pypi.org", 443, False),
        (["pypi.org:443"], "pypi.org", 80, False),
        (["*.pypi.org"], "files.pypi.org", 443, True),
        (["*.pypi.org"], "pypi.org", 443, False),
        (["[::1]:8080"], "::1", 8080, True),
        (["127.0.0.1"], "127.0.0.1", 1, True),
        ([], "pypi.org", 443, False),
        (["*.pypi.org"], "10.0.0.1\0.pypi.org", 443, False),
        (["*.pypi.org"], "evil.com/.pypi.org", 443, False),
    ],
)
def test_a_list_of_hosts_means_those_hosts(hosts: list[str], host: str, port: int, allowed: bool) -> None:
    assert AllowList(hosts).allows(host, port) is allowed


def test_a_profile_for_macos_names_what_may_be_written_and_takes_keys_out_last(home: Path, tmp_path: Path) -> None:
    from autopilot_runtime.confine.scratch import Scratch

    scratch = Scratch(str(home))
    try:
        quoted = tmp_path / 'a "b"'
        quoted.mkdir()
        seen = view(Policy(str(home), writable=(str(quoted),)), env(home))
        text = seatbelt.profile(seen, scratch=scratch, network="off")
        assert text.startswith("(version 1)\n(deny default)\n")
        assert f'(allow file-write* (subpath "{home}")' in text
        assert '\\"b\\"' in text
        assert text.rindex(f'(subpath "{home}/.ssh")') > text.rindex("(allow file-")
        assert "(allow network" not in text
        assert "(allow network*)" in seatbelt.profile(seen, scratch=scratch, network="on")
    finally:
        scratch.close()
