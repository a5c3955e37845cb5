"""The same layers as ``make_model``, in PyTorch: what ``edgekit export`` takes of a module above 2 GB."""

from __future__ import annotations

import torch
from torch import nn

CONVOLUTIONS, BLOCKS, DENSE = 4, 11, 6
SIDE, PATCH, CLASSES, HEAD, WIDTH = 32, 8, 100, 64, 2048
SEED = 0


class Block(nn.Module):
    """x -> x + attention(norm(x)) -> x + feed-forward(norm(x)); x: (batch, tokens, width)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first_norm, self.second_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key, self.value, self.joined = (nn.Linear(width, width) for _ in range(4))
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.first_norm(x)
        q, k, v = (
            part(y).reshape(x.shape[0], x.shape[1], -1, HEAD).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )
        score = torch.softmax(q @ k.transpose(2, 3) * HEAD**-0.5, -1)
        x = x + self.joined((score @ v).transpose(1, 2).reshape(x.shape))
        return x + self.down(torch.relu(self.up(self.second_norm(x))))


class Large(nn.Module):
    """image (batch, 3, 32, 32) -> logits (batch, 100)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        inner = width // 4
        self.patch = nn.Conv2d(3, inner, PATCH, PATCH)
        layers: list[nn.Module] = []
        for _ in range(CONVOLUTIONS):
            layers += [nn.Conv2d(inner, inner, 3, padding=1, bias=False), nn.BatchNorm2d(inner), nn.ReLU()]
        layers.append(nn.Conv2d(inner, width, 1, bias=False))
        self.convolutions = nn.Sequential(*layers)
        self.blocks = nn.Sequential(*(Block(width) for _ in range(BLOCKS)))
        self.dense = nn.ModuleList(
            nn.Sequential(nn.Linear(width, 4 * width), nn.ReLU(), nn.Linear(4 * width, width))
            for _ in range(DENSE)
        )
        self.classes = nn.Linear(width, CLASSES)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.convolutions(self.patch(image)).flatten(2).transpose(1, 2)
        x = self.blocks(x).mean(1)
        for layer in self.dense:
            x = x + layer(x)
        return self.classes(x)


def build() -> nn.Module:
    """The module with seeded weights, 3.0 GB."""
    torch.manual_seed(SEED)
    return Large(WIDTH).eval()


def build_small() -> nn.Module:
    """The same layers, 300 MB."""
    torch.manual_seed(SEED)
    return Large(640).eval()


def example_inputs() -> dict[str, torch.Tensor]:
    """What it is exported on."""
    return {"image": torch.zeros(2, 3, SIDE, SIDE)}
