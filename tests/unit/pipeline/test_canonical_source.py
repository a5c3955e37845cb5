"""An ONNX file that is canonical already is its own proof; any other is run beside its canonical form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from edgekit.errors import ParityError
from edgekit.frontends.source import SourceRequest
from edgekit.ir import digest, io
from edgekit.passes import canonicalize
from edgekit.pipeline import model as models
from edgekit.pipeline.cache import Cache
from edgekit.pipeline.model import Canonical
from edgekit.spec import Silent


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """Dropout and a constant sum: two things that the canonical form has not."""
    value = helper.make_tensor_value_info
    nodes = [
        helper.make_node("Dropout", ["x"], ["d"]),
        helper.make_node("Add", ["a", "b"], ["c"]),
        helper.make_node("Mul", ["d", "c"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [value("x", onnx.TensorProto.FLOAT, ["batch", 4])],
        [value("y", onnx.TensorProto.FLOAT, ["batch", 4])],
        [numpy_helper.from_array(np.ones(4, np.float32), name) for name in ("a", "b")],
    )
    path = tmp_path / "plain.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)
    return path


@pytest.fixture
def canonical(plain: Path, tmp_path: Path) -> Path:
    path = tmp_path / "canonical.onnx"
    io.save(canonicalize(io.load(plain)), path)
    return path


def obtain(path: Path, cache: Path) -> Canonical:
    request = SourceRequest(source=path.name, base=path.parent)
    return models.obtain(request, tolerance=1e-4, cache=Cache(cache), progress=Silent())


def test_a_canonical_file_is_its_own_proof(canonical: Path, tmp_path: Path) -> None:
    found = obtain(canonical, tmp_path / "cache")
    assert found.parity.cases == 0
    assert [each.name for each in found.parity.outputs] == ["y"]
    assert found.parity.passed
    assert found.parity.worst.max_abs == 0
    assert not list((tmp_path / "cache").rglob("*.onnx"))


def test_another_file_is_run(plain: Path, tmp_path: Path) -> None:
    found = obtain(plain, tmp_path / "cache")
    assert found.parity.cases > 0
    assert len(list((tmp_path / "cache").rglob("*.onnx"))) == 1


@pytest.mark.parametrize("name", ["plain", "canonical"])
def test_the_cache_gives_the_same_model(
    name: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path: Path = request.getfixturevalue(name)
    first = obtain(path, tmp_path / "cache")
    monkeypatch.setattr(models, "_make", None)  # a second proof would fail
    second = obtain(path, tmp_path / "cache")
    assert second.digest == first.digest == digest.digest(second.model)
    assert second.parity == first.parity
    shapes = [
        [str(out.shape) for node in each.model.graph for out in node.outputs] for each in (first, second)
    ]
    assert shapes[0] == shapes[1]


def test_sabotage_a_canonicalization_that_changes_a_weight_is_run(
    canonical: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def changed(model: object) -> object:
        del model
        other = io.load(canonical)
        for value in other.graph.initializers.values():
            tensor = value.const_value
            assert tensor is not None
            value.const_value = type(tensor)(tensor.numpy() * 2, name=tensor.name)  # type: ignore[call-arg]
        return other

    monkeypatch.setattr(models, "canonicalize", changed)
    with pytest.raises(ParityError):
        obtain(canonical, tmp_path / "cache")
