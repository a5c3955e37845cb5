"""latent (batch, 16) -> image (batch, 1, 28, 28) in 0..1: a transposed-convolution generator, in PyTorch.

The decoder of a variational autoencoder (Kingma and Welling, arXiv:1312.6114): latent vectors drawn from the
standard normal distribution give digits. ``build()`` is what the recipe names as its source; the encoder is
needed for training only, and lives in ``train.py``.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

WEIGHTS = Path(__file__).with_name("weights.safetensors")
LATENT = 16
CHANNELS = 48


class DigitsGenerator(nn.Module):
    """Linear layer to 7x7, two transposed convolutions that double the picture, one that draws it."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(LATENT, CHANNELS * 7 * 7)
        self.upsample = nn.Sequential(
            nn.ReLU(),
            nn.ConvTranspose2d(CHANNELS, 32, 4, stride=2, padding=1, bias=False),  # (batch, 32, 14, 14)
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.ConvTranspose2d(32, 16, 4, stride=2, padding=1, bias=False),  # (batch, 16, 28, 28)
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.ConvTranspose2d(16, 1, 3, padding=1),
            nn.Sigmoid(),
        )

    def forward(self, latent: torch.Tensor) -> dict[str, torch.Tensor]:
        start = self.project(latent).unflatten(1, (CHANNELS, 7, 7))
        return {"image": self.upsample(start)}  # the key names the ONNX output


def build() -> nn.Module:
    """The trained model in evaluation mode."""
    from safetensors.torch import load_file

    model = DigitsGenerator()
    model.load_state_dict(load_file(WEIGHTS))
    return model.eval()
