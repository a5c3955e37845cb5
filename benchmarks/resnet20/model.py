"""image (batch, 3, 32, 32) -> logits (batch, 10): ResNet-20 for CIFAR-10 with published weights, in PyTorch.

272,474 parameters with the batch normalizations' statistics left out of the count. The weights are read where
EDGEKIT_DATA is; none are here.

Source: He et al., "Deep Residual Learning for Image Recognition", 2016, section 4.2, shortcuts of option A;
weights: https://github.com/akamaster/pytorch_resnet_cifar10 (BSD-2), whose names the layers keep.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from edgekit import settings

STAGES = ((16, 1), (32, 2), (64, 2))  # channels, first stride
BLOCKS, CLASSES = 3, 10
FILE = "akamaster_resnet20/resnet20-12fca82f.th"


class Block(nn.Module):
    """x -> ReLU(shortcut(x) + BN(conv(ReLU(BN(conv(x)))))); the shortcut skips pixels and pads channels."""

    def __init__(self, inputs: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.stride, self.more = stride, (channels - inputs) // 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        if self.more:
            x = functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.more, self.more))
        return torch.relu(x + y)


class ResNet20(nn.Module):
    """Stem, three stages of three blocks, average, linear."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        inputs = 16
        for number, (channels, stride) in enumerate(STAGES, 1):
            blocks = [
                Block(inputs if not n else channels, channels, 1 if n else stride) for n in range(BLOCKS)
            ]
            setattr(self, f"layer{number}", nn.Sequential(*blocks))
            inputs = channels
        self.linear = nn.Linear(inputs, CLASSES)

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        x = torch.relu(self.bn1(self.conv1(image)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return {"logits": self.linear(x.mean((2, 3)))}


def build() -> nn.Module:
    """The trained model in evaluation mode."""
    folder = settings.data_dir()
    if folder is None:
        raise FileNotFoundError(f"EDGEKIT_DATA does not name the folder that holds {FILE}")
    found = torch.load(folder / FILE, map_location="cpu", weights_only=True)["state_dict"]
    model = ResNet20()
    model.load_state_dict({name.removeprefix("module."): tensor for name, tensor in found.items()})
    return model.eval()
