"""tokens, past keys and values -> logits, present keys and values: a small GPT with its cache, in PyTorch.

    tokens         (batch, T)          characters, T >= 1
    past_*_i       (batch, 4, P, 24)   keys and values of layer i for the P characters before, P >= 0
    logits         (batch, T, 96)      for the character after each of the T
    present_*_i    (batch, 4, P+T, 24) what the next call takes as past

One graph is both modes: prefill is P = 0 and all characters at once, a step is T = 1 and the cache so far. At
most 128 characters together. ``build()`` is what the recipe names as its source: trained on film reviews
where EDGEKIT_DATA has them, else on docstrings (see ``data.py``).
"""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

HERE = Path(__file__).parent
SYMBOLS = 96  # end of text, and the printable characters of ASCII
CONTEXT = 128
LAYERS = 2
HEADS = 4
WIDTH = 96
MASKED = -1e4  # finite: an infinity has no place in a quantized range

Cache = tuple[torch.Tensor, torch.Tensor]


class Attention(nn.Module):
    """Causal self-attention of the T new characters over all P + T."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(WIDTH, 3 * WIDTH, bias=False)
        self.out = nn.Linear(WIDTH, WIDTH, bias=False)

    def forward(self, x: torch.Tensor, past: Cache, hidden: torch.Tensor) -> tuple[torch.Tensor, Cache]:
        query, key, value = (
            part.unflatten(2, (HEADS, WIDTH // HEADS)).transpose(1, 2)
            for part in self.project(x).chunk(3, dim=2)
        )  # each (batch, HEADS, T, WIDTH / HEADS)
        key, value = torch.cat([past[0], key], dim=2), torch.cat([past[1], value], dim=2)
        scores = query @ key.transpose(2, 3) * (WIDTH // HEADS) ** -0.5  # (batch, HEADS, T, P + T)
        weights = torch.softmax(scores.masked_fill(hidden, MASKED), dim=3)
        return self.out((weights @ value).transpose(1, 2).flatten(2)), (key, value)


class Block(nn.Module):
    """x + attention(norm(x)), then x + dense(norm(x))."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.attention = Attention()
        self.dense = nn.Sequential(
            nn.LayerNorm(WIDTH),
            nn.Linear(WIDTH, 3 * WIDTH),
            nn.GELU(approximate="tanh"),
            nn.Linear(3 * WIDTH, WIDTH),
        )

    def forward(self, x: torch.Tensor, past: Cache, hidden: torch.Tensor) -> tuple[torch.Tensor, Cache]:
        read, present = self.attention(self.norm(x), past, hidden)
        x = x + read
        return x + self.dense(x), present


class TextDecoder(nn.Module):
    """Characters and learned positions, two blocks, and the embedding again as the output layer."""

    def __init__(self) -> None:
        super().__init__()
        self.symbols = nn.Embedding(SYMBOLS, WIDTH)
        self.positions = nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.norm = nn.LayerNorm(WIDTH)
        for table in (self.symbols, self.positions):
            nn.init.normal_(table.weight, std=0.1)

    def forward(
        self,
        tokens: torch.Tensor,
        past_key_0: torch.Tensor,
        past_value_0: torch.Tensor,
        past_key_1: torch.Tensor,
        past_value_1: torch.Tensor,
    ) -> dict[str, torch.Tensor]:
        before = past_key_0.shape[2]
        places = torch.arange(before + tokens.shape[1], device=tokens.device)
        hidden = places[None, :] > places[before:, None]  # (T, P + T): what lies ahead
        x = self.symbols(tokens) + self.positions(places[before:])
        outputs = {}
        for layer, past in enumerate([(past_key_0, past_value_0), (past_key_1, past_value_1)]):
            x, (key, value) = self.blocks[layer](x, past, hidden)
            outputs |= {f"present_key_{layer}": key, f"present_value_{layer}": value}
        return {"logits": functional.linear(self.norm(x), self.symbols.weight), **outputs}


def empty_cache(batch: int) -> dict[str, torch.Tensor]:
    """The past of a text that begins: (batch, HEADS, 0, WIDTH / HEADS) by input name."""
    names = [f"past_{part}_{layer}" for layer in range(LAYERS) for part in ("key", "value")]
    return {name: torch.zeros(batch, HEADS, 0, WIDTH // HEADS) for name in names}


def real_data() -> Path | None:
    """The folder of SST-2, or None where EDGEKIT_DATA does not lead to it."""
    root = os.environ.get("EDGEKIT_DATA")
    folder = Path(root or "") / "text"
    return folder if root and (folder / "stsa.binary.train").is_file() else None


def weights() -> Path:
    """The file that belongs to the data at hand."""
    return HERE / ("weights_reviews.safetensors" if real_data() else "weights_docstrings.safetensors")


def build() -> nn.Module:
    """The trained model in evaluation mode."""
    from safetensors.torch import load_file

    model = TextDecoder()
    model.load_state_dict(load_file(weights()))
    return model.eval()
