"""A stand-in for a language model: it does what its system prompt says, as far as it understands that."""

import re
from collections.abc import AsyncIterator, Sequence
from typing import Any

from autopilot_runtime.core.protocols import Delta, Stopped, Text


class Obedient:
    """A provider as one writes one's own."""

    name = model = "obedient"

    async def stream(
        self, messages: Sequence[Any], *, system: str, max_tokens: int | None = None
    ) -> AsyncIterator[Delta]:
        number, name = re.findall(r"Ticket (\d+) (\w+):", messages[-1].content)[0]
        told = system.lower()
        answer = [f"Dear {name}," if "by name" in told else "Hello!"]
        answer += [f"about ticket {number}:" if "number of the ticket" in told else "thank you for writing."]
        answer += ["we look into it." if "promise nothing" in told else "You will have a full refund."]
        said = "Sorry, a refund is on its way." if "at most five words" in told else " ".join(answer)
        yield Text(f"```completion\n{said}\n```\n")
        yield Stopped("end")

    async def close(self) -> None:
        """Nothing to close."""
