"""resnet20 on CIFAR-10: what pruning from calibration data alone costs for 1.5 times the speed.

One model, pruned once for ONNX Runtime and LiteRT together from 2,000 images without labels; then both are
timed against the float model, alternately, at batch 1 and one thread. The same file is then recovered by
distillation, without labels too; its latency is that of its widths. Points are of 2,000 test images, the same
for all. EDGEKIT_DATA names the weights and the images.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

import edgekit
from benchmarks.report import Bar, Report
from edgekit import settings
from edgekit.dataset import DataSource, load
from edgekit.ir import io
from edgekit.pipeline import steps
from edgekit.pruning.recover import recover
from edgekit.report import json
from edgekit.spec import TensorSpec

HOME = Path(__file__).parent / "resnet20"
TARGETS = ("onnxruntime-cpu", "litert-cpu")
SPEEDUP, POINTS = 1.5, 2.0
EPOCHS = 20  # of recovery: 6 minutes on one core


def run() -> Report:
    """Measure."""
    folder = settings.data_dir()
    if folder is None:
        return Report("pruning", (), {"skipped": "EDGEKIT_DATA does not name the data"})
    with tempfile.TemporaryDirectory() as work:
        here = Path(work)
        for name, file in (("train", "cifar10_calib_2000"), ("test", "cifar10_test_2000")):
            with np.load(folder / "cifar10" / f"{file}.npz") as held:
                labels = {"labels": held["y"].astype(np.int64)} if name == "test" else {}
                np.savez(here / f"{name}.npz", allow_pickle=False, image=held["x"], **labels)
        model = edgekit.export(
            f"{HOME / 'model.py'}:build",
            out=here / "model.onnx",
            inputs=[TensorSpec("image", "float32", ("batch", 3, 32, 32))],
        )
        result = edgekit.prune(
            model,
            calibration_data=str(here / "train.npz"),
            out=here / "pruned.onnx",
            speedup=SPEEDUP,
            targets=TARGETS,
            preprocess=HOME / "edgekit.toml",
            eval_data=str(here / "test.npz"),
        )
        recovered = _points_after_recovery(model, result.path, here) if result.path.exists() else None
    bars = [
        Bar(f"resnet20, {row.target}: times faster", 1 / row.ratio.value, SPEEDUP, at_most=False)
        for row in result.speeds
    ]
    if result.accuracy is not None:
        bars.append(Bar("resnet20: points lost, repaired alone", result.accuracy.drop_pp, POINTS))
    if recovered is not None:
        bars.append(Bar("resnet20: points lost, recovered without labels", recovered, POINTS))
    document = json.document(result)
    for row in document["speeds"]:
        for side in ("reference", "pruned"):
            row[side].pop("raw_ms")
    document.pop("path")
    return Report("pruning", tuple(bars), {"resnet20": document, "epochs": EPOCHS})


def _points_after_recovery(model: Path, pruned: Path, work: Path) -> float | None:
    """Points lost by the same widths after distillation from the float model on the same images."""
    inputs = io.specs(io.load(model))[0]
    source = DataSource(str(work / "train.npz"))
    data = load(source, inputs=inputs, base=work, preprocess=steps.read(HOME / "edgekit.toml"))
    trained, _ = recover(
        io.load(model),
        io.load(pruned),
        batches=data.batches,
        count=data.count,
        epochs=EPOCHS,
        seed=0,
        threads=None,
    )
    io.save(trained, work / "recovered.onnx")
    found = edgekit.validate(
        work / "recovered.onnx",
        reference=model,
        data=str(work / "test.npz"),
        preprocess=HOME / "edgekit.toml",
        max_drop_pp=POINTS,
    )
    return found.accuracy.drop_pp if found.accuracy else None
