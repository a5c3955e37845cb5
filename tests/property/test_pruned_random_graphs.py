"""A random graph without its channels of zeros computes what it computed with them.

Of every group some channels are drawn, and all that belongs to them is set to zero; then they are removed.

Tolerance: 256 float32 ULP of the largest output, which is 3.1e-5 of it. A sum of fewer terms is added up in
another order, with a rounding of half an ULP for each term, and up to five layers follow each other; a wrong
channel is off by parts of the output. Graphs are drawn from a fixed seed (derandomize).
``python -m benchmarks pruned_random_graphs`` draws 2,000.
"""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings

from edgekit.ir import io
from edgekit.pruning import rules_shape
from edgekit.pruning.dependency import dependencies
from edgekit.pruning.remove import remove
from edgekit.pruning.trace import Trace
from edgekit.spec import Array
from tests.property.litert_graphs import graphs
from tests.property.prunable_graphs import prunable_graphs
from tests.unit.litert.litert_models import as_ir, run_onnx
from tests.unit.pruning.zeroed import float_parameters, masked, some_of_every_group, zeroed

LARGEST_ULP = 256


def difference_ulp(model: onnx.ModelProto, *, seed: int = 0, embedding_widths: bool = False) -> float:
    """Original with zeros against the pruned one, in ULP of the largest output; other checks on the way.

    With ``embedding_widths`` the original's normalizations are those of the channels that stay.
    """
    found = dependencies(as_ir(model), embedding_widths=embedding_widths)
    gone = some_of_every_group(found, seed=seed)
    with_zeros = onnx.load_from_string(io.to_bytes(masked(found, zeroed(found, gone), gone)))
    without = remove(found, gone)
    content = io.to_bytes(without)
    onnx.checker.check_model(content, full_check=True)
    assert float_parameters(without) == found.parameters(gone)
    if gone:
        assert found.parameters(gone) < found.parameters()
    feeds = _feeds(model)
    expected, given_ = run_onnx(with_zeros, feeds), run_onnx(onnx.load_from_string(content), feeds)
    return max(_ulp(given_[name], value) for name, value in expected.items())


def _feeds(model: onnx.ModelProto) -> dict[str, Array]:
    shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    return {"x": np.random.default_rng(0).standard_normal(shape).astype(np.float32)}


def _ulp(found: Array, expected: Array) -> float:
    assert found.shape == expected.shape
    step = np.spacing(np.abs(expected).max().astype(np.float32))
    return float(np.abs(found.astype(np.float64) - expected.astype(np.float64)).max() / step)


@settings(max_examples=300, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(prunable_graphs())
def test_a_pruned_graph_computes_what_it_computed_with_zeros(model: onnx.ModelProto) -> None:
    assert difference_ulp(model) <= LARGEST_ULP


@settings(max_examples=100, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(prunable_graphs())
def test_widths_that_are_normalized_over_go_as_any_others(model: onnx.ModelProto) -> None:
    assert difference_ulp(model, embedding_widths=True) <= LARGEST_ULP


@settings(max_examples=150, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(graphs())
def test_a_graph_of_any_operators_is_pruned_to_one_that_runs(model: onnx.ModelProto) -> None:
    """Operators without a rule too; values are compared where zeros do not make infinities of them."""
    found = dependencies(as_ir(model))
    gone = some_of_every_group(found, seed=0)
    content = io.to_bytes(remove(found, gone))
    if _is_checked(model):
        onnx.checker.check_model(content, full_check=True)
    feeds = _feeds(model)
    expected = run_onnx(onnx.load_from_string(io.to_bytes(zeroed(found, gone))), feeds)
    given_ = run_onnx(onnx.load_from_string(content), feeds)
    for name, value in expected.items():
        if value.dtype.kind == "f" and np.isfinite(value).all() and np.abs(value).max() > 1e-6:
            assert _ulp(given_[name], value) <= LARGEST_ULP


def _is_checked(model: onnx.ModelProto) -> bool:
    """Whether onnx's checker takes the graph as drawn: it wants shapes that inference does not find."""
    try:
        onnx.checker.check_model(model, full_check=True)
    except onnx.checker.ValidationError:
        return False
    return True


def test_sabotage_a_sum_that_ties_nothing_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the tie of a residual the two sides lose different channels, or the graph does not run."""

    def loose(node: object, trace: Trace) -> bool:
        values = [value for value in node.inputs if value is not None]  # type: ignore[attr-defined]
        trace.give(node.outputs[0], trace.axes(values[0]))  # type: ignore[attr-defined]
        return True

    monkeypatch.setitem(_rules(), "Add", loose)
    assert _failures() > 0


def test_sabotage_offsets_of_a_concatenation_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def swapped(node: object, trace: Trace) -> bool:
        assert rules_shape.concat(node, trace)  # type: ignore[arg-type]
        output = node.outputs[0]  # type: ignore[attr-defined]
        trace.give(output, [axis if axis is None else axis[::-1] for axis in trace.axes(output)])
        return True

    monkeypatch.setitem(_rules(), "Concat", swapped)
    assert _failures() > 0


def test_sabotage_sizes_that_are_not_rewritten_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Trace, "count", lambda *_args, **_keywords: None)
    assert _failures() > 0


def test_sabotage_a_scale_that_stays_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A normalization that passes channels on and leaves its scale as long as it was."""

    def passes(node: object, trace: Trace) -> bool:
        trace.give(node.outputs[0], trace.axes(node.inputs[0]))  # type: ignore[attr-defined]
        return True

    monkeypatch.setitem(_rules(), "LayerNormalization", passes)
    assert _failures(embedding_widths=True) > 0


def test_sabotage_the_mean_of_what_is_gone_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Held against normalizations of all channels, zeros among them, the pruned graphs are others."""
    monkeypatch.setattr(f"{__name__}.masked", lambda found, model, gone: model)
    assert _failures(embedding_widths=True) > 0


def _rules() -> dict[str, object]:
    from edgekit.pruning import dependency

    return dependency._RULES  # type: ignore[return-value]


def _failures(*, embedding_widths: bool = False) -> int:
    """Of 60 random graphs, those that break or are off."""
    failed = 0

    @settings(max_examples=60, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
    @given(prunable_graphs())
    def look(model: onnx.ModelProto) -> None:
        nonlocal failed
        try:
            failed += difference_ulp(model, embedding_widths=embedding_widths) > LARGEST_ULP
        except Exception:  # noqa: BLE001  (however it breaks, it is seen)
            failed += 1

    look()
    return failed
