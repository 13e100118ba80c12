"""Run every benchmark, or those that are named, and write what they print into RESULTS.md.

python benchmarks/run.py [NAME ...]
"""

from __future__ import annotations

import os
import platform
import re
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
    results = HERE / "RESULTS.md"
    # Those that are not run again stay as they are, with the day on which they were.
    _, *before = re.split(r"^## ", results.read_text(), flags=re.MULTILINE) if results.exists() else [""]
    parts = {text.partition("\n")[0]: text.rstrip() for text in before}
    failed = 0
    for script in sorted(HERE.glob("bench_*.py")):
        name = script.stem.removeprefix("bench_")
        if only and name not in only:
            continue
        print(f"{script.stem} ...", flush=True)
        env = {**os.environ, "PYTHONPATH": str(HERE.parent)}
        done = subprocess.run(
            [sys.executable, script], capture_output=True, text=True, timeout=LIMIT, env=env, check=False
        )
        failed += done.returncode != 0
        text = done.stdout.strip() + (f"\n\nFAILED\n{done.stderr.strip()[-2000:]}" if done.returncode else "")
        parts[name] = f"{name}\n\n```\n{text}\n```\n\nMeasured {time.strftime('%Y-%m-%d')}."
    told = [f"# Results\n\n{machine}. {note}", *(f"## {parts[name]}" for name in sorted(parts))]
    results.write_text("\n\n".join(told) + "\n")
    print(f"wrote {results}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
