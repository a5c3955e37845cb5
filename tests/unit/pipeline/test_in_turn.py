"""A runner that is closed before another is opened gives the same outputs, in the same order."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgekit import dataset
from edgekit.backends.onnxruntime import open_model
from edgekit.dataset import Dataset, DataSource
from edgekit.errors import InputError
from edgekit.ir import io
from edgekit.pipeline import in_turn
from edgekit.spec import Array, RunOptions, Silent
from edgekit.validation.evaluate import DEFAULT_BATCH_SIZE
from edgekit.validation.streaming import run_in_batches, stream
from tests.unit.litert.litert_models import Model

COUNT = 2 * DEFAULT_BATCH_SIZE + 3  # the last batch is short


@pytest.fixture(params=["N", 4], ids=["dynamic", "fixed"])
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    m = Model(seed=2)
    y = m.add("Gemm", m.input("x", (request.param, 6)), m.weight(3, 6), transB=1, out="y")
    onnx.save(m.build(y), tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def _data(model: Path) -> Dataset:
    x = np.random.default_rng(0).standard_normal((COUNT, 6), np.float32)
    np.savez(model.with_name("x.npz"), x=x)
    return dataset.load(DataSource("x.npz"), inputs=io.specs(io.load(model))[0], base=model.parent)


def _all(model: Path, data: Dataset, *, alone: bool) -> Iterator[dict[str, Array]]:
    opened = partial(open_model, io.load(model), RunOptions())
    with in_turn.running(opened, data, alone=alone, name="float", progress=Silent()) as runner:
        assert runner.facts["runtime"] == "onnxruntime"
        for _, feeds in stream(data.batches, count=COUNT, batch_size=DEFAULT_BATCH_SIZE, exact=True):
            yield run_in_batches(runner, feeds)


def test_what_was_recorded_is_what_runs(model: Path) -> None:
    data = _data(model)
    beside, alone = ([each["y"] for each in _all(model, data, alone=way)] for way in (False, True))
    assert [len(each) for each in alone] == [DEFAULT_BATCH_SIZE, DEFAULT_BATCH_SIZE, 3]
    for one, other in zip(beside, alone, strict=True):
        assert np.array_equal(one, other)
        assert other.flags.writeable  # a Runner's arrays are the caller's


def test_the_session_is_closed_before_the_block_begins(model: Path) -> None:
    """Sabotage: of a runner that is not to be alone it is open in there."""
    data = _data(model)
    for alone in (True, False):
        session = open_model(io.load(model), RunOptions())
        with in_turn.running(lambda s=session: s, data, alone=alone, name="float", progress=Silent()):  # type: ignore[misc]
            if alone:
                with pytest.raises(InputError):
                    session.run(next(iter(data.batches(4))))
            else:
                assert session.run(next(iter(data.batches(4))))
