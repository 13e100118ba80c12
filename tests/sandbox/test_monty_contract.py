"""The `monty` engine keeps the contract."""

from __future__ import annotations

import pytest

from autopilot_runtime.core.protocols import Sandbox
from tests.contracts.sandbox_contract import SandboxContract

pytest.importorskip("pydantic_monty")

from autopilot_runtime.sandbox.monty import MontySandbox


class TestMontySandbox(SandboxContract):
    """What is missing is named."""

    missing = {}

    def make(self) -> Sandbox:
        return MontySandbox()
