"""TFLite graph -> what LiteRT's GPU accelerator does not take, or computes wrongly, operator by operator.

Learned by probing ai-edge-litert 2.3.0 on SwiftShader: ONNX's node tests (five of each operator, whole and
with constants) and single operators through this compiler, on the accelerator and on XNNPACK. A builtin that
was never seen right is not in ``TAKES``. tests/gpu/test_litert_kernels.py holds the table against the device.

Refused by the accelerator itself ("Following operations are not supported by GPU delegate"):

    G1 a builtin that it has not got
    G2 an element type: int64 anywhere; integers but for those in ``TAKES``
    G3 more than four axes, or none: "Tensor dimensions must be less than 5", "bad input dims size: 0"
    G4 an operator of constants alone: "Expected 1 runtime input tensor(s), but node has 0"
    G5 a shape, axis or index that is computed: "graph that has dynamic-sized tensors"

Taken, and computed wrongly (the first axis is its batch, whatever it means):

    W1 a constant operand that differs along the batch: its first entry is used for all
    W2 PAD of another rank than 4
    W3 zeros in front of an AVERAGE_POOL_2D: the pool leaves them out of the mean
    W4 TRANSPOSE_CONV where the padding is not the same on both sides
    W5 BATCH_MATMUL that spreads one batch over several
    W6 SPACE_TO_DEPTH of several images
    W8 CONV_2D in groups of other than 4, 8, 12, ... channels

W7, int8 1x1 convolutions with a stride, is written otherwise (``gpu_forms``). What is wrong besides is found
by running the file (``gpu_device``). SIN and COS are within 2e-4: WGSL promises no more.

Where nodes may run on the CPU (``gpu.fallback = "allow"``), G1 to G5 do; W1 to W6 stay refusals.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from edgekit.backends.litert.accelerator import OTHER, RUNTIME
from edgekit.backends.litert.tensors import Graph, Operator, Tensor
from edgekit.spec import Rejection

NUMBERS_RULE = "gpu-numbers"
"""Rule of what is computed wrongly: no fall-back helps there."""

LARGEST_RANK = 4  # G3
FLOAT = frozenset({"float32"})
SCALED = FLOAT | {"int8"}
NUMBERS = FLOAT | {"int32"}
ANY_FIXED = FLOAT | {"int8", "int32"}

TAKES: Mapping[str, frozenset[str]] = {
    "ABS": FLOAT,
    "ADD": ANY_FIXED,
    "ARG_MAX": FLOAT,
    "ATAN2": FLOAT,
    "AVERAGE_POOL_2D": SCALED,
    "BATCH_MATMUL": FLOAT,
    "CAST": frozenset({"float32", "int32", "int8", "uint8", "bool"}),
    "CEIL": FLOAT,
    "CONCATENATION": SCALED,
    "CONV_2D": SCALED,
    "COS": FLOAT,
    "DEPTHWISE_CONV_2D": SCALED,
    "DEPTH_TO_SPACE": FLOAT,
    "DEQUANTIZE": frozenset({"int8", "float16"}),
    "DIV": NUMBERS,
    "ELU": FLOAT,
    "EQUAL": NUMBERS,
    "EXP": FLOAT,
    "FLOOR": FLOAT,
    "FULLY_CONNECTED": SCALED,
    "GATHER": NUMBERS,
    "GELU": FLOAT,
    "GREATER": NUMBERS,
    "GREATER_EQUAL": NUMBERS,
    "HARD_SWISH": SCALED,
    "LEAKY_RELU": FLOAT,
    "LESS": NUMBERS,
    "LESS_EQUAL": NUMBERS,
    "LOG": FLOAT,
    "LOGICAL_AND": frozenset({"bool"}),
    "LOGICAL_OR": frozenset({"bool"}),
    "LOGISTIC": SCALED,
    "MAXIMUM": NUMBERS,
    "MAX_POOL_2D": SCALED,
    "MEAN": SCALED,
    "MINIMUM": NUMBERS,
    "MUL": ANY_FIXED,
    "NEG": FLOAT,
    "NOT_EQUAL": frozenset({"bool"}),
    "ONE_HOT": frozenset({"int32"}),
    "PAD": SCALED,
    "PADV2": SCALED,
    "POW": FLOAT,
    "PRELU": FLOAT,
    "QUANTIZE": FLOAT,
    "REDUCE_MAX": FLOAT,
    "REDUCE_MIN": FLOAT,
    "REDUCE_PROD": FLOAT,
    "RELU": SCALED,
    "RELU6": SCALED,
    "RESHAPE": SCALED,
    "RESIZE_BILINEAR": FLOAT,
    "RESIZE_NEAREST_NEIGHBOR": FLOAT,
    "ROUND": FLOAT,
    "RSQRT": FLOAT,
    "SELECT_V2": frozenset({"bool", "float32"}),
    "SIGN": FLOAT,
    "SIN": FLOAT,
    "SLICE": SCALED,
    "SOFTMAX": SCALED,
    "SPACE_TO_DEPTH": FLOAT,
    "SPLIT_V": FLOAT,
    "SQRT": FLOAT,
    "SQUARE": FLOAT,
    "STRIDED_SLICE": FLOAT,
    "SUB": NUMBERS,
    "SUM": FLOAT,
    "TANH": SCALED,
    "TILE": FLOAT,
    "TRANSPOSE": SCALED,
    "TRANSPOSE_CONV": FLOAT,
}
"""Builtin -> element types of what it computes on, seen right."""

_SPREADING = frozenset(
    {"ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM", "POW", "EQUAL", "GREATER", "GREATER_EQUAL", "LESS"}
    | {"LESS_EQUAL", "NOT_EQUAL", "LOGICAL_AND", "LOGICAL_OR", "SQUARED_DIFFERENCE", "SELECT_V2", "ATAN2"}
)
_PARAMETERS: Mapping[str, tuple[int, ...]] = {
    **dict.fromkeys(("RESHAPE", "TRANSPOSE", "PAD", "PADV2", "TILE", "MEAN", "SUM", "REDUCE_MAX"), (1,)),
    **dict.fromkeys(("REDUCE_MIN", "REDUCE_PROD", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"), (1,)),
    **dict.fromkeys(("ARG_MAX", "ONE_HOT"), (1,)),
    "SLICE": (1, 2),
    "STRIDED_SLICE": (1, 2, 3),
    "SPLIT_V": (1, 2),
    "TRANSPOSE_CONV": (0, 1),
}
"""Inputs that say how, and not what: G5."""

_CONSTANT = (
    "constant"  # made by a DEQUANTIZE of float16 constants, which the accelerator unpacks when it loads
)

_FIX = "fix the input's sizes with --input NAME:float32:1x..., or choose another target (`edgekit targets`)"


@dataclass(frozen=True)
class _Case:
    """One operator with its tensors; an input that is absent is left out of ``given``."""

    op: Operator
    given: Mapping[int, Tensor]
    made: tuple[Tensor, ...]
    before: Mapping[int, str]

    def runtime(self) -> list[Tensor]:
        """What is computed on, without constants."""
        said = _PARAMETERS.get(self.op.code, ())
        return [each for place, each in self.given.items() if each.data is None and place not in said]


def gpu_rejections(graph: Graph, model: ir.Model) -> tuple[Rejection, ...]:
    """G1 to W6 for ``graph``, which ``model`` was translated to: the nodes are the model's."""
    nodes = {
        value.name: node.name or node.op_type for node in model.graph.all_nodes() for value in node.outputs
    }
    makers: dict[int, str] = {}
    found: list[Rejection] = []
    for op in graph.operators:
        given = {place: graph.tensors[index] for place, index in enumerate(op.inputs) if index >= 0}
        before = {place: makers.get(index, "") for place, index in enumerate(op.inputs)}
        case = _Case(op, given, tuple(graph.tensors[index] for index in op.outputs), before)
        for rule, problems in (("gpu", _not_taken(case)), (NUMBERS_RULE, _wrong(case))):
            reason, remedy = next(problems, ("", ""))
            if reason:
                found.append(Rejection(_node(case, nodes), rule, f"{RUNTIME} {reason}", remedy))
                break
        unpacked = op.code == "DEQUANTIZE" and not case.runtime()
        makers |= dict.fromkeys(op.outputs, _CONSTANT if unpacked else op.code)
    return tuple(found)


