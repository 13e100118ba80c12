"""Shows and commits what changed in the repository of the workspace. Runs nothing that the repository configures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from autopilot_runtime import Preview, Subject, ToolContext, ToolError, ToolResult, tool
from autopilot_runtime.tool.gitcommit import make_commit, plan_commit
from autopilot_runtime.tool.gitread import LOG_FORMAT, read_log, spelt
from autopilot_runtime.tool.gitrepo import DIFF, Repository, open_repository
from autopilot_runtime.tool.visible import visible

MAX_SHOWN_CHARS = 30_000
_MAX_DIFF = 400_000
_MAX_LOG = 200
_MAX_LISTED = 100
_PATCH = ("--no-color", "--src-prefix=a/", "--dst-prefix=b/", "--relative", "--stat=100,80", "--patch")


@tool(label="Looking at what changed in git", effect="read")
async def git_status(ctx: ToolContext) -> ToolResult:
    """What changed in the workspace since the last commit, as git sees it.

    Returns a dict: branch, commit, upstream, ahead, behind (None where there is none); staged, unstaged, conflicts
    (lists of {"path", "change"}); untracked (a list of paths); in_progress ("merge", "rebase" and so on, or "").
    """
    repo = await open_repository(ctx)
    head, entries = await repo.status("normal")
    calm = [entry for entry in entries if not entry.conflict]
    value = {
        **asdict(head),
        "staged": [{"path": spelt(entry.path), "change": entry.staged} for entry in calm if entry.staged],
        "unstaged": [{"path": spelt(entry.path), "change": entry.unstaged} for entry in calm if entry.unstaged],
        "conflicts": [{"path": spelt(entry.path), "change": "conflict"} for entry in entries if entry.conflict],
        "untracked": [spelt(entry.path) for entry in entries if entry.untracked],
        "in_progress": repo.in_progress,
    }
    lines = [*_shown_status(value), *_scope(repo)]
    filtered = await repo.filtered([entry.path for entry in entries if entry.unstaged])
    if filtered:
        names = visible(", ".join(sorted(set(filtered.values()))))
        lines.append(f"(Filters are not run here, so what is stored through {names} may show as changed.)")
    return ToolResult(value, "\n".join(lines))


def _shown_status(value: Mapping[str, Any]) -> Iterator[str]:
    where = f"on branch {visible(value['branch'])}" if value["branch"] else "HEAD is detached"
    where += "" if value["commit"] else ", no commit yet"
    if value["ahead"] is not None:
        where += f", {value['ahead']} ahead of and {value['behind']} behind {visible(value['upstream'])}"
    yield f"{where}, a {value['in_progress']} is in progress" if value["in_progress"] else where
    names = [name for name in ("conflicts", "staged", "unstaged", "untracked") if value[name]]
    for name in names:
        yield f"{name}:"
        yield from _few([f"  {visible(_listed(entry))}" for entry in value[name]])
    if not names:
        yield "nothing changed"


def _listed(entry: str | Mapping[str, str]) -> str:
    return entry if isinstance(entry, str) else f"{entry['path']} ({entry['change']})"


@tool(label="Comparing with {since}", effect="read", path="paths")
async def git_diff(
    ctx: ToolContext,
    paths: str | list[str] | None = None,
    since: str = "HEAD",
    until: str | None = None,
    staged: bool = False,
) -> ToolResult:
    """What changed in tracked files since a commit, branch or tag (the last commit, if you name none), as text.

    `until` compares two commits, staged=True what is staged. Untracked files are not in it.
    """
    if staged and until is not None:
        raise ToolError("staged=True compares with what is staged now, so it takes no `until`.")
    repo = await open_repository(ctx)
    names = [since] if until is None else [since, until]
    ends = [await repo.commit(name) or await repo.empty_tree() for name in names]
    words = ("diff", *DIFF, *_PATCH, *(["--cached"] if staged else []))
    done = await repo.git(*words, *ends, "--", *repo.pathspecs(paths), max_bytes=_MAX_DIFF)
    room = int(ctx.config.get("max_output_chars") or MAX_SHOWN_CHARS)
    notes = [*_scope(repo)]
    if done.truncated or len(done.out) > room:
        notes.append("(The diff was too long to be shown whole. Narrow it with paths=.)")
    shown = visible(_cut(done.out, room), lines=True).strip("\n")
    return ToolResult(done.out, "\n".join([shown or "No tracked file differs.", *notes]))


@tool(label="Reading the git history", effect="read", path="paths")
async def git_log(
    ctx: ToolContext, limit: int = 10, paths: str | list[str] | None = None, start: str = "HEAD"
) -> ToolResult:
    """The newest commits, back from `start` (a commit, branch or tag); with paths, only those that changed them.

    Returns a list of dicts: sha, author, email, date, subject, body.
    """
    repo = await open_repository(ctx)
    first = await repo.commit(start)
    if first is None:
        return ToolResult([], "There is no commit yet.")
    count = max(1, min(limit, _MAX_LOG))
    words = ("log", "-z", "--no-patch", "--no-color", "--no-notes", f"--max-count={count}", LOG_FORMAT)
    # Of a whole repository, git leaves no commit out; of paths, it leaves out those that changed nothing there.
    limits = repo.pathspecs(paths) if paths is not None or repo.prefix else []
    value = read_log((await repo.git(*words, first, "--", *limits)).raw)
    lines = [f"{c['sha'][:10]} {c['date'][:10]} {visible(c['author'])}: {visible(c['subject'])}" for c in value]
    return ToolResult(value, "\n".join([*(lines or ["No commit changed that."]), *_scope(repo)]))


async def _preview(ctx: ToolContext, args: Mapping[str, Any]) -> Preview:
    """Make the tree that is to be committed, aside from the repository; what is approved is this very tree."""
    title = _title(args["message"])
    repo = await open_repository(ctx)
    plan = await plan_commit(repo, args["paths"], aside=True)
    names = tuple(spelt(change.path) for change in plan.changes)
    listed = [f"{change.kind} {visible(spelt(change.path))}{change.counts}" for change in plan.changes]
    text = f"Commit {_counted(names)}: {title}"
    diff = "\n".join([*_few(listed), *plan.notes, visible(_cut(plan.patch, MAX_SHOWN_CHARS), lines=True)])
    return Preview(text, Subject("path", names), diff, plan)


@tool(label=lambda args: f"Committing: {_title(args['message'])}", effect="run", preview=_preview)
async def git_commit(ctx: ToolContext, message: str, paths: str | list[str] | None = None) -> ToolResult:
    """Commit the given files and folders, or everything that changed in the workspace, new files included.

    Hooks, signing and filters are programs, and none is run. Returns a dict: sha, branch, files.
    """
    title = _title(message)
    repo = await open_repository(ctx)
    plan = await plan_commit(repo, paths, aside=False)
    if ctx.plan is not None and ctx.plan != plan:
        raise ToolError(
            "Files or branch changed after this commit was shown and allowed. Nothing was committed; try again."
        )
    sha = await make_commit(repo, plan, message.strip() + "\n")
    value = {"sha": sha, "branch": plan.branch, "files": [spelt(change.path) for change in plan.changes]}
    lines = [f"  {visible(spelt(change.path))} ({change.kind}){change.counts}" for change in plan.changes]
    head = f"committed {sha[:10]} on {visible(plan.branch or 'a detached HEAD')}: {visible(title)}"
    return ToolResult(value, "\n".join([head, *_few(lines), *plan.notes, *_scope(repo)]), f"committed {sha[:10]}")


def _title(message: str) -> str:
    title = message.strip().partition("\n")[0]
    if not title or "\0" in message:
        raise ToolError("A commit needs a message: one line on what it does, then, if need be, why.")
    return title


def _scope(repo: Repository) -> list[str]:
    if not repo.prefix:
        return []
    return [f"(Only of the workspace, which is {visible(repo.prefix)} in the repository {visible(repo.top)}.)"]


def _counted(names: Sequence[str]) -> str:
    return f"{len(names)} {'file' if len(names) == 1 else 'files'}"


def _few(lines: Sequence[str]) -> list[str]:
    more = len(lines) - _MAX_LISTED
    return [*lines[:_MAX_LISTED], f"… and {more} more"] if more > 0 else [*lines]


def _cut(text: str, room: int) -> str:
    if len(text) <= room:
        return text
    return f"{text[: room // 2]}\n… ({len(text) - room} characters left out) …\n{text[-(room - room // 2) :]}"
