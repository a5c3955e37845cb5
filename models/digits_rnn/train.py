"""Digits training half -> weights.safetensors, and the accuracy on the test half.

    python models/digits_rnn/train.py [OUT.safetensors]

Seeded, one CPU thread, about a minute. The bits of the weights depend on the CPU's instruction set; the
accuracy does not, beyond a few samples.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from model import WEIGHTS, DigitsRnn
from safetensors.torch import save_file
from torch.nn import functional

from edgekit import dataset, recipe

HERE = Path(__file__).parent
EPOCHS = 250
BATCH = 32
SEED = 0
SHIFT = 2  # pixels that a training picture moves at most, in each direction


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


def moved(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """The whole batch moved by up to SHIFT pixels, edges filled with background."""
    down, right = torch.randint(0, 2 * SHIFT + 1, (2,), generator=generator).tolist()
    padded = functional.pad(images, (SHIFT,) * 4)
    return padded[:, :, down : down + images.shape[2], right : right + images.shape[3]]


def train() -> DigitsRnn:
    """The trained model in evaluation mode."""
    torch.manual_seed(SEED)
    generator = torch.Generator().manual_seed(SEED)
    images, labels = load("train")
    model = DigitsRnn()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-2)
    steps = EPOCHS * (len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=steps)
    for epoch in range(EPOCHS):
        order = torch.randperm(len(images), generator=generator)
        total = 0.0
        for start in range(0, len(images) - BATCH + 1, BATCH):
            batch = order[start : start + BATCH]
            logits = model(moved(images[batch], generator))["logits"]
            loss = functional.cross_entropy(logits, labels[batch], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(
                model.parameters(), 1.0
            )  # through 28 steps they explode now and then
            optimizer.step()
            schedule.step()
            total += loss.item()
        print(f"epoch {epoch + 1:3d}/{EPOCHS}  loss {total / (len(images) // BATCH):.4f}", file=sys.stderr)
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
