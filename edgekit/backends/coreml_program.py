"""ONNX file -> .mlpackage: an ML program of Core ML, written by coremltools from the graph's torch program.

    .onnx --batch 1, torch.export--> program --coremltools--> ML program --same bytes--> Data/, Manifest.json

The canonical float graph is converted, which was proved against the PyTorch or Keras source that it was
exported from: so one converter serves both, and names of inputs and outputs are the bundle's. coremltools
writes random identifiers and the day into a package: here they follow from the content.

What was written is read back: names, shapes and types of inputs and outputs, and every constant of the graph
is looked for among the program's. Only macOS runs an ML program; there it is run, elsewhere that is said.

Source: coremltools 9, "Core ML ML programs"; mlmodel/src/MILBlob/Blob/StorageFormat.hpp.
"""

from __future__ import annotations

import importlib
import json
import platform
import re
import sys
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import numpy as np
import onnx_ir as ir

from edgekit.backends import torch_module
from edgekit.backends.coreml_reading import constants, described
from edgekit.errors import InputError, MissingBackendError
from edgekit.spec import Array

INSTALL = 'pip install "edgekit[coreml]"'
PRECISIONS = ("fp16", "fp32", "int8")
INT8_ELEMENTS = 512  # smaller constants stay float: their scales would be as large as what is saved
_AUTHOR = "com.apple.CoreML"
_NAMESPACE = uuid.UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8")  # RFC 4122, URLs: any fixed one would do
_DATE = "com.github.apple.coremltools.conversion_date"
_INLINE = 10  # coremltools writes shorter constants into the program's text and may fold them away


def write_package(source: str, out: str, *, precision: str, samples: str) -> dict[str, Any]:
    """Called in a worker: ONNX file ``source`` -> files of a .mlpackage in the folder ``out``.

    Args:
        source: the canonical float model.
        out: an empty folder.
        precision: of weights and arithmetic: "fp16", "fp32", or "int8" (weights; arithmetic in fp16).
        samples: .npz with "input/<name>" and "output/<name>", (samples, ...): what macOS runs and compares.

    Returns:
        "inputs" and "outputs" (name in the model, name in Core ML, shape, type), "weights" and "ran" in
        words, "drift" (largest difference as a part of the output's range, or None), "tools".

    Raises:
        MissingBackendError: coremltools or PyTorch is not here.
        InputError: an open size besides the batch, or an element type that Core ML has not.
    """
    ct, torch = _imported("coremltools"), _imported("torch")
    model = with_batch_1(ir.load(source))
    program = _program(torch, model)
    names = feature_names(str(value.name) for value in (*model.graph.inputs, *model.graph.outputs))
    kinds = [_type(value) for value in model.graph.inputs]
    converted = ct.convert(
        program,
        inputs=[
            ct.TensorType(name=names[str(value.name)], shape=_shape(value), dtype=kind)
            for value, kind in zip(model.graph.inputs, kinds, strict=True)
        ],
        outputs=[ct.TensorType(name=names[str(value.name)]) for value in model.graph.outputs],
        convert_to="mlprogram",
        minimum_deployment_target=ct.target.iOS15,
        compute_precision=ct.precision.FLOAT32 if precision == "fp32" else ct.precision.FLOAT16,
        skip_model_load=True,
    )
    if precision == "int8":
        converted = _quantized(ct, converted)
    package = Path(out)
    converted.save(str(package / "raw.mlpackage"))
    spec, weights = _written(ct, package / "raw.mlpackage", package)
    return {
        "inputs": described(spec.description.input, names),
        "outputs": described(spec.description.output, names),
        "weights": _compared(model, constants(spec, weights), precision),
        **_ran(ct, package / "raw.mlpackage", samples, names),
        "tools": {"coremltools": ct.__version__, "torch": torch.__version__},
    }


def with_batch_1(model: ir.Model) -> ir.Model:
    """The model with its batch closed.

    Raises:
        InputError: another size is open.
    """
    for value in model.graph.inputs:
        shape = [dim if isinstance(dim, int) else 1 if axis == 0 else None for axis, dim in _axes(value)]
        if None in shape:
            raise InputError(
                f"input {value.name!r} has an open size besides the batch",
                why="a package for an app has one size for each axis",
                remedy="fix it in [model] inputs",
            )
        value.shape = ir.Shape([int(dim or 0) for dim in shape])
    return model


def feature_names(names: Iterable[str]) -> dict[str, str]:
    """Name in the model -> name in Core ML: an identifier, no two alike."""
    found: dict[str, str] = {}
    for name in names:
        base = re.sub(r"[^A-Za-z0-9_]+", "_", name).strip("_") or "tensor"
        base = f"t_{base}" if base[0].isdigit() else base
        taken = set(found.values())
        number = 1
        while (candidate := base if number == 1 else f"{base}_{number}") in taken:
            number += 1
        found[name] = candidate
    return found


def _axes(value: ir.Value) -> Iterable[tuple[int, Any]]:
    assert value.shape is not None  # noqa: S101  the canonical form has shapes
    return enumerate(value.shape)


def _shape(value: ir.Value) -> tuple[int, ...]:
    return tuple(int(dim) for _, dim in _axes(value))


def _type(value: ir.Value) -> Any:
    """Core ML's arrays are float32, float16 or int32."""
    assert value.dtype is not None  # noqa: S101  likewise
    if value.dtype is ir.DataType.FLOAT:
        return np.float32
    if value.dtype in {ir.DataType.INT32, ir.DataType.INT64}:
        return np.int32
    raise InputError(
        f"input {value.name!r} is {value.dtype.name.lower()}",
        why="an array of Core ML is float32 or int32",
        remedy="take the package without Core ML",
    )