def _node(case: _Case, nodes: Mapping[str | None, str]) -> str:
    """The model's node that the operator was made for, by its output; parts are called NAME/part."""
    name = case.made[0].name if case.made else case.op.code
    return nodes.get(name) or nodes.get(name.partition("/")[0]) or name


def _not_taken(case: _Case) -> Iterator[tuple[str, str]]:
    code = case.op.code
    if code not in TAKES:  # G1
        yield f"has no {code}, or none that was ever seen right", OTHER
        return
    for place in _PARAMETERS.get(code, ()):
        computed = place in case.given and case.given[place].data is None
        if computed and case.before[place] != _CONSTANT:  # G5
            yield f"takes no {code} with a shape that is computed ({case.given[place].name})", _FIX
            return
    runtime = case.runtime()
    if not runtime and code != "DEQUANTIZE":  # G4
        yield f"takes no {code} of constants alone", OTHER
        return
    for tensor in (*runtime, *case.made):
        if tensor.dtype in {"int64", "int16", "float64"}:  # G2
            yield f"takes no {tensor.dtype} ({tensor.name} of {code})", OTHER
        if len(tensor.shape) > LARGEST_RANK:  # G3
            yield f"takes {LARGEST_RANK} axes at most, {tensor.name} of {code} has {len(tensor.shape)}", OTHER
        if not tensor.shape:  # G3
            yield f"takes no scalar that is computed ({tensor.name} of {code})", OTHER
    first = runtime[0].dtype if runtime else case.given[0].dtype
    if first not in TAKES[code]:  # G2
        yield f"takes no {first} {code}", OTHER
    if code == "GATHER" and len(case.given[1].shape) != 1:  # "Only support 1D indices"
        yield f"takes no GATHER by indices of {len(case.given[1].shape)} axes", OTHER
    if code == "PRELU" and case.given[1].data is None:  # "src has no data"
        yield "takes no PRELU with a slope that is computed", OTHER
    if code == "BATCH_MATMUL" and case.given[0].data is not None:  # "non-constant tensor"
        yield "takes no BATCH_MATMUL whose first factor is a constant", OTHER


