"""`edgekit.prune(sparsity=..., pattern=...)`: what it writes, what it says of speed, and when it refuses."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import onnx
import pytest

import edgekit
from edgekit.errors import ExitCode, InputError
from edgekit.ir import io
from edgekit.ir.graph import constant
from edgekit.pipeline.prune import zeros
from edgekit.pipeline.prune.for_release import trained_with
from edgekit.pipeline.prune.speedometer import Speedometer
from edgekit.pipeline.result import LatencyRow, PruneResult, RatioRow
from edgekit.pipeline.result.prune import PruneSpeedRow
from edgekit.recipe import PruneTable
from edgekit.report import render, render_text
from tests.unit.litert.litert_models import Model, as_ir


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two dense layers with data of a seed; its label is its own answer."""
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))
    m = Model(seed=3)
    y = m.add("Relu", m.add("Gemm", m.input("x", ("N", 40)), m.weight(64, 40), m.weight(64), transB=1))
    proto = m.build(m.add("Gemm", y, m.weight(32, 64), m.weight(32), transB=1, out="scores"))
    onnx.save(proto, tmp_path / "model.onnx")
    rng = np.random.default_rng(0)
    data = (rng.standard_normal((256, 30)) @ rng.standard_normal((30, 40))).astype(np.float32)
    np.savez(tmp_path / "train.npz", allow_pickle=False, x=data)
    return tmp_path / "model.onnx"


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, float, float]]:
    """The ratio to float that every target shows, and its interval."""
    ratio = [(1.0, 0.98, 1.02)]

    def speeds(self: Speedometer, *_: object) -> tuple[PruneSpeedRow, ...]:
        latency = LatencyRow(1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 10, True)
        row = RatioRow("float", *ratio[0])
        return tuple(PruneSpeedRow(each.name, latency, latency, row) for each in self.targets)

    monkeypatch.setattr(Speedometer, "speeds", speeds)
    return ratio


def _pruned(
    model: Path, *, sparsity: float | None = None, pattern: str | None = None, require_speedup: bool = False
) -> PruneResult:
    return edgekit.prune(
        model,
        calibration_data=str(model.parent / "train.npz"),
        out=model.parent / "sparse.onnx",
        sparsity=sparsity,
        pattern=pattern,
        require_speedup=require_speedup,
    )


def test_zeros_are_written_and_their_size_is_that_of_a_compressed_file(model: Path) -> None:
    result = _pruned(model, sparsity=0.5)
    assert result.exit_code is ExitCode.OK
    written = [constant(node.inputs[1]) for node in io.load(result.path).graph if node.op_type == "Gemm"]
    assert [round(float((weight == 0).mean()), 2) for weight in written if weight is not None] == [0.5, 0.5]
    assert result.parameters == result.float_parameters - sum(row.zeros for row in result.sparse)
    assert result.compressed_bytes is not None
    assert result.float_compressed_bytes is not None
    assert result.compressed_bytes < 0.75 * result.float_compressed_bytes
    assert result.size_bytes == result.float_size_bytes
    text = render_text(result)
    assert "size only" in text
    assert "size compressed" in text
    assert "sparse" in render(result, "json")


def test_the_weights_beside_the_zeros_are_refined_together_or_left_as_solved(model: Path) -> None:
    errors = []
    for repair in ("layers", "blocks"):
        result = edgekit.prune(
            model,
            calibration_data=str(model.parent / "train.npz"),
            out=model.parent / f"{repair}.onnx",
            pattern="2:4",
            repair=repair,
        )
        written = [constant(node.inputs[1]) for node in io.load(result.path).graph if node.op_type == "Gemm"]
        for weight in (each for each in written if each is not None):
            assert (np.count_nonzero(weight.reshape(-1, 4), axis=1) <= 2).all()
        errors.append(result.output_error)
    assert result.refined is not None
    assert result.refined.passes, result.refined.why
    assert errors[1] < errors[0]
    assert "then all blocks together" in render_text(result)
    assert trained_with(PruneTable(pattern="2:4")) == ("torch",)
    assert trained_with(PruneTable(pattern="2:4", repair="layers")) == ()


def test_a_compressed_size_is_that_of_a_zip_archive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of tensors that are compressed in pieces; byte for byte the same."""
    monkeypatch.setattr(zeros, "PIECE_BYTES", 1000)
    m, rng = Model(), np.random.default_rng(0)
    weight = np.where(rng.random((100, 64)) < 0.5, 0, rng.standard_normal((100, 64))).astype(np.float32)
    model = as_ir(m.build(m.add("MatMul", m.input("x", ("N", 100)), m.constant(weight, "w"))))
    assert zeros.compressed_bytes(model) == len(zlib.compress(weight.tobytes(), zeros.LEVEL))


def test_a_target_that_is_faster_is_not_called_size_only(
    model: Path, machine: list[tuple[float, float, float]]
) -> None:
    machine[0] = (0.8, 0.7, 0.9)
    assert _pruned(model, pattern="2:4", require_speedup=True).notes == ()


@pytest.mark.parametrize("ratio", [(1.0, 0.98, 1.02), (0.97, 0.9, 1.01)])
def test_a_speed_that_is_required_and_not_shown_writes_nothing(
    model: Path, machine: list[tuple[float, float, float]], ratio: tuple[float, float, float]
) -> None:
    machine[0] = ratio
    result = _pruned(model, pattern="2:4", require_speedup=True)
    assert result.exit_code is ExitCode.LATENCY_OR_SIZE_GATE
    assert not result.path.exists()
    assert "multiply by zeros" in render_text(result)


def test_a_model_that_cannot_take_the_pattern_says_why(model: Path) -> None:
    m = Model()
    onnx.save(m.build(m.add("Gemm", m.input("x", ("N", 40)), m.weight(8, 40), m.weight(8), transB=1)), model)
    with pytest.raises(InputError, match="no layer of this model can have zeros") as caught:
        _pruned(model, pattern="2:4")
    assert "it has 320 weights" in caught.value.why


@pytest.mark.parametrize(
    ("sparsity", "require", "said"),
    [(1.5, False, "--sparsity 1.5 is no part"), (None, True, "prune needs one of")],
)
def test_what_is_asked_for_has_to_make_sense(
    model: Path, sparsity: float | None, require: bool, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        _pruned(model, sparsity=sparsity, require_speedup=require)
