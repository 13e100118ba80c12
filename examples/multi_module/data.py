"""Orders as waiters write them down, what they mean, and what they cost."""

import random
from dataclasses import dataclass

from autopilot_runtime.training import DataLoader, DataModule, Datum, IncrementalSplitter, ListDataset

# dish: its price, and how it is written
MENU = {
    "margherita": (8.5, ["marg", "pizza m"]),
    "lasagne": (11.0, ["lasa"]),
    "risotto": (12.5, ["riso", "rice"]),
    "salad": (6.0, ["sal", "green"]),
    "espresso": (2.2, ["esp", "coffee"]),
    "water": (3.1, ["aqua"]),
}


@dataclass(kw_only=True)
class Order(Datum):
    text: str
    dish: str
    total: float


class Orders(DataModule):
    """A hundred orders; every fourth of them is held out."""

    def prepare_data(self) -> None:
        chance = random.Random(7)
        self.all = []
        for number in range(100):
            dish = chance.choice(list(MENU))
            price, written = MENU[dish]
            count = chance.randint(1, 6)
            text = f"{count} {chance.choice(written)}"
            self.all.append(Order(id=f"order-{number}", text=text, dish=dish, total=round(count * price, 2)))

    def setup(self, stage: str) -> None:
        splits = IncrementalSplitter({"train": 0.75, "val": 0.25}, seed=1).split(self.all)
        self.parts = splits.datasets(ListDataset(self.all))

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.parts["train"], batch_size=25, shuffle=True, seed=3)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self.parts["val"], batch_size=25)
