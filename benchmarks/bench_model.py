"""What a model call costs us, beside the same call through the SDK's own method, in the same run.

CPU time of this process only: the server is another process. `python benchmarks/bench_model.py [--json]`.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from autopilot_runtime.core.message import Message  # noqa: E402
from autopilot_runtime.model.connect import connect  # noqa: E402
from autopilot_runtime.model.settings import ModelSettings  # noqa: E402
from autopilot_runtime.model.wire import Request  # noqa: E402

SIZES = (120, 2000)
ROUNDS = 15
SYSTEM = "You are an agent. " * 100
SERVER = """
import sys
sys.path.insert(0, sys.argv[1])
from tests.fake_provider import FakeModel
with FakeModel(lambda seen: "a short reply", lenient=True) as fake:
    print(fake.url, flush=True)
    sys.stdin.read()
"""


def conversation(count: int) -> list[Message]:
    """Alternating messages of two kilobytes, the last one from the user."""
    text = "def f(x):\n    return 'é \"quoted\"'\n" * 60
    return [Message("assistant" if i % 2 else "user", f"{i}\n{text}") for i in range(count - 1)] + [
        Message("user", "go")
    ]


async def cpu_ms(call: Callable[[], Awaitable[None]]) -> float:
    """The median CPU milliseconds of one call."""
    for _ in range(3):
        await call()
    times = []
    for _ in range(ROUNDS):
        before = time.process_time()
        await call()
        times.append((time.process_time() - before) * 1000)
    return statistics.median(times)


async def compare(url: str, count: int) -> dict[str, Any]:
    """Ours and the SDK's, over one history."""
    import anthropic

    messages = conversation(count)
    for message in messages:
        assert message.content_json
    provider = connect(ModelSettings("anthropic", "claude-bench", base_url=url))

    async def ours() -> None:
        async for _ in provider.stream(messages, system=SYSTEM):
            pass

    client = anthropic.AsyncAnthropic(base_url=url, max_retries=0, open_telemetry=False)
    plain = [{"role": m.role, "content": m.content} for m in messages]

    async def sdk() -> None:
        async with client.messages.stream(
            model="claude-bench", max_tokens=100, system=SYSTEM, messages=plain
        ) as stream:
            async for _ in stream.text_stream:
                pass

    body = provider.inner._body  # type: ignore[attr-defined]
    request = Request(messages, SYSTEM, 100, "k")

    async def only_body() -> None:
        body(request)

    result = {
        "messages": count,
        "body_ms": round(await cpu_ms(only_body), 3),
        "ours_ms": round(await cpu_ms(ours), 2),
        "sdk_ms": round(await cpu_ms(sdk), 2),
    }
    await provider.close()
    await client.close()
    return {**result, "ratio": round(result["sdk_ms"] / result["ours_ms"], 1)}


async def prefix_share(steps: int = 20) -> float:
    """The smallest share of a body that the next step's body begins with."""
    provider: Any = connect(ModelSettings("anthropic", "claude-bench"))
    whole = conversation(2 * steps)
    bodies = [provider.inner._body(Request(whole[: 2 * n + 1], SYSTEM, 100, "k")) for n in range(steps)]
    return min(same_start(a, b) / len(a) for a, b in itertools.pairwise(bodies))


def same_start(one: bytes, two: bytes) -> int:
    """How many bytes both begin with."""
    differ = (i for i, (a, b) in enumerate(zip(one, two, strict=False)) if a != b)
    return next(differ, min(len(one), len(two)))


def main() -> None:
    """Run it all and print a table, or JSON."""
    os.environ.setdefault("ANTHROPIC_API_KEY", "sk-bench")
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(ROOT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        rows = [asyncio.run(compare(url, count)) for count in SIZES]
    finally:
        server.communicate()
    share = asyncio.run(prefix_share())
    if "--json" in sys.argv:
        print(json.dumps({"calls": rows, "prefix_share": share}))
        return
    print("messages  body ms  our call ms  sdk call ms  sdk/ours   (CPU of this process, median)")
    for row in rows:
        print("{messages:8}  {body_ms:7}  {ours_ms:11}  {sdk_ms:11}  {ratio:8}".format(**row))
    print(f"prefix kept over 20 steps, worst step: {share:.2%}")


if __name__ == "__main__":
    main()
