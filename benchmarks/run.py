"""Run every benchmark and write what they print into RESULTS.md: `python benchmarks/run.py`."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
LIMIT = 900


def main() -> int:
    """Each script is a process of its own; one that fails is said, and the others still run."""
    only = set(sys.argv[1:])
    machine = f"{platform.system()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    note = "Ratios compare within one run; absolute figures are of this machine."
    parts = [f"# Results\n\n{machine}, {time.strftime('%Y-%m-%d')}. {note}"]
    failed = 0
    for script in sorted(HERE.glob("bench_*.py")):
        if only and script.stem.removeprefix("bench_") not in only:
            continue
        print(f"{script.stem} ...", flush=True)
        env = {**os.environ, "PYTHONPATH": str(HERE.parent)}
        done = subprocess.run(
            [sys.executable, script], capture_output=True, text=True, timeout=LIMIT, env=env, check=False
        )
        failed += done.returncode != 0
        text = done.stdout.strip() + (f"\n\nFAILED\n{done.stderr.strip()[-2000:]}" if done.returncode else "")
        parts.append(f"## {script.stem.removeprefix('bench_')}\n\n```\n{text}\n```")
    (HERE / "RESULTS.md").write_text("\n\n".join(parts) + "\n")
    print(f"wrote {HERE / 'RESULTS.md'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
