"""Each integer operator of a compiled w8a8 file alone on the GPU: how far from exact is what it rounds?

    the CPU's integers before an operator --operator alone, on the GPU and on the CPU--> integers behind it
    exact = the operator in float64 over the same integers, clamped to what int8 holds
    beyond = max |integer - exact| - 1/2, in steps: 0 for any rounding of the exact number

An integer behind a whole network cannot be held against another kernel's to 1e-4 of the range: it has 256
values, and where the exact number lies on the edge between two of them the last bit of a float32 sum decides.
The next layers hand on the whole step. What can be held is ``beyond``: 1e-4 of the range are 0.0255 steps.

Operators that only move integers, and those without an exact form here, must give the CPU's.
``measure`` is called in a worker, whose environment names the driver.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.backends.litert import flatbuffer
from edgekit.backends.litert.backend import for_device
from edgekit.backends.litert.engine import LiteRtEngine
from edgekit.backends.litert.gpu_engine import LiteRtGpuEngine
from edgekit.backends.litert.tensors import Graph, Operator, Tensor
from edgekit.ir import io
from edgekit.ir.pin import pinned
from edgekit.spec import Array, Precision, RunOptions

Reals = npt.NDArray[np.float64]

STEPS_OF_RANGE = 255.0
_CLAMPS = {"NONE": (-np.inf, np.inf), "RELU": (0.0, np.inf), "RELU6": (0.0, 6.0), "RELU_N1_TO_1": (-1.0, 1.0)}
_INT8 = np.iinfo(np.int8)


@dataclass
class Found:
    """One kind of operator.

    Attributes:
        values: how many integers were looked at.
        differ: of them, how many differ between GPU and CPU.
        steps: largest difference between both.
        gpu, cpu: ``beyond`` of each, in steps; None without an exact form.
    """

    values: int = 0
    differ: int = 0
    steps: float = 0.0
    gpu: float | None = None
    cpu: float | None = None

    def add(self, got: Reals, wanted: Reals, *, exact: Reals | None) -> None:
        """Count integers behind one operator, as real numbers in steps."""
        away = np.abs(np.round(got - wanted))
        self.values += away.size
        self.differ += int(np.count_nonzero(away))
        self.steps = max(self.steps, float(away.max()))
        if exact is not None:
            self.gpu = max(self.gpu or 0.0, _beyond(got, exact))
            self.cpu = max(self.cpu or 0.0, _beyond(wanted, exact))


@dataclass
class _Alone:
    """``graph`` with what the CPU has made of it so far."""

    graph: Graph
    values: dict[int, Array]
    folder: Path
    found: dict[str, Found] = field(default_factory=dict)


def measure(model: str, sample: str) -> dict[str, dict[str, Any]]:
    """Called in a worker: kind of operator -> ``Found``, for one sample (.npz, as the model takes it)."""
    fixed = pinned(io.load(Path(model)), {}, batch=1)
    _, compiled = for_device(fixed, None, precision=Precision.W8A8, device="gpu")
    graph = compiled.lowered.graph
    given = np.load(sample)
    values = {}
    for index, binding in zip(graph.inputs, compiled.inputs, strict=True):
        value = given[binding.reference.name]
        values[index] = np.transpose(value, binding.permutation) if binding.permutation else value
    with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
        alone = _Alone(graph, values, Path(folder))
        for op in graph.operators:
            _try(alone, op)
    return {name: vars(each) for name, each in sorted(alone.found.items())}


def _try(alone: _Alone, op: Operator) -> None:
    single = _single(alone.graph, op)
    path = alone.folder / "operator.tflite"
    path.write_bytes(flatbuffer.pack(single))
    feeds = {f"in{index}": alone.values[index] for index in _activations(alone.graph, op)}
    names = list(feeds), list(single.output_names)
    wanted = LiteRtEngine(path, RunOptions(), *names).run(feeds)
    got = LiteRtGpuEngine(path, RunOptions(device="gpu"), *names).run(feeds)
    for index in op.outputs:
        alone.values[index] = np.array(wanted[f"out{index}"])
        quant = alone.graph.tensors[index].quant
        if quant is None:
            continue
        step = float(np.max(quant.scale))
        exact = _exact(alone, op)
        if exact is not None:
            zero = float(np.max(quant.zero_point))
            low, high = _CLAMPS[str(op.options.get("fusedActivationFunction", "NONE"))]
            exact = np.clip(np.clip(exact, low, high) / step, _INT8.min - zero, _INT8.max - zero)
            exact = exact.reshape(wanted[f"out{index}"].shape)
        here = alone.found.setdefault(op.code, Found())
        both = (np.asarray(each[f"out{index}"], np.float64) / step for each in (got, wanted))
        here.add(*both, exact=exact)


def _beyond(rounded: Reals, exact: Reals) -> float:
    return max(0.0, float(np.abs(np.round(rounded) - exact).max()) - 0.5)


def _activations(graph: Graph, op: Operator) -> list[int]:
    return [index for index in dict.fromkeys(op.inputs) if index >= 0 and graph.tensors[index].data is None]


def _single(graph: Graph, op: Operator) -> Graph:
    """``op`` between a QUANTIZE of each integer input and a DEQUANTIZE of each integer output."""
    tensors, before, behind = list(graph.tensors), [], []
    ends: dict[str, list[int]] = {"in": [], "out": []}
    for kind, indices in (("in", _activations(graph, op)), ("out", op.outputs)):
        for index in indices:
            inside = tensors[index]
            if inside.quant is None:
                tensors[index] = replace(inside, name=f"{kind}{index}")
                ends[kind].append(index)
                continue
            tensors.append(Tensor(f"{kind}{index}", "float32", inside.shape))
            ends[kind].append(len(tensors) - 1)
            if kind == "in":
                before.append(Operator("QUANTIZE", (len(tensors) - 1,), (index,)))
            else:
                behind.append(Operator("DEQUANTIZE", (index,), (len(tensors) - 1,)))
    operators = [*before, op, *behind]
    used = sorted({index for each in operators for index in (*each.inputs, *each.outputs) if index >= 0})
    place = {-1: -1, **{index: number for number, index in enumerate(used)}}

    def moved(indices: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(place[index] for index in indices)

    return Graph(
        tuple(tensors[index] for index in used),
        tuple(replace(each, inputs=moved(each.inputs), outputs=moved(each.outputs)) for each in operators),
        moved(tuple(ends["in"])),
        moved(tuple(ends["out"])),
        tuple(tensors[index].name for index in ends["in"]),
        tuple(tensors[index].name for index in ends["out"]),
    )


def _exact(alone: _Alone, op: Operator) -> Reals | None:
    """The operator in float64, before any clamp; None where it has no form here."""
    form = _FORMS.get(op.code)
    if form is None:
        return None
    return form(op, [_real(alone, index) for index in op.inputs if index >= 0])


def _real(alone: _Alone, index: int) -> Reals:
    """float64; of integers exactly (integer - zero point) x scale."""
    tensor = alone.graph.tensors[index]
    if tensor.quant is None:
        return np.asarray(alone.values[index] if tensor.data is None else tensor.data, np.float64)
    scale = np.asarray(tensor.quant.scale, np.float64)
    if tensor.data is None:
        found: Reals = np.round(np.asarray(alone.values[index], np.float64) / scale.max()) * scale.max()
        return found
    zero = np.asarray(tensor.quant.zero_point, np.float64)
    if scale.size > 1:
        shape = [1] * tensor.data.ndim
        shape[tensor.quant.axis or 0] = -1
        scale, zero = scale.reshape(shape), zero.reshape(shape)
    real: Reals = (tensor.data.astype(np.float64) - zero) * scale
    return real


def _conv(op: Operator, given: list[Reals]) -> Reals:
    """NHWC; weights (out, kh, kw, in) of CONV_2D, (1, kh, kw, out) of DEPTHWISE_CONV_2D."""
    import torch

    image, weight = (torch.from_numpy(np.ascontiguousarray(each)) for each in given[:2])
    image = image.permute(0, 3, 1, 2)
    weight = weight.permute(*((0, 3, 1, 2) if op.code == "CONV_2D" else (3, 0, 1, 2)))
    stride = int(op.options["strideH"]), int(op.options["strideW"])
    spread = int(op.options.get("dilationHFactor", 1)), int(op.options.get("dilationWFactor", 1))
    if str(op.options["padding"]) == "SAME":
        sides = []
        for size, kernel, by, apart in zip(image.shape[2:], weight.shape[2:], stride, spread, strict=True):
            whole = max((-(-size // by) - 1) * by + (kernel - 1) * apart + 1 - size, 0)
            sides.append((whole // 2, whole - whole // 2))
        image = torch.nn.functional.pad(image, (*sides[1], *sides[0]))
    bias = torch.from_numpy(given[2].reshape(-1)) if len(given) > 2 else None
    out = torch.nn.functional.conv2d(
        image, weight, bias, stride, dilation=spread, groups=image.shape[1] // weight.shape[1]
    )
    found: Reals = out.permute(0, 2, 3, 1).numpy()
    return found


def _dense(op: Operator, given: list[Reals]) -> Reals:
    del op
    weight = given[1]
    found: Reals = given[0].reshape(-1, weight.shape[1]) @ weight.T
    return found + given[2] if len(given) > 2 else found


def _global_mean(op: Operator, given: list[Reals]) -> Reals | None:
    """MEAN over height and width, and an AVERAGE_POOL_2D of everything."""
    image = given[0]
    if op.code == "AVERAGE_POOL_2D":
        size = int(op.options["filterHeight"]), int(op.options["filterWidth"])
        if size != image.shape[1:3] or str(op.options["padding"]) != "VALID":
            return None
    mean: Reals = image.mean(axis=(1, 2), keepdims=True)
    return mean


def _hard_swish(op: Operator, given: list[Reals]) -> Reals:
    del op
    found: Reals = given[0] * np.clip(given[0] + 3.0, 0.0, 6.0) / 6.0
    return found


_FORMS: Mapping[str, Callable[[Operator, list[Reals]], Array | None]] = {
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _conv,
    "FULLY_CONNECTED": _dense,
    "ADD": lambda op, given: given[0] + given[1],
    "MUL": lambda op, given: given[0] * given[1],
    "QUANTIZE": lambda op, given: given[0],
    "MEAN": _global_mean,
    "AVERAGE_POOL_2D": _global_mean,
    "HARD_SWISH": _hard_swish,
}
