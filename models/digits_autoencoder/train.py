"""Digits without the anomaly -> weights.safetensors, and the area under the ROC curve on the test half.

    python models/digits_autoencoder/train.py [OUT.safetensors]

Seeded, one CPU thread, about half a minute. The bits of the weights depend on the CPU's instruction set.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from data import ANOMALY, digits, normal
from model import WEIGHTS, DigitsAutoencoder
from safetensors.torch import save_file
from sklearn.metrics import roc_auc_score
from torch.nn import functional

EPOCHS = 300
BATCH = 32
SEED = 0
NOISE = 0.1  # standard deviation of what is added to the input: the autoencoder must not copy pixels


def train() -> DigitsAutoencoder:
    """The trained model in evaluation mode."""
    torch.manual_seed(SEED)
    generator = torch.Generator().manual_seed(SEED)
    pixels = torch.from_numpy(normal())
    model = DigitsAutoencoder()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-3)
    steps = EPOCHS * (len(pixels) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=steps)
    for epoch in range(EPOCHS):
        order = torch.randperm(len(pixels), generator=generator)
        total = 0.0
        for start in range(0, len(pixels) - BATCH + 1, BATCH):
            clean = pixels[order[start : start + BATCH]]
            noisy = clean + NOISE * torch.randn(clean.shape, generator=generator)
            loss = functional.mse_loss(model(noisy)["reconstruction"], clean)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        if epoch % 20 == 19:
            print(
                f"epoch {epoch + 1:3d}/{EPOCHS}  loss {total / (len(pixels) // BATCH):.5f}", file=sys.stderr
            )
    return model.eval()


def main() -> None:
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    model = train()
    pixels, labels = digits("test")
    with torch.no_grad():
        score = model(torch.from_numpy(pixels))["score"].numpy()
    area = roc_auc_score(labels == ANOMALY, score)
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else WEIGHTS
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, out)
    parameters = sum(tensor.numel() for tensor in model.parameters())
    print(f"{parameters} parameters, AUC {area:.4f} on {len(labels)} images, anomaly {ANOMALY} -> {out.name}")


if __name__ == "__main__":
    main()
