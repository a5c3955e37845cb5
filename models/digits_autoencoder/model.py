"""pixels (batch, 64) -> score (batch,), reconstruction (batch, 64): a dense autoencoder, in PyTorch.

    score = mean over pixels of (pixels - reconstruction)^2

It learned to draw the digits that it was trained on through a bottleneck of 12 numbers; what it cannot draw
is an anomaly. 26 thousand parameters. ``build()`` is what the recipe names as its source.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

WEIGHTS = Path(__file__).with_name("weights.safetensors")
PIXELS = 64
WIDTH = 128
BOTTLENECK = 12


class DigitsAutoencoder(nn.Module):
    """Dense layers down to the bottleneck and up again; the error of the drawing is the score."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Linear(PIXELS, WIDTH),
            nn.ReLU(),
            nn.Linear(WIDTH, WIDTH // 4),
            nn.ReLU(),
            nn.Linear(WIDTH // 4, BOTTLENECK),
        )
        self.decoder = nn.Sequential(
            nn.Linear(BOTTLENECK, WIDTH // 4),
            nn.ReLU(),
            nn.Linear(WIDTH // 4, WIDTH),
            nn.ReLU(),
            nn.Linear(WIDTH, PIXELS),
            nn.Sigmoid(),
        )

    def forward(self, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
        reconstruction = self.decoder(self.encoder(pixels))
        score = (pixels - reconstruction).square().mean(dim=1)
        return {"score": score, "reconstruction": reconstruction}  # the keys name the ONNX outputs


def build() -> nn.Module:
    """The trained model in evaluation mode."""
    from safetensors.torch import load_file

    model = DigitsAutoencoder()
    model.load_state_dict(load_file(WEIGHTS))
    return model.eval()
