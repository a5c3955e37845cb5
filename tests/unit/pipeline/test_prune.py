"""`edgekit.prune`: what it refuses, what it writes, and how the search goes on a machine of known speed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import edgekit
from edgekit.errors import ExitCode, InputError
from edgekit.ir import external_data, io
from edgekit.pipeline.prune.speedometer import Speedometer
from edgekit.pipeline.result import PruneResult
from edgekit.pruning.dependency import Dependencies
from edgekit.pruning.refine import Refinement
from edgekit.report import FORMATS, render, render_text
from tests.unit.litert.litert_models import Model
from tests.unit.pruning import clock_of_weights
from tests.unit.pruning.clock_of_weights import speed_row
from tests.unit.pruning.zeroed import float_parameters


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three convolutions and a dense layer, with data of a seed beside it; its label is its own answer."""
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))
    m = Model(seed=3)
    y = m.input("x", ("N", 3, 8, 8))
    for before, after in ((3, 16), (16, 24), (24, 16)):
        y = m.add(
            "Relu", m.add("Conv", y, m.weight(after, before, 3, 3, scale=0.2), m.weight(after), pads=[1] * 4)
        )
    y = m.add("Flatten", m.add("GlobalAveragePool", y))
    proto = m.build(m.add("Gemm", y, m.weight(5, 16), m.weight(5), transB=1, out="scores"))
    onnx.save(proto, tmp_path / "model.onnx")
    data = np.random.default_rng(0).standard_normal((96, 3, 8, 8)).astype(np.float32)
    np.savez(tmp_path / "train.npz", allow_pickle=False, x=data)
    return tmp_path / "model.onnx"


def _pruned(model: Path, *, keep: float | None = None, speedup: float | None = None) -> PruneResult:
    return edgekit.prune(
        model,
        calibration_data=str(model.parent / "train.npz"),
        out=model.parent / "pruned.onnx",
        keep=keep,
        speedup=speedup,
    )


def test_a_part_of_the_channels_is_written_and_reported(model: Path) -> None:
    result = _pruned(model, keep=0.5)
    written = io.load(result.path)
    assert float_parameters(written) == result.parameters < result.float_parameters
    assert result.macs is not None
    assert result.float_macs is not None
    assert result.macs < 0.5 * result.float_macs
    assert [(row.channels, row.kept) for row in result.widths] == [(16, 8), (24, 8), (16, 8)]
    assert 0 < result.output_error < 1
    assert all(row.after <= row.bias_only * (1 + 1e-9) for row in result.repairs)
    for form in ("json", "markdown", "html"):
        assert form in FORMATS
        assert "pruned" in render(result, form).lower()
    assert "layers" not in render_text(result) or "Widths" in render_text(result)