def _program(torch: Any, model: ir.Model) -> Any:
    module = torch_module.module_of(model, steps=torch_module.Steps())
    return torch_module.exported(model, module, device="cpu").run_decompositions({})


def _quantized(ct: Any, converted: Any) -> Any:
    """int8 weights, one scale for each output channel, zero point 0; arithmetic stays float."""
    optimize = importlib.import_module("coremltools.optimize.coreml")
    rule = optimize.OpLinearQuantizerConfig(mode="linear_symmetric", weight_threshold=INT8_ELEMENTS)
    config = optimize.OptimizationConfig(global_config=rule)
    return optimize.linear_quantize_weights(converted, config=config)


def _written(ct: Any, raw: Path, package: Path) -> tuple[Any, bytes]:
    """The package's files, equal for equal models; the specification and the weights as written."""
    data = raw / "Data" / _AUTHOR
    spec = ct.utils.load_spec(str(data / "model.mlmodel"))
    spec.description.metadata.userDefined.pop(_DATE, None)
    weights = (data / "weights/weight.bin").read_bytes() if (data / "weights/weight.bin").is_file() else b""
    files = {"model.mlmodel": spec.SerializeToString(deterministic=True)}
    files |= {"weights/weight.bin": weights} if weights else {}
    for path, body in files.items():
        where = package / "Data" / _AUTHOR / path
        where.parent.mkdir(parents=True, exist_ok=True)
        where.write_bytes(body)
    (package / "Manifest.json").write_text(_manifest(weights=bool(weights)), "utf-8")
    return spec, weights


def _manifest(*, weights: bool) -> str:
    """The index of a package (fileFormatVersion 1.0.0)."""
    model, blobs = (str(uuid.uuid5(_NAMESPACE, name)) for name in ("model", "weights"))
    entries = {
        model: {
            "author": _AUTHOR,
            "description": "CoreML Model Specification",
            "name": "model.mlmodel",
            "path": f"{_AUTHOR}/model.mlmodel",
        }
    }
    if weights:
        entries[blobs] = {
            "author": _AUTHOR,
            "description": "CoreML Model Weights",
            "name": "weights",
            "path": f"{_AUTHOR}/weights",
        }
    value = {"fileFormatVersion": "1.0.0", "itemInfoEntries": entries, "rootModelIdentifier": model}
    return json.dumps(value, indent=4, sort_keys=True) + "\n"


def _compared(model: ir.Model, found: Mapping[str, Array], precision: str) -> str:
    """How many constants of the graph are among those of the program, value by value, in any layout."""
    if precision == "int8":
        return "int8: not compared"
    kind = np.float32 if precision == "fp32" else np.float16
    there = {_content(array.astype(kind)) for array in found.values() if array.dtype.kind == "f"}
    wanted = [
        value.const_value.numpy()
        for value in model.graph.initializers.values()
        if value.const_value is not None and value.dtype is ir.DataType.FLOAT
    ]
    large = [array for array in wanted if array.size >= _INLINE]
    equal = sum(_content(array.astype(kind)) in there for array in large)
    return f"{equal} of {len(large)}"


def _content(array: Array) -> bytes:
    return np.sort(array, axis=None).tobytes()


def _ran(ct: Any, package: Path, samples: str, names: Mapping[str, str]) -> dict[str, Any]:
    if platform.system() != "Darwin":
        return {"ran": "", "drift": None}
    loaded = ct.models.MLModel(str(package))
    with np.load(samples) as held:
        drift = largest_drift(loaded.predict, dict(held), names)
    return {"ran": f"macOS {platform.mac_ver()[0]}", "drift": drift}


def largest_drift(
    predict: Callable[[dict[str, Array]], Mapping[str, Any]],
    samples: Mapping[str, Array],
    names: Mapping[str, str],
) -> float:
    """The largest difference of any output, as a part of that output's range over all samples.

    Args:
        predict: feeds of one sample by Core ML's names -> outputs by Core ML's names.
        samples: "input/<name>" and "output/<name>", (samples, ...), by the model's names.
        names: name in the model -> name in Core ML.
    """
    inputs, wanted = (
        {key.removeprefix(side): array for key, array in samples.items() if key.startswith(side)}
        for side in ("input/", "output/")
    )
    gaps = [0.0]
    for number in range(len(next(iter(inputs.values())))):
        feeds = {names[name]: _fed(array[number : number + 1]) for name, array in inputs.items()}
        found = predict(feeds)
        for name, array in wanted.items():
            spread = float(np.ptp(array)) or float(np.abs(array).max()) or 1.0
            gap = np.abs(np.asarray(found[names[name]], np.float64).ravel() - array[number].ravel()).max()
            gaps.append(float(gap) / spread if np.isfinite(gap) else float("inf"))
    return max(gaps)


def _fed(array: Array) -> Array:
    return array.astype(np.int32) if array.dtype.kind in "iu" else array.astype(np.float32)


def _imported(name: str) -> Any:
    """A module of coremltools, or PyTorch; this worker has no other work.

    Raises:
        MissingBackendError: it cannot be imported.
    """
    if name == "coremltools":  # it would load them for nothing, and TensorFlow takes seconds
        for other in ("tensorflow", "sklearn"):
            sys.modules[other] = cast("ModuleType", None)  # an import of it fails
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingBackendError(
            f"{name} cannot be imported: {error}",
            why="it writes the .mlpackage",
            remedy=INSTALL,
            more="docs/packages-mobile.md",
        ) from error
