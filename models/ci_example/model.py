"""image (batch, 1, 8, 8) -> logits (batch, 10): a small CNN for handwritten digits, in PyTorch."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

WEIGHTS = Path(__file__).with_name("weights.safetensors")


class Digits(nn.Sequential):
    """Two convolutions, a pool between them, a dense layer: 18 thousand parameters."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 40, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(40 * 4 * 4, 10),
        )


class Named(nn.Module):
    """Gives the output a name."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = Digits()

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"logits": self.layers(image)}


def build() -> nn.Module:
    """The trained model in evaluation mode; edgekit.toml names it as its source."""
    from safetensors.torch import load_file

    model = Named()
    model.load_state_dict(load_file(WEIGHTS))
    return model.eval()
