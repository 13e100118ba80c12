"""Finds text, code by what it does, and who calls whom."""

from __future__ import annotations

import asyncio
import difflib
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from autopilot_runtime import EventType, ToolContext, ToolError, ToolResult, tool
from autopilot_runtime.search import text
from autopilot_runtime.tool.visible import visible

if TYPE_CHECKING:
    from autopilot_runtime.search.child import Clock
    from autopilot_runtime.search.endpoint import Embedder
    from autopilot_runtime.search.graph import Trace
    from autopilot_runtime.search.index import Hit, Index

# What semantic_search needs is imported where it is used: every agent that has `find` loads this pack when it is
# made, and importing the index takes longer than everything else then.
_T = TypeVar("_T")
FIND_SECONDS = 30.0
INDEX_SECONDS = 60.0
MAX_OUTPUT_CHARS = 8_000
_SNIPPET_LINES = 6
_TELL_EVERY = 2.0  # seconds between two words on progress
_MAX_DEPTH = 5
_MAX_TOP = 50


def _searching(arguments: Mapping[str, Any]) -> str:
    where = arguments.get("target") or arguments.get("include")
    places = ", ".join(where) if isinstance(where, list) else where
    return f"Searching for {arguments['pattern']}" + (f" in {places}" if places else "")


@tool(label=_searching, effect="read", path="target")
async def find(
    ctx: ToolContext,
    pattern: str,
    scope: Literal["file", "files", "codebase"] = "codebase",
    target: str | list[str] | None = None,
    include: str | list[str] | None = None,
    max_results: int = 50,
) -> ToolResult:
    r"""Search text with a regular expression, line by line. Shows file:line:matched_line, one match per line.

    Escape special characters: find(r'validate_email\('). scope 'file' or 'files' searches `target` (a path, or a list
    of them); 'codebase' everything but hidden and git-ignored files. include narrows it: '*.py', 'tests/**',
    '*.{ts,tsx}'. Case matters; begin with (?i) to ignore it. Returns a list of {"path", "line", "text"}.
    """
    found = await _in_thread(
        lambda stop: text.find(
            ctx.work_dir,
            pattern,
            scope=scope,
            target=target,
            include=include,
            max_results=max_results,
            seconds=float(ctx.config.get("timeout") or FIND_SECONDS),
            stop=stop,
        )
    )
    value = [{"path": match.path, "line": match.line, "text": match.text} for match in found.matches]
    lines = [f"{visible(m.path)}:{m.line}:{visible(m.text, lines=True)}" for m in found.matches]
    notes = [f"({note}.)" for note in found.notes]
    if found.more:
        notes.append(f"(More than these {len(lines)}. Narrow it with include= or target=, or raise max_results.)")
    if not lines:
        hidden = " Hidden and git-ignored files are searched only when named." if not target else ""
        notes.append(f"No line matches {visible(pattern, limit=200)!r}.{hidden}")
    more = "; there are more" if found.more else ""
    short = f"{len(value)} match{'' if len(value) == 1 else 'es'}{more}{''.join(f'; {note}' for note in found.notes)}"
    return ToolResult(value, _fitting([*lines], notes, ctx.config), short)


@tool(label="Searching the code: {query}", effect="read")
async def semantic_search(
    ctx: ToolContext,
    query: str,
    mode: Literal["search", "trace_callers", "trace_callees", "trace_graph"] = "search",
    depth: int = 2,
    top_k: int = 5,
) -> ToolResult:
    """Find code by what it does, or follow its calls. For an exact name or text, find() is better.

    mode 'search': query says in words what the code does ("retry a failed request"); gives the top_k functions and
    classes. 'trace_callers', 'trace_callees': query is a function, method or class ("parse", "Parser.parse",
    "src/a.py:parse"); gives each place that calls it, or what it calls. 'trace_graph': both, up to depth calls away:
    look at it before a change with wide effects. The first call indexes the workspace and may take a while. Returns a
    list of dicts: path, line and name, score, text; or path, line, caller, callee, sure.
    """
    if not query.strip():
        raise ToolError("The query is empty.")
    notes: list[str] = []
    tell = _progress(ctx)
    seconds = float(ctx.config.get("timeout") or INDEX_SECONDS)

    def work(stop: Callable[[], bool]) -> tuple[list[dict[str, Any]], list[str]]:
        from autopilot_runtime.search.child import Clock
        from autopilot_runtime.search.index import Index

        index, clock = Index(ctx.work_dir), Clock(seconds, stop)
        state = index.refresh(seconds=seconds, stop=stop, progress=tell("Indexing the workspace"))
        notes.extend(index.notes)
        if not state.complete:
            notes.append(
                f"Indexing took longer than {seconds:g} s and is not complete; the next call goes on with it"
            )
        if mode == "search":
            return _hits(
                index.root, _search(index, query, ctx.config, top_k=top_k, clock=clock, tell=tell, notes=notes)
            )
        return _trace(index, query, mode, depth=depth)

    value, lines = await _in_thread(work)
    if not value and mode == "search":
        notes.append("Nothing in the index answers this. Try other words, or find() with a pattern")
    return ToolResult(value, _fitting(lines, [f"({note}.)" for note in notes], ctx.config, cap=MAX_OUTPUT_CHARS))


