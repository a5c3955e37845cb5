"""Fixtures of the pass tests: small models from text, and ONNX Runtime in this process to compare with."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx_ir as ir
import pytest

from edgekit import settings
from edgekit.ir import io
from edgekit.ir.infer import infer_shapes
from edgekit.spec import Array

Evaluate = Callable[[ir.Model, Mapping[str, Array]], list[Array]]
Build = Callable[..., ir.Model]


@pytest.fixture
def build() -> Build:
    """Text of a graph and arrays by name -> a model with shapes."""

    def make(text: str, *, opset: int = 21, **arrays: Array) -> ir.Model:
        head = f'<ir_version: 10, opset_import: ["" : {opset}]>\n'
        tensors = [ir.tensor(np.asarray(array), name=name) for name, array in arrays.items()]
        return infer_shapes(ir.from_onnx_text(head + text, initializers=tensors))

    return make


@pytest.fixture
def evaluate() -> Evaluate:
    """Model x feeds -> outputs, on ONNX Runtime without its graph optimizations."""

    def run(model: ir.Model, feeds: Mapping[str, Array]) -> list[Array]:
        settings.silence_native_libraries()
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = onnxruntime.InferenceSession(
            io.to_bytes(model), options, providers=["CPUExecutionProvider"]
        )
        outputs: list[Array] = session.run(None, dict(feeds))
        return outputs

    return run
