"""Training clips -> weights-fsdd.safetensors or weights-sounds.safetensors, and the accuracy on test clips.

    EDGEKIT_DATA=FOLDER python models/ds_cnn/train.py [OUT.safetensors]    # spoken digits
    python models/ds_cnn/train.py [OUT.safetensors]                        # generated sounds

Each epoch hears every clip at another place of its second, at another loudness and with other noise. Seeded,
one CPU thread, a minute or two. The bits of the weights depend on the CPU's instruction set; the accuracy
does not, beyond a few samples.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from model import HERE, WEIGHTS, DsCnn
from safetensors.torch import save_file
from sound_clips import clips, data_set, placed
from speech import features
from torch.nn import functional

from edgekit import preprocess, recipe

EPOCHS = {"fsdd": 60, "sounds": 30}
BATCH = 32
SEED = 0


def prepared(audio: list[np.ndarray]) -> torch.Tensor:
    """Features as the recipe prepares them: (n, 1, 49, 10)."""
    steps = recipe.load(HERE / "edgekit.toml").data.preprocess
    return torch.from_numpy(np.stack([preprocess.apply(features(clip), steps) for clip in audio]))


def varied(waves: list[np.ndarray], rng: np.random.Generator) -> list[np.ndarray]:
    """Clips at another place, loudness and noise."""
    found = []
    for samples in waves:
        clip = placed(samples, rng.random()) * 10 ** rng.uniform(-0.5, 0.3)
        found.append(clip + rng.normal(0, 10 ** rng.uniform(-4.5, -2.5), len(clip)))
    return found


def train() -> DsCnn:
    """The trained model in evaluation mode."""
    torch.manual_seed(SEED)
    rng = np.random.default_rng(SEED)
    waves, classes = clips("train")
    labels = torch.from_numpy(classes)
    model = DsCnn()
    epochs = EPOCHS[data_set()]
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=1e-2)
    steps = epochs * (len(waves) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=5e-3, total_steps=steps)
    for epoch in range(epochs):
        audio = prepared(varied(waves, rng))
        order = torch.from_numpy(rng.permutation(len(waves)))
        total = 0.0
        for start in range(0, len(waves) - BATCH + 1, BATCH):
            batch = order[start : start + BATCH]
            logits = model(audio[batch])["logits"]
            loss = functional.cross_entropy(logits, labels[batch], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        print(f"epoch {epoch + 1:2d}/{epochs}  loss {total / (len(waves) // BATCH):.4f}", file=sys.stderr)
    return model.eval()


def main() -> None:
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    model = train()
    waves, labels = clips("test")
    with torch.no_grad():
        found = model(prepared([placed(samples, 0.5) for samples in waves]))["logits"].argmax(1).numpy()
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else WEIGHTS[data_set()]
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, out)
    parameters = sum(tensor.numel() for tensor in model.parameters())
    accuracy = np.mean(found == labels)
    print(f"{parameters} parameters, test accuracy {accuracy:.4f} on {len(labels)} clips -> {out.name}")


if __name__ == "__main__":
    main()
