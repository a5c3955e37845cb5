"""Single operators that LiteRT's GPU accelerator was seen to compute rightly, or wrongly: for a worker.

``away()`` runs all of them in one process: name -> part of the output's range that GPU and CPU kernels differ
by, or what LiteRT says where it refuses. Seed 0.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from edgekit import target as targets
from edgekit.backends.base import CompileRequest
from edgekit.backends.bindings import artifact_from_reference
from edgekit.backends.litert.backend import LiteRt
from edgekit.backends.litert.engine import LiteRtEngine
from edgekit.backends.litert.gpu_engine import LiteRtGpuEngine
from edgekit.errors import EdgekitError
from edgekit.passes import canonicalize
from edgekit.spec import Array, Precision, RunOptions
from tests.gpu.models import built, floats


@dataclass(frozen=True)
class Kernel:
    """One operator as ONNX text, with constants."""

    text: str
    arrays: Mapping[str, Array] = field(default_factory=dict)


def ints(*values: int) -> Array:
    return np.array(values, np.int64)


def moved(shape: str, out: str, node: str, **arrays: Array) -> Kernel:
    return Kernel(f"g (float[{shape}] x) => (float[{out}] y) {{ y = {node} }}", arrays)


def unary(op: str) -> Kernel:
    return moved("2,3,6,5", "2,3,6,5", f"{op}(x)")


RIGHT: Mapping[str, Kernel] = {
    **{op: unary(op) for op in ("Relu", "Sigmoid", "Tanh", "Exp", "Abs", "Gelu", "HardSwish", "LeakyRelu")},
    "conv": moved("2,3,8,8", "2,4,8,8", "Conv <pads = [1,1,1,1]> (x, w)", w=floats(4, 3, 3, 3)),
    "strided point": moved("2,3,8,8", "2,4,4,4", "Conv <strides = [2,2]> (x, w)", w=floats(4, 3, 1, 1)),
    "depthwise": moved("1,4,8,8", "1,4,6,6", "Conv <group = 4> (x, w)", w=floats(4, 1, 3, 3)),
    "grouped": moved("1,8,8,8", "1,8,6,6", "Conv <group = 2> (x, w)", w=floats(8, 4, 3, 3)),
    "dense": moved("3,6", "3,5", "Gemm <transB = 1> (x, w, b)", w=floats(5, 6), b=floats(5)),
    "transposed": moved(
        "1,4,5,5", "1,3,10,10", "ConvTranspose <pads=[1,1,1,1], strides=[2,2]> (x, w)", w=floats(4, 3, 4, 4)
    ),
    "mean pool": moved("1,3,8,8", "1,3,8,8", "AveragePool <kernel_shape = [3,3], pads = [1,1,1,1]> (x)"),
    "max pool": moved(
        "1,3,8,8", "1,3,4,4", "MaxPool <kernel_shape=[3,3], pads=[1,1,1,1], strides=[2,2]> (x)"
    ),
    "global pool": moved("2,3,8,8", "2,3,1,1", "GlobalAveragePool(x)"),
    "softmax": moved("2,6,4,4", "2,6,4,4", "Softmax <axis = 1> (x)"),
    "scale": moved("2,3,8,8", "2,3,8,8", "Mul(x, c)", c=floats(1, 3, 1, 1)),
    "pad": moved("1,3,8,8", "1,3,10,10", "Pad(x, p)", p=ints(0, 0, 1, 1, 0, 0, 1, 1)),
    "slice": moved("2,3,6", "2,3,3", "Slice(x, a, b, c)", a=ints(1), b=ints(4), c=ints(2)),
    "layer norm": moved(
        "2,4,8", "2,4,8", "LayerNormalization <axis = -1> (x, w, b)", w=floats(8), b=floats(8)
    ),
    "bilinear": moved(
        "1,3,8,8", "1,3,16,16", 'Resize <mode = "linear"> (x, , s)', s=np.array([1, 1, 2, 2], "f")
    ),
    "space to depth": moved("1,2,6,6", "1,8,3,3", "SpaceToDepth <blocksize = 2> (x)"),
}
WRONG: Mapping[str, Kernel] = {
    "W1": moved("3,4,5", "3,4,5", "Add(x, c)", c=floats(3, 4, 5)),
    "W2": moved("4,5,6", "4,7,8", "Pad(x, p)", p=ints(0, 1, 1, 0, 1, 1)),
    "W3": moved(
        "1,3,8,8",
        "1,3,8,8",
        "AveragePool <kernel_shape = [3,3], pads = [1,1,1,1], count_include_pad = 1> (x)",
    ),
    "W4": moved(
        "1,4,5,5",
        "1,3,10,10",
        'ConvTranspose <auto_pad = "SAME_UPPER", strides = [2,2]> (x, w)',
        w=floats(4, 3, 3, 3),
    ),
    "W5": Kernel("g (float[1,4,6] x, float[2,6,5] z) => (float[2,4,5] y) { y = MatMul(x, z) }"),
    "W8": moved("1,4,8,8", "1,4,6,6", "Conv <group = 2> (x, w)", w=floats(4, 2, 3, 3)),
    "W6": moved("2,2,6,6", "2,8,3,3", "SpaceToDepth <blocksize = 2> (x)"),
}
REFUSED: Mapping[str, Kernel] = {
    "G1 LOG_SOFTMAX": moved("2,6", "2,6", "LogSoftmax(x)"),
    "G2 int64": Kernel("g (float[1,3,6] x) => (int64[1,6] y) { y = ArgMax <axis = 1, keepdims = 0> (x) }"),
    "G3 five axes": moved("1,2,3,4,5", "1,2,3,4,5", "Relu(x)"),
}


def away() -> dict[str, float | str]:
    """Called in a worker."""
    cases = {**RIGHT, **WRONG, **REFUSED}
    return {name: _away(kernel) for name, kernel in cases.items()}


def _away(kernel: Kernel) -> float | str:
    model = canonicalize(built(kernel.text, **kernel.arrays))
    with tempfile.TemporaryDirectory() as folder:
        request = CompileRequest(model, targets.load("litert-cpu"), Precision.FP32, RunOptions(), "m")
        artifact = LiteRt().compile(request, Path(folder))
        names = [each.name for each in artifact.inputs], [each.name for each in artifact.outputs]
        sizes = {
            each.reference.name: [dim for dim in each.reference.shape if isinstance(dim, int)]
            for each in artifact.inputs
        }
        feeds = artifact_from_reference(
            {name: floats(*shape) for name, shape in sizes.items()}, artifact.inputs
        )
        wanted = LiteRtEngine(artifact.path, RunOptions(), *names).run(feeds)
        try:
            got = LiteRtGpuEngine(artifact.path, RunOptions(device="gpu"), *names).run(feeds)
        except EdgekitError as error:
            return f"{error.what} {error.why}"
    return max(
        float(np.abs(got[each].astype(float) - wanted[each].astype(float)).max() / np.ptp(wanted[each]))
        for each in wanted
    )
