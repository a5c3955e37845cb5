"""Training images -> weights-cifar10.safetensors or weights-shapes.safetensors, and the test accuracy.

    EDGEKIT_DATA=FOLDER python models/mobilenet_cifar/train.py [OUT.safetensors]    # CIFAR-10
    python models/mobilenet_cifar/train.py [OUT.safetensors]                        # generated shapes

Seeded, one CPU thread, a few minutes: see cifar10_training.py.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))  # what several models share lies one folder up

from cifar10_training import run
from model import HERE, WEIGHTS, MobileNetCifar, data_set

EPOCHS = {"cifar10": 24, "shapes": 15}

if __name__ == "__main__":
    found = data_set()
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else WEIGHTS[found]
    run(MobileNetCifar, HERE, out, epochs=EPOCHS[found], peak=0.2)
