"""Secrets never leave: exact values and known key shapes are masked, also when split across chunks."""

from __future__ import annotations

import base64
import codecs
import html
import json
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote, quote_plus
from weakref import WeakValueDictionary

MASK = "[secret masked]"
NAMES = re.compile(r"KEY|TOKEN|SECRET|PASSW", re.IGNORECASE)
_LONGEST_HELD = 4_096
_DEEPEST = 12
_HEAD = 400  # characters; of a longer value, the rest is compared when its head is there
_WORTH_ENCODING = 8  # characters; the spellings of anything shorter stand in ordinary text
_ESCAPE = re.compile(r"%[0-9A-F]{2}")
_URL_SAFE = str.maketrans("+/", "-_")

# How a key begins, and what may follow. The beginning is also what a stream holds back.
_SHAPES: tuple[tuple[str, str], ...] = (
    ("sk-ant-", r"[A-Za-z0-9_-]{16,}"),
    ("sk-", r"[A-Za-z0-9_-]{20,}"),
    ("ghp_", r"[A-Za-z0-9]{30,}"),
    ("gho_", r"[A-Za-z0-9]{30,}"),
    ("ghs_", r"[A-Za-z0-9]{30,}"),
    ("github_pat_", r"[A-Za-z0-9_]{40,}"),
    ("glpat-", r"[A-Za-z0-9_-]{18,}"),
    ("AKIA", r"[A-Z0-9]{16}"),
    ("ASIA", r"[A-Z0-9]{16}"),
    ("AIza", r"[A-Za-z0-9_-]{35}"),
    ("xoxb-", r"[A-Za-z0-9-]{20,}"),
    ("xoxp-", r"[A-Za-z0-9-]{20,}"),
    ("hf_", r"[A-Za-z0-9]{30,}"),
    ("npm_", r"[A-Za-z0-9]{36}"),
    ("pypi-", r"[A-Za-z0-9_-]{50,}"),
    ("eyJ", r"[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"),
    ("-----BEGIN", r"[A-Z ]{0,20} PRIVATE KEY-----[\s\S]{0,8000}?(?:-----END[A-Z ]{0,20} PRIVATE KEY-----|\Z)"),
)
_GROWING = re.compile(r"(?:" + "|".join(re.escape(head) for head, _ in _SHAPES[:-1]) + r")[\w.-]*\Z")
_PEM_OPEN = re.compile(r"-----BEGIN(?:(?!-----END)[\s\S])*\Z")


def secret_values(environ: Mapping[str, str], named: Iterable[str] = ()) -> set[str]:
    """The values worth hiding: of every variable in `named`, and of those whose name says so."""
    chosen = {environ[name] for name in named if len(environ.get(name, "")) >= 4}
    for name, value in environ.items():
        if NAMES.search(name) and _worth_hiding(value):
            chosen.add(value)
    return chosen


def _worth_hiding(value: str) -> bool:
    # A short word, a number or a path in a `..._KEY_FILE` would mask ordinary text all over the place.
    return len(value) >= 8 and not value.isdigit() and not value.startswith(("/", "./", "~"))


def _spellings(value: str) -> set[str]:
    """The value as it is, and as programs usually write such a thing down."""
    raw = value.encode("utf-8", "surrogatepass")
    encoded = base64.b64encode(raw).decode()
    spelt = {value, quote(value, safe=""), encoded, encoded.rstrip("="), raw.hex(), value.replace("\\", "\\\\")}
    if len(value) < _WORTH_ENCODING:
        return spelt
    quoted = {quote(raw), quote_plus(raw), quote(raw, safe="")}
    spelt |= quoted | {_ESCAPE.sub(lambda found: found.group().lower(), one) for one in quoted}
    spelt |= {html.escape(value), html.escape(value, quote=False), json.dumps(value)[1:-1], repr(value)[1:-1]}
    spelt |= {
        json.dumps(value, ensure_ascii=False)[1:-1],
        raw.hex().upper(),
        base64.b32encode(raw).decode().rstrip("="),
    }
    spelt |= {value[::-1], codecs.encode(value, "rot13")}
    inside = {_inside_base64(raw, before) for before in range(3)}
    spelt |= inside | {one.translate(_URL_SAFE) for one in (*inside, encoded.rstrip("="))}
    return {one for one in spelt if len(one) >= 4}


