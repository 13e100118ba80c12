"""The git pack on real repositories: what it tells, what it commits, and that nothing planted in them ever runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from autopilot_runtime.confine.wall import Kind
from autopilot_runtime.core.errors import PathRefused, ToolError
from autopilot_runtime.shell.environ import child_environment
from autopilot_runtime.shell.pool import TerminalPool
from autopilot_runtime.tool.context import ToolContext
from autopilot_runtime.tool.define import Preview, Tool
from autopilot_runtime.tool.pack import load_tools
from autopilot_runtime.tool.permit import decide, parse_rules
from autopilot_runtime.tool.plain import ToolResult, plain
from autopilot_runtime.tool.workspace import Workspace
from tests.confine.walls import KINDS, opener

if sys.platform == "win32" or shutil.which("git") is None:
    pytest.skip("needs git on POSIX", allow_module_level=True)

TOOLS: dict[str, Tool] = {one.name: one for one in load_tools("git", folder=Path("/nowhere"))}


class Desk:
    """A repository, and the tools of the pack called as the runtime would call them."""

    def __init__(self, top: Path, work: Path) -> None:
        self.top, self.work = top, work
        home = top.parent / "home"
        home.mkdir(exist_ok=True)
        self.env = child_environment({"PATH": os.environ["PATH"], "HOME": str(home)})
        self.pool = TerminalPool(work, self.env)
        self.config: Mapping[str, Any] = {}

    def run(self, *words: str | bytes, good: bool = True) -> str:
        """Plain git, as a person would use it."""
        argv = ["git", "-c", "user.name=Ada", "-c", "user.email=ada@example.com", *words]
        done = subprocess.run(argv, cwd=self.top, env=self.env, capture_output=True, check=False, timeout=20)
        assert not good or done.returncode == 0, done.stderr
        return done.stdout.decode("utf-8", "surrogateescape")

    def introduce(self) -> None:
        self.run("config", "user.name", "Ada")
        self.run("config", "user.email", "ada@example.com")

    async def call(self, name: str, **given: Any) -> ToolResult:
        tool = TOOLS[name]
        ctx = ToolContext(name, Workspace(self.work), self.config, open_terminals=lambda: self.pool)
        arguments = {p.name: given.get(p.name, p.default) for p in tool.spec.params}
        await tool.previewed(ctx, arguments)
        found = await tool.call(ctx, arguments)
        assert isinstance(found, ToolResult)
        assert plain(found.value) == found.value
        assert found.shown
        return found

    async def preview(self, **given: Any) -> tuple[Preview, ToolContext]:
        ctx = ToolContext("git_commit", Workspace(self.work), open_terminals=lambda: self.pool)
        return await TOOLS["git_commit"].previewed(ctx, {"message": "m", "paths": None, **given}), ctx

    def write(self, path: str | bytes, text: str) -> None:
        full = os.path.join(os.fsencode(self.work), os.fsencode(path))  # noqa: PTH118
        os.makedirs(os.path.dirname(full), exist_ok=True)  # noqa: PTH103, PTH120
        Path(os.fsdecode(full)).write_text(text)


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    (tmp_path / "repo").mkdir()
    one = Desk(tmp_path / "repo", tmp_path / "repo")
    one.run("init", "-q", "-b", "main")
    one.introduce()
    yield one
    await one.pool.close()


@pytest.fixture
async def below(tmp_path: Path) -> AsyncIterator[Desk]:
    """A workspace that is one folder of a larger repository."""
    (tmp_path / "repo" / "sub dir").mkdir(parents=True)
    one = Desk(tmp_path / "repo", tmp_path / "repo" / "sub dir")
    one.run("init", "-q", "-b", "main")
    one.introduce()
    (one.top / "outside.txt").write_text("1\n")
    one.write("inside.txt", "1\n")
    one.run("add", "-A")
    one.run("commit", "-qm", "one")
    yield one
    await one.pool.close()


async def test_a_day_with_git(desk: Desk) -> None:
    assert (await desk.call("git_log")).shown == "There is no commit yet."
    assert (await desk.call("git_status")).shown == "on branch main, no commit yet\nnothing changed"
    desk.write("a.py", "one\n")
    desk.write("docs/b.md", "two\n")
    first = await desk.call("git_commit", message="Begin\n\nBecause.")
    assert first.value == {
        "sha": desk.run("rev-parse", "HEAD").strip(),
        "branch": "main",
        "files": ["a.py", "docs/b.md"],
    }
    assert (
        first.shown
        == f"committed {first.value['sha'][:10]} on main: Begin\n  a.py (added) +1 -0\n  docs/b.md (added) +1 -0"
    )
    desk.write("a.py", "one\nmore\n")
    (desk.work / "docs/b.md").unlink()
    desk.write("new/c.txt", "3\n")
    status = await desk.call("git_status")
    assert status.value == {
        "branch": "main", "commit": first.value["sha"], "upstream": None, "ahead": None, "behind": None,
        "staged": [], "conflicts": [], "untracked": ["new/"], "in_progress": "",
        "unstaged": [{"path": "a.py", "change": "modified"}, {"path": "docs/b.md", "change": "deleted"}],
    }  # fmt: skip
    assert status.shown == "on branch main\nunstaged:\n  a.py (modified)\n  docs/b.md (deleted)\nuntracked:\n  new/"
    diff = await desk.call("git_diff")
    assert "2 files changed, 1 insertion(+), 1 deletion(-)" in diff.value
    assert "--- a/a.py\n+++ b/a.py\n@@ -1 +1,2 @@\n one\n+more\n" in diff.value
    second = await desk.call("git_commit", message="Go on")
    assert second.value["files"] == ["a.py", "docs/b.md", "new/c.txt"]
    assert desk.run("status", "--porcelain") == ""
    assert desk.run("fsck", "--strict") == ""
    log = await desk.call("git_log")
    assert [(c["author"], c["email"], c["subject"], c["body"]) for c in log.value] == [
        ("Ada", "ada@example.com", "Go on", ""),
        ("Ada", "ada@example.com", "Begin", "Because.\n"),
    ]
    assert log.shown is not None and log.shown.startswith(f"{second.value['sha'][:10]} 20")
    assert (await desk.call("git_log", paths="docs", limit=1)).value[0]["subject"] == "Go on"
    assert "+more" in (await desk.call("git_diff", since="HEAD~1", until="main", paths=["a.py"])).value
    assert (await desk.call("git_diff")).shown == "No tracked file differs."


async def test_only_what_is_named_is_committed_and_what_is_staged_elsewhere_stays(desk: Desk) -> None:
    for name in ("a", "b", "c"):
        desk.write(name, "1\n")
    await desk.call("git_commit", message="one")
    for name in ("a", "b", "c"):
        desk.write(name, "2\n")
    desk.run("add", "b")
    found = await desk.call("git_commit", message="two", paths=["a", "missing"])
    assert found.value["files"] == ["a"]
    assert "(missing: nothing to commit there.)" in str(found.shown)
    assert desk.run("status", "--porcelain") == "M  b\n M c\n"
    assert (await desk.call("git_status")).value["staged"] == [{"path": "b", "change": "modified"}]
    assert "+2" in (await desk.call("git_diff", staged=True)).value


async def test_what_was_taken_out_by_hand_stays_out(desk: Desk) -> None:
    desk.write("secret.env", "KEY=1\n")
    desk.write("kept", "1\n")
    await desk.call("git_commit", message="one")
    desk.run("rm", "-q", "--cached", "secret.env")
    desk.write(".gitignore", "secret.env\n")
    found = await desk.call("git_commit", message="Forget the secret")
    assert found.value["files"] == [".gitignore", "secret.env"]
    assert desk.run("ls-files") == ".gitignore\nkept\n"
    assert (desk.work / "secret.env").exists()
    with pytest.raises(ToolError, match=r"nothing to commit in secret\.env"):
        await desk.call("git_commit", message="x", paths="secret.env")


async def test_a_file_becomes_a_folder_a_link_or_a_program(desk: Desk) -> None:
    for name in ("folder", "link", "program"):
        desk.write(name, "1\n")
    await desk.call("git_commit", message="one")
    (desk.work / "folder").unlink()
    desk.write("folder/inside", "2\n")
    (desk.work / "link").unlink()
    (desk.work / "link").symlink_to("/etc/passwd")
    (desk.work / "program").chmod(0o755)
    found = await desk.call("git_commit", message="two", paths=["folder", "link", "program"])
    assert found.value["files"] == ["folder", "folder/inside", "link", "program"]
    modes = [line.split()[0] for line in desk.run("ls-tree", "-r", "HEAD").splitlines()]
    assert modes == ["100644", "120000", "100755"]
    assert desk.run("status", "--porcelain") == ""


async def test_names_of_any_bytes_survive(desk: Desk) -> None:
    names = ["new\nline", 'quo"te', "tab\t", "日本.txt", "-dash", ":(top)x", "*", " lead", "back\\slash", b"caf\xe9"]
    for name in names:
        desk.write(name, "1\n")
    spelt = sorted([*(name for name in names if isinstance(name, str)), '"caf\\351"'])
    status = await desk.call("git_status")
    assert sorted(status.value["untracked"]) == spelt
    assert "new⟨LF⟩line" in str(status.shown)
    for name in status.value["untracked"]:
        assert (await desk.call("git_commit", message=f"Add {name}", paths=[name])).value["files"] == [name]
    assert desk.run("status", "--porcelain") == ""
    desk.write(b"caf\xe9", "2\n")
    assert (await desk.call("git_status")).value["unstaged"] == [{"path": '"caf\\351"', "change": "modified"}]
    assert "+2" in (await desk.call("git_diff", paths='"caf\\351"')).value


async def test_binary_files_are_told_of_and_not_shown(desk: Desk) -> None:
    (desk.work / "x.bin").write_bytes(bytes(range(256)) * 40)
    found = await desk.call("git_commit", message="one")
    assert "x.bin (added) (binary)" in str(found.shown)
    (desk.work / "x.bin").write_bytes(bytes(range(256)) * 41)
    diff = await desk.call("git_diff")
    assert "Bin 10240 -> 10496 bytes" in diff.value
    assert "Binary files a/x.bin and b/x.bin differ" in diff.value
    assert len(diff.value) < 400


async def test_a_large_diff_is_cut_and_says_so(desk: Desk) -> None:
    desk.write("big", "\n".join(map(str, range(200_000))))
    await desk.call("git_commit", message="one")
    desk.write("big", "\n".join(map(str, range(200_000, 400_000))))
    desk.config = {"max_output_chars": 2_000}
    diff = await desk.call("git_diff")
    assert "bytes left out" in diff.value
    assert len(diff.value) < 410_000
    assert len(str(diff.shown)) < 2_500
    assert "1 file changed, 200000 insertions(+), 200000 deletions(-)" in str(diff.shown)
    assert "(The diff was too long to be shown whole. Narrow it with paths=.)" in str(diff.shown)
    preview, _ = await desk.preview()
    assert preview.diff.startswith("modified big +200000 -200000\n")
    assert len(preview.diff) < 31_000


async def test_in_a_folder_of_a_repository_only_that_folder_counts(below: Desk) -> None:
    (below.top / "outside.txt").write_text("2\n")
    below.write("inside.txt", "2\n")
    below.write("new.txt", "3\n")
    status = await below.call("git_status")
    assert status.value["unstaged"] == [{"path": "inside.txt", "change": "modified"}]
    assert status.value["untracked"] == ["new.txt"]
    scope = f"(Only of the workspace, which is sub dir/ in the repository {below.top}.)"
    assert str(status.shown).endswith(scope)
    diff = await below.call("git_diff")
    assert "a/inside.txt" in diff.value
    assert "outside" not in diff.value
    preview, _ = await below.preview()
    assert preview.subject is not None and preview.subject.texts == ("inside.txt", "new.txt")
    assert "+++ b/new.txt" in preview.diff
    found = await below.call("git_commit", message="two")
    assert found.value["files"] == ["inside.txt", "new.txt"]
    assert str(found.shown).endswith(scope)
    assert below.run("status", "--porcelain") == " M outside.txt\n"
    below.run("commit", "-qam", "three")
    assert [c["subject"] for c in (await below.call("git_log")).value] == ["two", "one"]
    for name in ("git_commit", "git_diff", "git_log"):
        for path in ("../outside.txt", str(below.top / "outside.txt"), ".."):
            with pytest.raises(PathRefused):
                await below.call(name, message="x", paths=[path])
        with pytest.raises(ToolError, match="paths is empty"):
            await below.call(name, message="x", paths=[])


async def test_where_a_branch_stands_against_its_upstream(desk: Desk, tmp_path: Path) -> None:
    desk.write("a", "1\n")
    await desk.call("git_commit", message="one")
    desk.run("clone", "-q", "--bare", ".", str(tmp_path / "far.git"))
    desk.run("remote", "add", "far", str(tmp_path / "far.git"))
    desk.run("fetch", "-q", "far")
    desk.run("branch", "-q", "--set-upstream-to=far/main")
    desk.write("a", "2\n")
    await desk.call("git_commit", message="two")
    status = await desk.call("git_status")
    assert (status.value["upstream"], status.value["ahead"], status.value["behind"]) == ("far/main", 1, 0)
    assert str(status.shown).startswith("on branch main, 1 ahead of and 0 behind far/main\n")
    desk.run("checkout", "-q", "--detach")
    desk.write("a", "3\n")
    assert (await desk.call("git_commit", message="three")).value["branch"] is None
    assert str((await desk.call("git_status")).shown).startswith("HEAD is detached\n")


@pytest.mark.parametrize("kind", KINDS)
async def test_behind_a_wall_it_works_as_anywhere(kind: Kind, desk: Desk) -> None:
    pool, desk.pool = desk.pool, TerminalPool(desk.work, desk.env, open_wall=opener(kind, desk.work, env=desk.env))
    desk.write("a", "1\n")
    assert (await desk.call("git_status")).value["untracked"] == ["a"]
    assert (await desk.call("git_commit", message="one")).value["files"] == ["a"]
    desk.write("a", "2\n")
    assert "+2" in (await desk.call("git_diff")).value
    assert len((await desk.call("git_log")).value) == 1
    assert desk.run("status", "--porcelain") == " M a\n"
    await desk.pool.close()
    desk.pool = pool


@pytest.mark.parametrize("kind", KINDS)
async def test_behind_a_wall_a_larger_repository_is_looked_at_and_committed_to_when_allowed(
    kind: Kind, below: Desk
) -> None:
    pool = below.pool
    below.write("inside.txt", "2\n")
    below.pool = TerminalPool(below.work, below.env, open_wall=opener(kind, below.work, env=below.env))
    assert (await below.call("git_status")).value["unstaged"] == [{"path": "inside.txt", "change": "modified"}]
    assert "+2" in (await below.call("git_diff")).value
    with pytest.raises(ToolError, match=r"a person has to name its \.git folder .* runtime\.sandbox\.writable"):
        await below.call("git_commit", message="two")
    assert not [*(below.top / ".git").glob("autopilot-*")]
    await below.pool.close()
    wall = opener(kind, below.work, env=below.env, writable=[below.top / ".git"])
    below.pool = TerminalPool(below.work, below.env, open_wall=wall)
    assert (await below.call("git_commit", message="two")).value["files"] == ["inside.txt"]
    assert below.run("log", "-1", "--format=%s") == "two\n"
    assert below.run("status", "--porcelain") == ""
    await below.pool.close()
    below.pool = pool


# ---------------------------------------------------------------- what it refuses


async def test_what_cannot_be_committed_says_why(desk: Desk) -> None:
    with pytest.raises(ToolError, match="nothing to commit in the workspace"):
        await desk.call("git_commit", message="x")
    desk.write("a", "1\n")
    for message in ("", " \n ", "nul\0"):
        with pytest.raises(ToolError, match="needs a message"):
            await desk.call("git_commit", message=message)
    desk.run("config", "--unset", "user.email")
    with pytest.raises(ToolError, match=r"git does not know who commits.*git config user\.name"):
        await desk.call("git_commit", message="x")
    assert desk.run("rev-parse", "--verify", "HEAD", good=False) == "HEAD\n" or desk.run("log", good=False) == ""
    assert desk.run("status", "--porcelain") == "?? a\n"


async def test_a_commit_or_option_that_is_none_says_so(desk: Desk) -> None:
    desk.write("a", "1\n")
    await desk.call("git_commit", message="x")
    for name in ("nope", "--output=/tmp/x", "-p", "HEAD:a", "", "a b", "HEAD~5"):
        for call in (
            desk.call("git_diff", since=name),
            desk.call("git_diff", until=name),
            desk.call("git_log", start=name),
        ):
            with pytest.raises(ToolError, match="no commit, branch or tag"):
                await call
    with pytest.raises(ToolError, match="takes no `until`"):
        await desk.call("git_diff", staged=True, until="HEAD")


async def test_a_merge_in_progress_is_for_a_person_to_end(desk: Desk) -> None:
    desk.write("a", "1\n")
    await desk.call("git_commit", message="one")
    desk.run("checkout", "-qb", "other")
    desk.write("a", "2\n")
    await desk.call("git_commit", message="two")
    desk.run("checkout", "-q", "main")
    desk.write("a", "3\n")
    await desk.call("git_commit", message="three")
    desk.run("merge", "-q", "other", good=False)
    status = await desk.call("git_status")
    assert status.value["conflicts"] == [{"path": "a", "change": "conflict"}]
    assert str(status.shown) == "on branch main, a merge is in progress\nconflicts:\n  a (conflict)"
    with pytest.raises(ToolError, match="A merge is in progress"):
        await desk.call("git_commit", message="x")
    desk.run("merge", "--abort")
    desk.run("rebase", "-q", "other", good=False)
    with pytest.raises(ToolError, match="A rebase is in progress"):
        await desk.call("git_commit", message="x")
    desk.run("rebase", "--abort")
    desk.write("a", "4\n")
    desk.run("stash", "-q")
    desk.write("a", "5\n")
    await desk.call("git_commit", message="four")
    desk.run("stash", "pop", "-q", good=False)
    with pytest.raises(ToolError, match="unresolved conflicts in a"):
        await desk.call("git_commit", message="x")


async def test_without_a_repository_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    desk = Desk(tmp_path / "plain", tmp_path / "plain")
    for name in TOOLS:
        with pytest.raises(ToolError, match="is not inside a git repository"):
            await desk.call(name, message="x")
    desk.run("init", "-q", "--bare", "planted")
    inside = Desk(tmp_path / "plain", tmp_path / "plain" / "planted")
    with pytest.raises(ToolError, match="has no files there: it is bare"):
        await inside.call("git_status")
    for one in (desk, inside):
        await one.pool.close()


async def test_a_repository_that_points_elsewhere_is_not_used(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    desk.run("config", "core.worktree", str(tmp_path / "elsewhere"))
    for name in TOOLS:
        with pytest.raises(ToolError, match=r"has no files there: it is bare, or keeps them elsewhere"):
            await desk.call(name, message="x")


@pytest.mark.root
@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root can give files away")
async def test_a_repository_of_somebody_else_is_explained(desk: Desk) -> None:
    for path in (desk.top, desk.top / ".git"):
        os.chown(path, 12345, 12345)
    with pytest.raises(ToolError, match=r"belongs to another user.*safe\.directory"):
        await desk.call("git_status")


async def test_git_itself_is_never_taken_from_the_workspace(desk: Desk) -> None:
    desk.write("bin/git", "#!/bin/sh\ntouch ran\nexit 1\n")
    (desk.work / "bin/git").chmod(0o755)
    path = os.pathsep.join([str(desk.work / "bin"), "bin", "", desk.env["PATH"]])
    pool, desk.pool = desk.pool, TerminalPool(desk.work, {**desk.env, "PATH": path})
    assert (await desk.call("git_status")).value["untracked"] == ["bin/"]
    assert not (desk.work / "ran").exists()
    await desk.pool.close()
    desk.pool = pool


async def test_a_lock_of_another_git_stops_a_commit_and_leaves_all_as_it_was(desk: Desk) -> None:
    desk.write("a", "1\n")
    await desk.call("git_commit", message="one")
    desk.write("a", "2\n")
    (desk.top / ".git/index.lock").touch()
    with pytest.raises(ToolError, match="Another git command is at work"):
        await desk.call("git_commit", message="two")
    assert desk.run("log", "--format=%s") == "one\n"
    (desk.top / ".git/index.lock").unlink()
    await desk.call("git_commit", message="two")


# ---------------------------------------------------------------- permission


async def test_a_preview_shows_what_would_be_committed_and_changes_nothing(desk: Desk) -> None:
    desk.write("a.py", "1\n")
    await desk.call("git_commit", message="one")
    desk.write("a.py", "2\n")
    desk.write("b.py", "3\n")

    def everything() -> dict[str, bytes | None]:
        return {str(p): p.read_bytes() if p.is_file() else None for p in desk.top.rglob("*")}

    before = everything()
    assert TOOLS["git_commit"].label({"message": "Mend\n\nbody"}) == "Committing: Mend"
    preview, _ = await desk.preview(message="Mend\n\nbody")
    assert everything() == before
    assert preview.description == "Commit 2 files: Mend"
    assert preview.diff.startswith("modified a.py +1 -1\nadded b.py +1 -0\ndiff --git a/a.py b/a.py\n")
    assert "-1\n+2\n" in preview.diff
    assert preview.subject is not None and preview.subject.texts == ("a.py", "b.py")


async def test_rules_judge_the_files_of_a_commit(desk: Desk) -> None:
    desk.write("docs/a.md", "1\n")
    tool = TOOLS["git_commit"]

    async def verdict(*rules: str, mode: Any = "ask", **given: Any) -> str:
        preview, _ = await desk.preview(**given)
        return decide(parse_rules(rules), tool.request(preview), mode=mode).action

    rules = ("allow: git_commit(docs/**)", "ask: git_commit")
    assert await verdict(*rules) == "allow"
    desk.write("src/b.py", "2\n")
    assert await verdict(*rules) == "ask"
    assert await verdict(*rules, paths="docs") == "allow"
    assert await verdict("deny: git_commit(src/*)") == "deny"
    assert await verdict(mode="plan") == "deny"


async def test_what_was_allowed_is_what_is_committed(desk: Desk) -> None:
    desk.write("a", "shown\n")
    _, ctx = await desk.preview()
    desk.write("a", "swapped\n")
    with pytest.raises(ToolError, match="changed after this commit was shown and allowed"):
        await TOOLS["git_commit"].call(ctx, {"message": "m", "paths": None})
    assert desk.run("status", "--porcelain") == "?? a\n"
    assert not [*(desk.top / ".git").glob("autopilot-*")]


# ---------------------------------------------------------------- what a repository names is never run

HOOKS = (
    "pre-commit", "prepare-commit-msg", "commit-msg", "post-commit", "post-index-change", "reference-transaction",
)  # fmt: skip


def plant(desk: Desk, marks: Path) -> None:
    """Programs in every place where git looks for one; each leaves a mark when it runs."""
    marks.mkdir()

    def mark(name: str, then: str = "cat") -> str:
        program = marks.parent / f"run-{name}"
        program.write_text(f"#!/bin/sh\ntouch '{marks}/{name}'\n{then}\n")
        program.chmod(0o755)
        return str(program)

    for hook in HOOKS:
        (desk.top / ".git/hooks").mkdir(exist_ok=True)
        shutil.copy(mark(hook, "exit 0"), desk.top / ".git/hooks" / hook)
    for key, value in {
        "core.fsmonitor": mark("fsmonitor", "exit 1"), "diff.external": mark("external", "exit 0"),
        "diff.planted.textconv": mark("textconv", 'cat "$1"'), "diff.planted.command": mark("driver", "exit 0"),
        "filter.planted.clean": mark("clean"), "filter.planted.smudge": mark("smudge"),
        "filter.planted.required": "true", "filter.pro.cess.process": mark("process", "exit 1"),
        "gpg.program": mark("gpg", "exit 1"), "commit.gpgSign": "true", "log.showSignature": "true",
        "core.pager": mark("pager"), "pager.log": "true", "core.editor": mark("editor", "exit 0"),
        "core.sshCommand": mark("ssh", "exit 1"), "credential.helper": f"!{mark('credential')}",
        "alias.st": f"!{mark('alias')}",
    }.items():  # fmt: skip
        desk.run("config", key, value)


async def test_nothing_that_a_repository_names_is_run(desk: Desk, tmp_path: Path) -> None:
    for name in ("plain", "conv", "filt", "proc"):
        desk.write(name, "1\n")
    desk.run("add", "-A")
    desk.run("commit", "-qm", "one")
    signed = desk.run("cat-file", "commit", "HEAD").replace(
        "\n\n", "\ngpgsig -----BEGIN PGP SIGNATURE-----\n x\n\n", 1
    )
    (tmp_path / "signed").write_text(signed)
    desk.run("update-ref", "HEAD", desk.run("hash-object", "-t", "commit", "-w", str(tmp_path / "signed")).strip())
    marks = tmp_path / "marks"
    plant(desk, marks)
    desk.write(".gitattributes", "conv diff=planted\nfilt filter=planted\nproc filter=pro.cess\n")
    for name in ("plain", "conv", "filt", "proc"):
        desk.write(name, "2\n")

    plainly = (("status",), ("diff",), ("diff", "--no-ext-diff"), ("log",), ("add", "plain"), ("commit", "-m", "x"))
    spare = Desk(tmp_path / "spare", tmp_path / "spare")
    shutil.copytree(desk.top, spare.top)
    for words in plainly:
        spare.run(*words, good=False)
        spare.run("-c", "commit.gpgSign=false", "-c", "filter.pro.cess.process=", *words, good=False)
    ran = {path.name for path in marks.iterdir()}
    assert ran >= {*HOOKS, "fsmonitor", "external", "textconv", "clean", "process", "gpg"}  # so the plants are live
    shutil.rmtree(marks)
    marks.mkdir()
    await spare.pool.close()

    status = await desk.call("git_status")
    assert "(Filters are not run here, so what is stored through planted, pro.cess may show as changed.)" in str(
        status.shown
    )
    assert "+2" in (await desk.call("git_diff")).value
    await desk.call("git_diff", staged=True)
    assert len((await desk.call("git_log", paths=["plain"])).value) == 1
    await desk.call("git_commit", message="two", paths=["plain", "conv"])
    for name in ("filt", "proc"):
        with pytest.raises(ToolError, match=rf"{name} is stored through the filter '(planted|pro\.cess)'"):
            await desk.call("git_commit", message="three", paths=[name])
    assert [path.name for path in marks.iterdir()] == []
    assert "gpgsig" not in desk.run("cat-file", "commit", "HEAD")


async def test_a_filter_with_a_name_that_cannot_be_switched_off_stops_everything(desk: Desk) -> None:
    desk.write("a", "1\n")
    desk.run("config", "filter.a=b.clean", "touch ran; cat")
    for name in TOOLS:
        with pytest.raises(ToolError, match="a filter named 'a=b'"):
            await desk.call(name, message="x")


async def test_an_attribute_without_a_program_is_no_filter(desk: Desk) -> None:
    desk.write(".gitattributes", "* filter=lfs\n")
    assert (await desk.call("git_commit", message="one")).value["files"] == [".gitattributes"]


async def test_missing_objects_are_never_fetched(desk: Desk, tmp_path: Path) -> None:
    desk.write("a", "1\n")
    await desk.call("git_commit", message="one")
    blob = desk.run("rev-parse", "HEAD:a").strip()
    program = tmp_path / "upload"
    program.write_text(f"#!/bin/sh\ntouch '{tmp_path}/ran'\nexit 1\n")
    program.chmod(0o755)
    for key, value in {
        "core.repositoryFormatVersion": "1", "extensions.partialClone": "far", "remote.far.promisor": "true",
        "remote.far.url": str(desk.top), "remote.far.uploadpack": str(program),
    }.items():  # fmt: skip
        desk.run("config", key, value)
    (desk.top / ".git/objects" / blob[:2] / blob[2:]).unlink()
    desk.write("a", "22\n")
    desk.run("diff", good=False)
    assert (tmp_path / "ran").exists()  # plain git would
    (tmp_path / "ran").unlink()
    with pytest.raises(ToolError, match="git diff failed"):
        await desk.call("git_diff")
    await desk.call("git_status")
    assert not (tmp_path / "ran").exists()


async def test_a_submodule_is_not_looked_into(desk: Desk, tmp_path: Path) -> None:
    inner = Desk(tmp_path / "inner", tmp_path / "inner")
    inner.top.mkdir()
    inner.run("init", "-q")
    inner.write("x", "1\n")
    inner.run("add", "-A")
    inner.run("commit", "-qm", "inner")
    desk.run("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(inner.top), "lib")
    await desk.call("git_commit", message="one")
    assert "160000" in desk.run("ls-tree", "HEAD", "lib")
    program = tmp_path / "filter"
    program.write_text(f"#!/bin/sh\ntouch '{tmp_path}/ran'\ncat\n")
    program.chmod(0o755)
    subprocess.run(["git", "-C", desk.work / "lib", "config", "filter.deep.clean", program], check=True)  # noqa: ASYNC221
    desk.write("lib/.gitattributes", "* filter=deep\n")
    desk.write("lib/x", "2\n")
    desk.write("other", "1\n")
    desk.run("config", "diff.submodule", "diff")
    desk.run("config", "submodule.lib.ignore", "none")
    desk.run("status")
    assert (tmp_path / "ran").exists()
    (tmp_path / "ran").unlink()
    assert (await desk.call("git_status")).value["untracked"] == ["other"]
    await desk.call("git_diff")
    assert (await desk.call("git_commit", message="two")).value["files"] == ["other"]
    assert not (tmp_path / "ran").exists()
    inside = [
        "git",
        "-C",
        desk.work / "lib",
        "-c",
        "user.name=A",
        "-c",
        "user.email=a@b.c",
        "-c",
        "filter.deep.clean=",
    ]
    subprocess.run([*inside, "commit", "-qam", "deeper"], check=True)  # noqa: ASYNC221
    assert "+Subproject commit" in (await desk.call("git_diff")).value
    assert (await desk.call("git_commit", message="Move lib")).value["files"] == ["lib"]
    assert not (tmp_path / "ran").exists()
    desk.run("init", "-q", "nested")
    found = await desk.call("git_status")
    assert found.value["untracked"] == ["nested/"]
    desk.write("more", "1\n")
    told = await desk.call("git_commit", message="three")
    assert told.value["files"] == ["more"]
    await inner.pool.close()
