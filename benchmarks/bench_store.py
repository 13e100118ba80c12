"""Snapshots and restores of a folder of 10,000 files, beside git doing the same with the same files.

python benchmarks/bench_store.py [--quick]

Rounds are interleaved, and the best of each is compared. Git's side are the commands one would call; "tree" is
`git add -A && git write-tree`, "commit" is `git add -A && git commit`, which like a snapshot with a ref has a name.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from autopilot_runtime.store import refs
from autopilot_runtime.store.objects import Store
from autopilot_runtime.store.restore import restore_tree
from autopilot_runtime.store.snapshot import Snapshotter

QUICK = "--quick" in sys.argv
FILES = 1_000 if QUICK else 10_000
CHANGED = 50
ROUNDS = 3 if QUICK else 5


def plant(root: Path) -> list[Path]:
    """Source-like files of a few kilobytes, 25 to a folder."""
    dice = random.Random(1)
    words = ["".join(dice.choices("abcdefghijklmnop_", k=dice.randint(3, 10))) for _ in range(3_000)]
    paths = []
    for number in range(FILES):
        path = root / f"p{number % 20}" / f"q{number // 20 % 20}" / f"f{number}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        size = int(dice.lognormvariate(5.3, 0.9))
        lines = [" ".join(dice.choices(words, k=8)) for _ in range(max(1, size // 8))]
        path.write_text("\n".join(lines) + f"\n# {number}\n")
        paths.append(path)
    return paths


class Git:
    """The same work, done by git."""

    def __init__(self, work: Path, at: Path) -> None:
        self.at = at
        self.env = {
            "PATH": os.environ["PATH"], "GIT_DIR": str(at), "GIT_WORK_TREE": str(work), "HOME": "/nonexistent",
            "GIT_CONFIG_NOSYSTEM": "1", "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.org",
            "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@example.org",
        }  # fmt: skip

    def __call__(self, *words: str, **env: str) -> str:
        done = subprocess.run(["git", *words], env={**self.env, **env}, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def tree(self) -> None:
        """A snapshot without a name."""
        self("add", "-A")
        self("write-tree")

    def commit(self) -> None:
        """A snapshot with one."""
        self("add", "-A")
        self("commit", "-qm", "x", "--allow-empty")

    def checkout(self, folder: Path) -> None:
        """The newest commit in an empty folder."""
        index = str(self.at.with_name("index"))
        Path(index).unlink(missing_ok=True)
        self("read-tree", "HEAD", GIT_INDEX_FILE=index)
        self("checkout-index", "-a", GIT_INDEX_FILE=index, GIT_WORK_TREE=str(folder))


class Times:
    """The best time of each thing that was done."""

    def __init__(self) -> None:
        self.best: dict[str, float] = {}

    def __call__(self, name: str, work: Callable[[], object]) -> None:
        began = time.perf_counter()
        work()
        spent = (time.perf_counter() - began) * 1e3
        self.best[name] = min(spent, self.best.get(name, spent))


def fresh(folder: Path) -> Path:
    """An empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def main() -> None:
    """Everything in turn, some rounds of it."""
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        work = fresh(base / "work")
        paths = plant(work)
        took = Times()
        for number in range(ROUNDS):
            git, store, taker = begin(base, work, took)
            for step in range(3):
                for path in paths[:: max(1, FILES // CHANGED)]:
                    with path.open("a") as file:
                        file.write(f"{number} {step}\n")
                order = (git.tree, git.commit) if step % 2 else (git.commit, git.tree)
                took(f"50 git {order[0].__name__}", order[0])
                took("50 store", lambda taker=taker, store=store: take(taker, store))
                order[1]()
                took("none git tree", git.tree)
                took("none git commit", git.commit)
                take(taker, store)  # what was written a moment ago is read once more, until its times prove something
                took("none store", lambda taker=taker, store=store: take(taker, store))
            trees = [ref.digest for ref in refs.history(store, "last", limit=4)][::3]
            # New folders each time: what was removed a moment ago is still being removed while the next are made.
            out = fresh(base / f"git out {number}")
            took("checkout git", lambda git=git, out=out: git.checkout(out))
            out = fresh(base / f"store out {number}")
            took("checkout store", lambda s=store, o=out, t=trees[0]: restore_tree(s, o, t, durable=False))
            switch(git, store, out, trees, took)
            store.close()
        report(took.best)
    if not QUICK:
        large()


def large() -> None:
    """A hundred thousand files: a snapshot by another process when nothing has changed."""
    where = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=where) as name:
        work = Path(name) / "work"
        for number in range(4_000):
            folder = work / f"p{number % 20}" / f"q{number // 20}"
            folder.mkdir(parents=True)
            for one in range(25):
                (folder / f"f{one}.py").write_text(f"line {number} {one}\n" * 10)
        time.sleep(0.1)  # what has just been written proves nothing yet
        took = Times()
        for again in range(4):
            with Store(Path(name) / "store.db") as store:
                taker = Snapshotter(store, work)
                took("none" if again > 1 else "first", lambda taker=taker, store=store: take(taker, store))
    print(f"100,000 files, opened anew, nothing changed {took.best['none'] / 1e3:8.2f} s   (bar 2 s)")


def begin(base: Path, work: Path, took: Times) -> tuple[Git, Store, Snapshotter]:
    """A new repository and a new store, each with its first snapshot."""
    git = Git(work, fresh(base / "git"))
    git("init", "-q")
    took("init git tree", git.tree)
    git.commit()
    store = Store(fresh(base / "store") / "store.db")
    taker = Snapshotter(store, work)
    took("init store", lambda: take(taker, store))
    return git, store, taker


def switch(git: Git, store: Store, out: Path, trees: list[bytes], took: Times) -> None:
    """From one state to another and back, in a folder that holds the first: 50 files differ."""
    beside = fresh(out.with_name(f"beside {out.name}"))
    git("worktree", "add", "--detach", "-f", str(beside), "HEAD")
    where = {"GIT_DIR": str(beside / ".git"), "GIT_WORK_TREE": str(beside)}
    time.sleep(0.1)  # what has just been written proves nothing yet
    git("status", **where)
    restore_tree(store, out, trees[0], durable=False)
    commits = [git("rev-parse", name) for name in ("HEAD~1", "HEAD")]
    for name, tree in zip(commits * 2, trees[::-1] * 2, strict=True):
        took("switch git", lambda name=name, where=where: git("checkout", "-q", "--detach", name, **where))
        took("switch store", lambda tree=tree: restore_tree(store, out, tree, durable=False))


def take(taker: Snapshotter, store: Store) -> bytes:
    """A snapshot with a name."""
    return taker.take(lambda tree: refs.point(store, "last", tree)).tree


def report(best: dict[str, float]) -> None:
    """A line for each comparison, with the bar it should stay under."""
    print(f"{FILES:,} files; the store syncs what it acknowledges, git does not")
    rows = [
        ("first snapshot", "init", "git tree", 0.6),
        ("nothing changed", "none", "git tree", 1.5),
        ("nothing changed", "none", "git commit", 1.5),
        (f"{CHANGED} files changed", "50", "git tree", 0.6),
        (f"{CHANGED} files changed", "50", "git commit", 0.6),
        ("checkout into an empty folder", "checkout", "git", 1.2),
        (f"checkout where {CHANGED} files differ", "switch", "git", 1.2),
    ]
    for name, key, other, bar in rows:
        ours, theirs = best[f"{key} store"], best[f"{key} {other}"]
        print(f"{name:30} {ours:8.1f} ms  {other:10} {theirs:8.1f} ms  {ours / theirs:5.2f} x   (bar {bar} x)")


if __name__ == "__main__":
    main()
