"""image (batch, 3, 224, 224) -> logits (batch, 1000): MobileNetV2 at width 1.0, in PyTorch.

3,504,872 parameters, 300.8 million multiply-accumulates. ``build()`` is what the recipe names as its source.

Source: Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", 2018, table 2; written anew.
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
STEM, TOP, CLASSES = 32, 1280, 1000
BLOCKS = (  # expansion, channels, how many, stride of the first
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class ConvNorm(nn.Sequential):
    """Convolution and batch normalization, with ReLU6 unless it is the linear end of a block."""

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int,
        *,
        stride: int = 1,
        groups: int = 1,
        linear: bool = False,
    ) -> None:
        super().__init__(
            nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(channels_out),
            nn.Identity() if linear else nn.ReLU6(),
        )


class InvertedResidual(nn.Module):
    """Expand by 1x1, filter each channel by 3x3, project by a linear 1x1; add the input where it fits."""

    def __init__(self, channels_in: int, channels_out: int, *, stride: int, expansion: int) -> None:
        super().__init__()
        wide = channels_in * expansion
        self.adds = stride == 1 and channels_in == channels_out
        self.layers = nn.Sequential(
            nn.Identity() if expansion == 1 else ConvNorm(channels_in, wide, 1),
            ConvNorm(wide, wide, 3, stride=stride, groups=wide),
            ConvNorm(wide, channels_out, 1, linear=True),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layers(x) if self.adds else self.layers(x)


class MobileNetV2(nn.Module):
    """Stem, inverted residual blocks down to 7x7, widening 1x1 convolution, average over space, linear."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [ConvNorm(3, STEM, 3, stride=2)]
        channels = STEM
        for expansion, wanted, count, first_stride in BLOCKS:
            for index in range(count):
                stride = first_stride if index == 0 else 1
                layers.append(InvertedResidual(channels, wanted, stride=stride, expansion=expansion))
                channels = wanted
        self.features = nn.Sequential(*layers, ConvNorm(channels, TOP, 1))
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(TOP, CLASSES)

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        x = self.features(image).mean(dim=(2, 3))  # (batch, TOP)
        return {"logits": self.head(self.dropout(x))}  # the key names the ONNX output


def drawn() -> tuple[nn.Module, nn.Linear]:
    """The model with its drawn weights, and its classifier: what seeded_backbones.py starts from."""
    model = MobileNetV2()
    blocks = [layer for layer in model.features if isinstance(layer, InvertedResidual)]
    ends = [block.layers[-1][1] for block in blocks]
    branches = [end for block, end in zip(blocks, ends, strict=True) if block.adds]
    fill(model, seed=SEED, shift=1.0, linear=ends, branches=branches)
    return model, model.head


def build() -> nn.Module:
    """The model in evaluation mode."""
    model, head = drawn()
    finish(model, head, WEIGHTS)
    return model.eval()
