"""ONNX Runtime session --profile--> the operators as they ran: kernel, provider, types, times.

The profile is the only account of what runs after all of the session's rewrites (fusion, QDQ transformation,
layouts, casts for types that a provider lacks). One "Node" event per kernel call:

    {"cat": "Node", "name": "<node>_kernel_time", "ts", "dur",
     "args": {"op_name", "provider", "input_type_shape": [{type: shape}, ...],
              "activation_size", "output_size"}}
    {"cat": "Session", "name": "model_run", "ts", "dur"}        one for each inference, around its nodes

Times are whole microseconds, and a node that runs others (If, Loop, Scan) holds theirs: self time leaves
out the nodes that lie inside it. "parameter_size" is without weights that a kernel has packed for itself, so
what a node reads of weights is the file's to say.

Source: onnxruntime.ai, "Performance: profiling tools"; onnxruntime/core/framework/sequential_executor.cc.
A node in a loop's body runs often and is listed once, with all its calls.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit import drafts
from edgekit.backends import profiling
from edgekit.errors import EdgekitError

if TYPE_CHECKING:
    from edgekit.spec import Array

_KERNEL = "_kernel_time"
_TOKEN = re.compile(r"_token_\d+$")  # what the session appends to the name of a node that it rewrote
# Kernels that multiply and accumulate (ir.macs, and what the session makes of those operators)
_MULTIPLYING = frozenset(
    {
        *("Conv", "FusedConv", "NhwcFusedConv", "ConvInteger", "QLinearConv", "ConvTranspose", "DeformConv"),
        *("Gemm", "FusedGemm", "QGemm", "MatMul", "FusedMatMul", "TransposeMatMul", "MatMulInteger"),
        *("MatMulIntegerToFloat", "DynamicQuantizeMatMul", "QLinearMatMul", "MatMulNBits", "Einsum"),
        *("LSTM", "GRU", "RNN", "DynamicQuantizeLSTM", "Attention", "QAttention", "MultiHeadAttention"),
    }
)
# Kernels that compute in integers although their first input may be float
_INTEGER = frozenset({"DynamicQuantizeMatMul", "DynamicQuantizeLSTM", "QAttention", "MatMulIntegerToFloat"})
_BODIES = frozenset({"If", "Loop", "Scan"})
_TYPES = {"float": "float32", "double": "float64", "uint8": "int8", "uint16": "int16"}
_DEVICES = {"CPU": "cpu", "CUDA": "cuda", "Tensorrt": "cuda", "NvTensorRTRTX": "cuda", "WebGpu": "gpu"}


def executed(open_profiled: Callable[[Path], Any], feeds: Mapping[str, Array]) -> list[dict[str, Any]]:
    """Rows of ``spec.Executed``, in the order of execution.

    Args:
        open_profiled: prefix of the profile's file -> a session that writes it.
        feeds: one inference's inputs.

    Raises:
        EdgekitError: nothing has been bound yet.
    """
    if not feeds:
        raise EdgekitError("the engine has no feeds: 'time' or 'run' comes first")
    with drafts.temporary("edgekit-profile-") as folder:
        session = open_profiled(folder / "profile")
        session.run(None, dict(feeds))
        events = json.loads(Path(session.end_profiling()).read_text("utf-8"))
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for event in events:
        if _is_kernel(event):
            row = row_of(str(event["name"]), event["args"])
            rows.setdefault((row["names"][0], row["operator"]), row)
    return list(rows.values())


def timed(
    open_profiled: Callable[[Path], Any],
    feeds: Mapping[str, Array],
    *,
    plain: Callable[[], object],
    runs: int,
) -> dict[str, Any]:
    """``spec.Profile`` as JSON over ``runs`` inferences.

    Args:
        open_profiled: prefix of the profile's file -> a session that writes it.
        feeds: one inference's inputs.
        plain: one inference of the session that is not profiled.
        runs: inferences to time.
    """
    with drafts.temporary("edgekit-profile-") as folder:
        session = open_profiled(folder / "profile")
        inputs = dict(feeds)
        for _ in range(profiling.WARM_UP):
            plain()
            session.run(None, inputs)
        plain_us, profiled_us = profiling.in_turn(plain, lambda: session.run(None, inputs), runs)
        events = json.loads(Path(session.end_profiling()).read_text("utf-8"))
    return {
        "kernels": kernels_of(events, runs),
        "plain_us": plain_us,
        "profiled_us": profiled_us,
        "clock": "ONNX Runtime's session profiler, whole microseconds",
        "notes": [],
    }


def kernels_of(events: Sequence[Mapping[str, Any]], runs: int) -> list[dict[str, Any]]:
    """Rows of ``spec.KernelTime`` from the last ``runs`` inferences of a profile."""
    whole = sorted((each for each in events if each.get("name") == "model_run"), key=lambda each: each["ts"])
    samples: dict[tuple[str, str], list[float]] = {}
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    calls: dict[tuple[str, str], int] = defaultdict(int)
    nodes = [each for each in events if _is_kernel(each)]
    for number, run in enumerate(whole[-runs:]):
        inside = [each for each in nodes if run["ts"] <= each["ts"] < run["ts"] + max(run["dur"], 1)]
        for event, self_us in _self_times(inside):
            row = row_of(str(event["name"]), event["args"])
            key = (row["names"][0], row["operator"])
            samples.setdefault(key, [0.0] * runs)[number] += self_us
            calls[key] += 1
            rows.setdefault(key, {**row, **_sizes(event["args"])})
    return [
        {
            **{name: value for name, value in row.items() if name != "provider"},
            "kernel": row["provider"],
            "outside": False,
            "calls": max(1, round(calls[key] / runs)),
            "us": samples[key],
            "weight_bytes": None,
        }
        for key, row in rows.items()
    ]


def _is_kernel(event: Mapping[str, Any]) -> bool:
    return event.get("cat") == "Node" and str(event.get("name", "")).endswith(_KERNEL)


def _self_times(events: Sequence[Mapping[str, Any]]) -> Iterator[tuple[Mapping[str, Any], float]]:
    """Each event with its time less that of the events directly inside it."""
    ordered = sorted(events, key=lambda each: (each["ts"], -each["dur"]))
    spent = [float(each["dur"]) for each in ordered]
    open_: list[int] = []
    for place, event in enumerate(ordered):
        while open_ and ordered[open_[-1]]["ts"] + ordered[open_[-1]]["dur"] <= event["ts"]:
            open_.pop()
        if open_ and ordered[open_[-1]]["args"].get("op_name") in _BODIES:
            spent[open_[-1]] = max(0.0, spent[open_[-1]] - event["dur"])
        open_.append(place)
    return zip(ordered, spent, strict=True)


def _sizes(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Sizes of one call; the first input is an activation, the others may be weights."""
    types = [*facts.get("input_type_shape", [])[:1], *facts.get("output_type_shape", [])]
    shapes = [shape for each in types for shape in each.values()]
    return {
        "provider": str(facts.get("provider", "")),
        "read_bytes": int(facts["activation_size"]) if "activation_size" in facts else None,
        "written_bytes": int(facts["output_size"]) if "output_size" in facts else None,
        "elements": max((prod(shape) for shape in shapes), default=None),
    }


def row_of(event: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    """One event -> one row."""
    provider, operator = str(facts.get("provider", "")), str(facts.get("op_name", ""))
    short = provider.removesuffix("ExecutionProvider")
    return {
        "names": [_TOKEN.sub("", event.removesuffix(_KERNEL))],
        "operator": operator,
        "device": _DEVICES.get(short, short.lower()),
        "precision": _precision(operator, facts.get("input_type_shape", [])),
        "multiplies": operator in _MULTIPLYING,
    }


def _precision(operator: str, inputs: list[Mapping[str, Any]]) -> str:
    """The type of the first input, which is the activation's; some kernels quantize it themselves."""
    if operator in _INTEGER:
        return "int8"
    first = next((name for each in inputs for name in each), "")
    return _TYPES.get(first, first)
