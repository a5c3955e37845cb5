"""image (batch, 3, 32, 32) -> logits (batch, 10): a narrow MobileNetV2 for 32-pixel images, in PyTorch.

98,058 parameters, 5.5 million multiply-accumulates. ``build()`` is what the recipe names as its source.

Source: Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", 2018; fewer and narrower
blocks than theirs, and the first two strides are 1, because the images are seven times smaller.
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
STEM, TOP = 16, 224  # channels of the first and of the last convolution
BLOCKS = (  # expansion, channels, how many, stride of the first
    (1, 16, 1, 1),
    (6, 16, 1, 2),
    (6, 24, 2, 2),
    (6, 40, 2, 2),
    (6, 64, 1, 1),
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


class MobileNetCifar(nn.Module):
    """Stem, inverted residual blocks down to 4x4, widening 1x1 convolution, average over space, linear."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [ConvNorm(3, STEM, 3)]
        channels = STEM
        for expansion, wanted, count, first_stride in BLOCKS:
            for index in range(count):
                stride = first_stride if index == 0 else 1
                layers.append(InvertedResidual(channels, wanted, stride=stride, expansion=expansion))
                channels = wanted
        self.features = nn.Sequential(*layers, ConvNorm(channels, TOP, 1))
        self.dropout = nn.Dropout(0.1)
        self.head = nn.Linear(TOP, 10)

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        x = self.features(image).mean(dim=(2, 3))  # (batch, TOP)
        return {"logits": self.head(self.dropout(x))}  # the key names the ONNX output


def build() -> nn.Module:
    """The trained model in evaluation mode: of CIFAR-10 where EDGEKIT_DATA has it, else of shapes."""
    from safetensors.torch import load_file

    model = MobileNetCifar()
    model.load_state_dict(load_file(WEIGHTS[data_set()]))
    return model.eval()
