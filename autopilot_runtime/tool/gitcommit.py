"""A commit in two moves: the tree it will have is made and can be shown, and only that very tree is committed.

Made of plumbing: no hook, signer or editor has a part in it. The commit is what the files are now, whatever of them
was staged before; what else is staged stays so.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from autopilot_runtime.core.errors import ToolError
from autopilot_runtime.tool.gitread import Change, Entry, read_changes, spelt, zeroed
from autopilot_runtime.tool.gitrepo import DIFF, Repository
from autopilot_runtime.tool.visible import visible

_MAX_PATCH = 200_000


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be committed: a tree, the commit it comes after ("" for the first), how they differ, and where."""

    tree: str
    head: str
    changes: tuple[Change, ...]
    branch: str | None = None
    patch: str = field(default="", compare=False)
    notes: tuple[str, ...] = field(default=(), compare=False)


async def plan_commit(repo: Repository, paths: str | Sequence[str] | None, *, aside: bool) -> Plan:
    """The commit of these paths. `aside`: nothing is kept of it in the repository, and it comes with its patch."""
    if repo.in_progress:
        raise ToolError(f"A {repo.in_progress} is in progress. End it in a terminal (continue or abort) first.")
    await repo.git("var", "GIT_COMMITTER_IDENT")
    specs = repo.pathspecs(paths)
    now, entries = await repo.status("all", specs)
    await _check(repo, entries)
    head = now.commit or ""
    base = head or await repo.empty_tree()
    with _scratch(repo, aside=aside) as env:
        tree = await _tree(repo, entries, head, env)
        words = ("diff-index", "--cached", "--no-renames", *DIFF)
        raw = await repo.git(*words, "--raw", "--numstat", "--no-abbrev", "-z", base, env=env)
        changes = read_changes(raw.raw, repo.prefix)
        if not changes:
            where = "in the workspace" if paths is None else f"in {visible(', '.join(map(spelt, specs)), limit=300)}"
            raise ToolError(f"There is nothing to commit {where}: no file differs from the last commit.")
        patch = ""
        if aside:
            shown = ("--relative", "--no-color", "--patch")
            patch = (await repo.git(*words, *shown, base, env=env, max_bytes=_MAX_PATCH)).out
    return Plan(tree, head, tuple(changes), now.branch, patch, tuple(_notes(entries, specs, changes)))


async def make_commit(repo: Repository, plan: Plan, message: str) -> str:
    """Commit the tree of a plan; gives the hash. When somebody else committed meanwhile, nothing is changed."""
    parents = ("-p", plan.head) if plan.head else ()
    text = message.encode("utf-8", "replace")
    sha = (await repo.git("commit-tree", plan.tree, *parents, "-F", "-", stdin=text)).out.strip()
    # The index first: when the branch cannot be moved, the files are only staged, which is no harm.
    await repo.git("update-index", "-z", "--index-info", stdin=_index_info(repo, plan.changes))
    title = message.partition("\n")[0]
    kind = "commit" if plan.head else "commit (initial)"
    await repo.git("update-ref", "-m", f"{kind}: {title}", "HEAD", sha, plan.head)
    return sha


def _index_info(repo: Repository, changes: Sequence[Change]) -> bytes:
    # Deletions first: a folder may stand now where a file was.
    lines = [f"0 {'0' * len(c.blob)}\t{repo.prefix}{c.path}" for c in changes if c.deleted]
    lines += [f"{c.mode} {c.blob}\t{repo.prefix}{c.path}" for c in changes if not c.deleted]
    return zeroed(lines)


async def _check(repo: Repository, entries: Sequence[Entry]) -> None:
    conflicts = [spelt(entry.path) for entry in entries if entry.conflict]
    if conflicts:
        names = visible(", ".join(conflicts), limit=300)
        raise ToolError(f"There are unresolved conflicts in {names}. Resolve them and `git add` them first.")
    filtered = await repo.filtered([entry.path for entry in entries if entry.path not in _removed(entries)])
    if filtered:
        path, name = next(iter(filtered.items()))
        raise ToolError(
            f"{visible(spelt(path))} is stored through the filter {visible(name)!r} (see .gitattributes), a program. "
            "git_commit runs none, and without it the wrong content would be stored. Commit it in a terminal."
        )


def _removed(entries: Sequence[Entry]) -> set[str]:
    """Paths taken out of the repository (`git rm`), and not there as new files again."""
    again = {entry.path for entry in entries if entry.untracked}
    return {entry.path for entry in entries if entry.staged == "deleted"} - again


@contextlib.contextmanager
def _scratch(repo: Repository, *, aside: bool) -> Iterator[Mapping[str, str]]:
    """Variables that give git an index of its own, and `aside` a place of its own for new objects, too."""
    try:
        # In the repository: wherever git may write a commit, it may write here.
        folder = tempfile.mkdtemp(prefix="autopilot-", dir=repo.folder)
    except OSError as error:
        raise ToolError(f"The repository {visible(repo.folder)} cannot be written: {error.strerror}.") from error
    try:
        env = {"GIT_INDEX_FILE": str(Path(folder, "index"))}
        if aside:
            quoted = repo.objects.replace("\\", "\\\\").replace('"', '\\"')
            own = Path(folder, "objects")
            own.mkdir()
            env |= {"GIT_OBJECT_DIRECTORY": str(own), "GIT_ALTERNATE_OBJECT_DIRECTORIES": f'"{quoted}"'}
        yield env
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _tree(repo: Repository, entries: Sequence[Entry], head: str, env: Mapping[str, str]) -> str:
    """The last commit with these paths as they are in the workspace now."""
    await repo.git("read-tree", head or "--empty", env=env)
    removed = _removed(entries)
    if removed:
        await repo.git("update-index", "--force-remove", "-z", "--stdin", stdin=zeroed(sorted(removed)), env=env)
    names = sorted({e.path for e in entries if not e.path.endswith("/")} - removed)
    await repo.git("update-index", "--add", "--remove", "--replace", "-z", "--stdin", stdin=zeroed(names), env=env)
    return (await repo.git("write-tree", env=env)).out.strip()


def _notes(entries: Sequence[Entry], specs: Sequence[str], changes: Sequence[Change]) -> Iterator[str]:
    for entry in entries:
        if entry.path.endswith("/"):
            yield f"({visible(spelt(entry.path))} is a repository of its own and was left out.)"
    for spec in specs:
        if spec != "." and not any(c.path == spec or c.path.startswith(f"{spec}/") for c in changes):
            yield f"({visible(spelt(spec))}: nothing to commit there.)"
