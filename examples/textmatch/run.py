"""The same by hand, as with a network in PyTorch: nobody asks the held-out messages, and every rule stays."""

import shutil
import tempfile
from pathlib import Path

from textmatch import HERE, NewRule, Sorter, loader

with tempfile.TemporaryDirectory() as folder:
    module = Sorter(Path(shutil.copy(HERE / "rules.json", folder)))
    optimizer = NewRule(module.parameters())
    train, val = loader("train"), loader("val")

    def share(batches) -> str:
        module.eval()
        right = [bool(one) for batch in batches for one in module(batch)]
        module.train()
        return f"{sum(right) / len(right):.0%}"

    print(f"before    train {share(train)}  held out {share(val)}")
    for epoch in range(1, 17):
        for batch in train:
            module.loss(module(batch), batch)
        module.loss.backward()
        if optimizer.step():
            print(f"epoch {epoch:2}  train {share(train):>4}  held out {share(val):>4}  {optimizer.why}")
        optimizer.zero_grad()
