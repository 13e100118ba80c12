"""A small ledger: entries in and out, balances per account, reports."""

from dataclasses import dataclass, field
from datetime import date


@dataclass(frozen=True)
class Entry:
    day: date
    account: str
    cents: int
    note: str = ""


@dataclass
class Ledger:
    entries: list[Entry] = field(default_factory=list)

    def add(self, day, account, cents, note=""):
        if cents == 0:
            raise ValueError("an entry of zero")
        self.entries.append(Entry(day, account, cents, note))

    def balance(self, account, until=None):
        total = 0
        for entry in self.entries:
            if entry.account == account:
                if until is None or entry.day < until:
                    total += entry.cents
        return total

    def accounts(self):
        names = []
        for entry in self.entries:
            if entry.account not in names:
                names.append(entry.account)
        return names

    def report(self):
        lines = []
        for name in self.accounts():
            lines.append(name + " " + str(self.balance(name) / 100))
        return "\n".join(lines)

    def month(self, year, month):
        found = []
        for entry in self.entries:
            if entry.day.year == year:
                if entry.day.month == month:
                    found.append(entry)
        return found
