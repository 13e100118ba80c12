"""Proposes the merge of two accepted states in place of a step, when two have something to gain from each other."""

from __future__ import annotations

from autopilot_runtime.core.event import EventType
from autopilot_runtime.training.fit import Fit
from autopilot_runtime.training.record import Commit


def merged(fit: Fit) -> Commit | None:
    """The merge as a candidate, with the better of the two as what it is compared with; None when there is none.

    What was merged before stands in the rows of the epochs, so a resumed fit makes the same merge, and none twice.
    """
    if fit.trainer.merger is None or fit.trainer.selector is None:
        return None
    tried = {frozenset(row.extra["merged"]) for row in fit.history if row.extra.get("merged")}
    pair = fit.trainer.merger.pair(fit.pool, tried=tried)
    if pair is None:
        return None
    ours, theirs, base = (fit.record.get_commit(one.commit) for one in pair)
    found = fit.trainer.merger.merge(
        base.parameters, ours.parameters, theirs.parameters, parameters=fit.parameters, store=fit.record.store
    )
    fit.restore(ours)
    fit.parent, fit.merging = ours, (ours.id, theirs.id)
    for name, parameter in fit.parameters:
        if found.states[name] != ours.parameters[name]:
            parameter.bring(fit.record.store, bytes.fromhex(found.states[name]))
    why = found.why()
    commit = fit.keep([ours.id, theirs.id], why=why, source=type(fit.trainer.merger).__name__)
    fit.emit(EventType.MERGED, commit, of=[ours.id, theirs.id], why=why, conflicts=list(found.conflicts))
    fit.tell_why("trainer", why, decision="merge", commit=commit.id, of=[ours.id, theirs.id])
    return commit
