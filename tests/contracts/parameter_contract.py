"""What every Parameter promises. `make` gives one with a state, `change` gives it another."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from autopilot_runtime.core.errors import ObjectDamaged
from autopilot_runtime.store.objects import Store
from autopilot_runtime.training.gradient import TextGradient
from autopilot_runtime.training.parameter import Parameter


@dataclass
class Case:
    """One kind of parameter."""

    make: Callable[[Path], Parameter]
    change: Callable[[Parameter], object]


class ParameterContract:
    """Subclass with a fixture `case`."""

    @pytest.fixture
    def parameter(self, case: Case, tmp_path: Path) -> Parameter:
        return case.make(tmp_path)

    def test_restore_brings_back_what_snapshot_gave(self, case: Case, parameter: Parameter) -> None:
        state, shown, digest = parameter.snapshot(), parameter.render(), parameter.digest
        case.change(parameter)
        assert (parameter.snapshot() != state, parameter.digest != digest) == (True, True)
        parameter.restore(state)
        assert (parameter.snapshot(), parameter.render(), parameter.digest) == (state, shown, digest)

    def test_restoring_what_is_there_changes_nothing(self, parameter: Parameter) -> None:
        state = parameter.snapshot()
        parameter.restore(state)
        assert parameter.snapshot() == state

    def test_bring_brings_back_what_keep_kept(self, case: Case, parameter: Parameter, tmp_path: Path) -> None:
        with Store(tmp_path / "kept" / "store.db") as store:
            first = parameter.keep(store)
            assert parameter.keep(store) == first
            case.change(parameter)
            second = parameter.keep(store)
            assert first != second
            parameter.bring(store, first)
            assert parameter.keep(store) == first
            parameter.bring(store, second)
            assert parameter.keep(store) == second

    def test_the_digest_is_what_keep_gives(self, case: Case, parameter: Parameter, tmp_path: Path) -> None:
        with Store(tmp_path / "kept" / "store.db") as store:
            assert parameter.keep(store).hex() == parameter.digest
            case.change(parameter)
            assert parameter.keep(store).hex() == parameter.digest

    def test_what_is_damaged_is_refused_and_nothing_changes(
        self, case: Case, parameter: Parameter, tmp_path: Path
    ) -> None:
        with Store(tmp_path / "kept" / "store.db") as store:
            first = parameter.keep(store)
            parameter.verify(store, first)
            case.change(parameter)
            now = parameter.snapshot()
            with store.transaction() as link:
                link.execute("UPDATE objects SET data = zeroblob(size), packed = 0")
            with pytest.raises(ObjectDamaged, match=r"[0-9a-f]{64}"):
                parameter.verify(store, first)
            with pytest.raises(ObjectDamaged):
                parameter.bring(store, first)
            assert parameter.snapshot() == now

    def test_a_state_made_elsewhere_is_taken_too(self, case: Case, parameter: Parameter, tmp_path: Path) -> None:
        (tmp_path / "elsewhere").mkdir()
        other = case.make(tmp_path / "elsewhere")
        case.change(other)
        parameter.restore(other.snapshot())
        assert parameter.digest == other.digest

    def test_feedback_adds_up_until_it_is_forgotten(self, parameter: Parameter) -> None:
        parameter.receive(TextGradient("one"))
        parameter.receive(TextGradient("two"))
        assert parameter.grad is not None
        assert parameter.grad.render() == "one\ntwo"
        parameter.grad = None
        parameter.requires_grad = False
        parameter.receive(TextGradient("three"))
        assert parameter.grad is None

    def test_feedback_for_its_name_is_its_own(self, parameter: Parameter) -> None:
        parameter.name = "outer.mine"
        assert all(map(parameter.owns, ("outer.mine", "mine", "mine:file.py:12")))
        assert not any(map(parameter.owns, ("", "outer", "outer.other", "ine")))

    def test_a_copy_for_another_process_is_the_same(self, parameter: Parameter) -> None:
        for twin in (pickle.loads(pickle.dumps(parameter)), copy.deepcopy(parameter)):
            assert (twin.name, twin.digest, twin.render()) == (parameter.name, parameter.digest, parameter.render())
