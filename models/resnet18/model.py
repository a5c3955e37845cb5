"""image (batch, 3, 224, 224) -> logits (batch, 1000): ResNet-18, in PyTorch.

11,689,512 parameters, 1.81 billion multiply-accumulates. ``build()`` is what the recipe names as its source.

Source: He et al., "Deep Residual Learning for Image Recognition", 2015, table 1 (option B shortcuts); written
anew.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import nn

sys.path.append(str(Path(__file__).resolve().parents[1]))  # what several models share lies one folder up

from seeded_backbones import fill, finish

WEIGHTS = Path(__file__).with_name("weights.safetensors")
SEED = 0
STEM, CLASSES = 64, 1000
STAGES = ((64, 1), (128, 2), (256, 2), (512, 2))  # channels, stride of the first block; two blocks each


class BasicBlock(nn.Module):
    """x -> ReLU(shortcut(x) + BN(conv(ReLU(BN(conv(x))))))."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(channels_out)
        self.second = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(channels_out)
        self.shortcut = nn.Sequential()
        if stride != 1 or channels_in != channels_out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, channels_out, 1, stride, bias=False), nn.BatchNorm2d(channels_out)
            )
        self.relu = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.second_norm(self.second(self.relu(self.first_norm(self.first(x)))))
        return self.relu(self.shortcut(x) + y)


class ResNet18(nn.Module):
    """7x7 stem, max pooling, four stages of two blocks, average over space, linear."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, STEM, 7, 2, padding=3, bias=False), nn.BatchNorm2d(STEM), nn.ReLU()
        )
        self.pool = nn.MaxPool2d(3, 2, padding=1)
        blocks, channels = [], STEM
        for wanted, stride in STAGES:
            blocks += [BasicBlock(channels, wanted, stride), BasicBlock(wanted, wanted, 1)]
            channels = wanted
        self.stages = nn.Sequential(*blocks)
        self.head = nn.Linear(channels, CLASSES)

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        x = self.stages(self.pool(self.stem(image))).mean(dim=(2, 3))  # (batch, 512)
        return {"logits": self.head(x)}  # the key names the ONNX output


def drawn() -> tuple[nn.Module, nn.Linear]:
    """The model with its drawn weights, and its classifier: what seeded_backbones.py starts from."""
    model = ResNet18()
    fill(model, seed=SEED)
    return model, model.head


def build() -> nn.Module:
    """The model in evaluation mode."""
    model, head = drawn()
    finish(model, head, WEIGHTS)
    return model.eval()
