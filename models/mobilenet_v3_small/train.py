"""Seeded weights -> weights.safetensors and labels.npy, as ../seeded_backbones.py says.

python models/mobilenet_v3_small/train.py
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))

from seeded_backbones import make  # noqa: E402  its folder is on the path only now

if __name__ == "__main__":
    make(HERE.name)
