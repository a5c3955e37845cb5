"""Facts -> Swift sources of a package: the same specification, steps and golden vectors as on Android.

    Specification.swift   written from the facts: files, tensors, steps
    Tensor.swift          layout and quantization        Steps.swift    raw sample -> input
    Files.swift           content with its hash          Golden.swift   recorded or not
    Runner.swift          LiteRT: delegate by policy, fall-back with its reason, run, self-test

Arithmetic is float32 in the order of ``edgekit.preprocess`` and ``backends.bindings``. Numbers are written as
the decimal of the double that equals them, so that no compiler rounds twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from edgekit import preprocess
from edgekit.bundle.packages.mobile_facts import Facts, Port
from edgekit.bundle.packages.mobile_names import swift_string
from edgekit.bundle.packages.mobile_templates import filled
from edgekit.preprocess import Step

PARTS = ("Files", "Golden", "Runner", "Specification", "Steps", "Tensor")
ARRAYS = {
    "float32": "[Float]",
    "int32": "[Int32]",
    "int64": "[Int64]",
    "int8": "[Int8]",
    "uint8": "[UInt8]",
    "bool": "[Bool]",
}
_INDENT = "\n        "


def module(facts: Facts) -> str:
    """Name of the Swift module."""
    return f"{facts.type}Kit"


def names(facts: Facts, *, files: Mapping[str, str]) -> dict[str, str]:
    """What the templates are filled in with; ``files``: path below Resources/model -> SHA-256."""
    return {
        "TYPE": facts.type,
        "NAME": swift_string(facts.name),
        "VERSION": swift_string(facts.version),
        "TARGET": swift_string(facts.target),
        "PRECISION": swift_string(facts.precision),
        "MANIFEST_DIGEST": swift_string(facts.manifest_digest),
        "TOLERANCE_STEPS": repr(facts.tolerance.steps),
        "TOLERANCE_OF_RANGE": repr(facts.tolerance.relative_to_range),
        "INPUTS": _listed(_tensor(port) for port in facts.inputs),
        "OUTPUTS": _listed(_tensor(port) for port in facts.outputs),
        "FILES": _listed(f"{swift_string(path)}: {swift_string(sha)}" for path, sha in files.items()),
        "SAMPLES": str(facts.samples),
        "RAW_SHAPES": _listed(f"[{_ints(port.golden.shape[1:])}]" for port in facts.inputs),
        "RAW_DTYPES": _listed(f".{port.raw_dtype}" for port in facts.inputs),
        "STEPS": _listed(f"[{', '.join(_steps(port.steps))}]" for port in facts.inputs),
        "INPUT_FIELDS": "\n".join(f"    public var {port.member}: {_array(port)}" for port in facts.inputs),
        "INPUT_PARAMETERS": ", ".join(f"{port.member}: {_array(port)}" for port in facts.inputs),
        "INPUT_ASSIGNMENTS": "\n".join(
            f"        self.{port.member} = {port.member}" for port in facts.inputs
        ),
        "INPUT_VALUES": ", ".join(f".{_type(port)}({port.member})" for port in facts.inputs),
        "OUTPUT_FIELDS": "\n".join(f"    public let {port.member}: {_array(port)}" for port in facts.outputs),
        "OUTPUT_PATTERNS": ", ".join(_patterns(facts.outputs)),
        "OUTPUT_ASSIGNMENTS": "\n".join(
            f"        self.{port.member} = value{at}" for at, port in enumerate(facts.outputs)
        ),
    }


def _patterns(ports: tuple[Port, ...]) -> Iterable[str]:
    yield f"found.count == {len(ports)}"
    for at, port in enumerate(ports):
        yield f"case .{_type(port)}(let value{at}) = found[{at}]"


def sources(words: Mapping[str, str], parts: Iterable[str]) -> dict[str, bytes]:
    """Swift sources by file name."""
    return {f"{part}.swift": filled(f"ios/{part}.swift", words) for part in parts}


def _listed(values: Iterable[str]) -> str:
    return "".join(f"{_INDENT}{value}," for value in values)


def _ints(values: Iterable[int]) -> str:
    return ", ".join(str(int(value)) for value in values)


def _type(port: Port) -> str:
    return port.binding.reference.dtype


def _array(port: Port) -> str:
    return ARRAYS[_type(port)]


def _tensor(port: Port) -> str:
    binding = port.binding
    quant = binding.quant
    scale, zero_point = (quant.scale[0], quant.zero_point[0]) if quant else (0.0, 0)
    return (
        f"Tensor(name: {swift_string(port.name)}, inside: {swift_string(binding.name)}, "
        f"type: .{_type(port)}, insideType: .{binding.dtype}, shape: [{_ints(port.shape)}], "
        f"permutation: [{_ints(binding.permutation)}], scale: {_float(scale)}, "
        f"zeroPoint: {int(zero_point)}, step: {port.step or 0.0!r})"
    )


def _steps(steps: Iterable[Step]) -> Iterable[str]:
    for step in steps:
        match step:
            case preprocess.Resize():
                nearest = "true" if step.method == "nearest" else "false"
                yield f".resize(height: {step.size[0]}, width: {step.size[1]}, nearest: {nearest})"
            case preprocess.Scale():
                yield f".scale({_float(step.by)})"
            case preprocess.Normalize():
                yield f".normalize(mean: [{_floats(step.mean)}], std: [{_floats(step.std)}])"
            case preprocess.Layout():
                yield ".channelsFirst" if step.to == "NCHW" else ".image"
            case preprocess.Cast():
                if step.dtype != "float32":
                    yield ".truncate"
            case preprocess.Bytes():
                yield ".bytes"


def _floats(values: Iterable[float]) -> str:
    return ", ".join(_float(value) for value in values)


def _float(value: float) -> str:
    return repr(float(np.float32(value)))
