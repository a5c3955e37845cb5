"""Generated dates -> weights.safetensors, and the accuracy on days that were held out.

    python models/seq2seq_attention/train.py [OUT.safetensors]

Seeded, one CPU thread, about two minutes. The bits of the weights depend on the CPU's instruction set.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from data import EVALUATION, EVALUATION_SEED, TRAINING_SEED, dates
from model import WEIGHTS, DateRewriter
from safetensors.torch import save_file
from torch.nn import functional

STEPS = 1500
BATCH = 64
SEED = 0


def train() -> DateRewriter:
    """The trained model in evaluation mode."""
    torch.manual_seed(SEED)
    characters, answers = (
        torch.from_numpy(each) for each in dates(STEPS * BATCH, seed=TRAINING_SEED, held_out=False)
    )
    model = DateRewriter()
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=STEPS)
    for step in range(STEPS):
        rows = slice(step * BATCH, (step + 1) * BATCH)
        scores = model(characters[rows], answers[rows])["symbols"]
        loss = functional.cross_entropy(scores.flatten(0, 1), answers[rows].flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 99:
            print(f"step {step + 1:4d}/{STEPS}  loss {loss.item():.4f}", file=sys.stderr)
    return model.eval()


def main() -> None:
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    model = train()
    characters, answers = dates(EVALUATION, seed=EVALUATION_SEED, held_out=True)
    with torch.no_grad():
        right = model(torch.from_numpy(characters))["symbols"].argmax(2) == torch.from_numpy(answers)
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else WEIGHTS
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, out)
    parameters = sum(tensor.numel() for tensor in model.parameters())
    symbols, whole = right.double().mean().item(), right.all(1).double().mean().item()
    print(f"{parameters} parameters, characters right {symbols:.4f}, dates {whole:.4f} -> {out.name}")


if __name__ == "__main__":
    main()
