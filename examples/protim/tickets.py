"""Tickets, and what a good answer to one is."""

import re
from typing import Any

from autopilot_runtime.training import DataLoader, Datum, ListDataset

_TICKETS = {
    "train": ["17 Ada: My lamp is broken", "23 Bob: Where is my order", "31 Cleo: I was charged twice"],
    "val": ["42 Dan: The kettle leaks", "55 Eve: I want my money back", "68 Finn: The parcel is open"],
}


def loader(split: str) -> DataLoader:
    """The tickets of one split, each with what the agent is told."""
    lines = _TICKETS[split]
    return DataLoader(ListDataset([Datum(id=one.split()[0], metadata={"task": f"Ticket {one}."}) for one in lines]))


def score(answer: str, ticket: Datum) -> dict[str, Any]:
    """The share of three demands that an answer meets, and which it does not."""
    number, name = re.findall(r"(\d+) (\w+):", ticket.metadata["task"])[0]
    demands = {
        "it does not greet the customer by name": name in answer,
        "it does not quote the number of the ticket": number in answer,
        "it promises money, and nobody has decided that": "refund" not in answer.lower(),
    }
    wrong = [demand for demand, met in demands.items() if not met]
    return {"score": 1 - len(wrong) / len(demands), "passed": not wrong, "feedback": "; ".join(wrong)}
