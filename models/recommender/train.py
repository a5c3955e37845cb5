"""Generated ratings -> weights.safetensors, and the mean absolute error of all three outputs.

    python models/recommender/train.py [OUT.safetensors]

Seeded, one CPU thread, about a minute. The bits of the weights depend on the CPU's instruction set.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from data import COLD, ITEMS, NOISE, ratings
from model import WEIGHTS, Recommender
from safetensors.torch import save_file
from torch.nn import functional

EPOCHS = 40
BATCH = 256
SEED = 0
INPUTS = ("user", "item", "content")
TABLE_DECAY = 1e-1  # of the embeddings: without it they learn the noise by heart


def train() -> Recommender:
    """The trained model in evaluation mode."""
    torch.manual_seed(SEED)
    generator = torch.Generator().manual_seed(SEED)
    table = {name: torch.from_numpy(array) for name, array in ratings()[0].items()}
    count = len(table["labels"])
    model = Recommender()
    tables = [
        parameter
        for name, parameter in model.named_parameters()
        if name.split(".")[0] not in ("features", "mix")
    ]
    dense = [*model.features.parameters(), *model.mix.parameters()]
    optimizer = torch.optim.AdamW(
        [{"params": tables, "weight_decay": TABLE_DECAY}, {"params": dense, "weight_decay": 1e-2}], lr=5e-3
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=5e-3, total_steps=EPOCHS * (count // BATCH)
    )
    for epoch in range(EPOCHS):
        order = torch.randperm(count, generator=generator)
        total = 0.0
        for start in range(0, count - BATCH + 1, BATCH):
            rows = order[start : start + BATCH]
            outputs = model(**{name: table[name][rows] for name in INPUTS})
            wanted = table["labels"][rows]
            loss = torch.stack([functional.mse_loss(rating, wanted) for rating in outputs.values()]).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        print(f"epoch {epoch + 1:2d}/{EPOCHS}  loss {total / (count // BATCH):.4f}", file=sys.stderr)
    return model.eval()


def main() -> None:
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    model = train()
    test = ratings()[1]
    with torch.no_grad():
        outputs = model(**{name: torch.from_numpy(test[name]) for name in INPUTS})
    cold = test["item"] >= ITEMS - COLD
    for name, rating in outputs.items():
        error = np.abs(rating.numpy() - test["labels"])
        print(f"{name}: mean absolute error {error.mean():.4f}, of cold items {error[cold].mean():.4f}")
    constant = np.abs(test["labels"] - test["labels"].mean()).mean()
    print(f"a constant: {constant:.4f}, noise: {NOISE * np.sqrt(2 / np.pi):.4f}")
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else WEIGHTS
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, out)
    print(f"{sum(tensor.numel() for tensor in model.parameters())} parameters -> {out.name}")


if __name__ == "__main__":
    main()
