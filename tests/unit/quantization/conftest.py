"""Fixtures of the quantization tests: ONNX Runtime in this process, and the operators that it really runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pytest

from edgekit import settings
from edgekit.ir import io
from edgekit.passes import canonicalize
from edgekit.spec import Array, Range

Floats = npt.NDArray[np.float32]
Evaluate = Callable[[ir.Model, Mapping[str, Array]], list[Floats]]
Kernels = Callable[[ir.Model], Counter[str]]
Build = Callable[..., ir.Model]
Ranges = Callable[[ir.Model, Mapping[str, Array]], dict[str, Range]]


@pytest.fixture
def build() -> Build:
    """Text of a graph and arrays by name -> canonical model."""

    def make(text: str, **arrays: Array) -> ir.Model:
        head = '<ir_version: 10, opset_import: ["" : 21]>\n'
        tensors = [ir.tensor(np.asarray(array), name=name) for name, array in arrays.items()]
        return canonicalize(ir.from_onnx_text(head + text, initializers=tensors))

    return make


def _run(model: ir.Model, feeds: Mapping[str, Array], *, optimized: Path | None = None) -> list[Floats]:
    settings.silence_native_libraries()
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    if optimized is not None:
        options.optimized_model_filepath = str(optimized)
    session = onnxruntime.InferenceSession(io.to_bytes(model), options, providers=["CPUExecutionProvider"])
    outputs: list[Floats] = session.run(None, dict(feeds)) if feeds else []
    return outputs


@pytest.fixture
def evaluate() -> Evaluate:
    """Model x feeds -> outputs."""
    return _run


@pytest.fixture
def kernels(tmp_path: Path) -> Kernels:
    """Model -> operators of the graph that ONNX Runtime made of it."""

    def count(model: ir.Model) -> Counter[str]:
        target = tmp_path / "optimized.onnx"
        _run(model, {}, optimized=target)
        return Counter(node.op_type for node in ir.load(target).graph)

    return count


@pytest.fixture
def exact_ranges() -> Ranges:
    """Model x feeds -> smallest and largest value of every float value."""

    def find(model: ir.Model, feeds: Mapping[str, Array]) -> dict[str, Range]:
        exposed = model.clone()
        present = {value.name for value in exposed.graph.outputs}
        for node in exposed.graph:
            exposed.graph.outputs.extend(
                v for v in node.outputs if v.name not in present and v.dtype == ir.DataType.FLOAT
            )
        names = [value.name or "" for value in exposed.graph.outputs]
        values = {**dict(zip(names, _run(exposed, feeds), strict=True)), **feeds}
        return {
            name: Range(float(np.min(array)), float(np.max(array)))
            for name, array in values.items()
            if array.dtype == np.float32
        }

    return find
