"""resnet20 on CIFAR-10: what 1.5 times the speed costs from calibration data alone, 1.8 times after recovery.

Pruned for ONNX Runtime and LiteRT together from 2,000 images without labels: once with what `edgekit prune`
does by itself (least squares, blocks refined together), once with EPOCHS of recovery by distillation. Both
are timed against the float model, alternately, at batch 1 and one thread. Points are of 2,000 test images,
the same for all, with the paired interval in the raw figures. EDGEKIT_DATA names the weights and the images.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import edgekit
from benchmarks.report import Bar, Report
from edgekit import settings
from edgekit.pipeline.result import PruneResult
from edgekit.report import json
from edgekit.spec import TensorSpec

HOME = Path(__file__).parent / "resnet20"
TARGETS = ("onnxruntime-cpu", "litert-cpu")
EPOCHS = 60  # of recovery: 8 minutes of one core with AMX


@dataclass(frozen=True)
class Asked:
    """A speed, epochs of recovery, and the points that may be lost."""

    speedup: float
    epochs: int
    points: float


ASKED = {"repaired": Asked(1.5, 0, 2.0), "recovered": Asked(1.8, EPOCHS, 1.0)}


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
        results = {
            name: edgekit.prune(
                model,
                calibration_data=str(here / "train.npz"),
                out=here / f"{name}.onnx",
                speedup=asked.speedup,
                recover=asked.epochs,
                targets=TARGETS,
                preprocess=HOME / "edgekit.toml",
                eval_data=str(here / "test.npz"),
            )
            for name, asked in ASKED.items()
        }
    bars: list[Bar] = []
    raw: dict[str, object] = {}
    for name, asked in ASKED.items():
        result = results[name]
        bars += [
            Bar(
                f"resnet20, {name}, {row.target}: times faster",
                1 / row.ratio.value,
                asked.speedup,
                at_most=False,
            )
            for row in result.speeds
        ]
        if result.accuracy is not None:
            bars.append(Bar(f"resnet20, {name}: points lost", result.accuracy.drop_pp, asked.points))
        raw[name] = _document(result)
    return Report("pruning", tuple(bars), raw)


def _document(result: PruneResult) -> dict[str, object]:
    """Without raw times and paths of this machine."""
    document = dict(json.document(result))
    for row in document["speeds"]:
        for side in ("reference", "pruned"):
            row[side].pop("raw_ms")
    document.pop("path")
    return document
