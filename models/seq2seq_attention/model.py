"""characters (batch, 24) -> symbols (batch, 10, 11): encoder, attention, decoder rewrite a date (PyTorch).

    memory = GRU(embedding(characters)), both directions
    ten times:  a = softmax(memory . query(state)),  context = a . memory
                state = GRUCell([embedding(last symbol), context], state)
                scores = linear([state, context]),  last symbol = the best one

The decoder is unrolled greedily: an ISO date has ten characters, so one call of one graph gives the whole
answer, without a loop on the device and without the answer as an input, which teacher forcing would need.
What is measured is then what an app gets. ``build()`` is what the recipe names as its source.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

WEIGHTS = Path(__file__).with_name("weights.safetensors")
CHARACTERS = 68  # padding, punctuation, digits and letters of data.py
SYMBOLS = 11  # digits and "-"
STEPS = 10
EMBEDDED = 32
MEMORY = 96  # both directions of the encoder together
STATE = 96


class DateRewriter(nn.Module):
    """Attention as in Luong et al. 2015 (arXiv:1508.04025), "general" score."""

    def __init__(self) -> None:
        super().__init__()
        self.characters = nn.Embedding(CHARACTERS, EMBEDDED)
        self.encoder = nn.GRU(EMBEDDED, MEMORY // 2, batch_first=True, bidirectional=True)
        self.start = nn.Linear(MEMORY, STATE)
        self.query = nn.Linear(STATE, MEMORY, bias=False)
        self.symbols = nn.Embedding(SYMBOLS + 1, EMBEDDED)  # the last row starts the answer
        self.cell = nn.GRUCell(EMBEDDED + MEMORY, STATE)
        self.head = nn.Linear(STATE + MEMORY, SYMBOLS)

    def forward(
        self, characters: torch.Tensor, answer: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        """With ``answer`` (batch, 10), as in training, the right symbols are fed back, not the best ones."""
        memory, _ = self.encoder(self.characters(characters))  # (batch, 24, MEMORY)
        state = torch.tanh(self.start(memory.mean(dim=1)))  # (batch, STATE)
        last = torch.full_like(characters[:, 0], SYMBOLS)
        scores = []
        for step in range(STEPS):
            weights = torch.softmax(memory @ self.query(state)[:, :, None], dim=1)  # (batch, 24, 1)
            context = (weights * memory).sum(dim=1)  # (batch, MEMORY)
            state = self.cell(torch.cat([self.symbols(last), context], dim=1), state)
            scores.append(self.head(torch.cat([state, context], dim=1)))
            last = scores[-1].argmax(dim=1) if answer is None else answer[:, step]
        return {"symbols": torch.stack(scores, dim=1)}  # the key names the ONNX output


def build() -> nn.Module:
    """The trained model in evaluation mode."""
    from safetensors.torch import load_file

    model = DateRewriter()
    model.load_state_dict(load_file(WEIGHTS))
    return model.eval()
