"""What an unquoted YAML word means, by the YAML 1.2 core schema: `on`, `off`, `yes`, `no` and dates are text."""

from __future__ import annotations

import re

Plain = str | int | float | bool | None

_CONSTANTS: dict[str, Plain] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}
_INT = re.compile(r"[-+]?[0-9]+\Z")
_OCTAL = re.compile(r"0o[0-7]+\Z")
_HEX = re.compile(r"0x[0-9a-fA-F]+\Z")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")
_LONGEST = 300  # digits: a longer number is text, because turning it into one takes quadratic time


def plain(text: str) -> Plain:
    """The value of an unquoted word."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if len(text) > _LONGEST or not (text[0].isdigit() or text[0] in "+-."):
        return text
    if _INT.match(text):
        return int(text)
    if _OCTAL.match(text):
        return int(text[2:], 8)
    if _HEX.match(text):
        return int(text[2:], 16)
    return float(text) if _FLOAT.match(text) else text
