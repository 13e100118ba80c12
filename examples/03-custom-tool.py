"""Functions as tools: what they return goes to the code of the model, and only what it prints to its context."""

import tempfile
from pathlib import Path

from autopilot_runtime import AgentFile, Runtime, ScriptedProvider, ToolContext

ORDERS = [{"id": number, "open": number % 7 == 0, "cents": number * 10} for number in range(1, 1001)]
REPLIES = [
    """I add up what is open.

```codepilot
unpaid = [order for order in orders() if order["open"]]
print(len(unpaid), "open,", sum(order["cents"] for order in unpaid) / 100, "dollars")
remind(unpaid[0]["id"])
```
""",
    """```completion
142 orders are open, 7,107.10 dollars together. I sent the first reminder.
```""",
]


def orders() -> list[dict]:
    """All orders: id, open, cents."""
    return ORDERS


def remind(ctx: ToolContext, order: int) -> str:
    """Send a reminder for an order."""
    return f"reminded the customer of order {order} (in step {ctx.step})"


with tempfile.TemporaryDirectory() as folder:
    agent = AgentFile.load(Path(__file__).with_name("agent.yaml"), {"runtime.work_dir": folder})
    with Runtime(agent, provider=ScriptedProvider(REPLIES)) as runtime:
        runtime.hooks.clear()
        runtime.register_tool("orders", orders)
        runtime.register_tool("remind", remind)
        print(runtime.run("Which orders are open?"))
        print("\nWhat the model was shown of 1,000 orders:")
        result = next(m["content"] for m in runtime.messages if m["kind"] == "result")
        print("\n".join(result.split("\n\n")[0].splitlines()[1:]))