async def _in_thread(work: Callable[[Callable[[], bool]], _T]) -> _T:
    """Run it beside the loop. When the run is aborted, its child processes are gone at once."""
    over = threading.Event()
    try:
        return await asyncio.to_thread(work, over.is_set)
    finally:
        over.set()


def _progress(
    ctx: ToolContext, clock: Callable[[], float] = time.monotonic
) -> Callable[[str], Callable[[int, int], None]]:
    """Tells people, on the loop and now and then, how far something is that takes long."""
    loop = asyncio.get_running_loop()
    told = [clock(), -1.0]

    def of(what: str) -> Callable[[int, int], None]:
        def tell(done: int, total: int) -> None:
            if clock() - told[0] >= _TELL_EVERY and done != told[1]:
                told[:] = [clock(), done]
                message = f"{what} for semantic_search: {done:,} of {total:,}"
                loop.call_soon_threadsafe(lambda: ctx.event(EventType.WARNING, message=message))

        return tell

    return of


def _fitting(lines: Sequence[str], notes: Sequence[str], config: Mapping[str, Any], *, cap: int = 60_000) -> str:
    """As many of the lines as the model should have to read, and all notes."""
    room = int(config.get("max_output_chars") or cap)
    kept: list[str] = []
    for line in lines:
        room -= len(line) + 1
        if room < 0:
            kept.append(f"… (+{len(lines) - len(kept)} lines)")
            break
        kept.append(line)
    return "\n".join([*kept, *notes])


def _search(
    index: Index,
    query: str,
    config: Mapping[str, Any],
    *,
    top_k: int,
    clock: Clock,
    tell: Callable[[str], Callable[[int, int], None]],
    notes: list[str],
) -> list[Hit]:
    """By meaning where an endpoint is configured and works, else by words; which one it was is never hidden."""
    limit = max(1, min(top_k, int(config.get("max_results") or _MAX_TOP), _MAX_TOP))
    embedder = _embedder(config, notes, clock)
    if embedder is None:
        return index.search(query, limit=limit)
    with embedder:
        try:
            hits = _by_meaning(index, embedder, query, limit=limit, clock=clock, tell=tell, notes=notes)
        except ToolError as error:
            notes.append(f"{str(error).rstrip('.')}. These are matched by their words instead")
            hits = None
    return index.search(query, limit=limit) if hits is None else hits


def _by_meaning(
    index: Index,
    embedder: Embedder,
    query: str,
    *,
    limit: int,
    clock: Clock,
    tell: Callable[[str], Callable[[int, int], None]],
    notes: list[str],
) -> list[Hit] | None:
    """None when the workspace is too large to be embedded."""
    from autopilot_runtime.search.embed import MAX_PIECES, forget_other_lengths, nearest, refresh_vectors

    # The query first: an endpoint that refuses it would refuse everything else, and a new model shows.
    (wanted,) = embedder.embed([query])
    forget_other_lengths(index, embedder, wanted)
    progress = tell("Embedding the workspace")
    state = refresh_vectors(index, embedder, seconds=clock.left, stop=clock.stop, progress=progress)
    if state.total > MAX_PIECES:
        notes.append(f"{state.total:,} pieces are too many to embed; these are matched by their words")
        return None
    if state.done < state.total:
        notes.append(f"{state.done} of {state.total} pieces are embedded so far; the next call goes on")
    return nearest(index, embedder, wanted, limit=limit)


