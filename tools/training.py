"""Runs a training loop from a control block: feedback, evaluation, submission, budget, journal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from autopilot_runtime import ToolContext, ToolError, ToolResult, tool
from autopilot_runtime.training import benchview
from autopilot_runtime.training.benchtools import at_bench, indented, told
from autopilot_runtime.training.trial import Trial

WITH = ("params",)  # the parameters belong to it: who has this pack has those tools, too

Split = Literal["train", "val"]


@tool(label="Reading the feedback", effect="read")
def read_gradient(ctx: ToolContext, name: str | None = None, top: int | None = None) -> ToolResult:
    """The feedback on the accepted state, by parameter, the most severe first; evaluate() brings it up to date.

    Returns a dict: gradients (parameter → list of texts), items (on how many it was run), budget_left.
    """
    with at_bench(ctx) as (bench, fit):
        if name is not None:
            bench.parameter(fit, name)
        trial = benchview.trial_of(bench, fit, None)
        found = benchview.gradients(trial, name, top)
        lines = [f"{key}:\n" + "\n".join(f"- {one}" for one in texts) for key, texts in found.items() if texts]
        shown = "\n\n".join(lines) or "No feedback: nothing was found wrong."
        return told(ctx, fit, {"gradients": found, "items": trial.items}, shown)


@tool(label="Reading the failures", effect="read")
def read_failures(
    ctx: ToolContext, split: Literal["train", "val", "test"] = "train", limit: int = 20, commit: str | None = None
) -> ToolResult:
    """The training items that came out wrong: what went in, what came out, the feedback.

    Only of the training data: what a change is judged on cannot be read.
    Returns a dict: failures (a list of dicts), total, items, budget_left.
    """
    if split != "train":
        raise ToolError(
            f"Items of the {split} data cannot be read: a change that is made for them would prove nothing. "
            "read_metrics() has the figures on them; read_failures('train') has items."
        )
    with at_bench(ctx) as (bench, fit):
        trial = benchview.trial_of(bench, fit, commit)
        found = benchview.failures(trial, limit)
        lines = [
            f"{one['item']}: {one['feedback'] or one['error'] or 'wrong'}\n"
            f"  in: {indented(one['input'])}\n  out: {indented(one['output'])}"
            for one in found
        ]
        head = f"{len(trial.failures)} of {trial.items} items failed"
        value = {"failures": found, "total": len(trial.failures), "items": trial.items}
        return told(ctx, fit, value, "\n".join([head, *lines]))


@tool(label="Reading the figures", effect="read")
def read_metrics(ctx: ToolContext, commit: str | None = None) -> ToolResult:
    """The figures of the accepted state, or of another commit, on training and held-out data.

    Returns a dict: commit, train, train_items, val, monitor (the figure that counts), noise, budget_left.
    """
    with at_bench(ctx) as (bench, fit):
        return told(ctx, fit, benchview.metrics(bench, fit, bench.commit(fit, commit)))


@tool(label="Reading the history", effect="read")
def history(ctx: ToolContext, limit: int = 20) -> ToolResult:
    """What was submitted so far: the change, why, the verdict and its reason. Look before you try something again.

    Returns a dict: epochs (a list of dicts: epoch, commit, from, verdict, reason, why, metrics), budget_left.
    """
    with at_bench(ctx) as (_, fit):
        rows = benchview.history(fit, limit)
        lines = [
            f"{row['epoch']:>3} {row['verdict']:<8} {row['commit']} {row['metrics']} {row['reason']}"
            + (f"\n    tried: {row['why']}" if row["why"] else "")
            for row in rows
        ]
        return told(ctx, fit, {"epochs": rows}, "\n".join(lines))


@tool(label="Looking at the budget", effect="read")
def budget(ctx: ToolContext) -> ToolResult:
    """What may be spent, what is spent, and what that is enough for.

    Returns a dict: limits, spent, forecast, budget_left.
    """
    with at_bench(ctx) as (_, fit):
        return told(ctx, fit, benchview.budget(fit))


def _evaluating(args: Mapping[str, Any]) -> str:
    return f"Evaluating {args.get('candidate') or 'the accepted state'} on {args.get('split')}"


@tool(label=_evaluating)
def evaluate(
    ctx: ToolContext,
    candidate: str | dict[str, Any] | None = None,
    split: Split = "train",
    n: int | None = None,
    timeout: float = 3_600.0,
) -> ToolResult:
    """Run a candidate (or the accepted state) and measure it. What was run before costs nothing.

    On 'train' (all items, or `n`, rounded up to whole batches) read_gradient and read_failures then show how it
    did; on 'val' there are figures.
    Returns a dict: commit, split, metrics, items, failed, budget_left.
    """
    with at_bench(ctx) as (bench, fit):
        commit = bench.commit(fit, _id(candidate))
        found = bench.evaluate(fit, commit, split, n=n, stop=lambda: ctx.aborted)
        figures = benchview.figures(found.metrics)
        if isinstance(found, Trial):
            value = {"items": found.items, "failed": len(found.failures)}
            shown = f"{value['failed']} of {value['items']} items failed; {figures}"
        else:
            value = {"items": len(found.scores), "failed": len(found.errors)}
            shown = f"{figures}" + (f"; {value['failed']} could not be measured" if value["failed"] else "")
        result = {"commit": commit.id[:12], "split": split, "metrics": figures, **value}
        return told(ctx, fit, result, f"{commit.id[:12]} on {split}: {shown}", note=shown)


def _id(candidate: Any) -> str | None:
    """What `propose_parameter` gave may be handed on as it came."""
    return str(candidate.get("candidate", "")) if isinstance(candidate, dict) else candidate


@tool(label="Submitting {candidate}: {why}")
def submit(ctx: ToolContext, candidate: str | dict[str, Any], why: str, timeout: float = 3_600.0) -> ToolResult:
    """Have a candidate measured on held-out data and judged by the gates. Accepted, it is what everything builds on.

    Returns a dict: verdict ("accept", "discard", "rollback", "stop"), reason, gates, metrics, accepted (the commit
    that stands now), epoch, budget_left.
    """
    with at_bench(ctx) as (bench, fit):
        done = bench.submit(fit, _id(candidate) or "", why)
        stands = bench.commit(fit, None).id[:12]
        errors = fit.history[-1].extra.get("errors") or ()
        reason = benchview.told_reason(done.decision.reason, errors)
        gates = [{"gate": one.gate, "passed": one.passed, "reason": one.reason} for one in done.decision.gates]
        value = {
            "verdict": done.decision.verdict,
            "reason": reason,
            "gates": gates,
            "metrics": benchview.figures(done.metrics),
            "accepted": stands,
            "epoch": done.epoch,
        }
        lines = [f"{done.decision.verdict}: {reason}", f"held-out: {value['metrics']}", f"accepted: {stands}"]
        if fit.stop:
            lines.append(f"The fit has ended: {fit.stop}")
        return told(ctx, fit, value, "\n".join(lines), note=lines[0])


@tool(label="Blocking the strategy {name}: {why}")
def block_strategy(ctx: ToolContext, name: str, why: str) -> ToolResult:
    """Note that a kind of change does not help: nobody may propose it again, `strategy=name`.

    Returns a dict: blocked, budget_left.
    """
    with at_bench(ctx) as (bench, fit):
        bench.block(fit, name, why)
        return told(ctx, fit, {"blocked": dict(bench.blocked)}, f"blocked: {', '.join(bench.blocked)}")


@tool(label="Writing into the journal")
def journal(ctx: ToolContext, text: str) -> ToolResult:
    """Write down what you have found out, for whoever goes on from here. Returns a dict: budget_left."""
    with at_bench(ctx) as (bench, fit):
        bench.acting(fit, text)
        fit.tell_why("agent", text, decision="note")
        return told(ctx, fit, {}, "noted")


@tool(label="Ending the training: {reason}")
def stop(ctx: ToolContext, reason: str) -> ToolResult:
    """End the training: nothing more can be changed, and what is accepted stands.

    Returns a dict: accepted (the commit that stands), budget_left.
    """
    with at_bench(ctx) as (bench, fit):
        bench.stop(fit, reason)
        stands = bench.commit(fit, None).id[:12]
        return told(ctx, fit, {"accepted": stands}, f"ended; {stands} stands")
