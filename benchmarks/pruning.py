"""resnet20 on CIFAR-10: what 1.5 times the speed costs from calibration data alone, 1.8 times after recovery.

Pruned for ONNX Runtime and LiteRT together from 2,000 images without labels: once with what `edgekit prune`
does by itself (least squares, blocks refined together), once with EPOCHS of recovery by distillation; and
once more with the images' labels, which recovery uses where there are any. All
are timed against the float model, alternately, at batch 1 and one thread. Points are of 2,000 test images,
the same for all, with the paired interval in the raw figures. EDGEKIT_DATA names the weights and the images.
EDGEKIT_BENCH_MODELS=repaired, recovered or labelled measures one of them alone and keeps the others' rows.
"""

from __future__ import annotations

import json as json_
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import edgekit
from benchmarks.report import RESULTS, Bar, Report
from edgekit import settings
from edgekit.pipeline.result import PruneResult
from edgekit.report import json
from edgekit.spec import TensorSpec

HOME = Path(__file__).parent / "resnet20"
TARGETS = ("onnxruntime-cpu", "litert-cpu")
FILES = {"train": "cifar10_calib_2000", "labelled": "cifar10_calib_2000", "test": "cifar10_test_2000"}
CHOSEN = "EDGEKIT_BENCH_MODELS"  # names, separated by commas: only those
EPOCHS = 60  # of recovery: 8 minutes of one core with AMX


@dataclass(frozen=True)
class Asked:
    """A speed, epochs of recovery, the points that may be lost, and the images that are learned from."""

    speedup: float
    epochs: int
    points: float
    images: str = "train"


ASKED = {
    "repaired": Asked(1.5, 0, 2.0),
    "recovered": Asked(1.8, EPOCHS, 1.0),
    "labelled": Asked(1.8, EPOCHS, 1.0, "labelled"),
}


def run() -> Report:
    """Measure."""
    folder = settings.data_dir()
    if folder is None:
        return Report("pruning", (), {"skipped": "EDGEKIT_DATA does not name the data"})
    known = _known()
    chosen = os.environ.get(CHOSEN, ",".join(ASKED)).split(",")
    with tempfile.TemporaryDirectory() as work:
        here = Path(work)
        for name, file in FILES.items():
            with np.load(folder / "cifar10" / f"{file}.npz") as held:
                labels = {} if name == "train" else {"labels": held["y"].astype(np.int64)}
                np.savez(here / f"{name}.npz", allow_pickle=False, image=held["x"], **labels)
        model = edgekit.export(
            f"{HOME / 'model.py'}:build",
            out=here / "model.onnx",
            inputs=[TensorSpec("image", "float32", ("batch", 3, 32, 32))],
        )
        for name, asked in ASKED.items():
            if name in chosen:
                result = edgekit.prune(
                    model,
                    calibration_data=str(here / f"{asked.images}.npz"),
                    out=here / f"{name}.onnx",
                    speedup=asked.speedup,
                    recover=asked.epochs,
                    targets=TARGETS,
                    preprocess=HOME / "edgekit.toml",
                    eval_data=str(here / "test.npz"),
                )
                known[name] = _document(result)
    return Report(
        "pruning", tuple(bar for name in ASKED if name in known for bar in _bars(name, known)), known
    )


def _known() -> dict[str, dict[str, Any]]:
    """Rows of the last run: what is not chosen stays."""
    path = RESULTS / "pruning.json"
    raw: dict[str, dict[str, Any]] = json_.loads(path.read_text())["raw"] if path.exists() else {}
    return {name: row for name, row in raw.items() if name in ASKED}


def _bars(name: str, known: Mapping[str, Mapping[str, Any]]) -> Iterator[Bar]:
    asked, row = ASKED[name], known[name]
    for speed in row["speeds"]:
        faster = 1 / speed["ratio"]["value"]
        yield Bar(f"resnet20, {name}, {speed['target']}: times faster", faster, asked.speedup, at_most=False)
    if row["accuracy"] is not None:
        yield Bar(f"resnet20, {name}: points lost", row["accuracy"]["drop_pp"], asked.points)


def _document(result: PruneResult) -> dict[str, Any]:
    """Without raw times and paths of this machine."""
    document = dict(json.document(result))
    for row in document["speeds"]:
        for side in ("reference", "pruned"):
            row[side].pop("raw_ms")
    document.pop("path")
    return document
