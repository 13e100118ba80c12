"""Every word the model hears about the form of its reply: short, concrete, with the fix."""

from __future__ import annotations

from autopilot_runtime.block.reply import Problem, Reply

SHOWN = 8

_LONGER = "use a longer fence for the outer block (```` around ```), at its beginning and its end"


def cut_inside(line: int, block: str) -> Problem:
    """The token limit fell into a block that must be whole."""
    text = (
        f"The token limit cut the reply inside the {block} opened at line {line}. An incomplete block is never used: "
        "send it again in smaller parts (fewer files per step, or the rest with mode='a')."
    )
    return Problem("error", "cut", line, text)


def cut_before_action(line: int) -> Problem:
    """The token limit fell before anything could run."""
    text = f"The token limit cut the reply at line {line}, before it was finished. Go on, more briefly."
    return Problem("error", "cut", line, text)


def cut_in_completion(line: int, *, acts: bool) -> Problem:
    """The token limit fell into the completion; what was to run before it may still run."""
    text = (
        f"The token limit cut the completion block opened at line {line}, so the task does not count as done. "
        "Send the completion block again, shorter" + (" (the control block needs no repeating)." if acts else ".")
    )
    return Problem("warning" if acts else "error", "cut_after" if acts else "cut", line, text)


def cut_after(line: int) -> Problem:
    """The token limit fell behind everything that was complete."""
    text = f"The token limit cut the reply at line {line}, after complete blocks; what should follow is missing."
    return Problem("warning", "cut_after", line, text)


def unclosed(line: int, block: str, *, nested_at: int | None) -> Problem:
    """A block has no end."""
    if nested_at is None:
        fix = "End it with a line that holds the closing fence alone."
    else:
        fix = (
            f"The fence at line {nested_at} was read as one nested in it. If it is, {_LONGER}; if not, "
            f"close the block before line {nested_at}."
        )
    return Problem("error", "unclosed", line, f"The {block} opened at line {line} is never closed. {fix}")


def unclosed_completion(line: int) -> Problem:
    """The completion has no end, but the model had finished talking."""
    text = f"The completion block opened at line {line} has no closing fence; its text counts up to the end."
    return Problem("warning", "unclosed_completion", line, text)


def two_controls(first: int, second: int) -> Problem:
    """More than one block that should run."""
    text = (
        f"There are two control blocks (lines {first} and {second}). Send one: put all calls into it, then all "
        "payload blocks in the order of the calls."
    )
    return Problem("error", "two_controls", second, text)


def two_completions(line: int) -> Problem:
    """More than one final text."""
    text = f"A second completion block (line {line}) was added to the first."
    return Problem("warning", "two_completions", line, text)


def swallowed(line: int, fence: str, *, outer: str, opened: int) -> Problem:
    """A block that means something stands inside another one."""
    text = (
        f"{fence} at line {line} stands inside the {outer} opened at line {opened}. If that one should have ended, "
        f"close it before line {line}; if it should contain the line, {_LONGER}."
    )
    return Problem("error", "swallowed", line, text)


def ambiguous(line: int, *, outer: str, opened: int, closed: int) -> Problem:
    """The end of a block may have been a fence inside its content."""
    text = (
        f"The {outer} opened at line {opened} was closed by line {closed}, but then came text and a fence without a "
        f"language (line {line}): its content may have been meant to go on. If it contains fences, {_LONGER}; "
        f"if line {line} begins a new payload, give it a language, as in ```text."
    )
    return Problem("error", "ambiguous", line, text)


def look_alike(line: int, word: str, why: str) -> Problem:
    """Nearly a runtime block."""
    text = f"Line {line} looks like the start of a {word} block but is not one: {why}. Write exactly ```{word}"
    return Problem("hint", "look_alike", line, text + " alone on its line.")


def early_payload(line: int, name: str) -> Problem:
    """A payload in the wrong place."""
    text = (
        f"The block for {name[:80]!r} at line {line} stands before the control block, where blocks are only shown. "
        "Payload blocks follow the control block."
    )
    return Problem("hint", "early_payload", line, text)


def fence_in_control(line: int, fence: str, opened: int) -> Problem:
    """A fence line was read as code."""
    text = (
        f"{fence} at line {line} was read as part of the control block opened at line {opened}: "
        f"close the control block with ``` before line {line}."
    )
    return Problem("hint", "fence_in_control", line, text)


def surrogates(line: int) -> Problem:
    """Characters that cannot be stored."""
    text = f"The reply held half a surrogate pair (first at line {line}); each was replaced by U+FFFD."
    return Problem("warning", "surrogates", line, text)


def explain(reply: Reply) -> str:
    """What the model should read about the form of its reply; "" when there is nothing to say."""
    errors = [one.text for one in reply.errors]
    others = [one.text for one in reply.problems if one.kind != "error"]
    parts: list[str] = []
    if errors:
        parts.append("Nothing of your reply was executed and nothing was written.\n" + _listed(errors))
    if others:
        parts.append("About the form of your reply:\n" + _listed(others))
    return "\n".join(parts)


def _listed(texts: list[str]) -> str:
    more = len(texts) - SHOWN
    lines = [f"- {text}" for text in texts[:SHOWN]]
    return "\n".join(lines + ([f"- ... and {more} more of this kind."] if more > 0 else []))
