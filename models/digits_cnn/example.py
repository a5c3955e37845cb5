"""Trained model and digits -> edgekit/_examples/digits-cnn: what `edgekit init --example digits-cnn` writes.

The example must run where only the base install is: the model as ONNX, the data as .npz. Run this file again
after the model was trained anew; tests/packaging compares.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import edgekit
from edgekit.dataset import DataSource, load
from edgekit.spec import TensorSpec

HERE = Path(__file__).parent
EXAMPLE = HERE.parents[1] / "edgekit" / "_examples" / "digits-cnn"
RAW = (TensorSpec("image", "uint8", ("batch", 8, 8, 1)),)
CALIBRATION_SAMPLES = 256


def write(folder: Path) -> None:
    """Write the example's model and data into ``folder``; its recipe is kept by hand."""
    folder.mkdir(parents=True, exist_ok=True)
    edgekit.export(
        f"{HERE / 'model.py'}:build",
        inputs=[TensorSpec("image", "float32", ("batch", 1, 28, 28))],
        out=folder / "digits-cnn.onnx",
    )
    for name, split, samples in (("calibration", "train", CALIBRATION_SAMPLES), ("evaluation", "test", None)):
        data = load(DataSource("digits", split=split, samples=samples), inputs=RAW, base=HERE)
        images = np.concatenate([batch["image"] for batch in data.batches(64)])
        labels = {} if name == "calibration" else {"labels": data.labels}
        np.savez_compressed(folder / f"{name}.npz", allow_pickle=False, image=images, **labels)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=EXAMPLE)
    write(parser.parse_args().out)
