"""Scenes of the digits' training half -> weights.safetensors, and the mean average precision of the other.

    python models/digits_detector/train.py [OUT.safetensors]

Loss: penalty-reduced focal loss on the class maps (Zhou et al. 2019, equation 1), generalized IoU and
distance of the sides at the cells that hold a digit's middle. Seeded, one CPU thread, a few minutes. The bits
of the weights depend on the CPU's instruction set; the precision does not, beyond a part of a point.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from model import CLASSES, LARGEST, SIZE, STRIDES, WEIGHTS, DigitsDetector
from safetensors.torch import save_file
from scenes import EVALUATION, generate
from torch.nn import functional

from edgekit.validation.metrics import task_metric

SCENES = 4000
EPOCHS = 14
BATCH = 50
SEED = 0
SOFT = 0.7  # spread of a target's peak, in cells
BOX_WEIGHT = 1.0


def targets(boxes: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Boxes (n, m, 5) -> per level: class maps (n, CLASSES, H, W), cells (k, 3) of their boxes (k, 4)."""
    found = []
    n, digit = torch.nonzero(boxes[:, :, 4] >= 0, as_tuple=True)
    known = boxes[n, digit]
    edge = (known[:, 2:4] - known[:, :2]).amax(1)
    for level, stride in enumerate(STRIDES):
        chosen = (edge > LARGEST) == bool(level)
        image, box = n[chosen], known[chosen]
        cell = ((box[:, :2] + box[:, 2:4]) / 2 / stride).floor().long()
        count = SIZE // stride
        reach = torch.arange(count)
        near = torch.exp(-((reach - cell[:, :1]) ** 2) / (2 * SOFT**2))  # (k, W)
        high = torch.exp(-((reach - cell[:, 1:]) ** 2) / (2 * SOFT**2))  # (k, H)
        maps = torch.zeros(len(boxes), CLASSES, count, count)
        peaks = high[:, :, None] * near[:, None, :]
        for index in range(len(image)):
            where = maps[image[index], int(box[index, 4])]
            torch.maximum(where, peaks[index], out=where)
        found.append((maps, torch.stack([image, cell[:, 1], cell[:, 0]], 1), box[:, :4]))
    return found


def overlap_loss(have: torch.Tensor, want: torch.Tensor) -> torch.Tensor:
    """1 - generalized IoU of boxes (k, 4) and (k, 4), summed."""
    low, high = torch.maximum(have[:, :2], want[:, :2]), torch.minimum(have[:, 2:], want[:, 2:])
    first, last = torch.minimum(have[:, :2], want[:, :2]), torch.maximum(have[:, 2:], want[:, 2:])
    inter, hull = (high - low).clamp(min=0).prod(1), (last - first).clamp(min=0).prod(1)
    union = (have[:, 2:] - have[:, :2]).clamp(min=0).prod(1) + (want[:, 2:] - want[:, :2]).prod(1) - inter
    return (1 - inter / union.clamp(min=1e-6) + (hull - union) / hull.clamp(min=1e-6)).sum()


def loss_of(model: DigitsDetector, images: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
    """The loss of one batch, per digit."""
    total, digits = torch.zeros(()), (boxes[:, :, 4] >= 0).sum()
    said, wanted = model.raw(images), targets(boxes)
    for level, ((sides, kinds), (maps, cells, want)) in enumerate(zip(said, wanted, strict=True)):
        p = torch.sigmoid(kinds)
        hit = (maps == 1) * (1 - p) ** 2 * functional.softplus(-kinds)
        miss = (maps < 1) * (1 - maps) ** 4 * p**2 * functional.softplus(kinds)
        have = model.boxes(sides, level)[cells[:, 0], :, cells[:, 1], cells[:, 2]]
        distance = (have - want).abs().mean(1).sum() / STRIDES[level]
        total = total + hit.sum() + miss.sum() + BOX_WEIGHT * (overlap_loss(have, want) + distance)
    return total / digits


def train() -> DigitsDetector:
    """The trained model in evaluation mode."""
    torch.manual_seed(SEED)
    generator = torch.Generator().manual_seed(SEED)
    scenes = generate(SCENES, split="train", seed=SEED)
    images, boxes = torch.from_numpy(scenes.images)[:, None], torch.from_numpy(scenes.boxes)
    model = DigitsDetector().to(memory_format=torch.channels_last)  # half the time on a CPU
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=1e-2)
    steps = EPOCHS * (SCENES // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=steps)
    for epoch in range(EPOCHS):
        order = torch.randperm(SCENES, generator=generator)
        total = 0.0
        for start in range(0, SCENES, BATCH):
            batch = order[start : start + BATCH]
            loss = loss_of(model, images[batch], boxes[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        print(f"epoch {epoch + 1:2d}/{EPOCHS}  loss {total / (SCENES // BATCH):.4f}", file=sys.stderr)
    return model.eval()


def precision(model: DigitsDetector) -> float:
    """COCO's mAP@[.50:.05:.95] on scenes of the test half."""
    scenes = generate(**EVALUATION)
    with torch.no_grad():
        found = model(torch.from_numpy(scenes.images)[:, None])
        outputs = {key: value.numpy() for key, value in found.items()}
    metric = task_metric("map")
    return metric.value(metric.sufficient(outputs, np.asarray(scenes.boxes)))


def main() -> None:
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    model = train()
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else WEIGHTS
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, out)
    parameters = sum(tensor.numel() for tensor in model.parameters())
    print(f"{parameters} parameters, test mAP {precision(model):.4f} -> {out.name}")


if __name__ == "__main__":
    main()
