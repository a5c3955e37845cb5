"""audio (batch, 1, 49, 10) -> logits (batch, 10): DS-CNN, the keyword spotter of MLPerf Tiny, in PyTorch.

23,626 parameters (24,778 with the batch normalizations' statistics), 2.7 million multiply-accumulates.
``build()`` is what the recipe names as its source.

Source: Zhang et al., "Hello Edge: Keyword Spotting on Microcontrollers", 2017, and
https://github.com/mlcommons/tiny, benchmark/training/keyword_spotting; written anew. The published network
has 12 classes (24,908 parameters, counted in the same way) and keeps the biases before its batch
normalizations.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import nn

sys.path.append(str(Path(__file__).resolve().parents[1]))  # what several models share lies one folder up

from sound_clips import data_set

HERE = Path(__file__).resolve().parent
WEIGHTS = {name: HERE / f"weights-{name}.safetensors" for name in ("fsdd", "sounds")}
CHANNELS, BLOCKS, CLASSES = 64, 4, 10


class Separable(nn.Sequential):
    """3x3 convolution of each channel, then 1x1 across channels; each with batch normalization and ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__(
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 1),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
        )


class DsCnn(nn.Module):
    """Stem over 10 frames and 4 coefficients, separable blocks at 25 x 5, average over both, linear."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, CHANNELS, (10, 4), stride=2, padding=(5, 1)),
            nn.BatchNorm2d(CHANNELS),
            nn.ReLU(),
            nn.Dropout(0.2),
        )
        self.blocks = nn.Sequential(*(Separable(CHANNELS) for _ in range(BLOCKS)))
        self.pool = nn.AvgPool2d((25, 5))
        self.dropout = nn.Dropout(0.4)
        self.head = nn.Linear(CHANNELS, CLASSES)

    def forward(self, audio: torch.Tensor) -> dict[str, torch.Tensor]:
        x = self.pool(self.blocks(self.stem(audio)))  # (batch, 64, 1, 1)
        return {"logits": self.head(self.dropout(x.flatten(1)))}  # the key names the ONNX output


def build() -> nn.Module:
    """The trained model in evaluation mode: on spoken digits where EDGEKIT_DATA has them, else on sounds."""
    from safetensors.torch import load_file

    model = DsCnn()
    model.load_state_dict(load_file(WEIGHTS[data_set()]))
    return model.eval()