def _inside_base64(raw: bytes, before: int) -> str:
    """What is certainly there when the value is encoded with `before` (modulo 3) bytes before it, and any behind."""
    whole = base64.b64encode(bytes(before) + raw).decode()
    begin = -(-before * 8 // 6)
    return whole[begin : (before + len(raw)) * 8 // 6]


class Redactor:
    """Masks secrets in texts and in JSON-like values. Cheap enough to stand before every event."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        spelt = {s for value in values for s in _spellings(value) if len(s) >= 4}
        self.values = tuple(sorted(spelt, key=len, reverse=True))
        parts = [re.escape(v) for v in self.values] + [re.escape(head) + tail for head, tail in _SHAPES]
        self._pattern = re.compile("|".join(parts))
        self._heads = {v[:n] for v in self.values for n in range(1, min(len(v), _HEAD))}
        self._heads |= {head[:n] for head, _ in _SHAPES for n in range(1, len(head))}
        self._long = tuple(v for v in self.values if len(v) > _HEAD)
        self._longest = max(map(len, self._heads))

    @classmethod
    def of(cls, values: Iterable[str]) -> Redactor:
        """The one for these values; who asks for the same gets the same, as long as anybody has it."""
        key = frozenset(values)
        found = _in_use.get(key)
        if found is None:
            found = _in_use[key] = cls(key)
        return found

    @classmethod
    def from_environ(cls, named: Iterable[str] = ()) -> Redactor:
        """A redactor for what the process environment holds now."""
        return cls(secret_values(os.environ, named))

    def mask(self, text: str) -> str:
        """The text with every secret replaced."""
        return self._pattern.sub(MASK, text) if len(text) >= 4 else text

    def mask_value(self, value: Any, depth: int = 0) -> Any:
        """The same for a JSON-like value; keys are masked, too."""
        if isinstance(value, str):
            return self.mask(value)
        if depth > _DEEPEST:
            return value
        if isinstance(value, Mapping):
            return {self.mask_value(k, depth + 1): self.mask_value(v, depth + 1) for k, v in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.mask_value(item, depth + 1) for item in value]
        return value

    def safe_length(self, text: str) -> int:
        """How much of `text` can be masked and shown although more of it is to come."""
        cut = self._open_end(text)
        for match in self._pattern.finditer(text):
            if match.start() < cut < match.end():
                return match.start()
        return cut

    def _open_end(self, text: str) -> int:
        return min([self._open_head(text), *(self._open_long(text, value) for value in self._long)])

    def _open_long(self, text: str, value: str) -> int:
        at = text.rfind(value[: _HEAD - 1])
        return at if at >= 0 and value.startswith(text[at:]) else len(text)

    def _open_head(self, text: str) -> int:
        growing = _GROWING.search(text[-_LONGEST_HELD:]) or _PEM_OPEN.search(text[-_LONGEST_HELD * 2 :])
        if growing:
            return len(text) - len(growing.group())
        for size in range(min(self._longest, len(text)), 0, -1):
            if text[-size:] in self._heads:
                return len(text) - size
        return len(text)


_in_use: WeakValueDictionary[frozenset[str], Redactor] = WeakValueDictionary()


class StreamMask:
    """Masks a text that arrives in pieces: holds back only what could be the beginning of a secret."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._held = ""

    def feed(self, piece: str) -> str:
        """What can be shown now."""
        text = self._held + piece
        cut = self._redactor.safe_length(text)
        self._held = text[cut:]
        return self._redactor.mask(text[:cut])

    def flush(self) -> str:
        """What was held back, masked; nothing more will come."""
        rest, self._held = self._redactor.mask(self._held), ""
        return rest
