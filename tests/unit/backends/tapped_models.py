"""One small residual CNN with random weights (seed 5), and what edgekit makes of it for three runtimes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx_ir as ir

import edgekit
from edgekit.ir import io
from edgekit.spec import Array

SEED = 5
TARGETS = ("onnxruntime-cpu", "openvino-cpu", "litert-cpu")
NET = """
<ir_version: 10, opset_import: ["" : 21]>
net (float[batch,3,12,12] image) => (float[batch,5] scores) {
  stem_sum = Conv<pads=[1,1,1,1]>(image, w1, b1)
  stem = Relu(stem_sum)
  wide_sum = Conv<pads=[1,1,1,1], group=8>(stem, w2, b2)
  wide = Relu(wide_sum)
  narrow = Conv(wide, w3, b3)
  joined_sum = Add(stem, narrow)
  joined = Relu(joined_sum)
  half_sum = Conv<pads=[1,1,1,1], strides=[2,2]>(joined, w4, b4)
  half = Relu(half_sum)
  pooled = GlobalAveragePool(half)
  flat = Flatten(pooled)
  scores = Gemm<transB=1>(flat, w5, b5)
}
"""
SHAPES = {"w1": (8, 3, 3, 3), "w2": (8, 1, 3, 3), "w3": (8, 8, 1, 1), "w4": (12, 8, 3, 3), "w5": (5, 12)}


def float_model() -> ir.Model:
    rng = np.random.default_rng(SEED)
    text = NET
    model = ir.from_onnx_text(text.replace("{", "<" + _declared() + ">\n{", 1))
    for name, shape in SHAPES.items():
        depth = float(np.prod(shape[1:]))
        weight = (rng.normal(size=shape) / np.sqrt(depth)).astype(np.float32)
        bias = rng.normal(size=shape[0], scale=0.1).astype(np.float32)
        model.graph.initializers[name].const_value = ir.tensor(weight, name=name)
        other = name.replace("w", "b")
        model.graph.initializers[other].const_value = ir.tensor(bias, name=other)
    return model


def _declared() -> str:
    parts = []
    for name, shape in SHAPES.items():
        sizes, zeros = ",".join(map(str, shape)), ",".join("0" for _ in range(int(np.prod(shape))))
        parts.append(f"float[{sizes}] {name} = {{{zeros}}}")
        bias = ",".join("0" for _ in range(shape[0]))
        parts.append(f"float[{shape[0]}] {name.replace('w', 'b')} = {{{bias}}}")
    return ", ".join(parts)


def images(count: int = 4) -> Array:
    return np.random.default_rng(SEED).normal(size=(count, 3, 12, 12)).astype(np.float32)


def values(model: ir.Model) -> list[str]:
    """Names of its input and of everything that it computes."""
    return [value.name or "" for node in model.graph for value in node.outputs] + ["image"]


def prepare(folder: Path, model: ir.Model | None = None) -> None:
    """Write float.onnx, data.npz and ranges.json."""
    io.save(model or float_model(), folder / "float.onnx")
    np.savez(folder / "data.npz", image=images(32))
    edgekit.calibrate(
        folder / "float.onnx", calibration_data=str(folder / "data.npz"), out=folder / "ranges.json"
    )


def make(folder: Path, target: str, *, ranges: Mapping[str, tuple[float, float]] | None = None) -> Path:
    """An int8 artifact of ``folder``'s model, in a folder of its own; with other ranges for single values."""
    document = json.loads((folder / "ranges.json").read_text("utf-8"))
    for name, (low, high) in (ranges or {}).items():
        document["tensors"][name] = {"low": low, "high": high}
    changed = folder / f"{target}.ranges.json"
    changed.write_text(json.dumps(document), "utf-8")
    edgekit.quantize(
        folder / "float.onnx",
        ranges=changed,
        out=folder / f"{target}.onnx",
        target=target,
        precision="w8a8",
        restore="none",
    )
    out = folder / f"{target}-{len(list(folder.iterdir()))}"
    edgekit.compile(folder / f"{target}.onnx", target=target, out=out)
    return out
