"""Digits training half -> weights.safetensors of the generator, and how well the test half is reconstructed.

    python models/digits_generator/train.py [OUT.safetensors]

A variational autoencoder is trained, and its decoder kept. Seeded, one CPU thread, two to three minutes. The
bits of the weights depend on the CPU's instruction set.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from model import LATENT, WEIGHTS, DigitsGenerator
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

from edgekit import dataset
from edgekit.preprocess import Layout, Resize, Scale
from edgekit.spec import TensorSpec

HERE = Path(__file__).parent
IMAGE = (TensorSpec("image", "float32", ("batch", 1, 28, 28)),)
STEPS = (Resize(op="resize", size=(28, 28)), Scale(op="scale", by=0.0625), Layout(op="layout", to="NCHW"))
EPOCHS = 40
BATCH = 32
SEED = 0
WEIGHT_OF_KL = 0.5  # below 1: sharper pictures for a latent distribution that is a little less normal


class Encoder(nn.Module):
    """image (batch, 1, 28, 28) -> mean and logarithm of the variance, each (batch, LATENT)."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 16, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(32 * 7 * 7, 2 * LATENT),
        )

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mean, log_variance = self.layers(image).chunk(2, dim=1)
        return mean, log_variance


def load(split: str) -> torch.Tensor:
    """Images (n, 1, 28, 28) in 0..1 of a half of the digits."""
    data = dataset.load(dataset.DataSource("digits", split=split), inputs=IMAGE, base=HERE, preprocess=STEPS)
    return torch.from_numpy(next(data.batches(data.count))["image"])


def train(encoder: Encoder) -> DigitsGenerator:
    """The trained generator in evaluation mode; ``encoder`` is trained beside it."""
    generator = torch.Generator().manual_seed(SEED)
    images = load("train")
    model = DigitsGenerator()
    optimizer = torch.optim.Adam([*encoder.parameters(), *model.parameters()], lr=2e-3)
    for epoch in range(EPOCHS):
        order = torch.randperm(len(images), generator=generator)
        total = 0.0
        for start in range(0, len(images) - BATCH + 1, BATCH):
            batch = images[order[start : start + BATCH]]
            mean, log_variance = encoder(batch)
            noise = torch.randn(mean.shape, generator=generator)
            drawn = model(mean + noise * (0.5 * log_variance).exp())["image"]
            error = functional.binary_cross_entropy(drawn, batch, reduction="sum")
            divergence = -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum()
            loss = (error + WEIGHT_OF_KL * divergence) / len(batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        print(f"epoch {epoch + 1:2d}/{EPOCHS}  loss {total / (len(images) // BATCH):.2f}", file=sys.stderr)
    return model.eval()


def main() -> None:
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(SEED)
    encoder = Encoder()
    model = train(encoder)
    images = load("test")
    with torch.no_grad():
        drawn = model(encoder.eval()(images)[0])["image"]
    psnr = (-10 * (drawn - images).square().mean(dim=(1, 2, 3)).log10()).mean().item()
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else WEIGHTS
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, out)
    parameters = sum(tensor.numel() for tensor in model.parameters())
    print(f"{parameters} parameters, {len(images)} test digits drawn again at {psnr:.2f} dB -> {out.name}")


if __name__ == "__main__":
    main()
