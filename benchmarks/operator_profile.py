"""`bench --profile` of MobileNetV2 on three runtimes: the times add up, all is counted, nothing is too fast.

    sum of the kernels' times / latency without the profiler        (inside * slowdown of a profile)
    MACs of the kernels / MACs of the model
    the fastest kernel / the machine's roof

Float and int8, one thread. A figure is the median over processes, because an inference that another process
interrupts says nothing about kernels; each profile compares inferences that ran in turn.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np

import edgekit
from benchmarks import peers
from benchmarks.report import Bar, Report
from edgekit.measure.roofline import ABOVE
from edgekit.pipeline.bench import profile, roof
from edgekit.pipeline.bench.on_this_machine import random_feeds
from edgekit.pipeline.open import artifact_at
from edgekit.pipeline.result import ProfileRow
from edgekit.spec import Artifact, Silent, TensorSpec

RUNTIMES = ("onnxruntime-cpu", "openvino-cpu", "litert-cpu")
MODEL = "mobilenet_v2"
MACS = (
    300_774_272  # of the paper's network at 224 pixels, classifier included (M. Sandler et al., 2018: "300M")
)
PROCESSES, SEED = 3, 0
LOWEST, HIGHEST = 0.8, 1.2


def run() -> Report:
    """Compile, profile in several processes, judge."""
    bars: list[Bar] = []
    raw: dict[str, object] = {"threads": 1, "processes": PROCESSES}
    with tempfile.TemporaryDirectory(prefix="edgekit-operators-") as folder:
        artifacts = _artifacts(Path(folder))
        rows: dict[str, list[ProfileRow]] = {name: [] for name in artifacts}
        measured = roof.roof(threads=1, progress=Silent())
        for _ in range(PROCESSES):
            for name, artifact in artifacts.items():
                print(f"{name}: profiling", file=sys.stderr, flush=True)
                feeds = random_feeds(tuple(each.reference for each in artifact.inputs), seed=SEED)
                row = profile.profiled(name, artifact, feeds, threads=1, roof=measured)
                if row.reason:
                    raise RuntimeError(f"{name}: {row.reason}")
                rows[name].append(row)
        raw["roof"] = {"gops": dict(measured.gops), "bandwidth": list(measured.bandwidth)}
        for name, found in rows.items():
            raw[name] = [_facts(row) for row in found]
            bars += _bars(name, found)
    return Report("operator_profile", tuple(bars), raw)


def _artifacts(folder: Path) -> dict[str, Artifact]:
    model = next(each for each in peers.MODELS if each.name == MODEL)
    source = folder / f"{MODEL}.onnx"
    image = TensorSpec("image", "float32", (1, 3, peers.SIDE, peers.SIDE))
    edgekit.export(model.source, out=source, inputs=[image])
    data = folder / "images.npz"
    np.savez(data, image=np.random.default_rng(SEED).random((8, 3, peers.SIDE, peers.SIDE), np.float32))
    found = {}
    for name in RUNTIMES:
        whole = folder / f"{MODEL}-{name}.onnx"
        edgekit.quantize(
            source, calibration_data=str(data), out=whole, target=name, precision="w8a8", restore="none"
        )
        for precision, path in (("fp32", source), ("w8a8", whole)):
            out = folder / f"{name}-{precision}"
            edgekit.compile(path, target=name, out=out)
            found[f"{name} {precision}"] = artifact_at(out)
    return found


def _whole(row: ProfileRow) -> float:
    """Sum of the kernels' times over the latency without the profiler."""
    return (row.inside or 0.0) * (row.slowdown or 0.0)


def _macs(row: ProfileRow) -> float:
    return sum(kernel.macs or 0 for kernel in row.kernels) / MACS


def _fastest(row: ProfileRow) -> float:
    return max(kernel.fraction or 0.0 for kernel in row.kernels)


def _bars(name: str, rows: list[ProfileRow]) -> list[Bar]:
    whole = statistics.median(map(_whole, rows))
    return [
        Bar(f"{name}: sum of kernels / latency", whole, HIGHEST),
        Bar(f"{name}: sum of kernels / latency", whole, LOWEST, at_most=False),
        Bar(f"{name}: MACs of kernels / of the model", statistics.median(map(_macs, rows)), 1.0),
        Bar(
            f"{name}: MACs of kernels / of the model", statistics.median(map(_macs, rows)), 1.0, at_most=False
        ),
        Bar(f"{name}: fastest kernel / roof", statistics.median(map(_fastest, rows)), ABOVE),
    ]


def _facts(row: ProfileRow) -> dict[str, object]:
    return {
        "inside": row.inside,
        "slowdown": row.slowdown,
        "latency_us": row.latency_us,
        "kernels_us": sum(kernel.us for kernel in row.kernels),
        "kernels": len(row.kernels),
        "fastest": _fastest(row),
        "notes": list(row.notes),
    }
