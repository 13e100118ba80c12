"""A host killed 200 times, at random instants of saves, steps and calls: what is lost, and what is repeated.

python benchmarks/bench_killed.py [--quick] [STORE ...]      a store is file, sqlite, or the URL of a database
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
KILLS = 25 if "--quick" in sys.argv else 200


def main() -> None:
    """One line for each store."""
    stores = [given for given in sys.argv[1:] if not given.startswith("--")] or ["file", "sqlite"]
    for store in stores:
        begun = time.monotonic()
        command = [sys.executable, "-m", "tests.flows.killed", "--kills", str(KILLS), "--store", store]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        told = json.loads(done.stdout)
        kind = store.partition(":")[0]
        counted = f"{told['kills']} kills in {told['stories']} runs of 12 calls and 4 writes"
        print(f"{kind:<12}{counted}: {len(told['faults'])} lost or repeated, {time.monotonic() - begun:.0f} s")
        for fault in told["faults"]:
            print(f"    {fault}")


if __name__ == "__main__":
    main()
