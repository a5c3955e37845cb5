"""Small ``.tflite`` files for tests of the front end: by edgekit's compiler, or field by field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import onnx
import onnx_ir as ir

from edgekit import settings
from edgekit.backends.litert import flatbuffer
from edgekit.frontends.request import Loaded, SourceRequest
from edgekit.frontends.tflite import load_tflite
from edgekit.frontends.tflite.read import schema
from edgekit.ir import io
from edgekit.spec import Array
from tests.unit.litert.litert_models import compiled


def written(model: onnx.ModelProto, folder: Path) -> Path:
    """The ``.tflite`` file that edgekit compiles from ``model``."""
    made = compiled(model)
    assert made.lowered.rejections == ()
    path = folder / "model.tflite"
    path.write_bytes(flatbuffer.pack(made.lowered.graph))
    return path


def loaded(path: Path, **more: Any) -> Loaded:
    return load_tflite(SourceRequest(path.name, path.parent, **more))


def run_plain(model: ir.Model, feeds: Mapping[str, Array]) -> list[Array]:
    """Outputs on ONNX Runtime without graph optimizations: what the graph itself says."""
    settings.silence_native_libraries()
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(io.to_bytes(model), options, providers=["CPUExecutionProvider"])
    outputs: list[Array] = session.run(None, dict(feeds))
    return outputs


_VERSIONS = {"BROADCAST_TO": 2}  # the first that LiteRT registers, where it is not 1


@dataclass
class FileWriter:
    """A flatbuffer by hand: what converters write and edgekit's own compiler does not."""

    model: Any = field(default_factory=lambda: schema().ModelT())

    def __post_init__(self) -> None:
        graph = schema().SubGraphT()
        graph.tensors, graph.operators, graph.inputs, graph.outputs = [], [], [], []
        empty = schema().BufferT()
        self.model.version, self.model.subgraphs = 3, [graph]
        self.model.operatorCodes, self.model.buffers = [], [empty]
        self.graph = graph

    def tensor(
        self,
        name: str,
        shape: Sequence[int],
        dtype: str = "FLOAT32",
        *,
        data: Array | None = None,
        scale: float | Sequence[float] | None = None,
        zero: int | Sequence[int] = 0,
        axis: int = 0,
        signature: Sequence[int] | None = None,
        variable: bool = False,
    ) -> int:
        """A tensor; with ``data`` a constant."""
        table = schema().TensorT()
        table.name, table.shape, table.isVariable = name.encode(), list(shape), variable
        table.type = getattr(schema().TensorType, dtype)
        table.shapeSignature = None if signature is None else list(signature)
        table.buffer = 0
        if data is not None:
            buffer = schema().BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)
            table.buffer = len(self.model.buffers)
            self.model.buffers.append(buffer)
        if scale is not None:
            quant = schema().QuantizationParametersT()
            quant.scale = [float(each) for each in np.atleast_1d(scale)]
            quant.zeroPoint = [int(each) for each in np.broadcast_to(zero, len(quant.scale))]
            quant.quantizedDimension = axis
            table.quantization = quant
        self.graph.tensors.append(table)
        return len(self.graph.tensors) - 1

    def constant(self, name: str, data: Array, **more: Any) -> int:
        """A constant of the type of ``data``."""
        return self.tensor(name, data.shape, data.dtype.name.upper(), data=data, **more)

    def ints(self, *values: int) -> int:
        return self.constant(f"ints_{len(self.graph.tensors)}", np.asarray(values, np.int32))

    def input(self, *args: Any, **more: Any) -> int:
        index = self.tensor(*args, **more)
        self.graph.inputs.append(index)
        return index

    def output(self, *args: Any, **more: Any) -> int:
        index = self.tensor(*args, **more)
        self.graph.outputs.append(index)
        return index

    def operator(
        self,
        code: str,
        inputs: Sequence[int],
        outputs: Sequence[int],
        options: str = "",
        *,
        custom: str = "",
        **fields: Any,
    ) -> None:
        """An operator with the fields of its options table."""
        number = getattr(schema().BuiltinOperator, code)
        row = schema().OperatorCodeT()
        row.builtinCode, row.deprecatedBuiltinCode, row.version = (
            number,
            min(number, 127),
            _VERSIONS.get(code, 1),
        )
        row.customCode = custom.encode() if custom else None
        self.model.operatorCodes.append(row)
        table = schema().OperatorT()
        table.opcodeIndex = len(self.model.operatorCodes) - 1
        table.inputs, table.outputs = list(inputs), list(outputs)
        if options:
            table.builtinOptionsType = getattr(schema().BuiltinOptions, options)
            table.builtinOptions = getattr(schema(), f"{options}T")()
            for key, value in fields.items():
                assert hasattr(table.builtinOptions, key), key
                setattr(table.builtinOptions, key, value)
        self.graph.operators.append(table)

    def content(self) -> bytes:
        builder = flatbuffers.Builder(1024)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def save(self, folder: Path, name: str = "model.tflite") -> Path:
        path = folder / name
        path.write_bytes(self.content())
        return path
