"""Random graphs (``litert_graphs``) keep their values in the file; none is refused.

Tolerance 1e-4 of the output's range; graphs are drawn by hypothesis from a fixed seed (derandomize). Each
step takes a value that exists already, so that diamonds, several readers and layout-sensitive mixes come up.
``python -m benchmarks litert_random_graphs`` draws 2,000.
"""

from __future__ import annotations

import numpy as np
import onnx
from hypothesis import HealthCheck, given, settings

from tests.property.litert_graphs import graphs
from tests.unit.litert.litert_models import relative_error, run_litert, run_onnx

TOLERANCE = 1e-4


def difference(model: onnx.ModelProto) -> float:
    """Largest difference between both runtimes, as a part of the output's range."""
    shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    feeds = {"x": np.random.default_rng(0).standard_normal(shape).astype(np.float32)}
    (expected,) = run_onnx(model, feeds).values()
    (found,) = run_litert(model, feeds).values()
    return relative_error(found, expected)


@settings(max_examples=200, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(graphs())
def test_a_random_graph_keeps_its_values(model: onnx.ModelProto) -> None:
    assert difference(model) <= TOLERANCE
