"""A model and the images of cifar10.py -> weights, and the accuracy on the test images.

What the train.py of resnet8 and of mobilenet_cifar share: random crops, mirroring, an erased square;
one-cycle SGD. Seeded, one CPU thread. The bits of the weights depend on the CPU's instruction set; the
accuracy does not, beyond a few samples.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

from edgekit import dataset, recipe

BATCH = 64
PADDING = 4  # a crop is shifted by at most so many pixels
ERASED = 8  # edge of the square that is erased
SEED = 0


def load(folder: Path, source: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Images (n, 3, 32, 32) and labels (n,), prepared as the recipe in ``folder`` says."""
    plan = recipe.load(folder / "edgekit.toml")
    data = dataset.load(
        dataset.DataSource(f"../cifar10.py:{source}"),
        inputs=tuple(table.spec() for table in plan.model.inputs),
        base=folder,
        preprocess=plan.data.preprocess,
    )
    images = next(data.batches(data.count))["image"]
    return torch.from_numpy(images), torch.from_numpy(data.labels)


def augment(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Shift each by up to PADDING pixels, mirror every second, erase one square of each."""
    n, _, size, _ = images.shape
    padded = functional.pad(images, (PADDING,) * 4, mode="reflect")
    top, left = torch.randint(0, 2 * PADDING + 1, (2, n, 1), generator=generator)
    mirrored = torch.rand(n, 1, generator=generator) < 0.5
    reach = torch.arange(size)
    rows, columns = top + reach, left + torch.where(mirrored, reach.flip(0), reach)
    y, x = torch.randint(0, size - ERASED + 1, (2, n, 1), generator=generator)
    within_y, within_x = (reach >= y) & (reach < y + ERASED), (reach >= x) & (reach < x + ERASED)
    erased = within_y[:, :, None] & within_x[:, None, :]
    which = torch.arange(n)[:, None, None]
    picked = padded.permute(0, 2, 3, 1)[which, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    return picked.masked_fill(erased[:, None], 0.0)


def train(model: nn.Module, folder: Path, *, epochs: int, peak: float) -> nn.Module:
    """The model, trained for ``epochs`` with a learning rate that rises to ``peak``, in evaluation mode."""
    generator = torch.Generator().manual_seed(SEED)
    images, labels = load(folder, "training")
    model = model.to(memory_format=torch.channels_last)  # half the time on a CPU
    optimizer = torch.optim.SGD(model.parameters(), lr=peak, momentum=0.9, nesterov=True, weight_decay=1e-3)
    steps = epochs * (len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=peak, total_steps=steps)
    for epoch in range(epochs):
        order = torch.randperm(len(images), generator=generator)
        total = 0.0
        for start in range(0, len(images) - BATCH + 1, BATCH):
            batch = order[start : start + BATCH]
            pictures = augment(images[batch], generator).contiguous(memory_format=torch.channels_last)
            logits = model(pictures)["logits"]
            loss = functional.cross_entropy(logits, labels[batch], label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        print(f"epoch {epoch + 1:2d}/{epochs}  loss {total / (len(images) // BATCH):.4f}", file=sys.stderr)
    return model.eval()


def accuracy(model: nn.Module, folder: Path) -> float:
    """Share of the test images whose class has the highest score."""
    images, labels = load(folder, "evaluation")
    with torch.no_grad():
        found = torch.cat([model(part)["logits"].argmax(1) for part in images.split(200)])
    return (found == labels).double().mean().item()


def run(make: type[nn.Module], folder: Path, weights: Path, *, epochs: int, peak: float) -> None:
    """Train what ``make`` makes, write its weights, say how good they are."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(SEED)
    model = train(make(), folder, epochs=epochs, peak=peak)
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, weights)
    parameters = sum(tensor.numel() for tensor in model.parameters())
    print(f"{parameters} parameters, test accuracy {accuracy(model, folder):.4f} -> {weights.name}")
