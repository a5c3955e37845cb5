"""Bytes of a ``.tflite`` file -> Runner: the file itself on LiteRT, in real numbers, one thread.

R1 integer inputs and outputs: rounded and clipped here as QuantizeLinear does it, given back as reals.
R2 variables are reset before every inference: each one starts from the same state.
R3 float operators with integer weights: LiteRT would round their activations too, anew in every inference,
   which is a choice of that runtime and no part of the model. The reference is the same file with those
   weights written out as the reals that they stand for.

Source: ai_edge_litert.interpreter; onnx QuantizeLinear-21 (round half to even).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgekit import settings
from edgekit.errors import DataError, ModelFileError, missing_extra
from edgekit.frontends.request import FunctionRunner
from edgekit.frontends.tflite.graph import dequantized
from edgekit.frontends.tflite.read import Quant, TfliteFile, parse, schema
from edgekit.spec import Array, TensorSpec

_WITH_WEIGHTS: dict[str, tuple[int, ...]] = {
    "CONV_2D": (1,),
    "DEPTHWISE_CONV_2D": (1,),
    "FULLY_CONNECTED": (1,),
    "TRANSPOSE_CONV": (1,),
    "BATCH_MATMUL": (0, 1),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": tuple(range(1, 12)),
    "LSTM": tuple(range(1, 12)),
    "EMBEDDING_LOOKUP": (1,),
}
"""Operators whose kernels take float data with integer weights, and where the weights are (R3)."""


def reference(
    content: bytes, file: TfliteFile, *, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]
) -> FunctionRunner:
    """A Runner with the names of the exported model; LiteRT reads the file at the first call of ``run``."""
    interpreter = _Interpreter(content, file)

    def run(arrays: tuple[Array, ...]) -> dict[str, Array]:
        found = interpreter.run(arrays)
        return {spec.name: array for spec, array in zip(outputs, found, strict=True)}

    return FunctionRunner(inputs, outputs, run)


@dataclass
class _Interpreter:
    """The interpreter of one file; made late, because LiteRT is native code and most exports are cached."""

    content: bytes
    file: TfliteFile
    handle: Any = None

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        if self.handle is None:
            self.handle = _opened(with_real_weights(self.content, self.file), self.file.name)
        inputs = self.handle.get_input_details()
        shapes = [tuple(int(size) for size in detail["shape"]) for detail in inputs]
        try:
            if shapes != [array.shape for array in arrays]:
                for detail, array in zip(inputs, arrays, strict=True):
                    self.handle.resize_tensor_input(detail["index"], list(array.shape))
                self.handle.allocate_tensors()
            self.handle.reset_all_variables()
            for detail, index, array in zip(inputs, self.file.inputs, arrays, strict=True):
                self.handle.set_tensor(detail["index"], self._integers(index, array))
            self.handle.invoke()
        except (RuntimeError, ValueError) as error:
            raise DataError(
                f"LiteRT cannot run {self.file.name} on inputs of shapes {[a.shape for a in arrays]}",
                why=str(error).strip().splitlines()[0],
                remedy="declare the inputs with the shapes that the file was converted for",
            ) from error
        details = self.handle.get_output_details()
        return [
            self._reals(index, self.handle.get_tensor(detail["index"]))
            for detail, index in zip(details, self.file.outputs, strict=True)
        ]

    def _integers(self, index: int, array: Array) -> Array:
        """R1, on the way in."""
        tensor = self.file.tensors[index]
        if tensor.quant is None or tensor.dtype.startswith("float"):
            return np.ascontiguousarray(array.astype(tensor.dtype, copy=False))
        limits = np.iinfo(tensor.dtype)
        steps = np.rint(array.astype(np.float32) / tensor.quant.scale[0]) + tensor.quant.zero_point[0]
        integers: Array = np.clip(steps, limits.min, limits.max).astype(tensor.dtype)
        return integers

    def _reals(self, index: int, array: Array) -> Array:
        """R1, on the way out."""
        quant = self.file.tensors[index].quant
        return array if quant is None or array.dtype.kind == "f" else dequantized(array, quant)


def _opened(content: bytes, name: str) -> Any:
    settings.silence_native_libraries()
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise missing_extra("ai-edge-litert", "litert", needed_for="running .tflite files") from error
    try:
        interpreter = Interpreter(model_content=content, num_threads=1)
        interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        raise ModelFileError(
            f"{name} is not a TFLite file that LiteRT takes",
            why=str(error).strip().splitlines()[0],
            remedy="convert the model again, or copy the file again and compare its size",
        ) from error
    return interpreter


def with_real_weights(content: bytes, file: TfliteFile) -> bytes:
    """R3: ``content`` itself where no float operator has integer weights."""
    wanted: dict[int, Quant] = {}
    for operator in file.operators:
        for position in _WITH_WEIGHTS.get(operator.code, ()):
            index = operator.inputs[position] if position < len(operator.inputs) else -1
            if index < 0 or file.tensors[operator.outputs[-1]].dtype != "float32":
                continue
            tensor = file.tensors[index]
            if tensor.data is not None and tensor.quant is not None:
                wanted[index] = tensor.quant
    if not wanted:
        return content
    import flatbuffers

    tables = schema()
    model = parse(content, name=file.name)
    for index, quant in wanted.items():
        table, data = model.subgraphs[0].tensors[index], file.tensors[index].data
        buffer = tables.BufferT()
        buffer.data = np.frombuffer(dequantized(np.asarray(data), quant).tobytes(), np.uint8)
        table.buffer, table.type, table.quantization = len(model.buffers), tables.TensorType.FLOAT32, None
        model.buffers.append(buffer)
    builder = flatbuffers.Builder(2 * len(content))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
