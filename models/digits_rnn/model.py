"""image (batch, 1, 28, 28) -> logits (batch, 10): a recurrent network reads a digit row by row (PyTorch).

    h_t = tanh(W x_t + U h_(t-1) + b),  t = 1..28,  logits = V h_28 + c

10 thousand parameters, 243 thousand multiply-accumulates. ``build()`` is what the recipe names as its source.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

WEIGHTS = Path(__file__).with_name("weights.safetensors")
SIDE = 28
HIDDEN = 80


class DigitsRnn(nn.Module):
    """``nn.RNN`` over the rows of the picture; its last step goes to a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.RNN(SIDE, HIDDEN, batch_first=True)
        self.head = nn.Linear(HIDDEN, 10)

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        steps, _ = self.rnn(image[:, 0])  # (batch, 28 rows, 28 pixels) -> (batch, 28, HIDDEN)
        return {"logits": self.head(steps[:, -1])}  # the key names the ONNX output


def build() -> nn.Module:
    """The trained model in evaluation mode."""
    from safetensors.torch import load_file

    model = DigitsRnn()
    model.load_state_dict(load_file(WEIGHTS))
    return model.eval()
