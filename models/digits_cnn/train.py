"""Digits training half -> weights.safetensors, and the accuracy on the test half.

    python models/digits_cnn/train.py [OUT.safetensors]

Seeded, one CPU thread, a minute or two. The bits of the weights depend on the CPU's instruction set; the
accuracy does not, beyond a sample or two.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from model import WEIGHTS, DigitsCnn
from safetensors.torch import save_file
from torch.nn import functional

from edgekit import dataset, recipe

HERE = Path(__file__).parent
EPOCHS = 40
BATCH = 32
SEED = 0


def load(split: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Images (n, 1, 28, 28) in 0..1 and labels (n,) of a half of the digits, prepared as the recipe says."""
    plan = recipe.load(HERE / "edgekit.toml")
    data = dataset.load(
        dataset.DataSource("digits", split=split),
        inputs=tuple(table.spec() for table in plan.model.inputs),
        base=HERE,
        preprocess=plan.data.preprocess,
    )
    images = next(data.batches(data.count))["image"]
    return torch.from_numpy(images), torch.from_numpy(data.labels)


def augment(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Rotate by up to 12 degrees, scale by up to 10 %, shift by up to 8 % of the picture."""
    n = len(images)
    u = torch.rand(4, n, generator=generator) * 2 - 1
    angle, zoom, shift = u[0] * (12 * np.pi / 180), 1 + 0.1 * u[1], 0.16 * u[2:]
    cos, sin = zoom * torch.cos(angle), zoom * torch.sin(angle)
    theta = torch.stack([torch.stack([cos, -sin, shift[0]], 1), torch.stack([sin, cos, shift[1]], 1)], 1)
    grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False)


def train() -> DigitsCnn:
    """The trained model in evaluation mode."""
    torch.manual_seed(SEED)
    generator = torch.Generator().manual_seed(SEED)
    images, labels = load("train")
    model = DigitsCnn()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-2)
    steps = EPOCHS * (len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=steps)
    for epoch in range(EPOCHS):
        order = torch.randperm(len(images), generator=generator)
        total = 0.0
        for start in range(0, len(images) - BATCH + 1, BATCH):
            batch = order[start : start + BATCH]
            logits = model(augment(images[batch], generator))["logits"]
            loss = functional.cross_entropy(logits, labels[batch], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        print(f"epoch {epoch + 1:2d}/{EPOCHS}  loss {total / (len(images) // BATCH):.4f}", file=sys.stderr)
    return model.eval()


def main() -> None:
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    model = train()
    images, labels = load("test")
    with torch.no_grad():
        accuracy = (model(images)["logits"].argmax(1) == labels).double().mean().item()
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else WEIGHTS
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, out)
    parameters = sum(tensor.numel() for tensor in model.parameters())
    print(f"{parameters} parameters, test accuracy {accuracy:.4f} on {len(labels)} images -> {out.name}")


if __name__ == "__main__":
    main()
