"""Puts two states together that came of one: parameter by parameter, then inside of one; no line is ever lost."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

from autopilot_runtime.store.merge3 import Merged as Lines
from autopilot_runtime.store.merge3 import merge3
from autopilot_runtime.store.objects import Store
from autopilot_runtime.store.tree import State
from autopilot_runtime.store.treemerge import Clash, changed, merge_trees
from autopilot_runtime.training.parameter import JSONParameter, Parameter, TextParameter
from autopilot_runtime.training.pathparameter import PathParameter
from autopilot_runtime.training.selector import Candidate, ParetoSelector

Taken = Literal["same", "ours", "theirs", "both", "conflict"]
_GONE: Any = object()


@dataclass(frozen=True, slots=True)
class Merged:
    """What became of each parameter: its state, whose it is, and where both sides wanted something else."""

    states: Mapping[str, str]  # parameter → digest of its state, in the store
    taken: Mapping[str, Taken]
    conflicts: Sequence[str] = ()

    def why(self) -> str:
        """In words."""
        parts = [f"{name} {how}" for name, how in self.taken.items() if how not in ("same", "ours")]
        return f"merged: {', '.join(parts) or 'nothing of theirs was new'}" + (
            f" ({len(self.conflicts)} conflicts, both sides kept)" if self.conflicts else ""
        )


class ComponentMerger:
    """Merges states that changed different things. A parameter that one side left alone is the other side's; one that
    both changed is merged inside: a text and files by line, a JSON document by key.

    Where both sides changed the same lines, both stay, ours first; where both changed one value, ours stays. Each
    such place is told. `pair` finds the two of a pool that have most to gain from each other.
    """

    def __init__(self, *, min_gain: float = 0.0) -> None:
        self.min_gain = float(min_gain)

    # ------------------------------------------------------------ merging

    def merge(
        self,
        base: Mapping[str, str],
        ours: Mapping[str, str],
        theirs: Mapping[str, str],
        *,
        parameters: Iterable[tuple[str, Parameter]],
        store: Store,
    ) -> Merged:
        """The state of both. States are digests in the store, as `Commit.parameters` has them; `parameters` say of
        what kind each is, and are not changed."""
        kinds = dict(parameters)
        states: dict[str, str] = {}
        taken: dict[str, Taken] = {}
        conflicts: list[str] = []
        for name in dict.fromkeys((*ours, *theirs)):
            was, mine, other = base.get(name), ours.get(name), theirs.get(name)
            if mine is None or other is None:  # only one side has it at all
                states[name], taken[name] = (other, "theirs") if mine is None else (mine, "ours")  # type: ignore[assignment]
            elif mine == other:
                states[name], taken[name] = mine, "same"
            elif other == was:
                states[name], taken[name] = mine, "ours"
            elif mine == was:
                states[name], taken[name] = other, "theirs"
            else:
                digest, found = _inside(store, name, kinds.get(name), was, mine, other)
                states[name], taken[name] = digest, "conflict" if found else "both"
                conflicts += found
        return Merged(states, taken, tuple(conflicts))

    # ------------------------------------------------------------ choosing

    def pair(
        self, pool: Sequence[Candidate], *, tried: Iterable[frozenset[str]] = ()
    ) -> tuple[Candidate, Candidate, Candidate] | None:
        """(ours, theirs, the state both came of) that together could be best: what each is best at, added up, exceeds
        the better one by more than `min_gain`. None when there are no two such."""
        led = ParetoSelector().leads(pool) if pool else {}
        front = [one for one in pool if led[one.commit]]
        past, by_commit = set(tried), {one.commit: one for one in pool}
        best, chosen = self.min_gain, None
        for one, other in combinations(front, 2):
            ours, theirs = (one, other) if one.mean >= other.mean else (other, one)
            gain = _together(ours, theirs) - ours.mean
            if gain <= best or frozenset((ours.commit, theirs.commit)) in past:
                continue
            base = _fork(ours, theirs, by_commit)
            if base is not None:
                best, chosen = gain, (ours, theirs, base)
        return chosen


def _fork(one: Candidate, other: Candidate, by_commit: Mapping[str, Candidate]) -> Candidate | None:
    """The nearest state that both came of; None when there is none, or when it is one of the two."""
    theirs = set(_ancestors(other, by_commit))
    base = next((up for up in _ancestors(one, by_commit) if up in theirs), None)
    return None if base is None or base in (one.commit, other.commit) else by_commit[base]


def _ancestors(one: Candidate, by_commit: Mapping[str, Candidate]) -> list[str]:
    """Itself, what it came of, and so on; the nearest first."""
    found: list[str] = []
    at: Candidate | None = one
    while at is not None and at.commit not in found:
        found.append(at.commit)
        at = by_commit.get(at.parent)
    return found


def _together(one: Candidate, other: Candidate) -> float:
    """The mean if each item went as with the better of the two."""
    items = [max(score, other.scores[item]) for item, score in one.scores.items() if item in other.scores]
    return sum(items) / len(items) if items else float("-inf")


def _inside(
    store: Store, name: str, kind: Parameter | None, was: str | None, mine: str, other: str
) -> tuple[str, list[str]]:
    """A parameter that both have changed; gives its state, and where they disagree."""
    if isinstance(kind, PathParameter):
        base = None if was is None else bytes.fromhex(was)
        return _files(store, name, base, bytes.fromhex(mine), bytes.fromhex(other))
    old, ours, theirs = (b"" if one is None else store.get(bytes.fromhex(one)) for one in (was, mine, other))
    if isinstance(kind, TextParameter):
        lines = merge3(old, ours, theirs)
        return store.put(both_sides(lines)).hex(), [f"{name}: {_shown(piece.ours)}" for piece in lines.conflicts]
    if isinstance(kind, JSONParameter):
        found: list[str] = []
        document = _document(json.loads(old) if old else {}, json.loads(ours), json.loads(theirs), name, found)
        state = json.dumps(document, sort_keys=True, separators=(",", ":")).encode("utf-8", "surrogatepass")
        return store.put(state).hex(), found
    return mine, [name]  # one value: there is no inside


def both_sides(merged: Lines) -> bytes:
    """The merged text, with the lines of both sides where they disagree: ours, then those of theirs that are new."""
    found: list[bytes] = []
    for piece in merged.pieces:
        found += piece.lines
        if not piece.is_clean:
            have = {line.removesuffix(b"\n") for line in piece.ours}
            more = [line for line in piece.theirs if line.removesuffix(b"\n") not in have]
            if more and found and not found[-1].endswith(b"\n"):
                found[-1] += b"\n"
            found += more
    return _joined(found)


def _joined(lines: Sequence[bytes]) -> bytes:
    """A line without an end may have come to stand in the middle."""
    return b"".join(
        line if line.endswith(b"\n") or at == len(lines) - 1 else line + b"\n" for at, line in enumerate(lines)
    )


def _files(store: Store, name: str, base: bytes | None, mine: bytes, other: bytes) -> tuple[str, list[str]]:
    tree, clashes = merge_trees(store, base, mine, other)
    kept: dict[bytes, State | None] = {}
    for clash in clashes:
        if clash.merged is not None and clash.ours is not None and b"\0" not in clash.merged.data:
            data = both_sides(clash.merged)
            kept[clash.path] = State("file", clash.ours.mode, len(data), store.put(data))
    return changed(store, tree, kept).hex(), [f"{name}: {_named(clash)}" for clash in clashes]


def _named(clash: Clash) -> str:
    return clash.path.decode("utf-8", "replace")


def _document(base: Any, ours: Any, theirs: Any, place: str, conflicts: list[str]) -> Any:
    """By key where both are objects; a list that both have changed has the new entries of both."""
    if ours == theirs or theirs == base:
        return ours
    if ours == base:
        return theirs
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return _object(base if isinstance(base, dict) else {}, ours, theirs, place, conflicts)
    conflicts.append(place)
    if isinstance(ours, list) and isinstance(theirs, list):
        known = [*(base if isinstance(base, list) else []), *ours]
        return [*ours, *(one for one in theirs if one not in known)]
    return theirs if ours is _GONE else ours


def _object(
    base: dict[str, Any], ours: dict[str, Any], theirs: dict[str, Any], place: str, conflicts: list[str]
) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for key in dict.fromkeys((*ours, *theirs)):
        old, mine, other = (one.get(key, _GONE) for one in (base, ours, theirs))
        value = _document(old, mine, other, f"{place}.{key}", conflicts)
        if value is not _GONE:
            merged[key] = value
    return merged


def _shown(lines: Sequence[bytes]) -> str:
    text = b"".join(lines).decode("utf-8", "replace").strip()
    return text[:60] + ("…" if len(text) > 60 else "") or "lines that were deleted"
