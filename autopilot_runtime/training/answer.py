"""Reads an answer: JSON anywhere in a text, and what a judge said in whatever form it said it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from autopilot_runtime.training.datum import EvalDatum
from autopilot_runtime.training.fault import EvaluationFailed
from autopilot_runtime.training.gradient import Gradient, TextGradient, as_gradient, gathered

_FENCED = re.compile(r"^(`{3,}|~{3,})[ \t]*(?:json\w*)?[ \t]*\n(.*?)^\1[`~]*[ \t]*$", re.DOTALL | re.MULTILINE)
_TRIES = 50  # places where a document might begin: an answer full of braces is not searched for ever
_NUMBER = r"(-?\d+(?:\.\d+)?)"
_SCORE = re.compile(rf"\b(?:score|rating|grade)\b[^\d\n-]{{0,20}}{_NUMBER}\s*(%|/\s*\d+(?:\.\d+)?)?", re.IGNORECASE)
_OF = re.compile(rf"(?<![\w./]){_NUMBER}\s*(%|/\s*\d+(?:\.\d+)?)(?![\w/])")
_BARE = re.compile(rf"\s*{_NUMBER}\s*(%|/\s*\d+(?:\.\d+)?)?\s*\Z")
_PASSED = re.compile(
    r"\b(?:verdict|result|passed)\b\W{0,6}(pass(?:ed)?|fail(?:ed)?|yes|no|true|false)\b", re.IGNORECASE
)
_SCORES = ("score", "rating", "grade")
_PASSES = ("passed", "pass", "success", "correct")
_WORDS = ("feedback", "reasons", "reason", "critique", "explanation", "comment", "comments")
_YES = ("pass", "passed", "yes", "true")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a judge said of one result. None: it did not say."""

    score: float | None = None
    passed: bool | None = None
    gradient: Gradient | None = None
    text: str = ""


def json_in(text: str, kind: type | tuple[type, ...] = (dict, list)) -> Any:
    """The first JSON document of this kind in a text: the whole of it, a fenced block, or anywhere. None: none."""
    for candidate in _documents(text):
        if isinstance(candidate, kind):
            return candidate
    return None


def _documents(text: str) -> Iterator[Any]:
    for whole in (text, *(found[2] for found in _FENCED.finditer(text))):
        try:
            yield json.loads(whole)
        except (ValueError, RecursionError):
            continue
    decoder, at = json.JSONDecoder(), 0
    for _ in range(_TRIES):
        start = min((found for found in (text.find("{", at), text.find("[", at)) if found >= 0), default=-1)
        if start < 0:
            return
        try:
            document, at = decoder.raw_decode(text, start)
            yield document
        except (ValueError, RecursionError):
            at = start + 1


def verdict_of(answer: Any, *, item: str = "") -> Verdict:
    """What a judge meant: a number, true or false, a text, a mapping, feedback, or several of these."""
    if isinstance(answer, Verdict):
        return answer
    if isinstance(answer, EvalDatum):
        text = answer.feedback or answer.error_message
        return _checked(Verdict(answer.metrics.get("score"), answer.success, _worded(text, item), text))
    if isinstance(answer, bool):
        return Verdict(passed=answer)
    if isinstance(answer, (int, float)):
        return _checked(Verdict(score=float(answer)))
    if isinstance(answer, Mapping):
        return _mapped(answer, item)
    if isinstance(answer, str):
        return _read(answer, item)
    if isinstance(answer, tuple):
        return _joined([verdict_of(one, item=item) for one in answer])
    found = as_gradient(answer)
    return Verdict(gradient=found, text="" if found is None else found.render())


def _read(text: str, item: str) -> Verdict:
    document = json_in(text, dict)
    if document is not None and any(key in document for key in (*_SCORES, *_PASSES, *_WORDS, "issues")):
        return _mapped(document, item)
    found = _BARE.match(text) or _SCORE.search(text) or _OF.search(text)
    passed = _PASSED.search(text)
    score = None if found is None else _scaled(float(found[1]), found[2] or "")
    words = "" if found is not None and _BARE.match(text) else text.strip()
    return _checked(Verdict(score, passed[1].lower() in _YES if passed else None, _worded(words, item), words))


def _scaled(number: float, unit: str) -> float:
    """8/10 and 80 % are 0.8; a bare number is what it is."""
    whole = 100.0 if unit == "%" else float(unit.lstrip("/ ") or 1)
    return number / whole if whole else math.nan


def _mapped(answer: Mapping[str, Any], item: str) -> Verdict:
    text = "\n".join(filter(None, (_text(answer.get(key)) for key in _WORDS)))
    place = {key: str(answer.get(key) or "") for key in ("attribution", "severity")}
    issues = [_issue(one, item) for one in answer.get("issues") or ()]
    found = gathered([*issues, *([TextGradient(text, items=_named(item), **place)] if text else [])])
    return _checked(Verdict(_score_in(answer), _passed_in(answer), found, text))


def _score_in(answer: Mapping[str, Any]) -> float | None:
    score = next((answer[key] for key in _SCORES if answer.get(key) is not None), None)
    if isinstance(score, str):
        return _read(score, "").score
    return None if score is None or isinstance(score, bool) else float(score)


def _passed_in(answer: Mapping[str, Any]) -> bool | None:
    passed = next((answer[key] for key in _PASSES if answer.get(key) is not None), None)
    if isinstance(passed, str):
        return passed.strip().lower() in _YES
    return None if passed is None else bool(passed)


def _issue(one: Any, item: str) -> Gradient:
    if not isinstance(one, Mapping):
        return TextGradient(str(one), items=_named(item))
    text = next((str(one[key]) for key in ("text", "issue", *_WORDS) if one.get(key)), json.dumps(dict(one)))
    place = {key: str(one.get(key) or "") for key in ("attribution", "severity")}
    return TextGradient(text, items=_named(item), **place)


def _text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return "\n".join(_text(one) for one in value)
    return "" if value is None else str(value).strip()


def _worded(text: str, item: str) -> Gradient | None:
    return TextGradient(text, items=_named(item)) if text.strip() else None


def _named(item: str) -> tuple[str, ...]:
    return (item,) if item else ()


def _joined(parts: list[Verdict]) -> Verdict:
    """What several answers say together; the first that says something of a kind counts."""
    return Verdict(
        next((one.score for one in parts if one.score is not None), None),
        next((one.passed for one in parts if one.passed is not None), None),
        gathered(one.gradient for one in parts if one.gradient is not None),
        "\n".join(one.text for one in parts if one.text),
    )


def _checked(verdict: Verdict) -> Verdict:
    if verdict.score is not None and not math.isfinite(verdict.score):
        raise EvaluationFailed(f"the judge's score is {verdict.score}, not a finite number")
    return verdict
