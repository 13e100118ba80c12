"""Rules judge requests: narrowly what they allow, widely what they forbid."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopilot_runtime.core.errors import SetupError
from autopilot_runtime.tool.permit import MODES, Request, Rule, Subject, Verdict, decide, grant_for, parse_rules
from autopilot_runtime.tool.shellwords import active
from autopilot_runtime.tool.visible import visible


def command(text: str, **more: Any) -> Request:
    return Request("execute", Subject("command", (text,)), "run", **more)


def write(*paths: str, **more: Any) -> Request:
    return Request("write_file", Subject("path", paths), "edit", **more)


def judge(rule: str | list[str], request: Request, **more: Any) -> str:
    rules = parse_rules([rule] if isinstance(rule, str) else rule)
    return decide(rules, request, **more).action


ALLOWED = [
    "pytest", "pytest tests/", "pytest -k 'a; b'", 'pytest -k "a | b"', "pytest 'x\ty'", "pytest -k 'a(b)'",
    "pytest --opt=~/x", "pytest a#b",
]  # fmt: skip
CHAINED = [
    "pytest a\\;b",
    "pytest; rm -rf /", "pytest && rm x", "pytest || rm x", "pytest | sh", "pytest & rm x", "pytest\nrm x",
    "pytest x\nrm x",
    "pytest $(rm x)", "pytest `rm x`", 'pytest "$(rm x)"', 'pytest "`rm x`"', "pytest <(rm x)", "pytest > ~/.bashrc",
    "pytest < /etc/passwd", "pytest x\r\nrm x", "pytest 'open", 'pytest "open', "pytest x\\", "pytest x\\\nrm y",
    "pytest $HOME",
    "pytest (x)", "pytest x # y", "pytest 'a\nb'", "pytest\x00x", "pytest x\x1b[2K", "pytest ${x@P}",
    'pytest "${x}"', "pytest >&2",
    "pytest x 'a' ; rm 'b'", "pytest \"a\" '\\' ; rm '\\' x",
]  # fmt: skip
OTHER = ["pytest2", "pytest-evil x", "xpytest", " pytest x", "sudo pytest x", "FOO=1 pytest", "py", "", "PYTEST x"]


@pytest.mark.parametrize("text", ALLOWED)
def test_a_plain_command_is_allowed(text: str) -> None:
    assert judge("allow: execute(pytest *)", command(text, asks=True)) == "allow"


@pytest.mark.parametrize("text", CHAINED)
def test_a_command_that_does_more_is_not_allowed_by_its_beginning(text: str) -> None:
    assert judge("allow: execute(pytest *)", command(text, asks=True)) == "ask"
    assert judge("allow: execute(pytest*)", command(text, asks=True)) == "ask"


@pytest.mark.parametrize("text", OTHER)
def test_another_command_is_not_allowed(text: str) -> None:
    assert judge("allow: execute(pytest *)", command(text, asks=True)) == "ask"


@pytest.mark.parametrize(
    ("pattern", "text", "action"),
    [
        ("cd src && pytest *", "cd src && pytest -x", "allow"),
        ("cd src && pytest *", "cd src && pytest -x; rm y", "ask"),
        ("cd * && pytest *", "cd a && pytest b && rm c", "ask"),
        ("* --help", "git --help", "allow"),
        ("* --help", "rm x; git --help", "ask"),
        ("make test", "make test", "allow"),
        ("make test", "make test x", "ask"),
        ("echo a; echo b", "echo a; echo b", "allow"),
        ("git * main", "git push origin main", "allow"),
        ("git * main", "git push origin main; x main", "ask"),
    ],
)
def test_operators_must_stand_in_the_rule_itself(pattern: str, text: str, action: str) -> None:
    assert judge(f"allow: execute({pattern})", command(text, asks=True)) == action


@given(st.text(alphabet="ab '\"\\;&|$`()<>\n#", max_size=14))
def test_no_text_after_an_allowed_word_makes_bash_see_two_commands(tail: str) -> None:
    text = "pytest " + tail
    if judge("allow: execute(pytest *)", command(text, asks=True)) == "allow":
        assert not active(text)
        unquoted = re.sub(r"'[^']*'|\\.|\"(?:\\.|[^\"\\$`])*\"", "", text)
        assert not set(unquoted) & set(";&|\n<>()`$'\"")


@pytest.mark.parametrize(
    "text",
    [
        "rm -rf x", "cd a && rm x", "ls; RM x", "sudo rm x", "FOO=1 rm x", "(rm x)", "echo $(rm x)",
        "echo `rm x`", "rm  x",
        "ls | xargs ls; rm x", "bash -c 'rm x'", "'rm' x", "r\\m x", "true\nrm x", "if true; then rm x; fi",
        "env A=1 rm x",
    ],
)  # fmt: skip
def test_a_deny_rule_finds_the_command_anywhere_in_the_line(text: str) -> None:
    assert judge(["allow: execute", "deny: execute(rm *)"], command(text)) == "deny"


@pytest.mark.parametrize("text", ["ls", "firm x", "echo rmdir", "rmdir x"])
def test_a_deny_rule_leaves_other_commands_alone(text: str) -> None:
    assert judge(["allow: execute", "deny: execute(rm *)"], command(text)) == "allow"


@pytest.mark.parametrize(
    ("rule", "path", "action"),
    [
        ("deny: write_file(.env)", ".env", "deny"),
        ("deny: write_file(.env)", "sub/.env", "deny"),
        ("deny: write_file(.env)", "sub/.ENV", "deny"),
        ("deny: write_file(.env)", "x.env", "allow"),
        ("deny: write_file(secrets)", "secrets/a/key", "deny"),
        ("deny: write_file(secrets/)", "a/secrets/key", "deny"),
        ("deny: write_file(*.pem)", "a/b/c.pem", "deny"),
        ("allow: write_file(notes.md)", "notes.md", "allow"),
        ("allow: write_file(notes.md)", "sub/notes.md", "ask"),
        ("allow: write_file(./notes.md)", "notes.md", "allow"),
        ("allow: write_file(src/**)", "src/a/b.py", "allow"),
        ("allow: write_file(src/**)", "srcs/a.py", "ask"),
        ("allow: write_file(src/*)", "src/a/b.py", "ask"),
        ("allow: write_file(src/*)", "src/b.py", "allow"),
        ("allow: write_file(**/test_*.py)", "test_a.py", "allow"),
        ("allow: write_file(**/test_*.py)", "a/b/test_a.py", "allow"),
        ("allow: write_file(*)", "a/b", "allow"),
        ("allow: write_file(a?.py)", "ab.py", "allow"),
        ("allow: write_file([a].py)", "a.py", "ask"),
        ("allow: *", "a", "allow"),
        ("allow: write_*", "a", "allow"),
        ("allow: read_file", "a", "ask"),
    ],
)
def test_path_rules(rule: str, path: str, action: str) -> None:
    assert judge(rule, write(path, asks=not rule.startswith("deny"))) == action


def test_every_spelling_counts_against_and_none_alone_counts_for() -> None:
    assert judge("deny: write_file(link.txt)", write("real.txt", "link.txt")) == "deny"
    assert judge("allow: write_file(link.txt)", write("real.txt", "link.txt", asks=True)) == "ask"


def test_the_first_of_allow_and_ask_decides_and_deny_wins_wherever_it_stands() -> None:
    push = command("git push origin")
    assert judge(["ask: execute(git push *)", "allow: execute(git *)"], push) == "ask"
    assert judge(["allow: execute(git *)", "ask: execute(git push *)"], push) == "allow"
    assert judge(["allow: execute(git *)", "deny: execute(git push *)"], push) == "deny"


def test_always_means_this_very_call_and_never_lifts_a_deny() -> None:
    asked = command("git push *")
    grants = [grant_for(asked)]
    assert judge("ask: execute(git push *)", asked, grants=grants) == "allow"
    assert judge("ask: execute(git push *)", command("git push x"), grants=grants) == "ask"
    assert judge("deny: execute(git push *)", asked, grants=grants) == "deny"


def test_a_protected_file_is_asked_about_whatever_is_allowed() -> None:
    hook = write(".git/hooks/pre-commit", protected="git runs it")
    for mode in MODES:
        expected = "deny" if mode in ("deny", "plan") else "ask"
        assert judge("allow: *", hook, mode=mode) == expected, mode
    assert judge("allow: *", hook, grants=[grant_for(hook)]) == "allow"


def test_modes() -> None:
    edit, run, read = write("a", asks=True), command("ls", asks=True), Request("read_file", effect="read")
    table = {
        "ask": ("ask", "ask", "allow"),
        "accept-edits": ("allow", "ask", "allow"),
        "plan": ("deny", "deny", "allow"),
        "deny": ("deny", "deny", "allow"),
        "bypass": ("allow", "allow", "allow"),
    }
    for mode in MODES:
        assert tuple(decide((), one, mode=mode).action for one in (edit, run, read)) == table[mode], mode
        assert judge("deny: *", read, mode=mode) == "deny"


def test_a_side_door_has_the_rules_of_its_gate() -> None:
    keys = Request("send_input", Subject("command", ("rm x\n",)), "run", gate="execute", asks=True)
    assert judge("deny: execute(rm *)", keys) == "deny"
    assert judge("deny: execute", keys) == "deny"
    assert judge("allow: execute(rm *)", keys) == "ask"


@pytest.mark.parametrize(
    "text", ["", "execute", "maybe: execute", "allow: ", "allow: execute(x", "allow: two words", "allow: (x)"]
)
def test_a_broken_rule_is_refused(text: str) -> None:
    with pytest.raises(SetupError):
        parse_rules([text])


def test_rules_come_as_text_and_as_mappings() -> None:
    rules = parse_rules(["allow: execute(a (b) c)", {"deny": "write_file"}, {"allow": None, "ask": "x.y"}])
    assert [str(rule) for rule in rules] == ["allow: execute(a (b) c)", "deny: write_file", "ask: x.y"]


def test_a_long_command_is_judged_quickly() -> None:
    rules = parse_rules(
        ["allow: execute(a*b*c*d*e*f)", "deny: execute(*x*y*z*q)", "deny: write_file(**/a/**/b/**/c/**/d)"]
    )
    begun = time.monotonic()
    decide(rules, command("ab" * 20_000))
    decide(rules, command("'\"$(" * 5_000))
    decide(rules, write("a/b/c/" * 3_000))
    assert time.monotonic() - begun < 5


def test_no_quoting_is_trusted_where_shells_disagree_about_it() -> None:
    assert active("pytest 'a & del b'", posix=False) == [10]
    assert active("pytest %PATH%", posix=False) == [7, 12]
    assert active("pytest tests\\a.py", posix=False) == []


def test_a_verdict_says_why() -> None:
    verdict = decide(parse_rules(["deny: execute(rm *)"]), command("rm x"))
    assert verdict == Verdict("deny", "the rule `deny: execute(rm *)` forbids it", Rule("deny", "execute", "rm *"))


def test_what_is_shown_for_approval_hides_nothing() -> None:
    text = "ls\nrm -rf / \x1b[2K\u202etxt.exe\u200b\u2028\u00a0⟨LF⟩\x00\ud800"
    shown = visible(text)
    assert shown == ("ls⟨LF⟩rm -rf / ⟨ESC⟩[2K⟨U+202E⟩txt.exe⟨U+200B⟩⟨U+2028⟩⟨U+00A0⟩⟨U+27E8⟩LF⟨U+27E9⟩⟨NUL⟩⟨U+D800⟩")
    assert visible("a\nb\tc\r", lines=True) == "a\nb\tc⟨CR⟩"
    assert visible("naïve 日本 🙂") == "naïve 日本 🙂"
    assert visible("x" * 20, limit=5) == "xxxxx … (+15 characters)"


@given(st.text(max_size=6), st.text(max_size=6))
def test_no_two_texts_look_the_same(one: str, other: str) -> None:
    assert (visible(one) == visible(other)) == (one == other)
