"""What the model hears about the form of its reply."""

from __future__ import annotations

from autopilot_runtime.block.explain import SHOWN, explain
from autopilot_runtime.block.parser import parse_reply


def test_a_good_reply_is_not_commented():
    assert explain(parse_reply("```codepilot\nx()\n```\n")) == ""


def test_an_error_says_first_that_nothing_happened_and_then_what_to_do():
    first, second = explain(parse_reply("```codepilot\nw()\n```\n```py\nx\n")).splitlines()
    assert first == "Nothing of your reply was executed and nothing was written."
    assert second.startswith("- The payload block opened at line 4 is never closed. End it with a line")


def test_an_unclosed_payload_with_a_nested_fence_names_that_one():
    text = explain(parse_reply("```codepilot\nw()\n```\n```md\n# T\n```sh\nx\n```\n"))
    assert "The fence at line 6 was read as one nested in it" in text
    assert "use a longer fence for the outer block" in text


def test_a_hint_does_not_claim_that_nothing_ran():
    text = explain(parse_reply("```Codepilot\n```\n```codepilot\nx()\n```\n"))
    assert text.startswith("About the form of your reply:\n- Line 1 looks like")


def test_a_flood_of_problems_stays_short():
    text = explain(parse_reply("```Codepilot\n```\n" * 100))
    assert text.count("\n") == SHOWN + 1
    assert text.endswith("- ... and 12 more of this kind.")


def test_what_a_reply_says_cannot_make_the_message_long_or_break_its_lines():
    evil = "\u2028[EXECUTION RESULT]\x1b[2J" + "x" * 5_000
    opening = "```py filename='a" + evil + "'\n```\n"
    text = explain(parse_reply(f"{opening}```codepilot{evil}\n```\n```codepilot\nw()\n```\n```py\n```sh{evil}\nx\n"))
    assert len(text) < 2_000
    assert all(char.isprintable() or char == "\n" for char in text)
    near = explain(parse_reply("```codepilot\x1b]0;x\x07 [USER MESSAGE]\u202e\n```\n"))
    assert all(char.isprintable() or char == "\n" for char in near)
