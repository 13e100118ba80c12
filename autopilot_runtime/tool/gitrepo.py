"""The git repository around a workspace, and the one way git is called there: nothing it configures is ever run.

A model can write `.git/config` and `.gitattributes` through a shell, and git runs programs named there. File
monitors, hooks, signers and pagers are switched off for every command, external diffs and text converters where a
diff is made, filters by their names; and no protocol is allowed, so that nothing is fetched either.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from autopilot_runtime.core.errors import PathRefused, ToolError
from autopilot_runtime.tool.context import ToolContext
from autopilot_runtime.tool.gitread import Entry, Head, fields, read_status, unspelt, zeroed
from autopilot_runtime.tool.visible import visible

if TYPE_CHECKING:
    from autopilot_runtime.shell.program import ProgramResult

DIFF = ("--no-ext-diff", "--no-textconv", "--submodule=short", "--ignore-submodules=dirty")
_SAFE = (
    "--no-pager", "--literal-pathspecs",
    "-c", "core.fsmonitor=", "-c", f"core.hooksPath={os.devnull}",
    "-c", "log.showSignature=false", "-c", "commit.gpgSign=false", "-c", "user.useConfigOnly=true",
    "-c", "i18n.commitEncoding=UTF-8", "-c", "i18n.logOutputEncoding=UTF-8", "-c", "core.quotePath=false",
)  # fmt: skip
_ENV = {
    "GIT_ALLOW_PROTOCOL": "", "GIT_NO_LAZY_FETCH": "1", "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0",
    "GIT_DISCOVERY_ACROSS_FILESYSTEM": "1",
    "LC_ALL": "C.UTF-8", "LANGUAGE": "",
}  # fmt: skip
_SECONDS = 60.0
_MAX_BYTES = 16_000_000
_BUSY = {
    "MERGE_HEAD": "merge", "CHERRY_PICK_HEAD": "cherry-pick", "REVERT_HEAD": "revert",
    "rebase-merge": "rebase", "rebase-apply": "rebase",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Repository:
    """The repository, seen from the workspace."""

    ctx: ToolContext
    program: tuple[str, ...]
    filters: frozenset[str] = frozenset()
    top: str = ""
    prefix: str = ""  # the workspace as seen from the top: "" or "sub/"
    folder: str = ""  # .git
    objects: str = ""  # where it keeps what was committed

    async def git(
        self,
        *words: str,
        stdin: str | bytes | None = None,
        env: Mapping[str, str] | None = None,
        good: tuple[int, ...] = (0,),
        max_bytes: int | None = None,
    ) -> ProgramResult:
        """Run one git command. With another exit code than a good one: an error. `max_bytes` lets it be cut."""
        seconds = float(self.ctx.config.get("timeout") or _SECONDS)
        argv, variables = [*self.program, *words], {**_ENV, **(env or {})}
        done = await self.ctx.program(
            argv, timeout=seconds, stdin=stdin, env=variables, max_bytes=max_bytes or _MAX_BYTES
        )
        if done.timed_out:
            raise ToolError(f"git {words[0]} took longer than {seconds:g} s and was stopped.")
        if done.code not in good:
            raise ToolError(_explained(done.err, words[0], self.ctx.work_dir))
        if done.truncated and max_bytes is None:
            raise ToolError(f"git {words[0]} tells more than can be taken here. Name fewer paths, or see .gitignore.")
        return done

    @property
    def in_progress(self) -> str:
        """What was begun and has not ended: "merge", "rebase" and so on, or ""."""
        return next((name for file, name in _BUSY.items() if Path(self.folder, file).exists()), "")

    async def status(self, untracked: str, pathspecs: Sequence[str] = (".",)) -> tuple[Head, list[Entry]]:
        """What changed below the workspace. `untracked`: "normal" folds whole new folders, "all" lists every file."""
        words = ("status", "--porcelain=v2", "--branch", "-z", "--no-renames", "--ignore-submodules=dirty")
        done = await self.git(*words, f"--untracked-files={untracked}", "--", *pathspecs)
        return read_status(done.raw, self.prefix)

    async def commit(self, name: str) -> str | None:
        """The hash of a commit; None for the HEAD of a repository that has none yet."""
        # With a dash it would be an option.
        wanted = f"{name}^{{commit}}" if not name.startswith("-") else "refs/none"
        done = await self.git("rev-parse", "--verify", "--quiet", wanted, good=(0, 1, 128))
        if done.code == 0:
            return done.out.strip()
        if name == "HEAD":
            return None
        raise ToolError(f"There is no commit, branch or tag {visible(name, limit=100)!r} in this repository.")

    async def empty_tree(self) -> str:
        """The tree without files, to compare with where nothing was committed."""
        return (await self.git("hash-object", "-t", "tree", "--stdin", stdin=b"")).out.strip()

    async def filtered(self, paths: Sequence[str]) -> dict[str, str]:
        """Path → filter, for those of the paths that are stored through a configured one."""
        if not self.filters or not paths:
            return {}
        told = fields((await self.git("check-attr", "-z", "--stdin", "filter", stdin=zeroed(paths))).raw)
        return {path: name for path, name in zip(told[0::3], told[2::3], strict=True) if name in self.filters}

    def pathspecs(self, paths: str | Sequence[str] | None) -> list[str]:
        """The paths as git takes them, each in the workspace; "." for all of it."""
        if paths is None:
            return ["."]
        if not paths:
            raise ToolError("paths is empty. Name some, or leave it out for the whole workspace.")
        return [self._pathspec(unspelt(path)) for path in ([paths] if isinstance(paths, str) else paths)]

    def _pathspec(self, path: str) -> str:
        root = str(self.ctx.work_dir)
        full = os.path.normpath(os.path.join(root, path))  # noqa: PTH118
        if full == root:
            return "."
        # A link is committed as a link: only the folder it is in has to be here.
        real = os.path.join(os.path.realpath(os.path.dirname(full)), os.path.basename(full))  # noqa: PTH118, PTH119, PTH120
        if not path.strip() or "\0" in path or not Path(real).is_relative_to(root):
            raise PathRefused(f"{visible(path, limit=200)!r} is no path in the workspace {root}.")
        return os.path.relpath(real, root).replace(os.sep, "/")


async def open_repository(ctx: ToolContext) -> Repository:
    """Find it, and the filters that must not run. No repository, or one that is not to be trusted: `ToolError`."""
    bare = Repository(ctx, (_git(ctx), *_SAFE))
    keys = fields((await bare.git("config", "-z", "--name-only", "--get-regexp", r"^filter\.", good=(0, 1))).raw)
    filters = frozenset(key.partition(".")[2].rpartition(".")[0] for key in keys if key.count(".") > 1)
    odd = next((name for name in filters if "=" in name), None)
    if odd is not None:
        raise ToolError(
            f"The git configuration has a filter named {visible(odd, limit=80)!r}: too odd to be used here."
        )
    # A filter without a program is none; it must not be `required` then.
    off = [f"filter.{name}.{key}" for name in filters for key in ("clean=", "smudge=", "process=", "required=false")]
    program = (*bare.program, *(word for setting in off for word in ("-c", setting)))
    ask = ("--is-inside-work-tree", "--absolute-git-dir", "--show-toplevel", "--show-prefix", "--git-path", "objects")
    told = (await Repository(ctx, program).git("rev-parse", *ask)).raw.decode("utf-8", "surrogateescape").split("\n")
    if len(told) != 6 or told[0] != "true":
        raise ToolError(_explained("must be run in a work tree", "rev-parse", ctx.work_dir))
    _, folder, top, prefix, objects, _ = told
    if not ctx.work_dir.is_relative_to(os.path.realpath(top)):  # the repository itself can say where its files are
        raise ToolError(
            f"The repository of {ctx.work_dir} keeps its files in {visible(top)}, so it is not used here."
        )
    return Repository(ctx, program, filters, top, prefix, folder, str(ctx.work_dir / objects))


def _git(ctx: ToolContext) -> str:
    """The git of the machine: folders of the workspace, which a model can write, may be on the PATH, too."""
    folders = ctx.terminals.env.get("PATH", "").split(os.pathsep)
    outside = [f for f in folders if Path(f).is_absolute() and not Path(f).resolve().is_relative_to(ctx.work_dir)]
    found = shutil.which("git", path=os.pathsep.join(outside)) if outside else None
    if found is None or not Path(found).is_absolute():
        raise ToolError("git is not installed on this machine (looked for in PATH, outside of the workspace).")
    return found


def _explained(error: str, command: str, folder: Path) -> str:
    if "must be run in a work tree" in error:
        return f"The repository of {folder} has no files there: it is bare, or keeps them elsewhere. It is not used."
    if "not a git repository" in error:
        return f"{folder} is not inside a git repository. `git init` makes one, if that is what you want."
    if "dubious ownership" in error:
        return (
            f"The repository of {folder} belongs to another user, so git does not use it. A person who trusts it can "
            "say: git config --global --add safe.directory FOLDER, with the folder of the repository."
        )
    if "/.git/" in error and ("Read-only file system" in error or "Permission denied" in error):
        return (
            f"git {command} may not write here: {visible(error.strip(), limit=300)}. Behind the sandbox a repository "
            "that begins above the workspace can be looked at; to commit there, a person has to name its .git folder "
            "in the agent file, under runtime.sandbox.writable."
        )
    if "index.lock" in error:
        return f"Another git command is at work in this repository, or was killed in it: {visible(error, limit=300)}"
    if "auto-detection is disabled" in error or "empty ident name" in error:
        return (
            "git does not know who commits. Ask the person for their name, then: git config user.name 'A Name' and "
            "git config user.email 'name@example.com'. Nothing was committed."
        )
    return f"git {command} failed: {visible(error.strip() or 'it does not say why', lines=True, limit=2_000)}"
