"""models/<name>/model.py:<build> -> float .tflite, by litert-torch, with channels-last images as it advises.

python from_torch.py NAME BUILD OUT, in an environment that has litert-torch; ``PYTHONPATH`` leads to edgekit.
"""

from __future__ import annotations

import sys
from pathlib import Path

import litert_torch
import torch  # noqa: TID253  # the peer's own process

name, build, out = sys.argv[1:]
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "models" / name))
import model as source  # noqa: E402  # the folder's name is known only now


class Logits(torch.nn.Module):
    """A classifier that gives its logits alone."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        return self.inner(input_ids=input_ids, attention_mask=attention_mask).logits


module = getattr(source, build)()
if name == "text_bert":
    module = Logits(module).eval()
    feeds = (torch.ones(1, 128, dtype=torch.int64), torch.ones(1, 128, dtype=torch.int64))
else:
    module = litert_torch.to_channel_last_io(module, args=[0]).eval()
    feeds = (torch.zeros(1, 224, 224, 3),)
litert_torch.convert(module, feeds).export(out)
