"""`RayExecutor`: what can be told without Ray, and its stories in a network of its own."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from autopilot_runtime.core.errors import MissingExtra
from autopilot_runtime.training import RayExecutor

ROOT = Path(__file__).parents[2]
HAS_RAY = importlib.util.find_spec("ray") is not None
# Ray listens on every interface there is, so there is none but loopback while it runs.
ALONE = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]


def can_be_alone() -> bool:
    """Whether we may have a network that nobody else sees."""
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        return False
    return subprocess.run([*ALONE, "true"], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(HAS_RAY, reason="Ray is installed")
def test_without_ray_it_is_said_what_to_install() -> None:
    with pytest.raises(MissingExtra, match=r"RayExecutor needs Ray: pip install 'autopilot-runtime\[ray\]'"):
        RayExecutor()


@pytest.mark.skipif(not HAS_RAY, reason="Ray is not installed")
def test_its_stories_on_a_cluster_of_two_nodes() -> None:
    if not can_be_alone():
        pytest.skip("Ray would listen on all interfaces, and a network of our own cannot be had here")
    stories = ["tests/training/ray_stories.py", "-n", "0", "-q", "-p", "no:cacheprovider"]
    told = subprocess.run(
        [*ALONE, sys.executable, "-m", "pytest", *stories],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=1500,
        check=False,
    )
    assert told.returncode == 0, told.stdout[-8000:] + told.stderr[-2000:]