def _embedder(config: Mapping[str, Any], notes: list[str], clock: Clock) -> Embedder | None:
    from autopilot_runtime.search.endpoint import Embedder

    base_url, variable = config.get("base_url"), config.get("api_key_env")
    if not base_url or not variable:
        return None
    provider = config.get("provider") or "openai"
    if provider != "openai":
        raise ToolError(
            f"semantic_search speaks the protocol 'openai' only; the agent file says provider: {provider!r}."
        )
    key = os.environ.get(str(variable))
    if not key:
        notes.append(f"{variable} is not set, so there are no embeddings; these are matched by their words")
        return None
    model = str(config.get("model") or "voyage-code-3")
    return Embedder(str(base_url), key, model, timeout=clock.left, stop=clock.stop)


def _hits(root: str, hits: Sequence[Hit]) -> tuple[list[dict[str, Any]], list[str]]:
    from autopilot_runtime.search.embed import read_lines

    value: list[dict[str, Any]] = []
    lines: list[str] = []
    for hit in hits:
        body = read_lines(root, hit.path, hit.start, min(hit.end, hit.start + 200))
        value.append(
            {
                "path": hit.path, "line": hit.start, "end_line": hit.end, "name": hit.name, "kind": hit.kind,
                "score": round(hit.score, 4), "text": "\n".join(body),
            }
        )  # fmt: skip
        lines.append(f"{visible(hit.path)}:{hit.start}-{hit.end} {hit.kind} {visible(hit.name)}")
        shown = [line for line in body if line.strip()][:_SNIPPET_LINES]
        lines += [f"    {visible(line[:200], lines=True)}" for line in shown]
    return value, lines


def _trace(index: Index, query: str, mode: str, *, depth: int) -> tuple[list[dict[str, Any]], list[str]]:
    from autopilot_runtime.search.graph import trace_callees, trace_callers, trace_graph

    with index.open() as connection:
        if mode == "trace_graph":
            trace = trace_graph(connection, query, depth=max(1, min(depth, _MAX_DEPTH)))
        else:
            trace = (trace_callers if mode == "trace_callers" else trace_callees)(connection, query)
        if not trace.symbols:
            names = [
                row[0]
                for row in connection.execute("SELECT DISTINCT last FROM pieces WHERE kind != 'text' LIMIT 50000")
            ]
            endings = {row[0].rpartition(".")[2] for row in connection.execute("SELECT path FROM files")}
            raise ToolError(_unknown(query, names, endings))
    value = [
        {
            "path": edge.caller.path, "line": edge.line, "caller": edge.caller.name, "callee": edge.callee.name,
            "callee_path": edge.callee.path, "callee_line": edge.callee.line, "sure": edge.sure,
        }
        for edge in trace.edges
    ]  # fmt: skip
    return value, _drawn(trace, mode)


def _drawn(trace: Trace, mode: str) -> list[str]:
    lines = [f"{visible(one.path)}:{one.line} {one.kind} {visible(one.name)}" for one in trace.symbols]
    verb = {"trace_callers": "is called at", "trace_callees": "calls"}.get(mode, "calls and is called")
    lines = [f"{line} {verb}:" if line == lines[-1] else line for line in lines]
    if not trace.edges:
        lines.append("  (nothing in the workspace)")
    for edge in trace.edges:
        guess = "" if edge.sure else "  (maybe: the class of the object does not show)"
        to = f"{visible(edge.callee.name)} ({visible(edge.callee.path)}:{edge.callee.line})"
        lines.append(f"  {visible(edge.caller.path)}:{edge.line} {visible(edge.caller.name)} -> {to}{guess}")
    if trace.outside:
        lines.append(f"  outside the workspace, or unknown: {visible(', '.join(trace.outside[:40]))}")
    if trace.more:
        lines.append(f"  (Only the first {len(trace.edges)}.)")
    return lines


def _unknown(query: str, names: Sequence[str], endings: set[str]) -> str:
    from autopilot_runtime.search.treeparse import LANGUAGES, is_installed

    near = difflib.get_close_matches(query.rpartition(".")[2].rpartition(":")[2][:80], names, n=3, cutoff=0.6)
    blind = sorted(ending for ending in endings if ending in LANGUAGES and not is_installed(ending))
    told = f"Nothing called {visible(query, limit=100)!r} is defined in the workspace."
    if near:
        told += f" Did you mean {', '.join(map(repr, near))}?"
    if blind:
        told += f" Files ending in {', '.join(blind)} are not parsed here: pip install 'autopilot-runtime[code]'."
    return told + " A name may be written as 'go', 'Class.go' or 'src/mod.py:go'."
