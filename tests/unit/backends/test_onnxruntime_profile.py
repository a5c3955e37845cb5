"""A profile's events -> kernels: runs apart, calls together, a loop's body out of its self time."""

from __future__ import annotations

from typing import Any

import pytest

from edgekit.backends.onnxruntime_profile import kernels_of


def run(ts: int, dur: int) -> dict[str, Any]:
    return {"cat": "Session", "name": "model_run", "ts": ts, "dur": dur}


def node(name: str, operator: str, ts: int, dur: int, **facts: Any) -> dict[str, Any]:
    args = {"op_name": operator, "provider": "CPUExecutionProvider", **facts}
    return {"cat": "Node", "name": f"{name}_kernel_time", "ts": ts, "dur": dur, "args": args}


def test_the_last_runs_count_and_each_is_a_sample() -> None:
    events = [
        *(run(0, 100), node("a", "Conv", 10, 80)),  # warm-up
        *(run(1000, 60), node("a", "Conv", 1005, 40), node("b", "Relu", 1050, 5)),
        *(run(2000, 70), node("a", "Conv", 2005, 50), node("b", "Relu", 2060, 6)),
    ]
    first, second = kernels_of(events, 2)
    assert (first["names"], first["us"], first["calls"]) == (["a"], [40.0, 50.0], 1)
    assert (second["operator"], second["us"]) == ("Relu", [5.0, 6.0])


def test_a_loop_holds_its_body() -> None:
    events = [
        run(0, 1000),
        node("body", "MatMul", 110, 200),
        node("body", "MatMul", 410, 300),
        node("loop", "Loop", 100, 700),
    ]
    found = {row["operator"]: row for row in kernels_of(events, 1)}
    assert (found["Loop"]["us"], found["MatMul"]["us"]) == ([200.0], [500.0])
    assert found["MatMul"]["calls"] == 2


def test_sizes_are_the_sessions_own() -> None:
    facts = {
        "input_type_shape": [{"uint8": [1, 8, 4, 4]}, {"float": [512]}],
        "output_type_shape": [{"uint8": [1, 16, 4, 4]}],
        "activation_size": "128",
        "output_size": "256",
        "parameter_size": "2048",
    }
    (row,) = kernels_of([run(0, 10), node("a", "QLinearConv", 1, 5, **facts)], 1)
    assert (row["read_bytes"], row["written_bytes"], row["elements"]) == (128, 256, 256)
    assert row["weight_bytes"] is None  # packed weights are not in "parameter_size": the file says it


def test_events_outside_a_run_do_not_count() -> None:
    """Sabotage: without the bounds of a run the stray event would be in the sum."""
    events = [run(0, 10), node("a", "Conv", 1, 5), node("stray", "Conv", 50, 5)]
    assert [row["names"] for row in kernels_of(events, 1)] == [["a"]]
    assert sum(sum(row["us"]) for row in kernels_of(events, 1)) == pytest.approx(5)
