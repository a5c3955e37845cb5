"""image (batch, 3, 32, 32) -> logits (batch, 10): ResNet8, the image classifier of MLPerf Tiny, in PyTorch.

78,186 parameters (78,666 with the batch normalizations' statistics), 12.5 million multiply-accumulates.
``build()`` is what the recipe names as its source.

Source: https://github.com/mlcommons/tiny, benchmark/training/image_classification (after He et al. 2016);
written anew. The published network keeps the biases before its batch normalizations, and so does this one.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import nn

sys.path.append(str(Path(__file__).resolve().parents[1]))  # what several models share lies one folder up

from cifar10 import data_set

HERE = Path(__file__).resolve().parent
WEIGHTS = {name: HERE / f"weights-{name}.safetensors" for name in ("cifar10", "shapes")}


class Stack(nn.Module):
    """x -> ReLU(shortcut(x) + BN(conv(ReLU(BN(conv(x)))))); the shortcut may be a convolution."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels_in, channels_out, 3, stride, padding=1)
        self.first_norm = nn.BatchNorm2d(channels_out)
        self.second = nn.Conv2d(channels_out, channels_out, 3, padding=1)
        self.second_norm = nn.BatchNorm2d(channels_out)
        self.shortcut = nn.Identity() if stride == 1 else nn.Conv2d(channels_in, channels_out, 1, stride)
        self.relu = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.second_norm(self.second(self.relu(self.first_norm(self.first(x)))))
        return self.relu(self.shortcut(x) + y)


class ResNet8(nn.Module):
    """Stem, three residual stacks of 16, 32 and 64 channels, average over space, linear."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        self.stacks = nn.Sequential(Stack(16, 16, 1), Stack(16, 32, 2), Stack(32, 64, 2))
        self.pool = nn.AvgPool2d(8)
        self.head = nn.Linear(64, 10)

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        x = self.pool(self.stacks(self.stem(image)))  # (batch, 64, 1, 1)
        return {"logits": self.head(x.flatten(1))}  # the key names the ONNX output


def build() -> nn.Module:
    """The trained model in evaluation mode: of CIFAR-10 where EDGEKIT_DATA has it, else of shapes."""
    from safetensors.torch import load_file

    model = ResNet8()
    model.load_state_dict(load_file(WEIGHTS[data_set()]))
    return model.eval()
