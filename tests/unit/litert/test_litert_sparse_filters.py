"""Filters of 1x1 convolutions that are mostly zero: what the file holds, and that nothing else changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgekit import target as targets
from edgekit.backends.base import CompileRequest
from edgekit.backends.litert import backend as module
from edgekit.backends.litert.backend import LiteRt
from edgekit.backends.litert.reading import read
from edgekit.backends.litert.sparse import with_sparse_filters
from edgekit.backends.litert.tensors import Graph, Operator, Rows, Tensor
from edgekit.spec import Array, Artifact, Precision, RunOptions
from tests.unit.litert.litert_models import Model, as_ir, relative_error, run_onnx

TARGET = targets.load("litert-cpu")


def _mostly_zero(*shape: int, part: float, seed: int = 5) -> Array:
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal(shape).astype(np.float32)
    weight[rng.random(shape) < part] = 0
    return weight


def _network(part: float) -> onnx.ModelProto:
    """Convolutions of 3x3, depthwise and 1x1, of which the last is ``part`` zeros, and one row all."""
    m = Model(seed=4)
    x = m.input("image", (1, 3, 16, 16))
    y = m.add("Relu", m.add("Conv", x, m.weight(64, 3, 3, 3, scale=0.2), pads=[1] * 4, strides=[2, 2]))
    y = m.add("Relu", m.add("Conv", y, m.weight(64, 1, 3, 3, scale=0.3), group=64, pads=[1] * 4))
    filters = _mostly_zero(300, 64, 1, 1, part=part)
    filters[7] = 0
    y = m.add("Relu", m.add("Conv", y, m.constant(filters), m.weight(300)))
    return m.build(m.add("GlobalAveragePool", y, out="features"))


def _compiled(model: onnx.ModelProto, folder: Path) -> Artifact:
    return LiteRt().compile(CompileRequest(as_ir(model), TARGET, Precision.FP32, RunOptions(), "m"), folder)


def _file(artifact: Artifact) -> Path:
    return artifact.folder / artifact.files[0].path


def _operators(artifact: Artifact) -> list[str]:
    return [layer.operator for layer in read(_file(artifact)).layers]


def test_the_file_is_smaller_and_computes_the_same(tmp_path: Path) -> None:
    """To 8 ULP of the range: XNNPACK may sum in another order."""
    model = _network(0.85)
    feeds = {"image": np.random.default_rng(1).standard_normal((1, 3, 16, 16)).astype(np.float32)}
    artifact = _compiled(model, tmp_path)
    assert "DENSIFY" in _operators(artifact)
    assert _file(artifact).stat().st_size < 0.6 * 300 * 64 * 4
    with LiteRt().open(artifact, RunOptions()) as session:
        found = session.run(feeds)["features"]
        assert session.facts["kernels"] == "xnnpack"
    assert relative_error(found, run_onnx(model, feeds)["features"]) < 8 * 2**-23


@pytest.mark.parametrize("part", [0.0, 0.6])
def test_fewer_zeros_stay_dense(part: float, tmp_path: Path) -> None:
    """XNNPACK takes sparse kernels above two thirds."""
    assert "DENSIFY" not in _operators(_compiled(_network(part), tmp_path))


def _graph(data: Array) -> Graph:
    tensors = (
        Tensor("x", "float32", (1, 4, 4, data.shape[-1])),
        Tensor("w", "float32", data.shape, data=data),
        Tensor("y", "float32", (1, 4, 4, data.shape[0])),
    )
    return Graph(tensors, (Operator("CONV_2D", (0, 1, -1), (2,)),), (0,), (2,), ("x",), ("y",))


def test_rows_say_where_the_values_stand() -> None:
    data = np.zeros((3, 1, 1, 6), np.float32)
    data[0, 0, 0, [1, 5]] = [2, 3]
    data[2, 0, 0, 0] = 4
    graph = with_sparse_filters(_graph(data))
    stored = graph.tensors[1]
    assert stored.rows == Rows((0, 2, 2, 3), (1, 5, 0))
    assert stored.data is not None
    assert stored.data.tolist() == [2, 3, 4]
    assert [op.code for op in graph.operators] == ["DENSIFY", "CONV_2D"]
    assert graph.operators[1].inputs[1] == graph.operators[0].outputs[0] == 3


def test_filters_of_other_kernels_stay() -> None:
    graph = _graph(_mostly_zero(8, 3, 3, 16, part=0.9))
    assert with_sparse_filters(graph) is graph


def test_wrong_columns_give_wrong_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sabotage: every value one column to the right."""

    def shifted(graph: Graph) -> Graph:
        made = with_sparse_filters(graph)
        tensors = tuple(
            replace(each, rows=Rows(each.rows.ends, tuple((column + 1) % 64 for column in each.rows.columns)))
            if each.rows
            else each
            for each in made.tensors
        )
        return replace(made, tensors=tensors)

    monkeypatch.setattr(module, "with_sparse_filters", shifted)
    model = _network(0.85)
    feeds = {"image": np.random.default_rng(1).standard_normal((1, 3, 16, 16)).astype(np.float32)}
    with LiteRt().open(_compiled(model, tmp_path), RunOptions()) as session:
        found = session.run(feeds)["features"]
    assert relative_error(found, run_onnx(model, feeds)["features"]) > 0.05
