"""SourceRequest of a ``.tflite`` file -> Loaded: the model as ONNX, and the file itself on LiteRT beside it.

An integer file keeps its names and layout and gets a float32 interface: QuantizeLinear stands right behind
the input, DequantizeLinear right before the output, with the file's own scales. Calibration and evaluation
data then are real values for every source alike, and a target that wants integer inputs finds them there.
"""

from __future__ import annotations

from edgekit.errors import ExportError, ModelFileError
from edgekit.frontends.request import Loaded, SourceRequest
from edgekit.frontends.shapes import agree, set_input_shapes, with_dynamic
from edgekit.frontends.tflite.convert import convert
from edgekit.frontends.tflite.read import TfliteFile, read
from edgekit.frontends.tflite.reference import reference
from edgekit.ir import io
from edgekit.ir.opset import convert_opset
from edgekit.spec import TensorSpec

_STEEPEST = 0.25  # largest derivative of a softmax or a sigmoid


def load_tflite(request: SourceRequest) -> Loaded:
    """Read a ``.tflite`` file: float, float with integer or half-float weights, int8, uint8 or int16.

    Raises:
        ModelFileError: the file is missing or damaged.
        ExportError: an operator, a type or a declared input does not fit.
        UnknownNameError: a declared input does not exist.
        MissingBackendError: the extra "litert" is not installed.
    """
    if request.weights is not None:
        raise ExportError(
            f"{request.source} has its weights inside, and {request.weights.name} is given besides",
            why="one of the two would be ignored",
            remedy="remove --weights",
        )
    path = request.base / request.source
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise ModelFileError(
            f"no model file at {path}",
            why="there is nothing to read",
            remedy="check the path",
        ) from error
    except OSError as error:
        raise ModelFileError(
            f"{path} cannot be read: {error.strerror}",
            why="a TFLite model is one file",
            remedy="check the path and its permissions",
        ) from error
    file = read(content, name=path.name)
    model, notes = convert(file)
    known, _ = io.specs(model)
    specs = agree(known, request.inputs, source=request.source, rename=False)
    wanted = with_dynamic(specs, request.dynamic, source=request.source)
    for old, new in zip(specs, wanted, strict=True):
        if any(isinstance(was, int) and was != now for was, now in zip(old.shape, new.shape, strict=True)):
            raise ExportError(
                f"input {old.name!r} of {request.source} is {old}, and is to be dynamic as {new}",
                why="the file fixes that size; a name alone does not change it",
                remedy="convert the model again with a dynamic axis",
            )
    if wanted != known:
        model = set_input_shapes(model, wanted)
    if request.opset != model.opset_imports[""]:
        model = convert_opset(model, request.opset)
    inputs, outputs = io.specs(model)
    return Loaded(
        model=model,
        reference=reference(content, file, inputs=inputs, outputs=outputs),
        framework="tflite",
        notes=notes,
        output_steps=_output_steps(file, outputs),
    )


def _output_steps(file: TfliteFile, outputs: tuple[TensorSpec, ...]) -> dict[str, float]:
    """What one 8-bit rounding inside moves each output that is integer, or made out of one by DEQUANTIZE.

    O1 The output's own step.
    O2 Behind SOFTMAX or LOGISTIC a quarter of a step of its input, where that is more: p' = p (1 - p) <= 1/4.
       Kernels break ties of an average differently (TFLite away from zero, ONNX to even), and that one step
       before a steep softmax is many of its own 1/256.
    O3 None for 16 bits: kernels' own tables of sigmoid and tanh are coarser than such a step.
    """
    made = {index: operator for operator in file.operators for index in operator.outputs}
    found: dict[str, float] = {}
    for spec, output in zip(outputs, file.outputs, strict=True):
        last = made.get(output)
        index = last.inputs[0] if last is not None and last.code == "DEQUANTIZE" else output
        producer = made.get(index)
        own = _step(file, index)
        if own is None:
            continue
        found[spec.name] = own
        if producer is not None and producer.code in {"SOFTMAX", "LOGISTIC"}:
            before = _step(file, producer.inputs[0]) or 0.0
            slope = _STEEPEST * float(producer.options.get("beta", 1.0))
            found[spec.name] = max(own, slope * before)
    return found


def _step(file: TfliteFile, index: int) -> float | None:
    tensor = file.tensors[index]
    if tensor.quant is None or tensor.data is not None or tensor.dtype not in {"int8", "uint8"}:
        return None
    return float(tensor.quant.scale[0])
