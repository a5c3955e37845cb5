"""What the parity tests of the tflite front end rest on goes red when the import is wrong.

Seed 1; the healthy file is within 1e-5 (float) and one step (int8), as tests/parity holds.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from edgekit.errors import ExportError, ModelFileError
from edgekit.frontends.tflite import convert
from edgekit.frontends.tflite.ops import conv
from edgekit.passes import canonicalize
from edgekit.spec import Array
from tests.parity import test_litert_int8
from tests.unit.frontends.tflite_files import loaded, run_plain, written
from tests.unit.litert.litert_models import Model


def integer_file(tmp_path: Path) -> Path:
    built, _ = test_litert_int8._model(next(case for case in test_litert_int8.CASES if case.id == "conv"))
    return written(built, tmp_path)


def with_constant(model: ir.Model, suffix: str, change: Callable[[Array], Array]) -> ir.Model:
    """A clone in which one constant is another one."""
    model = model.clone()
    name = next(each for each in sorted(model.graph.initializers) if each.endswith(suffix))
    value = model.graph.initializers[name]
    assert value.const_value is not None
    value.const_value = ir.tensor(change(value.const_value.numpy()), name=name)
    return model


@pytest.mark.parametrize(
    ("suffix", "change"),
    [
        ("/integers", lambda data: data[::-1].copy()),
        ("/zero_point", lambda data: np.full_like(data, 100)),
        ("/scale", lambda data: data * np.float32(1.1)),
    ],
    ids=["weights in another order", "zero point that saturates", "scale"],
)
def test_wrong_integers_are_seen(suffix: str, change: Callable[[Array], Array], tmp_path: Path) -> None:
    source = loaded(integer_file(tmp_path))
    assert source.reference is not None
    (spec,) = source.reference.inputs
    shape = [dim if isinstance(dim, int) else 2 for dim in spec.shape]
    feeds = {spec.name: np.random.default_rng(1).normal(size=shape).astype(np.float32)}
    (expected,) = source.reference.run(feeds).values()
    (healthy,) = run_plain(source.model, feeds)
    (sick,) = run_plain(with_constant(source.model, suffix, change), feeds)
    (step,) = source.output_steps.values()

    def far(found: Array) -> float:
        apart = np.abs(np.asarray(expected, np.float64) - np.asarray(found, np.float64))
        return float(np.mean(apart > 1.01 * step))

    assert far(healthy) <= 0.05 < far(sick)


def test_wrong_padding_contradicts_the_shapes_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Model()
    x = model.input("x", (1, 3, 8, 8))
    path = written(model.build(model.add("Conv", x, model.weight(4, 3, 3, 3), pads=[1, 1, 1, 1])), tmp_path)
    loaded(path)
    monkeypatch.setattr(conv, "same_pads", lambda *_: [0, 0, 0, 0])
    with pytest.raises(ModelFileError, match="contradicts"):
        loaded(path)


def test_an_operator_that_is_not_in_the_table_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = integer_file(tmp_path)
    canonicalize(loaded(path).model)
    monkeypatch.delitem(convert.LOWERINGS, "CONV_2D")
    with pytest.raises(ExportError, match="CONV_2D"):
        loaded(path)