def test_a_large_model_is_not_refined_by_gradients_and_says_so(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights, gradients and two moments of each are more than a large model may hold."""
    refined = list[str]()

    def refine(found: Dependencies, solved: ir.Model, *rest: object, **more: object) -> tuple[object, ...]:
        del found, rest, more
        refined.append("refined")
        return solved, Refinement(passes=7)

    monkeypatch.setattr("edgekit.pipeline.prune.refined.refine", refine)
    small = _pruned(model, keep=0.5)
    assert refined == ["refined"]
    assert small.refined is not None
    assert small.refined.passes == 7
    monkeypatch.setattr(external_data, "LARGE_BYTES", small.float_size_bytes)
    large = _pruned(model, keep=0.5)
    assert refined == ["refined"]
    assert large.refined is not None
    assert large.refined.passes == 0
    assert large.repairs
    assert "not refined: the model is large" in render_text(large)


@pytest.mark.parametrize(
    ("keep", "speedup", "said"),
    [
        (None, None, "prune needs one of --speedup, --keep"),
        (0.5, 1.5, "prune needs one of --speedup, --keep"),
        (1.5, None, "--keep 1.5 is no part"),
        (None, 0.9, "--speedup 0.9 is not faster"),
    ],
)
def test_what_is_asked_for_has_to_make_sense(
    model: Path, keep: float | None, speedup: float | None, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        _pruned(model, keep=keep, speedup=speedup)


def test_a_model_of_which_nothing_may_go_says_why(model: Path) -> None:
    m = Model()
    y = m.add("Softmax", m.add("Conv", m.input("x", ("N", 3, 8, 8)), m.weight(8, 3, 1, 1)), axis=1)
    onnx.save(m.build(y), model)
    with pytest.raises(InputError, match="no channel of this model may go") as caught:
        _pruned(model, keep=0.5)
    assert "is computed over all of them" in caught.value.why


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The whole gains ``clock[0]`` of what is promised."""
    gains = [1.0]
    clock_of_weights.install(monkeypatch, gains=gains)
    return gains


def test_the_search_asks_for_more_until_it_is_fast_enough(model: Path, clock: list[float]) -> None:
    """P1: the whole gains half of what the parts promised."""
    clock[0] = 0.5
    result = _pruned(model, speedup=1.4)
    assert result.exit_code is ExitCode.OK
    assert result.path.is_file()
    assert [row.said for row in result.search][-1] == "fast enough"
    assert len(result.search) > 1
    assert 1 / result.speeds[0].ratio.value >= 1.4
    assert result.table
    assert all(row.error is not None for row in result.table if row.saving > 0)


def _says(monkeypatch: pytest.MonkeyPatch, factor: Callable[[], float]) -> None:
    """Every measurement of a whole model gives the next of these."""
    monkeypatch.setattr(Speedometer, "times_faster", lambda *_: factor())
    monkeypatch.setattr(Speedometer, "speeds", lambda *_: (speed_row(factor()),))


def test_of_what_is_fast_enough_the_least_costly_is_taken(
    model: Path, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disturbed clock: too fast, then too slow, so that the last plan cuts more than the first."""
    del clock
    factors = iter([1.9, 1.0, 1.9])
    _says(monkeypatch, lambda: next(factors, 1.9))
    result = _pruned(model, speedup=1.4)
    enough = [row.kept for row in result.search if row.said == "fast enough"]
    assert enough[0] > enough[-1]
    kept = sum(row.kept for row in result.widths) / sum(row.channels for row in result.widths)
    assert kept == pytest.approx(enough[0], abs=0.01)


@pytest.mark.parametrize("then", [1.5, 1.31], ids=["clearer", "nothing clearer"])
def test_what_is_fast_enough_by_a_hair_is_taken_where_nothing_is_clearer(
    model: Path, clock: list[float], monkeypatch: pytest.MonkeyPatch, then: float
) -> None:
    """S2: 1.31 where 1.3 is asked for is within what two measurements of the same file differ."""
    del clock
    factors = iter([1.31])
    _says(monkeypatch, lambda: next(factors, then))
    result = _pruned(model, speedup=1.3)
    assert result.exit_code is ExitCode.OK
    by_a_hair = [row.said.startswith("fast enough by a hair") for row in result.search]
    assert by_a_hair[0]
    assert all(by_a_hair) == (then == 1.31)
    taken = next((row for row in result.search if row.said == "fast enough"), result.search[0])
    kept = sum(row.kept for row in result.widths) / sum(row.channels for row in result.widths)
    assert kept == pytest.approx(taken.kept, abs=0.01)


def test_a_speed_that_no_width_gives_is_an_honest_failure(model: Path, clock: list[float]) -> None:
    del clock
    result = _pruned(model, speedup=50)
    assert result.exit_code is ExitCode.LATENCY_OR_SIZE_GATE
    assert not result.path.exists()
    (gate,) = result.gates
    assert gate.name == "speedup"
    assert "smallest width" in gate.reason
    assert "--speedup" in gate.remedy


def test_the_width_that_a_normalization_is_over_is_one_of_the_table(
    model: Path, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """P3: --speedup sees what it costs and saves; --keep and large models leave it, and say why."""
    del clock
    m = Model(seed=4)
    x = m.add(
        "MatMul", m.input("x", ("N", 6, 8)), m.constant(m.rng.standard_normal((8, 32)).astype("f"), "embed")
    )
    x = m.add("LayerNormalization", x, m.weight(32), m.weight(32), axis=-1)
    y = m.add("MatMul", m.add("Relu", m.add("MatMul", x, m.weight(32, 16))), m.weight(16, 32))
    y = m.add("ReduceMean", m.add("Add", x, y), m.ints(1), keepdims=0)
    onnx.save(m.build(m.add("Gemm", y, m.weight(5, 32), m.weight(5), transB=1)), model)
    data = np.random.default_rng(0).standard_normal((96, 6, 8)).astype(np.float32)
    np.savez(model.parent / "train.npz", allow_pickle=False, x=data)
    fast = _pruned(model, speedup=1.4)
    assert fast.exit_code is ExitCode.OK
    cells = [row for row in fast.table if row.group == "embed"]
    assert [row.kept for row in cells] == [24, 16, 8]
    assert all(row.error is not None and 0 < row.error < float("inf") for row in cells)
    kept = _pruned(model, keep=0.5)
    assert any("takes mean and variance over all of them" in row.reason for row in kept.kept)
    assert "embed" not in {row.group for row in kept.widths}
    monkeypatch.setattr(external_data, "LARGE_BYTES", kept.float_size_bytes)
    assert "embed" not in {row.group for row in _pruned(model, speedup=1.2).table}


def test_a_budget_that_ends_first_writes_nothing_and_says_what_it_allows(
    model: Path, clock: list[float]
) -> None:
    """P2: labels are the float model's own answers, so that it scores 100 % and any change costs."""
    del clock
    with np.load(model.parent / "train.npz") as held:
        x = held["x"]
    with edgekit.open(model) as session:
        answers = np.concatenate([session.run({"x": x[i : i + 8]})["scores"] for i in range(0, 96, 8)])
    np.savez(
        model.parent / "test.npz", allow_pickle=False, x=x, labels=answers.argmax(axis=1).astype(np.int64)
    )
    result = edgekit.prune(
        model,
        calibration_data=str(model.parent / "train.npz"),
        out=model.parent / "pruned.onnx",
        speedup=1.6,
        eval_data=str(model.parent / "test.npz"),
        max_drop_pp=0.01,
    )
    assert result.exit_code in {ExitCode.ACCURACY_GATE, ExitCode.INCONCLUSIVE}
    assert not result.path.exists()
    assert {row.said for row in result.search} >= {"fast enough", "outside the budget"}
    assert len({row.aimed for row in result.search}) > 1
