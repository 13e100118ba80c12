"""Makes demo.jsonl from replies.txt: real tools answer, so that each reply stands beside what it was a reply to.

    python sessions/demo/record.py

The replies were written by a person. Sizes are estimated at four characters a token, and priced like LIKE.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from autopilot_runtime import AgentFile, Runtime, ScriptedProvider, Usage
from autopilot_runtime.cli.demo import TASK, gist, overrides, python_on_path
from autopilot_runtime.core.message import Message
from autopilot_runtime.core.protocols import Delta, Text, Used
from autopilot_runtime.model.prices import price
from autopilot_runtime.model.replay import ReplayProvider
from autopilot_runtime.model.scripted import read_script
from autopilot_runtime.model.settings import ModelSettings

LIKE = "claude-sonnet-4-5"
HERE = Path(__file__).resolve().parent
FIRST_SECONDS, TOKEN_SECONDS = 0.7, 0.025


class Written(ScriptedProvider):
    """The written replies, word by word, with sizes as a paid model would report them and a clock of their own."""

    now = 0.0

    async def stream(
        self, messages: Sequence[Message], *, system: str, max_tokens: int | None = None
    ) -> AsyncIterator[Delta]:
        """The deltas of the next reply."""
        self.now += FIRST_SECONDS
        async for delta in super().stream(messages, system=system, max_tokens=max_tokens):
            if isinstance(delta, Text):
                for word in re.findall(r"\s*\S+|\s+", delta.text):
                    self.now += TOKEN_SECONDS
                    yield Text(word)
            elif isinstance(delta, Used):
                usage = Usage(delta.usage.input_total, output=delta.usage.output)
                yield Used(price(ModelSettings("anthropic", LIKE), usage))
            else:
                yield delta


def main() -> None:
    """Record the demo anew."""
    target = HERE / "demo.jsonl"
    target.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder, "project")
        shutil.copytree(HERE / "project", work)
        model = Written(read_script(HERE / "replies.txt")[0], model="written", chunk=100_000)
        recorder = ReplayProvider(target, mode="record", inner=model, volatile=gist, clock=lambda: model.now)
        agent = AgentFile.load(HERE / "agent.yaml", overrides(work))
        with python_on_path(), Runtime(agent, provider=recorder) as runtime:
            runtime.hooks.clear()
            runtime.hooks.register("permission_request", lambda **_: True)
            print(runtime.run(TASK))
    target.chmod(0o644)


if __name__ == "__main__":
    main()
