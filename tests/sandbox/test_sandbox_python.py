"""The `python` engine keeps the contract, and what only it promises."""

from __future__ import annotations

import sys

import pytest

from autopilot_runtime.confine.level import level
from autopilot_runtime.core.protocols import Sandbox
from autopilot_runtime.sandbox.python import PythonSandbox
from tests.contracts.sandbox_contract import SandboxContract

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not level().workers, reason=f"no confinement here: {level().missing}"
)


class TestPythonSandbox(SandboxContract):
    """Nothing is missing."""

    def make(self) -> Sandbox:
        return PythonSandbox()
