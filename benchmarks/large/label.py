"""(model, samples) -> ``held-out.npz`` beside it: labels are what the float model itself says.

    python -m benchmarks.large.label FOLDER

A process of its own: what the runtime holds of 3 GB goes with it. A reference at chance level decides
nothing, and edgekit refuses it; a model with random weights can be right about nothing else.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from benchmarks.large import make_model

NAME, SAMPLES = "held-out.npz", 256


def write(folder: Path, *, seed: int = 2) -> Path:
    """``folder/held-out.npz``."""
    import onnxruntime

    session = onnxruntime.InferenceSession(folder / "large.onnx", providers=["CPUExecutionProvider"])
    shape = (SAMPLES, 3, make_model.SIDE, make_model.SIDE)
    image = np.random.default_rng(seed).standard_normal(shape, np.float32)
    (logits,) = session.run(None, {"image": image})
    np.savez(folder / NAME, image=image, labels=logits.argmax(axis=1))
    return folder / NAME


if __name__ == "__main__":
    write(Path(sys.argv[1]))