def _wrong(case: _Case) -> Iterator[tuple[str, str]]:
    code, given = case.op.code, case.given
    for tensor in given.values() if code in _SPREADING else ():
        if _differs_along_batch(tensor, case.made[0]):  # W1
            yield f"computes {code} wrongly: {tensor.name} differs along the first axis {tensor.shape}", OTHER
    if code in {"PAD", "PADV2"} and len(given[0].shape) != LARGEST_RANK:  # W2
        yield f"computes {code} wrongly where there are {len(given[0].shape)} axes and not 4", OTHER
    if code == "AVERAGE_POOL_2D" and case.before[0] in {"PAD", "PADV2"}:  # W3
        yield "computes AVERAGE_POOL_2D wrongly where it counts padding", "pool without count_include_pad"
    if code == "TRANSPOSE_CONV" and _lopsided(case):  # W4
        yield "computes TRANSPOSE_CONV wrongly where padding differs between both sides", OTHER
    if code == "BATCH_MATMUL":
        a, b = given[0].shape[:-2], given[1].shape[:-2]
        if a != b and given[1].data is None:  # W5
            yield f"computes BATCH_MATMUL wrongly where batches differ: {a} and {b}", OTHER
    if code == "CONV_2D" and _ragged_groups(case):  # W8
        yield "computes CONV_2D wrongly in groups of other than 4, 8, 12, ... channels", OTHER
    if code == "SPACE_TO_DEPTH" and given[0].shape[0] != 1:  # W6
        yield "computes SPACE_TO_DEPTH wrongly for several images at once", _FIX


def _differs_along_batch(tensor: Tensor, out: Tensor) -> bool:
    return (
        tensor.data is not None
        and len(tensor.shape) == len(out.shape) > 0
        and isinstance(tensor.shape[0], int)
        and tensor.shape[0] > 1
    )


def _ragged_groups(case: _Case) -> bool:
    """Whether there are several groups, and one reads or writes channels that are no multiple of 4."""
    channels, weight = case.given[0].shape[3], case.given[1].shape
    inside, outside = weight[3], weight[0]
    if not (isinstance(channels, int) and isinstance(inside, int) and isinstance(outside, int)):
        return True
    groups = channels // inside
    return groups > 1 and bool(inside % 4 or outside // groups % 4)


def _lopsided(case: _Case) -> bool:
    """Whether the padding that TRANSPOSE_CONV cuts off is odd along an axis (tflite/kernels/padding.h)."""
    weight, image, out = case.given[1].shape, case.given[2].shape, case.made[0].shape
    for axis, name in ((1, "strideH"), (2, "strideW")):
        kernel, size, full = weight[axis], image[axis], out[axis]
        if not (isinstance(kernel, int) and isinstance(size, int) and isinstance(full, int)):
            return True
        if ((size - 1) * int(case.op.options[name]) + kernel - full) % 2:
            return True
    return False
