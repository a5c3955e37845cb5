"""ONNX -> ``.tflite`` by edgekit's compiler -> ONNX by the front end, against the file itself on LiteRT.

Every case of the compiler's own parity tests goes through: float within 1e-5 of the output's range, int8
within 1 step on 95 % of the values and 5 on 99.9 %. Inputs standard normal, seed 1; a dynamic batch is run
with 1 and with 3. The canonical form of what was read computes what was read.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit.frontends.request import Loaded
from edgekit.passes import canonicalize
from edgekit.spec import Array
from tests.parity import test_litert_float, test_litert_int8
from tests.unit.frontends.tflite_files import loaded, run_plain, written
from tests.unit.litert.litert_models import Model, relative_error

TOLERANCE = 1e-5
SEED = 1


def feeds_of(source: Loaded, *, batch: int, positive: bool) -> dict[str, Array]:
    rng = np.random.default_rng(SEED)
    assert source.reference is not None
    feeds: dict[str, Array] = {}
    for spec in source.reference.inputs:
        values = rng.standard_normal([dim if isinstance(dim, int) else batch for dim in spec.shape])
        feeds[spec.name] = (np.abs(values) + 0.1 if positive else values).astype(spec.dtype)
    return feeds


@pytest.mark.parametrize("case", test_litert_float.CASES, ids=lambda case: case.id)
def test_float_file_is_read_as_what_it_computes(case: test_litert_float.Case, tmp_path: Path) -> None:
    model = Model()
    source = loaded(written(model.build(case.make(model, model.input("x", case.shape))), tmp_path))
    assert source.reference is not None
    assert source.output_steps == {}
    canonical = canonicalize(source.model)
    for batch in (1, 3) if "batch" in case.shape else (1,):
        feeds = feeds_of(source, batch=batch, positive=case.positive)
        for expected, found, same in zip(
            source.reference.run(feeds).values(),
            run_plain(source.model, feeds),
            run_plain(canonical, feeds),
            strict=True,
        ):
            assert relative_error(found, expected) <= TOLERANCE, batch
            assert relative_error(same, expected) <= TOLERANCE, batch


@pytest.mark.parametrize("case", test_litert_int8.CASES, ids=lambda case: case.id)
def test_int8_file_is_read_within_steps(case: test_litert_int8.Case, tmp_path: Path) -> None:
    built, _ = test_litert_int8._model(case)
    source = loaded(written(built, tmp_path))
    assert source.reference is not None
    feeds = feeds_of(source, batch=1, positive=False)
    (expected,) = source.reference.run(feeds).values()
    for model in (source.model, canonicalize(source.model)):
        (found,) = run_plain(model, feeds)
        steps = np.abs(found.astype(np.float64) - expected.astype(np.float64)) / case.step
        assert np.mean(steps <= 1.01) >= 0.95
        assert np.mean(steps <= 5.01) >= 0.999


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_a_sequence_kernel_is_read_as_what_it_computes(direction: str, tmp_path: Path) -> None:
    """Its state is cleared in each inference: so is a variable, for whoever reads the file."""
    model = Model()
    count = 2 if direction == "bidirectional" else 1
    x = model.input("x", (6, 1, 3))
    weights = [model.weight(count, 20, 3), model.weight(count, 20, 5), model.weight(count, 40)]
    y = model.add("LSTM", x, *weights, hidden_size=5, direction=direction)
    source = loaded(written(model.build(y), tmp_path))
    assert source.reference is not None
    for _ in range(2):
        feeds = feeds_of(source, batch=1, positive=False)
        (expected,) = source.reference.run(feeds).values()
        (found,) = run_plain(canonicalize(source.model), feeds)
        assert relative_error(found, expected) <= TOLERANCE
