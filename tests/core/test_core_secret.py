"""Secrets: masked whole, encoded, nested, and when a stream cuts them in two."""

from __future__ import annotations

import base64
import codecs
import html
import json
import re
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopilot_runtime.core.secret import MASK, Redactor, StreamMask, secret_values

LOWER = re.compile("%..")
VALUE = 's3cr3t value/with+odd=chars&"quotes"'


def test_the_environment_says_by_name_what_is_secret() -> None:
    environ = {
        "MY_API_KEY": "abcdef123456",
        "DB_PASSWORD": "hunter2hunter2",
        "HOME": "/root/abcdefgh",
        "SSH_KEY_FILE": "/root/.ssh/id",
        "PIN_TOKEN": "12345678",
        "PLAIN": "visible-value",
        "SHORT_KEY": "abc",
        "NAMED": "short",
    }
    assert secret_values(environ, ["NAMED", "MISSING"]) == {"abcdef123456", "hunter2hunter2", "short"}


def test_a_secret_is_masked_in_every_usual_encoding() -> None:
    redactor = Redactor([VALUE])
    raw = VALUE.encode()
    forms = [VALUE, VALUE[::-1], raw.hex(), raw.hex().upper(), json.dumps({"key": VALUE})[9:-2], html.escape(VALUE)]
    forms += [encode(raw).decode().rstrip("=") for encode in (base64.b64encode, base64.urlsafe_b64encode)]
    forms += [base64.b32encode(raw).decode().rstrip("="), codecs.encode(VALUE, "rot13")]
    forms += [
        quote(VALUE),
        quote_plus(VALUE),
        quote(VALUE, safe=""),
        LOWER.sub(lambda found: found.group().lower(), quote(VALUE)),
    ]
    for form in forms:
        assert form not in redactor.mask(f"before {form} after")
        assert MASK in redactor.mask(f"before {form} after")


@pytest.mark.parametrize("user", ["", "u", "us", "use", "user"])
def test_a_secret_inside_of_a_longer_base64_is_masked(user: str) -> None:
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        header = encode(f"{user}:{VALUE}:and more".encode()).decode()
        shown = Redactor([VALUE]).mask(f"Authorization: Basic {header}")
        assert MASK in shown
        left = "".join(c for c in shown.replace(MASK, "." * 40) if c.isprintable())
        assert all(header[at : at + 4] not in left for at in range(len(user) + 4, len(user) + 4 + len(VALUE) - 4))


def test_short_values_are_masked_as_they_are_and_not_in_fancy_spellings() -> None:
    assert Redactor(["abcd"]).mask("abcd dcba nopq") == f"{MASK} dcba nopq"


def test_known_key_shapes_are_masked_without_knowing_the_value() -> None:
    shapes = [
        "sk-ant-api03-" + "a" * 40,
        "sk-proj-" + "b" * 40,
        "ghp_" + "c" * 36,
        "AKIA" + "D" * 16,
        "glpat-" + "e" * 20,
        "-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----",
    ]
    for shape in shapes:
        masked = Redactor().mask(f"x {shape} y")
        assert masked == f"x {MASK} y", shape


def test_ordinary_text_is_left_alone() -> None:
    text = "a sk-learn model, the AKIA prefix, eyJust saying, task-force, hf_hub"
    assert Redactor([VALUE]).mask(text) == text


def test_nested_values_are_masked_with_their_keys() -> None:
    value = {"a": [VALUE, {"b": (VALUE, 3, None)}], VALUE: 1}
    assert VALUE not in str(Redactor([VALUE]).mask_value(value))


@given(st.lists(st.integers(0, 400), max_size=8), st.text("ab -sk", max_size=40), st.text("xs -\n", max_size=40))
def test_a_stream_shows_no_secret_however_it_is_cut(cuts: list[int], before: str, after: str) -> None:
    key = "sk-ant-" + "k" * 30
    text = f"{before}{VALUE}{after} {key} {VALUE}{before}"
    mask, shown, start = StreamMask(Redactor([VALUE])), [], 0
    for cut in sorted({min(c, len(text)) for c in cuts} | {len(text)}):
        shown.append(mask.feed(text[start:cut]))
        start = cut
    shown.append(mask.flush())
    whole = "".join(shown)
    assert VALUE not in whole and key not in whole
    assert whole == Redactor([VALUE]).mask(text)


def test_a_stream_holds_back_nothing_that_cannot_become_a_secret() -> None:
    mask = StreamMask(Redactor([VALUE]))
    assert mask.feed("Hello, I will read the ") == "Hello, I will read the "
    assert mask.feed("file now.") == "file now."
