"""What the session knows of the run in progress: where it stands, and each call of its blocks."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from autopilot_runtime.core.errors import ReplayError, SessionError
from autopilot_runtime.core.protocols import Call, Outcome
from autopilot_runtime.runtime.keeper import Keeper
from autopilot_runtime.sandbox import wire
from autopilot_runtime.sandbox.display import label
from autopilot_runtime.sandbox.value import bounded_repr

RUN = "run"  # the keys in the session's extra state; those of calls end in their place
CALL = "call."
BLOCK = "block."
_DIGEST_CHARS = 1_000_000
_DIGEST_NODES = 100_000
UNKNOWN = (
    "outcome unknown: {call} was begun before an interruption, and how it ended was not recorded. It may have taken "
    "effect, in whole or in part: look before you repeat it."
)


class Ledger:
    """The records of one session's run. What is noted is kept with the next append; a flush does not wait for one."""

    def __init__(self, keeper: Keeper, *, mask: Callable[[Any], Any]) -> None:
        self._keeper = keeper
        self._mask = mask
        self.session_id = keeper.store.session_id
        self.reload()

    def reload(self) -> None:
        """Take what the session holds."""
        extra = self._keeper.extra()
        found = extra.get(RUN)
        self.run: dict[str, Any] = found if isinstance(found, dict) else {}
        self._kept = {key: value for key, value in extra.items() if key.startswith((CALL, BLOCK))}
        self._noted: dict[str, Any] = {}

    # ------------------------------------------------------------ writing

    def note(self, key: str, value: Mapping[str, Any]) -> None:
        """Remember this for the next append."""
        self._kept[key] = value
        self._noted[key] = value

    def note_also(self, key: str, value: Any) -> None:
        """Remember something else for the next append; None removes it."""
        self._noted[key] = value

    def stand(self, run: Mapping[str, Any]) -> None:
        """Remember where the run stands."""
        self.run = dict(run)
        self._noted[RUN] = self.run

    def lose(self) -> None:
        """What the blocks so far have made of their variables is gone: there is nothing to bring back."""
        for key in [key for key in self._kept if key.startswith(BLOCK)]:
            del self._kept[key]
            self._noted[key] = None

    def forget(self) -> None:
        """Its blocks will not be run again: let go of their calls."""
        self._noted.update(dict.fromkeys(self._kept))
        self._kept.clear()

    @contextmanager
    def settling(self) -> Iterator[dict[str, Any]]:
        """What has been noted, for an append; noted again when that fails."""
        noted, self._noted = self._noted, {}
        try:
            yield noted
        except BaseException:
            self._noted = {**noted, **self._noted}
            raise

    async def flush(self, *, durable: bool = False) -> None:
        """Keep what is noted now: it outlives this process when this returns."""
        with self.settling() as noted:
            if noted:
                await self._keeper.append([], extra=noted, durable=durable)

    @contextmanager
    def beginning(self) -> Iterator[None]:
        """A run begins in here, in the place of the one before; when that cannot be kept, it has not."""
        run, kept, noted = self.run, dict(self._kept), dict(self._noted)
        try:
            yield
        except SessionError:
            self.run, self._kept, self._noted = run, kept, noted
            raise

    # ------------------------------------------------------------ reading

    def block(self, seq: int) -> Book:
        """The calls of the block in message `seq`."""
        return Book(self, seq)

    def entry(self, key: str) -> dict[str, Any] | None:
        """What is kept under a key."""
        return self._kept.get(key)

    def ended(self, seq: int) -> bool:
        """Whether the block in message `seq` ran to its end."""
        return f"{BLOCK}{seq:07d}" in self._kept

    def masked(self, value: Any) -> Any:
        """The value without secrets."""
        return self._mask(value)


@dataclass(frozen=True, slots=True)
class Known:
    """What is recorded of a call. Not `settled`: it was begun, and its outcome is not known."""

    outcome: Outcome
    settled: bool = False
    lost: bool = False  # it took effect, and what it gave is not known any more
    write: Mapping[str, Any] | None = None
    wrote: str = ""  # the file it changed


