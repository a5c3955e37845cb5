"""An ML program of Core ML, computed with PyTorch: what no Linux machine runs can be read, and checked, here.

    python -m tests.unit.packages.mil_program FOLDER ...   model.mlmodel, weight.bin, feeds.npz -> outputs.npz

A program of its own, because coremltools loads what warns in a test's process; one for all folders. Only the
operations that the tests' models have; anything else is an error. Source: coremltools, MIL.proto and the
iOS 15 operations.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import numpy as np

from edgekit.backends.coreml_reading import constants, operations
from edgekit.spec import Array

torch: Any = importlib.import_module("torch")
F: Any = torch.nn.functional


def computed(spec: Any, weights: bytes, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Outputs by name for feeds by name, in float32 whatever the program's types are."""
    values: dict[str, Any] = {name: torch.from_numpy(array) for name, array in feeds.items()}
    floats = constants(spec, weights)
    for operation in operations(spec):
        name = operation.outputs[0].name
        if operation.type == "const":
            values[name] = (
                torch.from_numpy(np.array(floats[name], np.float32))
                if name in floats
                else _immediate(operation.attributes["val"])
            )
            continue
        given = {key: values[bound.arguments[0].name] for key, bound in operation.inputs.items()}
        if operation.type == "constexpr_affine_dequantize":
            values[name] = _dequantized(operation, weights)
        else:
            values[name] = _OPERATIONS[operation.type](given)
    return {feature.name: values[feature.name].numpy() for feature in spec.description.output}


def _immediate(value: Any) -> Any:
    tensor = value.immediateValue.tensor
    held = getattr(tensor, tensor.WhichOneof("value")).values
    return list(held) if value.type.tensorType.rank else held[0]


def _blob(weights: bytes, value: Any, dtype: str) -> Array:
    offset = value.blobFileValue.offset
    size, where = (int.from_bytes(weights[offset + at : offset + at + 8], "little") for at in (8, 16))
    shape = [dim.constant.size for dim in value.type.tensorType.dimensions]
    return np.frombuffer(weights[where : where + size], dtype).reshape(shape)


def _dequantized(operation: Any, weights: bytes) -> Any:
    """scale * (q - zero point), along one axis."""
    held = operation.attributes
    q = _blob(weights, held["quantized_data"], "i1").astype(np.float32)
    scale = (
        _blob(weights, held["scale"], "<f2")
        if held["scale"].WhichOneof("value") == "blobFileValue"
        else np.frombuffer(held["scale"].immediateValue.tensor.bytes.values, "<f2")
    )
    axis = held["axis"].immediateValue.tensor.ints.values[0]
    shape = [1] * q.ndim
    shape[axis] = -1
    return torch.from_numpy(q * scale.astype(np.float32).reshape(shape))  # symmetric: zero point 0


def _conv(x: dict[str, Any]) -> Any:
    pad = x["pad"]
    assert pad[0] == pad[1], pad
    assert pad[2] == pad[3], pad
    padding = (pad[0], pad[2]) if x["pad_type"] == "custom" else 0
    return F.conv2d(
        x["x"], x["weight"], x.get("bias"), tuple(x["strides"]), padding, tuple(x["dilations"]), x["groups"]
    )


_OPERATIONS: Mapping[str, Callable[[dict[str, Any]], Any]] = {
    "cast": lambda x: x["x"],
    "conv": _conv,
    "relu": lambda x: F.relu(x["x"]),
    "add": lambda x: x["x"] + x["y"],
    "max_pool": lambda x: F.max_pool2d(x["x"], tuple(x["kernel_sizes"]), tuple(x["strides"])),
    "reduce_mean": lambda x: x["x"].mean(dim=tuple(x["axes"]), keepdim=bool(x["keep_dims"])),
    "squeeze": lambda x: x["x"].squeeze(dim=tuple(x["axes"])),
    "reshape": lambda x: x["x"].reshape(tuple(x["shape"])),
    "linear": lambda x: F.linear(x["x"], x["weight"], x.get("bias")),
    "matmul": lambda x: x["x"] @ x["y"],
}


def main(*folders: Path) -> None:
    """One folder after the other."""
    for other in ("tensorflow", "sklearn"):  # coremltools would load them
        sys.modules[other] = cast("ModuleType", None)
    model: Any = importlib.import_module("coremltools.proto.Model_pb2").Model
    for folder in folders:
        write_outputs(model(), folder)


def write_outputs(spec: Any, folder: Path) -> None:
    """Sample by sample: feeds are (samples, ...); ``spec`` is an empty message."""
    spec.ParseFromString((folder / "model.mlmodel").read_bytes())
    weights = (folder / "weight.bin").read_bytes()
    with np.load(folder / "feeds.npz") as held:
        feeds = dict(held)
    rows = [
        computed(spec, weights, {name: array[at : at + 1] for name, array in feeds.items()})
        for at in range(len(next(iter(feeds.values()))))
    ]
    found: dict[str, Any] = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
    np.savez(folder / "outputs.npz", **found)


if __name__ == "__main__":
    main(*(Path(each) for each in sys.argv[1:]))
