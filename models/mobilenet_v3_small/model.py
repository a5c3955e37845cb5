"""image (batch, 3, 224, 224) -> logits (batch, 1000): MobileNetV3-Small at width 1.0, in PyTorch.

2,542,856 parameters, 56.5 million multiply-accumulates. ``build()`` is what the recipe names as its source.

Source: Howard et al., "Searching for MobileNetV3", 2019, table 2; written anew.
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
STEM, TOP, HIDDEN, CLASSES = 16, 576, 1024, 1000
BLOCKS = (  # kernel, expanded channels, channels, squeeze-and-excite, hard-swish, stride
    (3, 16, 16, True, False, 2),
    (3, 72, 24, False, False, 2),
    (3, 88, 24, False, False, 1),
    (5, 96, 40, True, True, 2),
    (5, 240, 40, True, True, 1),
    (5, 240, 40, True, True, 1),
    (5, 120, 48, True, True, 1),
    (5, 144, 48, True, True, 1),
    (5, 288, 96, True, True, 2),
    (5, 576, 96, True, True, 1),
    (5, 576, 96, True, True, 1),
)


class ConvNorm(nn.Sequential):
    """Convolution, batch normalization, activation."""

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int,
        activation: type[nn.Module],
        *,
        stride: int = 1,
        groups: int = 1,
    ) -> None:
        super().__init__(
            nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(channels_out, eps=1e-3),
            activation(),
        )


class SqueezeExcite(nn.Module):
    """x -> x * hard_sigmoid(W2 relu(W1 mean(x))): each channel is weighted by what all of them show."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        narrow = _multiple_of_8(channels / 4)
        self.squeeze = nn.Conv2d(channels, narrow, 1)
        self.excite = nn.Conv2d(narrow, channels, 1)
        self.relu = nn.ReLU()
        self.gate = nn.Hardsigmoid()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean = x.mean(dim=(2, 3), keepdim=True)
        return x * self.gate(self.excite(self.relu(self.squeeze(mean))))


class Block(nn.Module):
    """Expand by 1x1, filter and weight channels, project by a linear 1x1; add the input where it fits."""

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        *,
        kernel: int,
        wide: int,
        excite: bool,
        swish: bool,
        stride: int,
    ) -> None:
        super().__init__()
        activation = nn.Hardswish if swish else nn.ReLU
        self.adds = stride == 1 and channels_in == channels_out
        self.layers = nn.Sequential(
            nn.Identity() if wide == channels_in else ConvNorm(channels_in, wide, 1, activation),
            ConvNorm(wide, wide, kernel, activation, stride=stride, groups=wide),
            SqueezeExcite(wide) if excite else nn.Identity(),
            ConvNorm(wide, channels_out, 1, nn.Identity),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layers(x) if self.adds else self.layers(x)


class MobileNetV3Small(nn.Module):
    """Stem, blocks down to 7x7, widening 1x1 convolution, average over space, two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [ConvNorm(3, STEM, 3, nn.Hardswish, stride=2)]
        channels = STEM
        for kernel, wide, wanted, excite, swish, stride in BLOCKS:
            layers.append(
                Block(channels, wanted, kernel=kernel, wide=wide, excite=excite, swish=swish, stride=stride)
            )
            channels = wanted
        self.features = nn.Sequential(*layers, ConvNorm(channels, TOP, 1, nn.Hardswish))
        self.hidden = nn.Linear(TOP, HIDDEN)
        self.swish = nn.Hardswish()
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(HIDDEN, CLASSES)

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        x = self.swish(self.hidden(self.features(image).mean(dim=(2, 3))))  # (batch, HIDDEN)
        return {"logits": self.head(self.dropout(x))}  # the key names the ONNX output


def _multiple_of_8(channels: float) -> int:
    """The nearest multiple of 8 that is not more than a tenth below: the rule of both MobileNet papers."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * channels else rounded + 8


def drawn() -> tuple[nn.Module, nn.Linear]:
    """The model with its drawn weights, and its classifier: what seeded_backbones.py starts from."""
    model = MobileNetV3Small()
    blocks = [layer for layer in model.features if isinstance(layer, Block)]
    ends = [block.layers[-1][1] for block in blocks]
    branches = [end for block, end in zip(blocks, ends, strict=True) if block.adds]
    fill(model, seed=SEED, shift=1.0, linear=ends, branches=branches)
    return model, model.head


def build() -> nn.Module:
    """The model in evaluation mode."""
    model, head = drawn()
    finish(model, head, WEIGHTS)
    return model.eval()
