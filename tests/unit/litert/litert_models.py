"""Small ONNX models for the LiteRT tests, and both runtimes in this process to compare on."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
from onnx import helper, numpy_helper, shape_inference

from edgekit import settings
from edgekit.backends.litert import flatbuffer
from edgekit.backends.litert.backend import Compiled, translate
from edgekit.backends.litert.engine import LiteRtEngine
from edgekit.spec import Array, Dim, RunOptions

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

TYPES = {
    "float32": onnx.TensorProto.FLOAT,
    "int64": onnx.TensorProto.INT64,
    "int32": onnx.TensorProto.INT32,
    "int8": onnx.TensorProto.INT8,
    "int16": onnx.TensorProto.INT16,
    "uint8": onnx.TensorProto.UINT8,
    "bool": onnx.TensorProto.BOOL,
    "float64": onnx.TensorProto.DOUBLE,
}


Info = tuple[str, Sequence[Dim], str]
"""Name, shape, element type."""


class Model:
    """Nodes one after the other; ``add`` returns the name of the output."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self._nodes: list[Any] = []
        self._constants: dict[str, Array] = {}
        self._inputs: list[Any] = []
        self._count = 0

    def input(self, name: str, shape: Sequence[Dim], dtype: str = "float32") -> str:
        self._inputs.append(helper.make_tensor_value_info(name, TYPES[dtype], list(shape)))
        return name

    def constant(self, data: Array, name: str = "") -> str:
        name = name or f"k{len(self._constants)}"
        self._constants[name] = data
        return name

    def scalar(self, value: float) -> str:
        return self.constant(np.asarray(value, np.float32))

    def floats(self, *values: float) -> str:
        return self.constant(np.asarray(values, np.float32))

    def ints(self, *values: int) -> str:
        return self.constant(np.asarray(values, np.int64))

    def weight(self, *shape: int, scale: float = 0.5) -> str:
        return self.constant((self.rng.standard_normal(shape) * scale).astype(np.float32))

    def add(self, op: str, *inputs: str, out: str = "", outputs: int = 1, **attributes: Any) -> str:
        self._count += 1
        out = out or f"v{self._count}"
        names = [out, *(f"{out}_{i}" for i in range(1, outputs))]
        self._nodes.append(helper.make_node(op, list(inputs), names, name=f"n{self._count}", **attributes))
        return out

    def body(self, inputs: Sequence[Info], grow: Callable[[], Sequence[Info]]) -> Any:
        """The graph of what ``grow`` adds; it may read everything that is there already."""
        outside, self._nodes = self._nodes, []
        outputs = grow()
        inside, self._nodes = self._nodes, outside
        ends = [
            [helper.make_tensor_value_info(name, TYPES[dtype], list(shape)) for name, shape, dtype in each]
            for each in (inputs, outputs)
        ]
        return helper.make_graph(inside, f"body{len(outside)}", *ends)

    def quantized(self, value: str, scale: float, zero: int, *, dtype: str = "uint8") -> str:
        """Q and DQ of a value."""
        s = self.constant(np.asarray(scale, np.float32))
        z = self.constant(np.asarray(zero, dtype))
        return self.add("DequantizeLinear", self.add("QuantizeLinear", value, s, z), s, z)

    def quantized_weight(self, data: Floats, *, axis: int, bits_max: int = 127) -> tuple[str, Floats]:
        """int8 constant per channel behind a DQ; also its scales."""
        others = tuple(i for i in range(data.ndim) if i != axis)
        scales = (np.abs(data).max(axis=others) / bits_max).astype(np.float32)
        shape = [1] * data.ndim
        shape[axis] = -1
        integers = np.clip(np.rint(data / scales.reshape(shape)), -bits_max, bits_max).astype(np.int8)
        q, s = self.constant(integers), self.constant(scales)
        z = self.constant(np.zeros(scales.shape, np.int8))
        return self.add("DequantizeLinear", q, s, z, axis=axis), scales

    def quantized_bias(self, data: Doubles, scales: Floats) -> str:
        integers = np.rint(data / scales).astype(np.int32)
        q, s = self.constant(integers), self.constant(scales.astype(np.float32))
        z = self.constant(np.zeros(scales.shape, np.int32))
        return self.add("DequantizeLinear", q, s, z, axis=0)

    def build(self, *outputs: str, opset: int = 21) -> onnx.ModelProto:
        graph = helper.make_graph(
            self._nodes,
            "test",
            self._inputs,
            [onnx.ValueInfoProto(name=name) for name in outputs],
            [numpy_helper.from_array(np.asarray(data), name) for name, data in self._constants.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
        inferred = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
        for output in inferred.graph.output:
            if not output.type.HasField("tensor_type"):
                raise AssertionError(f"no type was inferred for {output.name}")
        return inferred


def as_ir(model: onnx.ModelProto) -> ir.Model:
    converted: ir.Model = ir.from_proto(model)
    return converted


def compiled(model: onnx.ModelProto) -> Compiled:
    return translate(as_ir(model))


def codes(model: onnx.ModelProto) -> list[str]:
    """Names of the TFLite operators, in order."""
    found = compiled(model)
    assert found.lowered.rejections == ()
    return [op.code for op in found.lowered.graph.operators]


def run_litert(
    model: onnx.ModelProto, feeds: Mapping[str, Array], *, kernels: str = "xnnpack"
) -> dict[str, Array]:
    """Outputs of the .tflite file in the reference's names and layouts."""
    made = compiled(model)
    assert made.lowered.rejections == ()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        path.write_bytes(flatbuffer.pack(made.lowered.graph))
        engine = LiteRtEngine(
            path,
            RunOptions(settings=(("kernels", kernels),)),
            [binding.name for binding in made.inputs],
            [binding.name for binding in made.outputs],
        )
        stored = {
            b.name: np.transpose(feeds[b.name], b.permutation) if b.permutation else feeds[b.name]
            for b in made.inputs
        }
        results = engine.run(stored)
    return {
        b.name: np.transpose(results[b.name], np.argsort(b.permutation)) if b.permutation else results[b.name]
        for b in made.outputs
    }


def run_onnx(model: onnx.ModelProto, feeds: Mapping[str, Array]) -> dict[str, Array]:
    settings.silence_native_libraries()
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, dict(feeds)), strict=True))


def relative_error(found: Array, expected: Array) -> float:
    """Largest difference over the range of the expected values (at least 1e-6)."""
    a, b = found.astype(np.float64), expected.astype(np.float64)
    assert a.shape == b.shape
    assert found.dtype == expected.dtype
    if not a.size:
        return 0.0
    return float(np.abs(a - b).max() / max(b.max() - b.min(), np.abs(b).max(), 1e-6))
