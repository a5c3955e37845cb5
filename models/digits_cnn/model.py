"""image (batch, 1, 28, 28) -> logits (batch, 10): a small residual CNN for handwritten digits, in PyTorch.

149 thousand parameters, 21 million multiply-accumulates. ``build()`` is what the recipe names as its source.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

WEIGHTS = Path(__file__).with_name("weights.safetensors")


class ConvBlock(nn.Sequential):
    """3x3 convolution, batch normalization, ReLU."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__(
            nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(),
        )


class Residual(nn.Module):
    """x -> ReLU(x + BN(conv(block(x))))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = ConvBlock(channels, channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.relu(x + self.norm(self.second(self.first(x))))


class DigitsCnn(nn.Module):
    """Stem, widening convolution, residual block, widening convolution, average over space, linear."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = ConvBlock(1, 32)
        self.widen = ConvBlock(32, 64)
        self.residual = Residual(64)
        self.top = ConvBlock(64, 96)
        self.pool = nn.MaxPool2d(2)
        self.dropout = nn.Dropout(0.1)
        self.head = nn.Linear(96, 10)

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        x = self.pool(self.stem(image))  # (batch, 32, 14, 14)
        x = self.residual(self.widen(x))  # (batch, 64, 14, 14)
        x = self.top(self.pool(x))  # (batch, 96, 7, 7)
        return {"logits": self.head(self.dropout(x.mean(dim=(2, 3))))}  # the key names the ONNX output


def build() -> nn.Module:
    """The trained model in evaluation mode."""
    from safetensors.torch import load_file

    model = DigitsCnn()
    model.load_state_dict(load_file(WEIGHTS))
    return model.eval()