class Book:
    """The calls of one block, by their number."""

    def __init__(self, ledger: Ledger, seq: int) -> None:
        self._ledger = ledger
        self.name = f"{ledger.session_id}:{seq}"
        self._block = f"{BLOCK}{seq:07d}"
        self._call = f"{CALL}{seq:07d}."
        self._noted: set[int] = set()  # calls whose reads stand in their entry
        self._met: set[int] = set()  # calls that the block has come to

    def _key(self, index: int) -> str:
        return f"{self._call}{index:05d}"

    def known(self, call: Call) -> Known | None:
        """What is recorded of this call; None when it is new. Another call at its place is a `ReplayError`."""
        entry = self._ledger.entry(self._key(call.index))
        if entry is None:
            self._met.add(call.index)
            return None
        called = label(call.tool, call.args, call.kwargs)
        if entry.get("digest") != _digest(call):
            raise ReplayError(
                f"ReplayError: this block was run again after an interruption and took another way: its call "
                f"{call.index + 1} was {entry.get('call')}, now it is {called}. It was stopped there."
            )
        self._met.add(call.index)
        if entry.get("again"):
            return None
        outcome, write = entry.get("outcome"), entry.get("write")
        if outcome is not None:
            return Known(_outcome(outcome), settled=True, lost="lost" in outcome, wrote=str(entry.get("wrote") or ""))
        return Known(Outcome(error=UNKNOWN.format(call=called)), write=write)

    async def intend(self, call: Call, *, write: Mapping[str, Any] | None = None) -> None:
        """Note that this call is about to have an effect. Kept when this returns.

        `write`: it will put these bytes in the place of those, so how it ended can be seen afterwards.
        """
        entry = self._entry(call)
        self._ledger.note(self._key(call.index), entry if write is None else {**entry, "write": write})
        try:
            await self._ledger.flush()
        except SessionError:  # so it is not made: whoever goes on makes it
            self._ledger.note(self._key(call.index), {**entry, "again": True})
            raise

    async def settle(self, call: Call, outcome: Outcome, *, now: bool, looks: bool = False) -> None:
        """Note what this call gave; `now`: kept when this returns, else with whatever is kept next.

        Should that be nothing that can be kept, a call that only `looks` is made again.
        """
        entry = self._entry(call)
        kept = _without_secrets(_packed(outcome), self._ledger.masked)
        begun = (self._ledger.entry(self._key(call.index)) or {}).get("write")
        if begun and outcome.error is None:
            entry["wrote"] = begun["shown"]
        if "lost" in kept and looks:
            entry["again"] = True
        else:
            entry["outcome"] = kept
        self._ledger.note(self._key(call.index), entry)
        if now:
            await self._ledger.flush()

    async def withdraw(self, call: Call) -> None:
        """Note that this call is to be made again, should it not be settled: it waits for an answer, or goes on."""
        self._ledger.note(self._key(call.index), {**self._entry(call), "again": True})
        await self._ledger.flush()

    def stand(self, run: Mapping[str, Any]) -> None:
        """Note where the run stands, together with what is settled next."""
        self._ledger.stand(run)

    def close(self, reads: Sequence[Any]) -> None:
        """The block has ended; `reads` are its last ones."""
        self._ledger.note(self._block, {"reads": list(reads)})

    def _entry(self, call: Call) -> dict[str, Any]:
        called = self._ledger.masked(label(call.tool, call.args, call.kwargs))
        # What was given back is not reported again: the reads of a call that is made once more stand here already.
        reads = [*(self._ledger.entry(self._key(call.index)) or {}).get("reads", ())]
        if call.index not in self._noted:
            self._noted.add(call.index)
            reads += call.reads
        return {"call": called, "digest": _digest(call), "reads": reads}

    # ------------------------------------------------------------ to run it again

    def entries(self) -> Iterator[dict[str, Any]]:
        """The records of its calls, in order, up to the first that is missing."""
        index = 0
        while (entry := self._ledger.entry(self._key(index))) is not None:
            yield entry
            index += 1

    @property
    def reads(self) -> list[Any]:
        """All it has read of clock and randomness."""
        closing = self._ledger.entry(self._block) or {}
        return [*(read for entry in self.entries() for read in entry.get("reads", ())), *closing.get("reads", ())]

    def done(self) -> list[str]:
        """The calls that have taken effect, and those of which that is not known."""
        return [line for entry in self.entries() if (line := _line(entry))]

    def unmet(self) -> list[str]:
        """Those of them that the block has not come to again."""
        found = (_line(entry) for index, entry in enumerate(self.entries()) if index not in self._met)
        return [line for line in found if line]


def _line(entry: Mapping[str, Any]) -> str:
    """A call that has taken effect, or may have; empty for one that has not."""
    outcome = entry.get("outcome")
    if entry.get("again") or (outcome and outcome.get("error")):
        return ""
    return f"{entry.get('call')}{'' if outcome else ': outcome unknown'}"


def _digest(call: Call) -> str:
    """The same for the same call, however large; two that differ beyond any bound count as one."""
    given = (call.tool, list(call.args), sorted(call.kwargs.items()))
    text = bounded_repr(given, chars=_DIGEST_CHARS, nodes=_DIGEST_NODES)
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


def _packed(outcome: Outcome) -> dict[str, Any]:
    if outcome.error is not None:
        return {"error": outcome.error, "type": outcome.error_type}
    packed: dict[str, Any] = {"shown": outcome.shown, "note": outcome.note}
    try:
        packed["value"] = wire.pack(outcome.value)
    except wire.WireError as error:
        packed["lost"] = str(error)
    return packed


def _without_secrets(packed: dict[str, Any], mask: Callable[[Any], Any]) -> dict[str, Any]:
    """The same for the session. A value without its secrets is another value: code must not go on with that."""
    kept: dict[str, Any] = mask(packed)
    if "value" in packed and json.dumps(kept["value"]) != json.dumps(packed["value"]):
        del kept["value"]
        kept["lost"] = "it holds a secret"
    return kept


def _outcome(packed: Mapping[str, Any]) -> Outcome:
    if packed.get("error") is not None:
        return Outcome(error=str(packed["error"]), error_type=str(packed.get("type") or "ToolError"))
    if "lost" in packed:
        return Outcome(error=f"The call took effect, but its value could not be kept: {packed['lost']}.")
    return Outcome(wire.unpack(packed.get("value")), packed.get("shown"), note=str(packed.get("note") or ""))
