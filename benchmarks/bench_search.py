"""find beside the bare `rg` binary, and the index: how fast, and how often the right function comes first.

python benchmarks/bench_search.py [--quick]
"""

from __future__ import annotations

import ast
import random
import re
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from autopilot_runtime.search import ripgrep
from autopilot_runtime.search.graph import trace_callers, trace_graph
from autopilot_runtime.search.index import Index
from autopilot_runtime.search.text import find
from autopilot_runtime.search.words import asked

QUICK = "--quick" in sys.argv
FILES = 500 if QUICK else 5_000
FUNCTIONS = 300 if QUICK else 1_200
ROUNDS = 7
STDLIB = Path(sysconfig.get_paths()["stdlib"])
PATTERNS = {
    "rare": r"def parse_known_args\b",
    "usual": r"raise ValueError\(",
    "everywhere": r"self\.",
    "nowhere": "qqzzyyxx",
}
QUESTIONS = (
    "parse command line arguments", "how do we get the file path", "read a zip file", "retry a request with backoff",
    "format the name of a value", "set the value and get the type", "close the connection", "test file name",
)  # fmt: skip


def sources() -> Iterator[Path]:
    """Python files of the standard library, without its tests."""
    for path in sorted(STDLIB.rglob("*.py")):
        parts = path.relative_to(STDLIB).parts
        if not {"test", "tests", "site-packages", "idlelib", "lib2to3"} & set(parts):
            yield path


def plant(root: Path) -> float:
    """A tree of `FILES` files, the standard library as often as needed; gives its megabytes."""
    found, size = list(sources()), 0
    for number in range(FILES):
        path = found[number % len(found)]
        place = root / f"copy{number // len(found)}" / path.relative_to(STDLIB)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)
        size += place.stat().st_size
    return size / 1e6


def milliseconds(*works: Callable[[], object]) -> list[float]:
    """The median of each, taken in turn so that all meet the same machine."""
    times: list[list[float]] = [[] for _ in works]
    for work in works:
        work()
    for _ in range(ROUNDS):
        for work, own in zip(works, times, strict=True):
            began = time.perf_counter()
            work()
            own.append((time.perf_counter() - began) * 1e3)
    return [statistics.median(own) for own in times]


def bench_find(root: Path) -> None:
    """Against `rg` with the same pattern, which prints every match."""
    rg = ripgrep.locate()
    print("find        pattern     ours ms    rg ms  ours/rg   python ms   (budget: 1.3 x rg)")
    for name, pattern in PATTERNS.items():

        def ours(pattern: str = pattern) -> None:
            find(root, pattern, engine="auto")

        def python(pattern: str = pattern) -> None:
            find(root, pattern, engine="python")

        def bare(pattern: str = pattern) -> None:
            subprocess.run([str(rg), "-n", "--", pattern, "."], cwd=root, capture_output=True, check=False)

        if rg is None:
            print(f"            {name:10}  {milliseconds(python)[0]:31.1f}")
            continue
        mine, theirs, slow = milliseconds(ours, bare, python)
        print(f"            {name:10}  {mine:7.1f}  {theirs:7.1f}  {mine / theirs:7.2f}  {slow:10.1f}")


def bench_index(root: Path, cache: Path, megabytes: float) -> None:
    """The first time, nothing changed, one file changed, and questions."""
    index = Index(root, folder=cache)
    began = time.perf_counter()
    state = index.refresh(seconds=600)
    first = time.perf_counter() - began
    print(f"first index of {state.files:,} files, {megabytes:.0f} MB: {first:.1f} s (budget 30 s for 5,000 files), "
          f"{index.path.stat().st_size / 1e6:.0f} MB on disk")  # fmt: skip
    victim = next(root.rglob("argparse.py"))

    def touch() -> None:
        with victim.open("a") as file:
            file.write(f"# {time.perf_counter_ns()}\n")
        assert index.refresh().changed == 1

    changed, unchanged = milliseconds(touch, index.refresh)
    print(f"nothing changed: {unchanged:.0f} ms; one file changed: {changed:.0f} ms (budget 100 ms)")
    spent = milliseconds(*(lambda q=q: index.search(q) for q in QUESTIONS))
    slowest = max(spent)
    print(f"a question: median {statistics.median(spent):.1f} ms, slowest {slowest:.1f} ms (budget 10 ms)")
    with index.open() as connection:
        callers, graph = milliseconds(
            lambda: trace_callers(connection, "ArgumentParser.parse_args"),
            lambda: trace_graph(connection, "ZipFile.read", depth=2),
        )
    print(f"callers of a method: {callers:.0f} ms; graph of depth 2: {graph:.0f} ms")


def documented() -> list[tuple[str, str, str]]:
    """`(module, source without its docstring, first sentence of the docstring)` of functions and methods."""
    found = []
    for path in sources():
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except (SyntaxError, UnicodeDecodeError):
            continue
        for node in ast.walk(tree):
            text = ast.get_docstring(node) if isinstance(node, ast.FunctionDef) else None
            if not isinstance(node, ast.FunctionDef) or not text or len(node.body) < 3:
                continue
            sentence = re.split(r"\.\s|\n\n", text)[0].replace("\n", " ")
            if len(sentence.split()) >= 4:
                node.body, node.decorator_list = node.body[1:], []
                found.append((path.relative_to(STDLIB).with_suffix("").as_posix(), ast.unparse(node), sentence))
    random.Random(4).shuffle(found)
    return found[:FUNCTIONS]


def bench_quality(root: Path, cache: Path) -> None:
    """Where the function is among the answers to the first sentence of its own docstring."""
    cases = documented()
    for number, (module, source, _) in enumerate(cases):
        place = root / module / f"f{number}.py"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(source)
    index = Index(root, folder=cache)
    index.refresh(seconds=600)
    ranks = [rank([hit.path for hit in index.search(query, limit=10)], n) for n, (_, _, query) in enumerate(cases)]
    texts = [source for _, source, _ in cases]
    grep = [rank([f"f{at}.py" for at in by_longest_word(texts, query)], n) for n, (_, _, query) in enumerate(cases)]
    print(f"the right one of {len(cases):,} functions for a sentence      MRR@10    R@1    R@5   R@10")
    for name, own in (("the index", ranks), ("grep for the longest word", grep)):
        shares = [sum(0 < one <= most for one in own) / len(own) for most in (1, 5, 10)]
        mean = sum(1 / one for one in own if one) / len(own)
        print(f"  {name:50} {mean:.3f}  " + "  ".join(f"{share:.3f}" for share in shares))


def rank(paths: list[str], number: int) -> int:
    """The place of file `number` among the answers, 0 when it is not there."""
    return next((at for at, path in enumerate(paths, 1) if path.rpartition("/")[2] == f"f{number}.py"), 0)


def by_longest_word(texts: list[str], query: str) -> list[int]:
    """What one gets who greps for the longest word of a question."""
    word = max(asked(query) or ["?"], key=len)
    return [at for at, text in enumerate(texts) if word in text.lower()][:10]


def main() -> None:
    """Run it all in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        big, small, cache = (Path(folder, name) for name in ("big", "small", "cache"))
        megabytes = plant(big)
        bench_find(big)
        bench_index(big, cache, megabytes)
        bench_quality(small, cache)


if __name__ == "__main__":
    main()
