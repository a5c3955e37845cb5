"""spectra (batch, 1, 98, 129) -> logits (batch, 10): a small residual network on log-mel features, PyTorch.

    power spectra --40 mel bands--> log --batch normalization--> stem --> 6 blocks --> average --> linear

98,784 parameters, 14.6 million multiply-accumulates, and 0.5 million for the bands. The features are made
inside the model, as torchaudio's and Keras's mel layers make them, so that an application only has to
transform windows. ``build()`` is what the recipe names as its source.

Source: He et al., "Deep Residual Learning for Image Recognition", 2016 (blocks).
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from spectra import mel_bands
from torch import nn

sys.path.append(str(Path(__file__).resolve().parents[1]))  # what several models share lies one folder up

from sound_clips import data_set

HERE = Path(__file__).resolve().parent
WEIGHTS = {name: HERE / f"weights-{name}.safetensors" for name in ("fsdd", "sounds")}
STAGES = (12, 24, 48)  # channels
BLOCKS, CLASSES = 2, 10  # blocks of a stage
FLOOR = 1e-6  # added to a band's energy before the logarithm: what the recordings' own 16 bits leave


class LogMel(nn.Module):
    """Energies (batch, 1, frames, bins) -> logarithms (batch, 1, frames, bands), normalized."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("bands", torch.from_numpy(mel_bands()))
        self.norm = nn.BatchNorm2d(1)

    def forward(self, spectra: torch.Tensor) -> torch.Tensor:
        return self.norm(torch.log(spectra @ self.bands + FLOOR))


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut, which is 1x1 where sizes change."""

    def __init__(self, inputs: int, channels: int, stride: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            nn.Conv2d(inputs, channels, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )
        same = stride == 1 and inputs == channels
        self.shortcut = (
            nn.Identity()
            if same
            else nn.Sequential(nn.Conv2d(inputs, channels, 1, stride, bias=False), nn.BatchNorm2d(channels))
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.shortcut(x) + self.inner(x))


class SpokenDigits(nn.Module):
    """Log-mel features 98 x 40, stem to 49 x 20, three stages to 13 x 5, average over both, linear."""

    def __init__(self) -> None:
        super().__init__()
        self.features = LogMel()
        self.stem = nn.Sequential(
            nn.Conv2d(1, STAGES[0], 3, 2, padding=1, bias=False), nn.BatchNorm2d(STAGES[0]), nn.ReLU()
        )
        blocks: list[nn.Module] = []
        inputs = STAGES[0]
        for stage, channels in enumerate(STAGES):
            for block in range(BLOCKS):
                blocks.append(Block(inputs, channels, 2 if stage and not block else 1))
                inputs = channels
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(inputs, CLASSES)

    def forward(self, spectra: torch.Tensor) -> dict[str, torch.Tensor]:
        x = self.blocks(self.stem(self.features(spectra)))
        return {"logits": self.head(x.mean((2, 3)))}  # the key names the ONNX output


def build() -> nn.Module:
    """The trained model in evaluation mode: on spoken digits where EDGEKIT_DATA has them, else on sounds."""
    from safetensors.torch import load_file

    model = SpokenDigits()
    model.load_state_dict(load_file(WEIGHTS[data_set()]))
    return model.eval()
