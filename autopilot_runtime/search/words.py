"""The words of code: identifiers and the parts they are made of, so that "parse reply" finds `parseReply`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

_WORD = re.compile(r"[^\W\d]\w*")
_PART = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|[0-9]+|[^\x00-\x7f]+")
# Scripts written without spaces: there a word is found by the pairs of its letters.
_DENSE = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]{2,}")
# In nearly every function, so they tell nothing.
_COMMON_WORDS = (
    "self cls def return if else elif for in not is and or none true false import from as with try except "
    "raise finally while pass lambda yield async await str int bool const let var this null void the a an "
    "of to it that be by are on"
)
_COMMON = frozenset(_COMMON_WORDS.split())
_ASKED_WORDS = "how what where which who when does do is are can could should code find show me i you we there"
_ASKED = frozenset(_ASKED_WORDS.split())
_LONGEST = 64


@lru_cache(maxsize=65_536)
def _forms(word: str) -> str:
    """What is indexed for one word of the text, "" for nothing."""
    if len(word) > _LONGEST:
        return ""  # a hash, or data
    if not word.isascii() and (dense := _DENSE.findall(word)):
        return " ".join(run[index : index + 2] for run in dense for index in range(len(run) - 1))
    whole = word.lower()
    if whole in _COMMON:
        return ""
    parts = [part.lower() for part in _PART.findall(word) if len(part) > 1]
    if len(parts) < 2:
        return whole.strip("_")
    return " ".join([*(part for part in parts if part not in _COMMON), whole])


def indexed(text: str) -> str:
    """The text as it goes into the index."""
    return " ".join(filter(None, map(_forms, _WORD.findall(text))))


def asked(query: str) -> list[str]:
    """The words of a question, each once, without those that only make it a sentence."""
    words = dict.fromkeys(_single(query))
    telling = [word for word in words if word not in _ASKED]
    return (telling or list(words))[:32]


def _single(query: str) -> Iterator[str]:
    for word in _WORD.findall(query):
        yield from _forms(word).split()
