"""Text -> weights_reviews.safetensors (with EDGEKIT_DATA) or weights_docstrings.safetensors.

    python models/text_decoder/train.py [OUT.safetensors]

Seeded, one CPU thread, two to three minutes; the perplexity of the test text is printed. The bits
of the weights depend on the CPU's instruction set.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from data import EVALUATION, PAST, stream, windows
from model import CONTEXT, TextDecoder, empty_cache, weights
from safetensors.torch import save_file
from torch.nn import functional

STEPS = 1000
BATCH = 16
SEED = 0


def train() -> TextDecoder:
    """The trained model in evaluation mode."""
    torch.manual_seed(SEED)
    rng = np.random.default_rng(SEED)
    text = stream("train")
    model = TextDecoder()
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=1e-1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=STEPS)
    past = empty_cache(BATCH)
    for step in range(STEPS):
        starts = rng.integers(0, len(text) - CONTEXT, BATCH)
        rows = torch.from_numpy(text[starts[:, None] + np.arange(CONTEXT + 1)])
        logits = model(rows[:, :-1], **past)["logits"]
        loss = functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 99:
            print(f"step {step + 1:4d}/{STEPS}  perplexity {loss.exp().item():.3f}", file=sys.stderr)
    return model.eval()


def main() -> None:
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    model = train()
    rows = torch.from_numpy(windows("test", EVALUATION))
    with torch.no_grad():
        logits = model(rows[:, :-1], **empty_cache(len(rows)))["logits"][:, PAST:]
    perplexity = functional.cross_entropy(logits.flatten(0, 1), rows[:, PAST + 1 :].flatten()).exp().item()
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else weights()
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, out)
    parameters = sum(tensor.numel() for tensor in model.parameters())
    print(f"{parameters} parameters, test perplexity per character {perplexity:.4f} -> {out.name}")


if __name__ == "__main__":
    main()
