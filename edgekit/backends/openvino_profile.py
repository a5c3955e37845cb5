"""OpenVINO compiled model with PERF_COUNT --> each execution node with its times, types and sizes.

    mean of runs m+1 .. n = (n * average after n - m * average after m) / (n - m)

The CPU plug-in keeps one running average per node since the model was compiled, cut to whole microseconds
(intel_cpu/src/perf_count.h), so a single inference cannot be read. The first inferences, with cold caches,
are taken out by the formula above; a block is one freshly compiled model and gives one sample, uncertain by
about 1.5 us for the cuts. Sizes are those of the execution graph's ports (docs.openvino.ai, "runtime model").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any

from edgekit.backends import profiling

_BLOCKS = 5  # samples for each node; a model is compiled for each of them
_NO_KERNEL = (
    "unknown"  # beginning of the implementation of a node that was folded when the model was compiled
)
_CONSTANTS = frozenset({"Const", "Constant"})


def timed(
    open_profiled: Callable[[], Any],
    row_of: Callable[[Any], Mapping[str, Any] | None],
    *,
    plain: Callable[[], object],
    runs: int,
) -> dict[str, Any]:
    """``spec.Profile`` as JSON over about ``runs`` inferences.

    Args:
        open_profiled: compiles the model with PERF_COUNT -> an infer request with its inputs set.
        row_of: what the execution graph says of a node -> fields of ``spec.Executed``; None for no kernel.
        plain: one inference of the model that is not profiled.
        runs: inferences to time, over all blocks.
    """
    each = max(profiling.TURN, runs // _BLOCKS)
    plain_us: list[float] = []
    profiled_us: list[float] = []
    samples: dict[str, list[float]] = {}
    nodes: dict[str, dict[str, Any]] = {}
    for _ in range(_BLOCKS):
        request = open_profiled()
        for _ in range(profiling.WARM_UP):
            plain()
            request.infer(share_outputs=True)
        before = _averages(request)
        without, under = profiling.in_turn(plain, lambda: request.infer(share_outputs=True), each)  # noqa: B023
        plain_us += without
        profiled_us += under
        after = _averages(request)
        last = profiling.WARM_UP + each
        nodes = nodes or _nodes(request.get_compiled_model(), row_of)
        for name in nodes:
            spent = last * after.get(name, 0.0) - profiling.WARM_UP * before.get(name, 0.0)
            samples.setdefault(name, []).append(max(0.0, spent / each))
    return {
        "kernels": [
            {**row, "outside": False, "calls": 1, "us": samples[name]}
            for name, row in nodes.items()
            if any(samples[name]) or not row["kernel"].startswith(_NO_KERNEL)
        ],
        "plain_us": plain_us,
        "profiled_us": profiled_us,
        "clock": f"OpenVINO's PERF_COUNT, means of {each} inferences, whole microseconds",
        "notes": [],
    }


def _averages(request: Any) -> dict[str, float]:
    """Node -> microseconds; one that takes less than one on average is said not to have run, and left out."""
    return {
        info.node_name: info.real_time.total_seconds() * 1e6
        for info in request.profiling_info
        if info.status == info.Status.EXECUTED
    }


def _nodes(compiled: Any, row_of: Callable[[Any], Mapping[str, Any] | None]) -> dict[str, dict[str, Any]]:
    found = {}
    for node in compiled.get_runtime_model().get_ordered_ops():
        info = node.get_rt_info()
        row = row_of(info)
        if row is None:
            continue
        reads = [_port(port, port.get_source_output().get_node()) for port in node.inputs()]
        writes = [_port(port, None) for port in node.outputs()]
        activations = [each for each in (*reads, *writes) if not each[2]]
        found[node.get_friendly_name()] = {
            **row,
            "read_bytes": _total(each[0] for each in reads if not each[2]),
            "weight_bytes": _total(each[0] for each in reads if each[2]),
            "written_bytes": _total(each[0] for each in writes),
            "elements": max((each[1] for each in activations if each[1] is not None), default=None),
        }
    return found


def _port(port: Any, source: Any) -> tuple[int | None, int | None, bool]:
    """Bytes, elements, and whether it is constant; None where the shape is open."""
    constant = source is not None and _made_of_constants(source)
    shape = port.get_partial_shape()
    if shape.is_dynamic:
        return None, None, constant
    sizes = [int(each.get_length()) for each in shape]
    return profiling.bits_to_bytes(sizes, port.get_element_type().bitwidth), prod(sizes), constant


def _made_of_constants(node: Any) -> bool:
    """A constant, or one that the plug-in reshaped; a chain of such nodes is short."""
    info = node.get_rt_info()
    kind = str(info["layerType"].astype(str)) if "layerType" in info else ""
    if kind in _CONSTANTS:
        return True
    inputs = [port.get_source_output().get_node() for port in node.inputs()]
    return kind in {"Reshape", "Reorder"} and bool(inputs) and all(map(_made_of_constants, inputs))


def _total(sizes: Any) -> int | None:
    known = list(sizes)
    return None if None in known else sum(known)
