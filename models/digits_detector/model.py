"""image (batch, 1, 64, 64) -> boxes (batch, 320, 4), scores (batch, 320), classes (batch, 320), in PyTorch.

A small one-stage detector of digits: SiLU convolutions, two feature levels, a box and ten class scores for
each cell of both. A box is x1, y1, x2, y2 in pixels. 126,604 parameters, 14.5 million multiply-accumulates.

The graph holds all post-processing. A cell answers for the digit whose middle it holds, so that one digit
gives one peak of the score map; neighbours are silenced by a maximum over 3 x 3 cells in place of non-maximum
suppression, whose loop has no form that every runtime takes:

    score = ReLU((1 + S) p - S max3x3(p)),   p = the best class's probability

A peak keeps its p; a neighbour below S / (1 + S) of the peak becomes 0. A cell whose score is not above
FAINTEST has class -1, which is how the metric is told that there is nothing.

Source: Zhou et al., "Objects as Points", 2019 (peaks, loss); Tian et al., "FCOS", 2019 (distances to the four
sides, sizes by level).
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

HERE = Path(__file__).resolve().parent
WEIGHTS = HERE / "weights.safetensors"
SIZE, CLASSES = 64, 10
STRIDES = (4, 8)  # pixels of a cell of each level
REACH = (14.0, 22.0)  # a side is at most so many pixels from the middle of its cell
LARGEST = 19.0  # digits up to this edge belong to the first level, larger ones to the second
SILENCE = 4.0  # S
FAINTEST = 0.05  # fainter candidates are noise: without them mAP falls by 0.1 points


class Block(nn.Sequential):
    """3x3 convolution, batch normalization, SiLU."""

    def __init__(self, channels_in: int, channels_out: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(channels_out),
            nn.SiLU(),
        )


class Residual(nn.Module):
    """x -> x + block(x)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block = Block(channels, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.block(x)


class Head(nn.Module):
    """Features of one level -> raw distances (batch, 4, H, W) and class logits (batch, CLASSES, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.shared = Block(channels, channels)
        self.sides = nn.Conv2d(channels, 4, 1)
        self.kinds = nn.Conv2d(channels, CLASSES, 1)
        nn.init.constant_(self.kinds.bias, -4.0)  # few cells hold a digit

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.shared(x)
        return self.sides(x), self.kinds(x)


class DigitsDetector(nn.Module):
    """Backbone to a quarter and an eighth of the picture, a head on each, decoded and joined."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = Block(1, 16, stride=2)
        self.fine = nn.Sequential(Block(16, 32, stride=2), Residual(32), Residual(32))
        self.coarse = nn.Sequential(Block(32, 64, stride=2), Residual(64))
        self.heads = nn.ModuleList([Head(32), Head(64)])
        for level, stride in enumerate(STRIDES):
            middles = torch.arange(SIZE // stride) * stride + stride / 2
            y, x = torch.meshgrid(middles, middles, indexing="ij")
            self.register_buffer(f"middles_{level}", torch.stack([x, y, x, y])[None], persistent=False)
        signs = torch.tensor([-1.0, -1.0, 1.0, 1.0]).reshape(1, 4, 1, 1)
        self.register_buffer("signs", signs, persistent=False)

    def raw(self, image: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """What each level's head says: what the loss sees."""
        fine = self.fine(self.stem(image))  # (batch, 32, 16, 16)
        coarse = self.coarse(fine)  # (batch, 64, 8, 8)
        return [head(x) for head, x in zip(self.heads, (fine, coarse), strict=True)]

    def boxes(self, sides: torch.Tensor, level: int) -> torch.Tensor:
        """Raw distances of a level -> corners in pixels (batch, 4, H, W)."""
        middles: torch.Tensor = getattr(self, f"middles_{level}")
        return middles + self.signs * (REACH[level] * torch.sigmoid(sides))

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        boxes, scores, classes = [], [], []
        for level, (sides, kinds) in enumerate(self.raw(image)):
            best = torch.sigmoid(kinds).amax(1, keepdim=True)
            peak = functional.max_pool2d(best, 3, stride=1, padding=1)
            silenced = torch.relu((1 + SILENCE) * best - SILENCE * peak)
            boxes.append(self.boxes(sides, level).flatten(2).transpose(1, 2))
            scores.append(silenced.flatten(1))
            found = torch.where(silenced > FAINTEST, kinds.argmax(1, keepdim=True), -1)
            classes.append(found.flatten(1))
        return {  # the keys name the ONNX outputs, and are the roles of the metric "map"
            "boxes": torch.cat(boxes, 1),
            "scores": torch.cat(scores, 1),
            "classes": torch.cat(classes, 1),
        }


def build() -> nn.Module:
    """The trained model in evaluation mode."""
    from safetensors.torch import load_file

    model = DigitsDetector()
    model.load_state_dict(load_file(WEIGHTS))
    return model.eval()
