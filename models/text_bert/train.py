"""Sentences -> weights_reviews.safetensors (with EDGEKIT_DATA) or weights_docstrings.safetensors.

    python models/text_bert/train.py [OUT.safetensors]

Seeded, one CPU thread, about two minutes; the accuracy on the test sentences is printed. The bits of the
weights depend on the CPU's instruction set. They are stored as float16, which halves the file and moves no
label.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from data import arrays
from model import untrained, weights
from safetensors.torch import save_file
from torch.nn import functional
from transformers import BertForSequenceClassification

EPOCHS = 6
BATCH = 32
SEED = 0
WORD_DROPOUT = 0.2  # share of words that training replaces by padding inside the sentence


def train() -> BertForSequenceClassification:
    """The trained model in evaluation mode."""
    torch.manual_seed(SEED)
    generator = torch.Generator().manual_seed(SEED)
    ids, mask, labels = (torch.from_numpy(each) for each in arrays("train"))
    model = untrained().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-1)
    steps = EPOCHS * (len(ids) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-3, total_steps=steps)
    for epoch in range(EPOCHS):
        order = torch.randperm(len(ids), generator=generator)
        total = 0.0
        for start in range(0, len(ids) - BATCH + 1, BATCH):
            rows = order[start : start + BATCH]
            kept = torch.rand(ids[rows].shape, generator=generator) >= WORD_DROPOUT
            kept[:, 0] = True  # the classifier's mark
            width = int(mask[rows].sum(1).max())  # padding that all share is not computed
            logits = model((ids[rows] * kept)[:, :width], mask[rows][:, :width]).logits
            loss = functional.cross_entropy(logits, labels[rows])
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            total += loss.item()
        print(f"epoch {epoch + 1:2d}/{EPOCHS}  loss {total / (len(ids) // BATCH):.4f}", file=sys.stderr)
    return model.eval()


def main() -> None:
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    stored = {name: tensor.half().contiguous() for name, tensor in train().state_dict().items()}
    model = untrained().eval()
    model.load_state_dict({name: tensor.float() for name, tensor in stored.items()})
    ids, mask, labels = (torch.from_numpy(each) for each in arrays("test"))
    with torch.no_grad():
        accuracy = (model(ids, mask).logits.argmax(1) == labels).double().mean().item()
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else weights()
    save_file(stored, out)
    parameters = sum(tensor.numel() for tensor in model.parameters())
    print(f"{parameters} parameters, test accuracy {accuracy:.4f} on {len(labels)} sentences -> {out.name}")


if __name__ == "__main__":
    main()
