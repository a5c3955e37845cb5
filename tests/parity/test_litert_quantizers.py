"""One float CNN, quantized by edgekit for litert-cpu and by ONNX Runtime, as .tflite against its QDQ graph.

Within 1 output step on 95 % of values and 5 on 99.9 % on XNNPACK; all operators in int8. Seeds 0 and 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edgekit import target as targets
from edgekit.backends.litert.backend import translate
from edgekit.ir import io
from edgekit.passes import canonicalize
from edgekit.quantization.apply import apply
from edgekit.quantization.place import place
from edgekit.spec import Range
from tests.unit.litert.litert_models import Model, as_ir, run_litert, run_onnx

SHAPE = (8, 3, 17, 13)


def _float_cnn() -> onnx.ModelProto:
    m = Model(seed=0)
    x = m.input("x", ("batch", *SHAPE[1:]))
    a = m.add("Relu", m.add("Conv", x, m.weight(7, 3, 3, 3), m.weight(7), pads=[1] * 4, strides=[2, 2]))
    b = m.add("Relu", m.add("Conv", a, m.weight(7, 1, 3, 3), m.weight(7), pads=[1] * 4, group=7))
    c = m.add("Conv", b, m.weight(7, 7, 1, 1, scale=0.3), m.weight(7))
    d = m.add("Relu", m.add("Add", a, c))
    e = m.add("MaxPool", d, kernel_shape=[2, 2], strides=[2, 2])
    f = m.add("Flatten", m.add("GlobalAveragePool", e))
    return m.build(m.add("Gemm", f, m.weight(5, 7), m.weight(5), transB=1, out="scores"))


def _samples() -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.random.default_rng(1).standard_normal(SHAPE).astype(np.float32)


def _ranges(model: onnx.ModelProto) -> Mapping[str, Range]:
    """Range of every float value, from all values as outputs."""
    full = onnx.ModelProto()
    full.CopyFrom(model)
    names = [name for node in model.graph.node for name in node.output]
    del full.graph.output[:]
    full.graph.output.extend(_value(name) for name in names)
    found = run_onnx(onnx.shape_inference.infer_shapes(full), {"x": _samples()})
    values = {**found, "x": _samples()}
    return {
        name: Range(float(data.astype(np.float64).min()), float(data.astype(np.float64).max()))
        for name, data in values.items()
        if data.dtype == np.float32
    }


def _value(name: str) -> onnx.ValueInfoProto:
    return onnx.ValueInfoProto(name=name)


def by_edgekit(folder: Path) -> onnx.ModelProto:
    canonical = canonicalize(as_ir(_float_cnn()))
    io.save(canonical, folder / "float.onnx")
    plan = place(canonical, targets.load("litert-cpu"), _ranges(onnx.load(folder / "float.onnx")))
    io.save(apply(canonical, plan), folder / "qdq.onnx")
    return onnx.load(folder / "qdq.onnx")


def by_onnxruntime(folder: Path) -> onnx.ModelProto:
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._left = iter([{"x": _samples()}])

        def get_next(self) -> dict[str, Any] | None:
            return next(self._left, None)

    onnx.save(_float_cnn(), folder / "float.onnx")
    quantization.quantize_static(
        folder / "float.onnx",
        folder / "qdq.onnx",
        Reader(),
        per_channel=True,
        quant_format=quantization.QuantFormat.QDQ,
    )
    return onnx.load(folder / "qdq.onnx")


@pytest.mark.parametrize("quantizer", [by_edgekit, by_onnxruntime])
@pytest.mark.filterwarnings("ignore:::onnxruntime")
def test_the_file_agrees_with_the_graph(quantizer: Callable[[Path], onnx.ModelProto], tmp_path: Path) -> None:
    model = quantizer(tmp_path)
    graph = translate(as_ir(model)).lowered.graph
    names = [op.code for op in graph.operators]
    assert names.count("DEQUANTIZE") == 1
    assert names[0] == "QUANTIZE"
    last = next(op for op in graph.operators if op.code == "DEQUANTIZE")
    quant = graph.tensors[last.inputs[0]].quant
    assert quant is not None
    feeds = {"x": _samples()}
    expected = run_onnx(model, feeds)["scores"].astype(np.float64)
    steps = np.abs(run_litert(model, feeds)["scores"].astype(np.float64) - expected) / quant.scale[0]
    assert np.mean(steps <= 1.01) >= 0.95
    assert np.mean(steps <= 5.01) >= 0.999
