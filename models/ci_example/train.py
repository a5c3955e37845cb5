"""Digits training half -> weights.safetensors: python train.py. Seeded, one CPU thread, half a minute."""

from __future__ import annotations

from pathlib import Path

import torch
from model import WEIGHTS, Named
from safetensors.torch import save_file
from torch.nn import functional

from edgekit import dataset, recipe

HERE = Path(__file__).parent
EPOCHS = 60
BATCH = 32


def load(split: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Images (n, 1, 8, 8) and labels (n,), prepared as the recipe says."""
    plan = recipe.load(HERE / "edgekit.toml")
    data = dataset.load(
        dataset.DataSource("digits", split=split),
        inputs=tuple(table.spec() for table in plan.model.inputs),
        base=HERE,
        preprocess=plan.data.preprocess,
    )
    return torch.from_numpy(next(data.batches(data.count))["image"]), torch.from_numpy(data.labels)


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    images, labels = load("train")
    model = Named()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
    for _ in range(EPOCHS):
        order = torch.randperm(len(images))
        for start in range(0, len(images) - BATCH + 1, BATCH):
            batch = order[start : start + BATCH]
            noisy = images[batch] + 0.05 * torch.randn_like(images[batch])
            loss = functional.cross_entropy(model(noisy)["logits"], labels[batch], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
    images, labels = load("test")
    with torch.no_grad():
        accuracy = (model.eval()(images)["logits"].argmax(1) == labels).double().mean().item()
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, WEIGHTS)
    print(f"test accuracy {accuracy:.4f} on {len(labels)} images -> {WEIGHTS.name}")


if __name__ == "__main__":
    main()
