"""Events of LiteRT's profiler x the operators of the file -> each kernel with its operator, times and sizes.

XNNPACK names its operators by what they are, not by the node they come from, and lists them in the order of
the file's. So they are matched in order, each part of the graph that the delegate took by itself:

P1 kernels that multiply with operators that multiply, one to one; where their numbers or kinds differ, no
   kernel of that part is named, and nothing is guessed
P2 the others, between two matched ones, with the next operator of their kind; what has none (a conversion
   or a padding that XNNPACK adds) stays unnamed
P3 an operator outside the delegate is named by its index
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.backends import profiling
from edgekit.backends.litert import counting
from edgekit.backends.litert.native_profiler import Event, NativeModel
from edgekit.backends.litert.tables import Operator, Tensor, parse
from edgekit.spec import RunOptions

if TYPE_CHECKING:
    from edgekit.spec import Array

_WEIGHTS_ONLY = {"int8", "int4", "uint8"}
# beginning of XNNPACK's name -> the operators of the file that it may come from, the longest first
# (XNNPACK src/operator-utils.c, xnn_operator_type_to_string)
_DEPTHWISE = "dwconv"
_KINDS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("batch matrix multiply", ("BATCH_MATMUL", "FULLY_CONNECTED")),
    ("dynamic fully connected", ("BATCH_MATMUL", "FULLY_CONNECTED")),
    ("fully connected", ("FULLY_CONNECTED", "CONV_2D", "BATCH_MATMUL")),
    ("deconvolution", ("TRANSPOSE_CONV",)),
    ("convolution", ("CONV_2D", "DEPTHWISE_CONV_2D")),
    ("constant pad", ("PAD", "PADV2")),
    ("max pooling", ("MAX_POOL_2D",)),
    ("average pooling", ("AVERAGE_POOL_2D",)),
    ("global average pooling", ("AVERAGE_POOL_2D", "MEAN")),
    ("global sum pooling", ("SUM",)),
    ("mean", ("MEAN",)),
    ("sum", ("SUM",)),
    ("add", ("ADD",)),
    ("subtract", ("SUB",)),
    ("multiply", ("MUL",)),
    ("divide", ("DIV",)),
    ("maximum", ("MAXIMUM",)),
    ("minimum", ("MINIMUM",)),
    ("squared difference", ("SQUARED_DIFFERENCE",)),
    ("softmax", ("SOFTMAX",)),
    ("sigmoid", ("LOGISTIC",)),
    ("hardswish", ("HARD_SWISH",)),
    ("hard swish", ("HARD_SWISH",)),
    ("tanh", ("TANH",)),
    ("gelu", ("GELU",)),
    ("leaky relu", ("LEAKY_RELU",)),
    ("prelu", ("PRELU",)),
    ("elu", ("ELU",)),
    ("clamp", ("RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1", "MINIMUM", "MAXIMUM")),
    ("abs", ("ABS",)),
    ("negate", ("NEG",)),
    ("square root", ("SQRT",)),
    ("reciprocal square root", ("RSQRT",)),
    ("square", ("SQUARE",)),
    ("exp", ("EXP",)),
    ("log", ("LOG",)),
    ("transpose", ("TRANSPOSE",)),
    ("concatenate", ("CONCATENATION",)),
    ("copy", ("CONCATENATION", "SPLIT", "RESHAPE", "SLICE", "STRIDED_SLICE", "EXPAND_DIMS", "SQUEEZE")),
    ("slice", ("SLICE", "STRIDED_SLICE", "SPLIT")),
    ("static reshape", ("RESHAPE", "EXPAND_DIMS", "SQUEEZE")),
    ("resize bilinear", ("RESIZE_BILINEAR",)),
    ("space to depth", ("SPACE_TO_DEPTH",)),
    ("depth to space", ("DEPTH_TO_SPACE",)),
    ("convert", ("QUANTIZE", "DEQUANTIZE", "CAST")),
)
# what stands in XNNPACK's name for the type that it computes in; hybrid kernels (QD8) compute in integers
_TYPES = (("QD8", "int8"), ("QP8", "int8"), ("QC8", "int8"), ("QS8", "int8"), ("QU8", "int8"))
_FLOAT_TYPES = (("F16", "float16"), ("F32", "float32"))


@dataclass(frozen=True)
class _Kernel:
    """One event of an inference, and the operators of the file that it is."""

    tag: str
    outside: bool
    operators: tuple[int, ...]


def timed(
    path: Path,
    options: RunOptions,
    *,
    feeds: Mapping[str, Array],
    plain: Any,
    runs: int,
    parts: Sequence[set[int]],
) -> dict[str, Any]:
    """``spec.Profile`` as JSON over ``runs`` inferences.

    Args:
        path: of the file.
        options: as it is run.
        feeds: one inference's inputs by tensor name.
        plain: one inference of the interpreter that is measured.
        runs: inferences to time.
        parts: for each part of the graph that the interpreter's delegate took, its operators.
    """
    builtin = dict(options.settings).get("kernels") == "builtin"
    native = NativeModel(path, threads=options.threads, builtin=builtin)
    native.bind(feeds)
    for _ in range(profiling.WARM_UP):
        plain()
        native.invoke()
    recorded: list[list[Event]] = []

    def profiled() -> None:
        native.start()
        native.invoke()
        recorded.append(native.stop())

    plain_us, profiled_us = profiling.in_turn(plain, profiled, runs)
    operators = parse(path.read_bytes(), name=path.name)[0][0].operators
    kernels, notes = kernels_of(recorded, operators, parts)
    return {
        "kernels": kernels,
        "plain_us": plain_us,
        "profiled_us": profiled_us,
        "clock": "LiteRT's profiler (compiled model of its C interface), whole microseconds",
        "notes": notes,
    }


def kernels_of(
    recorded: Sequence[Sequence[Event]], operators: Sequence[Operator], parts: Sequence[set[int]]
) -> tuple[list[dict[str, Any]], list[str]]:
    """Rows of ``spec.KernelTime`` and notes, from the events of each inference.

    Args:
        recorded: for each inference its events in order.
        operators: the main graph's, in the file's order.
        parts: operators of each part that the delegate takes in the interpreter.
    """
    first = [(each.tag, each.delegated, each.index) for each in recorded[0]] if recorded else []
    same = [run for run in recorded if [(each.tag, each.delegated, each.index) for each in run] == first]
    kernels, notes = _named(recorded[0] if recorded else (), operators, parts)
    if len(same) < len(recorded):
        notes.append("the kernels differ from inference to inference; those like the first are counted")
    rows = []
    for place, kernel in enumerate(kernels):
        found = [operators[index] for index in kernel.operators]
        rows.append(
            {
                "names": [each.outputs[0].name for each in found if each.outputs],
                "operator": "+".join(each.name for each in found) or kernel.tag.split(" (")[0],
                "kernel": f"{'builtin' if kernel.outside else 'XNNPACK'} {kernel.tag}",
                "device": "cpu",
                "precision": _precision(kernel.tag, found),
                "multiplies": any(counting.multiplies(each.name) for each in found)
                or _multiplies(kernel.tag),
                "outside": kernel.outside and bool(parts),
                "calls": 1,
                "us": [float(run[place].us) for run in same],
                **_sizes(found),
            }
        )
    return rows, notes


def _named(
    events: Sequence[Event], operators: Sequence[Operator], parts: Sequence[set[int]]
) -> tuple[list[_Kernel], list[str]]:
    """Kernels in the order of ``events``, with their operators (P1 to P3)."""
    runs: list[list[int]] = []  # places of the events of each part of the delegate
    for place, event in enumerate(events):
        if event.delegated:
            if event.index == 0 or not runs:
                runs.append([])
            runs[-1].append(place)
    owners: dict[int, tuple[int, ...]] = {}
    notes: list[str] = []
    ordered = sorted((sorted(part) for part in parts if part), key=lambda part: part[0])
    if len(ordered) != len(runs):
        notes.append(
            f"the profiled model hands {len(runs)} parts to XNNPACK, the interpreter {len(ordered)}: "
            "their kernels are not named"
        )
    else:
        for places, part in zip(runs, ordered, strict=True):
            matched = _matched([events[place].tag for place in places], part, operators)
            if matched is None:
                notes.append(f"{len(places)} kernels of XNNPACK cannot be told apart, and have no names")
            for local, index in (matched or {}).items():
                owners[places[local]] = (index,)
    kernels = []
    for place, event in enumerate(events):
        if not event.delegated and event.index < len(operators):
            owners[place] = (event.index,)  # P3
        kernels.append(_Kernel(event.tag, not event.delegated, owners.get(place, ())))
    return kernels, notes


def _matched(
    tags: Sequence[str], part: Sequence[int], operators: Sequence[Operator]
) -> dict[int, int] | None:
    """Place in ``tags`` -> index of an operator; None where P1 does not hold."""
    heavy = [place for place, tag in enumerate(tags) if _multiplies(tag)]
    weighty = [index for index in part if counting.multiplies(operators[index].name)]
    if len(heavy) != len(weighty) or not all(
        operators[index].name in _candidates(tags[place]) for place, index in zip(heavy, weighty, strict=True)
    ):
        return None
    found = dict(zip(heavy, weighty, strict=True))
    edges = [(-1, -1), *zip(heavy, weighty, strict=True), (len(tags), max(part, default=0) + 1)]
    for (start, low), (end, high) in pairwise(edges):
        free = [index for index in part if low < index < high and index not in found.values()]
        for place in range(start + 1, end):
            index = next((each for each in free if operators[each].name in _candidates(tags[place])), None)
            if index is not None:
                found[place] = index
                free = [each for each in free if each > index]
    return found


def _candidates(tag: str) -> tuple[str, ...]:
    lower = tag.lower()
    if _DEPTHWISE in lower:
        return ("DEPTHWISE_CONV_2D",)
    return next((names for start, names in _KINDS if lower.startswith(start)), ())


def _multiplies(tag: str) -> bool:
    return any(counting.multiplies(name) for name in _candidates(tag))


def _precision(tag: str, operators: Sequence[Operator]) -> str:
    """XNNPACK's name says it; else the types of the file, as ``LiteRtEngine.executed`` reads them."""
    head = tag.partition("(")[2]
    for word, name in (*_TYPES, *_FLOAT_TYPES):
        if word in head:
            return name
    if not operators or not operators[0].inputs or operators[0].inputs[0] is None:
        return ""
    first = operators[0].inputs[0].dtype
    second = operators[0].inputs[1] if len(operators[0].inputs) > 1 else None
    hybrid = first == "float32" and second is not None and second.dtype in _WEIGHTS_ONLY
    return "int8" if hybrid or first == "uint8" else first


def _sizes(operators: Sequence[Operator]) -> dict[str, int | None]:
    if not operators:
        return {"read_bytes": None, "weight_bytes": None, "written_bytes": None, "elements": None}
    reads = [tensor for each in operators for tensor in each.inputs if tensor is not None]
    writes = [tensor for each in operators for tensor in each.outputs]
    free = [tensor for tensor in reads if not tensor.stored_bytes]
    return {
        "read_bytes": _total(free),
        "weight_bytes": sum(tensor.stored_bytes for tensor in reads),
        "written_bytes": _total(writes),
        "elements": max((prod(tensor.shape) for tensor in (*free, *writes)), default=None),
    }


def _total(tensors: Sequence[Tensor]) -> int | None:
    sizes = [tensor.size_bytes for tensor in tensors]
    return None if None in sizes else sum(size for size in sizes if size is not None)
