"""The contract of parameters, kept by all of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from autopilot_runtime.training.parameter import JSONParameter, Parameter, ScalarParameter, TextParameter
from autopilot_runtime.training.pathparameter import PathParameter
from tests.contracts.parameter_contract import Case, ParameterContract
from tests.store.trees import plant


def setting(value: Any) -> Any:
    """Gives a parameter this value."""
    return lambda parameter: setattr(parameter, "data", value)


def planted(folder: Path) -> PathParameter:
    """A folder with all that is awkward."""
    plant(folder / "work")
    return PathParameter(folder / "work")


def awkward(parameter: Any) -> None:
    """Changes of every kind: content, mode, link, new, gone."""
    base = parameter.path
    (base / "a.txt").write_bytes(b"\r\n\0\xff")
    (base / "run.sh").chmod(0o644)
    (base / "link").unlink()
    (base / "link").symlink_to("zero")
    (base / "to folder").unlink()
    (base / "to folder").mkdir()
    (base / "to folder" / "new").write_text("new\n")
    (base / "sub" / "empty").rmdir()


def single(folder: Path) -> PathParameter:
    """One file beside another that is none of ours."""
    (folder / "rules.json").write_text("[]\n")
    (folder / "other.txt").write_text("other\n")
    return PathParameter(folder / "rules.json")


def some(folder: Path) -> PathParameter:
    """Some files of a folder."""
    plant(folder / "work")
    (folder / "work" / "sub" / "b.txt").write_text("b\n")
    return PathParameter(folder / "work", ["**/*.txt", "zero"])


CASES = {
    "plain": Case(lambda _: Parameter({"a": [1, None]}), setting([1.5])),
    "scalar": Case(lambda _: ScalarParameter(0.25), setting(0.5)),
    "text": Case(lambda _: TextParameter("one\r\ntwo\ud800"), setting("")),
    "json": Case(lambda _: JSONParameter({"a": "ü", "b": [1]}), setting([])),
    "folder": Case(planted, awkward),
    "file": Case(single, lambda one: one.path.write_text("[1]\n")),
    "some files": Case(some, lambda one: (one.path / "sub" / "b.txt").unlink()),
}


class TestParameters(ParameterContract):
    """All of them."""

    @pytest.fixture(params=CASES.values(), ids=CASES)
    def case(self, request: pytest.FixtureRequest) -> Case:
        case: Case = request.param
        return case
