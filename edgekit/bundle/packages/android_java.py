"""Facts -> Java sources of an AAR: the specification, pre-processing, hashes and golden vectors of one model.

    Spec.java      written from the facts: assets, tensors, steps
    Tensor.java    layout and quantization        Steps.java    raw sample -> input
    Assets.java    content with its hash          Golden.java   recorded or not

Plain Java 8: the classes run on Android's runtime and on any JVM, where the tests run them. Arithmetic is
float32 in the order in which ``edgekit.preprocess`` and ``backends.bindings`` do it: results are equal to the
bit. Numbers are written as the shortest decimal that reads back as the same number.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from edgekit import preprocess
from edgekit.bundle.packages.mobile_facts import Facts, Port
from edgekit.bundle.packages.mobile_names import java_string
from edgekit.bundle.packages.mobile_templates import filled
from edgekit.preprocess import Step

NAMESPACE = "org.edgekit"
PARTS = ("Assets", "Golden", "Steps", "Tensor")
_INDENT = "\n            "


def sources(facts: Facts, *, model: str, assets: Mapping[str, str]) -> dict[str, bytes]:
    """Java sources by path.

    Args:
        facts: of the model.
        model: path of the .tflite among the assets.
        assets: path -> SHA-256 of the others: golden inputs, golden outputs, labels, and what else there is.
    """
    package = f"{NAMESPACE}.{facts.package}"
    names = {
        "PACKAGE": package,
        "TYPE": facts.type,
        "NAME": java_string(facts.name),
        "VERSION": java_string(facts.version),
        "TARGET": java_string(facts.target),
        "PRECISION": java_string(facts.precision),
        "MANIFEST_DIGEST": java_string(facts.manifest_digest),
        "MODEL_ASSET": java_string(model),
        "MODEL_SHA256": java_string(facts.model_sha256),
        "TOLERANCE_STEPS": repr(facts.tolerance.steps),
        "TOLERANCE_OF_RANGE": repr(facts.tolerance.relative_to_range),
        "INPUTS": _listed(_tensor(port) for port in facts.inputs),
        "OUTPUTS": _listed(_tensor(port) for port in facts.outputs),
        "ASSETS": _listed(f"{{{java_string(path)}, {java_string(sha)}}}" for path, sha in assets.items()),
        "SAMPLES": str(facts.samples),
        "RAW_SHAPES": _listed(f"{{{_ints(port.golden.shape[1:])}}}" for port in facts.inputs),
        "RAW_DTYPES": _listed(java_string(port.raw_dtype) for port in facts.inputs),
        "HAS_STEPS": ", ".join("true" if port.steps else "false" for port in facts.inputs),
        "STEPS": "".join(_case(at, port.steps) for at, port in enumerate(facts.inputs)),
    }
    folder = package.replace(".", "/")
    found = {f"{folder}/{part}.java": filled(f"android/{part}.java", names) for part in PARTS}
    return found | {f"{folder}/{facts.type}Spec.java": filled("android/Spec.java", names)}


def _listed(values: Iterable[str]) -> str:
    return ",".join(f"{_INDENT}{value}" for value in values)


def _ints(values: Iterable[int]) -> str:
    return ", ".join(str(int(value)) for value in values)


def _tensor(port: Port) -> str:
    binding = port.binding
    quant = binding.quant
    scale, zero_point = (quant.scale[0], quant.zero_point[0]) if quant else (0.0, 0)
    texts = (port.name, binding.name, binding.reference.dtype, binding.dtype)
    return (
        f"new Tensor({', '.join(java_string(text) for text in texts)}, ints({_ints(port.shape)}), "
        f"ints({_ints(binding.permutation)}), {_float(scale)}, {int(zero_point)}, {port.step or 0.0!r})"
    )


def _case(at: int, steps: tuple[Step, ...]) -> str:
    lines = [f"x = {_call(step)};" for step in steps if _call(step)] + ["break;"]
    return f"{_INDENT}case {at}:" + "".join(f"{_INDENT}    {line}" for line in lines)


def _call(step: Step) -> str:
    match step:
        case preprocess.Resize():
            nearest = "true" if step.method == "nearest" else "false"
            return f"Steps.resize(x, {step.size[0]}, {step.size[1]}, {nearest})"
        case preprocess.Scale():
            return f"Steps.scale(x, {_float(step.by)})"
        case preprocess.Normalize():
            return f"Steps.normalize(x, floats({_floats(step.mean)}), floats({_floats(step.std)}))"
        case preprocess.Layout():
            return "Steps.channelsFirst(x)" if step.to == "NCHW" else "Steps.image(x)"
        case preprocess.Cast():
            return "" if step.dtype == "float32" else "Steps.truncate(x)"
        case preprocess.Bytes():
            return "Steps.bytes(x)"


def _floats(values: Iterable[float]) -> str:
    return ", ".join(_float(value) for value in values)


def _float(value: float) -> str:
    return f"{np.float32(value)!s}f"
