"""Branches of residual networks: all of their channels may go, and a constant stands in their place."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from edgekit.errors import InputError
from edgekit.ir import io
from edgekit.ir.graph import constant
from edgekit.pruning.branches import in_place
from edgekit.pruning.dependency import Dependencies, dependencies
from edgekit.pruning.reconstruct import reconstruct
from edgekit.pruning.remove import is_branch, remove
from edgekit.pruning.sensitivity import output_error
from tests.unit.litert.litert_models import Model, as_ir, relative_error, run_litert, run_onnx
from tests.unit.pruning.in_process import InProcess, stream
from tests.unit.pruning.zeroed import float_parameters, zeroed


def _residual(*, joined: str = "Add") -> Dependencies:
    """x -> stem -> y + second(ReLU(first(y))) -> mean -> dense; "first" makes 5 channels."""
    m = Model(seed=1)
    y = m.add("Relu", m.add("Conv", m.input("x", ("N", 3, 6, 6)), m.weight(4, 3, 1, 1), m.weight(4)))
    first = m.constant(m.rng.standard_normal((5, 4, 3, 3)).astype(np.float32) * 0.2, "first")
    inner = m.add("Relu", m.add("Conv", y, first, m.weight(5), pads=[1] * 4))
    outer = m.add(
        "Conv",
        inner,
        m.constant(m.rng.standard_normal((4, 5, 1, 1)).astype(np.float32), "second"),
        m.weight(4),
    )
    y = m.add("Relu", m.add(joined, y, outer))
    y = m.add("Flatten", m.add("GlobalAveragePool", y))
    return dependencies(as_ir(m.build(m.add("Gemm", y, m.weight(3, 4), m.weight(3), transB=1))))


def _group(found: Dependencies) -> tuple[int, ...]:
    return next(group.channels for group in found.groups if group.name == "first")


def test_a_branch_goes_and_its_bias_stays_in_its_place() -> None:
    """N3: as if all of it had been zeros, to 16 ULP of the largest output; two convolutions fewer."""
    found = _residual()
    gone = _group(found)
    assert [is_branch(found, group) for group in found.groups] == [
        group.name == "first" for group in found.groups
    ]
    pruned = remove(found, gone)
    content = io.to_bytes(pruned)
    onnx.checker.check_model(content, full_check=True)
    assert sum(node.op_type == "Conv" for node in pruned.graph) == 1
    assert float_parameters(pruned) == found.parameters(gone)  # the bias has moved
    feeds = {"x": np.random.default_rng(0).standard_normal((2, 3, 6, 6)).astype(np.float32)}
    (expected,) = run_onnx(onnx.load_from_string(io.to_bytes(zeroed(found, gone))), feeds).values()
    (given,) = run_onnx(onnx.load_from_string(content), feeds).values()
    off = np.abs(given.astype(np.float64) - expected.astype(np.float64)).max()
    assert off <= 16 * np.spacing(np.abs(expected).max().astype(np.float32))


def test_a_branch_and_channels_of_the_stream_may_go_together() -> None:
    found = _residual()
    stem = next(group for group in found.groups if group.name != "first")
    pruned = remove(found, (*_group(found), *stem.channels[:2]))
    onnx.checker.check_model(io.to_bytes(pruned), full_check=True)
    (value,) = [value for node in pruned.graph if (value := in_place(node)) is not None]
    array = constant(value)
    assert array is not None
    assert array.shape == (1, 2, 1, 1)


def test_the_pruned_graph_is_compiled_for_another_runtime_and_agrees() -> None:
    """LiteRT against ONNX Runtime, 1e-5 of the output's range, like any float graph."""
    pytest.importorskip("ai_edge_litert")
    found = _residual()
    stem = next(group for group in found.groups if group.name != "first")
    pruned = onnx.load_from_string(io.to_bytes(remove(found, (*_group(found), *stem.channels[:2]))))
    feeds = {"x": np.random.default_rng(1).standard_normal((1, 3, 6, 6)).astype(np.float32)}
    (expected,) = run_onnx(pruned, feeds).values()
    (given,) = run_litert(pruned, feeds).values()
    assert relative_error(given, expected) <= 1e-5


def test_a_factor_is_no_branch() -> None:
    """What is multiplied has no constant that stands for it: the last channel stays."""
    found = _residual(joined="Mul")
    assert not any(is_branch(found, group) for group in found.groups)
    with pytest.raises(InputError, match="no channel would be left"):
        remove(found, _group(found))


def test_a_branch_that_somebody_else_reads_is_none() -> None:
    m = Model(seed=2)
    x = m.input("x", (1, 3, 6, 6))
    y = m.add("Conv", x, m.weight(4, 3, 1, 1))
    inner = m.add("Relu", m.add("Conv", y, m.weight(5, 4, 1, 1)))
    y = m.add("Add", y, m.add("Conv", inner, m.weight(4, 5, 1, 1)))
    z = m.add("Conv", inner, m.weight(4, 5, 1, 1))  # not added to anything
    model = as_ir(m.build(m.add("GlobalAveragePool", m.add("Concat", y, m.add("Tanh", z), axis=1))))
    found = dependencies(model)
    assert not any(is_branch(found, group) for group in found.groups)


def test_repair_puts_the_mean_of_what_is_missing_in_its_place() -> None:
    """C6: better than the bias alone; seen on samples that it did not look at."""
    found = _residual()
    gone = _group(found)
    pruned = remove(found, gone)
    batches = stream(io.specs(found.model)[0][0], count=128)
    repaired, _ = reconstruct(
        found, pruned, gone, open_model=InProcess, batches=batches, count=128, seed=0, only=()
    )
    fresh = stream(io.specs(found.model)[0][0], count=64, seed=5)
    errors = [_error(found.model, each, fresh) for each in (pruned, repaired)]
    assert errors[1] < 0.5 * errors[0]


def _error(reference: ir.Model, other: ir.Model, batches: object) -> float:
    return output_error(reference, other, open_model=InProcess, batches=batches, count=64)  # type: ignore[arg-type]
