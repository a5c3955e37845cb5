"""user, item, content -> collaborative, content_based, hybrid ratings (batch,): three recommenders (PyTorch).

    collaborative = 3 + sum(u * v) + b_user + b_item      u, v: embeddings of user and item
    content_based = 3 + sum(t * f(content)) + b_user      t: the user's taste, f: dense layers on the features
    hybrid        = 3 + w . [u * v, t * f(content)] + b_user + b_item

The embeddings of an item that nobody rated stay near 0: of such an item the hybrid knows the content alone.
``build()`` is what the recipe names as its source.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

WEIGHTS = Path(__file__).with_name("weights.safetensors")
USERS = 400
ITEMS = 300
GENRES = 12
WIDTH = 16
MIDDLE = 3.0  # of the scale 1..5


class Recommender(nn.Module):
    """Collaborative filtering, content features, and their hybrid; all three are trained at once."""

    def __init__(self) -> None:
        super().__init__()
        self.user = nn.Embedding(USERS, WIDTH)
        self.item = nn.Embedding(ITEMS, WIDTH)
        self.taste = nn.Embedding(USERS, WIDTH)
        self.user_bias = nn.Embedding(USERS, 1)
        self.item_bias = nn.Embedding(ITEMS, 1)
        self.features = nn.Sequential(nn.Linear(GENRES, 32), nn.ReLU(), nn.Linear(32, WIDTH))
        self.mix = nn.Linear(2 * WIDTH, 1, bias=False)
        for table in (self.user, self.item, self.taste):
            nn.init.normal_(table.weight, std=0.1)
        for table in (self.user_bias, self.item_bias):
            nn.init.zeros_(table.weight)
        nn.init.ones_(self.mix.weight)

    def forward(
        self, user: torch.Tensor, item: torch.Tensor, content: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        together = self.user(user) * self.item(item)  # (batch, WIDTH)
        liked = self.taste(user) * self.features(content)  # (batch, WIDTH)
        of_user, of_item = self.user_bias(user)[:, 0], self.item_bias(item)[:, 0]  # (batch,)
        mixed = self.mix(torch.cat([together, liked], dim=1))[:, 0]
        return {  # the keys name the ONNX outputs
            "collaborative": MIDDLE + together.sum(dim=1) + of_user + of_item,
            "content_based": MIDDLE + liked.sum(dim=1) + of_user,
            "hybrid": MIDDLE + mixed + of_user + of_item,
        }


def build() -> nn.Module:
    """The trained model in evaluation mode."""
    from safetensors.torch import load_file

    model = Recommender()
    model.load_state_dict(load_file(WEIGHTS))
    return model.eval()
