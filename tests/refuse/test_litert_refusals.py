"""What the TFLite compiler does not write: refused with node, rule, reason, remedy; no file is left."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from edgekit import errors
from edgekit import target as targets
from edgekit.backends.base import CompileRequest
from edgekit.backends.litert import flatbuffer, lower
from edgekit.backends.litert.backend import LiteRt
from edgekit.backends.litert.engine import LiteRtEngine
from edgekit.spec import Precision, RunOptions
from tests.unit.litert.litert_models import Model, as_ir

TARGET = "litert-cpu"


@dataclass(frozen=True)
class Case:
    id: str
    rule: str
    make: Callable[[Model], str]


def _x(model: Model, *shape: int | str, dtype: str = "float32") -> str:
    return model.input("x", shape or (1, 3, 8, 8), dtype)


def _ints(model: Model, *values: int) -> str:
    return model.constant(np.asarray(values, np.int64))


def _scalar(model: Model, value: int) -> str:
    return model.constant(np.asarray(value, np.int64))


def _boxes(model: Model, most: int, overlap: float) -> str:
    limits = (_ints(model, most), model.floats(overlap))
    return model.add("NonMaxSuppression", _x(model, 1, 5, 4), model.input("s", (1, 1, 5)), *limits)


def _limit(model: Model, name: str) -> str:
    return model.add("Cast", model.input(name, (), "int64"), to=5)  # int16


def _rnn(model: Model, length: int | str, batch: int | str, *more: str, **attributes: Any) -> str:
    x = _x(model, length, batch, 3)
    w, r = model.weight(1, 4, 3), model.weight(1, 4, 4)
    return model.add("RNN", x, w, r, *more, hidden_size=4, **attributes)


def _quantized_16(model: Model, dtype: str, zero: int) -> str:
    x = _x(model, 2, 4)
    return model.quantized(x, 0.1, zero, dtype=dtype)


CASES: tuple[Case, ...] = (
    Case("unknown", "unknown-operator", lambda m: m.add("Multinomial", _x(m, 2, 2), sample_size=1)),
    Case(
        "conv-4d",
        "spatial-axes",
        lambda m: m.add("Conv", _x(m, 1, 2, 4, 4, 4, 4), m.weight(2, 2, 3, 3, 3, 3)),
    ),
    Case(
        "computed-weight",
        "constant-weight",
        lambda m: m.add("Conv", _x(m), m.input("w", (4, 3, 3, 3))),
    ),
    Case(
        "computed-transposed-weight",
        "constant-weight",
        lambda m: m.add("ConvTranspose", _x(m), m.input("w", (3, 4, 3, 3))),
    ),
    Case(
        "transposed-4d",
        "spatial-axes",
        lambda m: m.add("ConvTranspose", _x(m, 1, 2, 2, 2, 2, 2), m.weight(2, 2, 1, 1, 1, 1)),
    ),
    Case("float64", "type", lambda m: m.add("Sin", _x(m, 2, 3, dtype="float64"))),
    Case("plain-int8", "plain-bytes", lambda m: m.add("ReduceMean", _x(m, 2, 3, dtype="int8"))),
    Case("int64-abs", "kernel-type", lambda m: m.add("Abs", _x(m, 2, 3, dtype="int64"))),
    Case(
        "int64-bits",
        "bit-width",
        lambda m: m.add("BitwiseAnd", _x(m, 2, 3, dtype="int64"), "x"),
    ),
    Case(
        "resize-to-dynamic",
        "dynamic-resize",
        lambda m: m.add("Resize", _x(m, 1, 3, "h", 8), "", m.floats(1, 1, 2, 2)),
    ),
    Case(
        "cubic-integers",
        "resize-type",
        lambda m: m.add("Resize", _x(m, 1, 3, 8, 8, dtype="int32"), "", m.floats(1, 1, 2, 2), mode="cubic"),
    ),
    Case(
        "sizes-that-nothing-has",
        "one-dynamic-size",
        lambda m: m.add("Reshape", _x(m, "n", 6), m.input("s", (3,), "int64")),
    ),
    Case("range-of-bytes", "range-type", lambda m: m.add("Range", *(_limit(m, n) for n in "abc"))),
    Case(
        "backwards-with-computed-bounds",
        "dynamic-slice",
        lambda m: m.add(
            "Slice", _x(m, 5), m.input("s", (1,), "int64"), _ints(m, 0), _ints(m, 0), _ints(m, -1)
        ),
    ),
    Case("uint16-activations", "activation-type", lambda m: _quantized_16(m, "uint16", 32768)),
    Case("int16-zero-point", "int16-zero-point", lambda m: _quantized_16(m, "int16", 5)),
    Case(
        "computed-axes",
        "constant-parameter",
        lambda m: m.add("Tile", _x(m, 2, 3), m.input("r", (2,), "int64")),
    ),
    Case("cast-to-double", "cast-type", lambda m: m.add("Cast", _x(m, 2, 3), to=11)),
    Case(
        "integer-to-a-computed-power",
        "integer-power",
        lambda m: m.add("Pow", _x(m, 2, 3, dtype="int32"), m.input("n", (3,), "int32")),
    ),
    Case(
        "integer-to-a-negative-power",
        "integer-power",
        lambda m: m.add("Pow", _x(m, 2, 3, dtype="int32"), m.constant(np.asarray(-1, np.int32))),
    ),
    Case(
        "scatter-max-of-int64",
        "scatter-type",
        lambda m: m.add(
            "ScatterND", _x(m, 4, dtype="int64"), m.constant(np.asarray([[1]])), _ints(m, 5), reduction="max"
        ),
    ),
    Case(
        "scatter-out-of-range",
        "index-range",
        lambda m: m.add("ScatterND", _x(m, 4), m.constant(np.asarray([[9]])), m.floats(5)),
    ),
    Case(
        "elements-out-of-range",
        "index-range",
        lambda m: m.add("GatherElements", _x(m, 4), _ints(m, 9)),
    ),
    Case(
        "one-hot-of-floats",
        "index-type",
        lambda m: m.add("OneHot", _x(m, 4), _ints(m, 3), m.floats(0, 1)),
    ),
    Case("einsum-diagonal", "einsum", lambda m: m.add("Einsum", _x(m, "n", "n"), equation="ii->i")),
    Case("large-matrix", "large-matrix", lambda m: m.add("Det", _x(m, 2, 5, 5))),
    Case(
        "bins-that-were-inferred-wrongly",
        "output-size",
        lambda m: m.add("STFT", _x(m, 1, 20, 1), _scalar(m, 4), m.weight(8), _scalar(m, 8)),
    ),
    Case(
        "frames-of-unknown-length",
        "dynamic-size",
        lambda m: m.add("STFT", _x(m, "n", 20, 1), _scalar(m, 4), m.weight(8), _scalar(m, 8), onesided=1),
    ),
    Case(
        "blocked-scales",
        "blocked",
        lambda m: m.add("QuantizeLinear", _x(m, 2, 4), m.weight(2, 2), axis=1, block_size=2),
    ),
    Case(
        "long-integer-sum",
        "long-sum",
        lambda m: m.add(
            "MatMulInteger", _x(m, 2, 300, dtype="uint8"), m.constant(np.ones((300, 2), np.uint8))
        ),
    ),
    Case(
        "words-as-text",
        "text",
        lambda m: m.add(
            "TfIdfVectorizer",
            _x(m, 4, dtype="int64"),
            mode="TF",
            min_gram_length=1,
            max_gram_length=1,
            max_skip_count=0,
            ngram_counts=[0],
            ngram_indexes=[0, 1],
            pool_strings=["a", "b"],
        ),
    ),
    Case("nothing-selected", "nothing-selected", lambda m: _boxes(m, 0, 0.5)),
    Case("overlap", "overlap", lambda m: _boxes(m, 3, 1.0)),
    Case(
        "computed-dft-length",
        "constant-parameter",
        lambda m: m.add("DFT", _x(m, 1, 8, 1), m.input("n", (), "int64")),
    ),
    Case(
        "sequence-lengths-of-a-dynamic-sequence",
        "sequence-lengths",
        lambda m: _rnn(m, "time", 2, "", m.constant(np.asarray([4, 3], np.int32))),
    ),
    Case(
        "transposed-by-two-strides-with-a-dynamic-batch",
        "dynamic-batch",
        lambda m: m.add("ConvTranspose", _x(m, "n", 3, 8, 8), m.weight(3, 2, 3, 3), strides=[2, 3]),
    ),
    Case(
        "backwards-along-a-dynamic-axis",
        "dynamic-slice",
        lambda m: m.add("Slice", _x(m, "n", 3), _ints(m, 9), _ints(m, 0), _ints(m, 0), _ints(m, -1)),
    ),
    Case(
        "expand-to-a-size-that-nothing-has",
        "dynamic-size",
        lambda m: m.add("Expand", _x(m, 1, 3), m.add("Shape", m.input("y", ("n", 3)))),
    ),
    Case(
        "sequence-lengths",
        "sequence-lengths",
        lambda m: _rnn(m, 4, 2, "", m.constant(np.asarray([4, 3], np.int32))),
    ),
    Case(
        "recurrent-activation",
        "recurrent-activation",
        lambda m: _rnn(m, 4, 2, activations=["ScaledTanh"]),
    ),
    Case(
        "training-dropout",
        "training",
        lambda m: m.add("Dropout", _x(m, 2), m.scalar(0.5), m.constant(np.asarray(True))),
    ),
    Case(
        "slice-a-dynamic-axis",
        "dynamic-size",
        lambda m: m.add("Pad", _x(m, "n", 3), _ints(m, -1, 0, 0, 0)),
    ),
)


def _model(case: Case) -> ir.Model:
    model = Model()
    return as_ir(model.build(case.make(model)))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_refused_with_node_rule_reason_remedy(case: Case, tmp_path: Path) -> None:
    model = _model(case)
    target = targets.load(TARGET)
    found = LiteRt().check(model, target)
    rejection = next(r for r in found if r.rule == case.rule)
    assert rejection.node
    assert rejection.reason
    assert rejection.remedy
    with pytest.raises(errors.TargetRefusalError, match="refuses the model") as caught:
        LiteRt().compile(_request(model), tmp_path)
    assert case.rule in str(caught.value)
    assert caught.value.exit_code == errors.ExitCode.TARGET_REFUSES
    assert list(tmp_path.iterdir()) == []


def _request(model: ir.Model) -> CompileRequest:
    return CompileRequest(model, targets.load(TARGET), Precision.FP32, RunOptions(), "m")


def _relu() -> ir.Model:
    model = Model()
    return as_ir(model.build(model.add("Relu", _x(model))))


def test_all_rejections_are_reported_at_once() -> None:
    model = Model()
    x = _x(model, 2, 2)
    y = model.add("Multinomial", x, sample_size=1)
    z = model.add("Cast", x, to=11)
    found = LiteRt().check(as_ir(model.build(y, z)), targets.load(TARGET))
    assert [r.rule for r in found] == ["unknown-operator", "cast-type"]


def test_an_unknown_operator_names_near_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(lower.LOWERINGS, "Sinh")
    model = Model()
    built = as_ir(model.build(model.add("Sinh", _x(model, 2, 2))))
    (found,) = LiteRt().check(built, targets.load(TARGET))
    assert "Sin" in found.reason


def test_a_file_that_the_runtime_refuses_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sabotage of C3: the writer gives other bytes."""
    monkeypatch.setattr(flatbuffer, "parts", lambda graph, **_options: [b"not a flatbuffer"])
    with pytest.raises(errors.EdgekitError, match="has just written") as caught:
        LiteRt().compile(_request(_relu()), tmp_path)
    assert caught.value.exit_code == errors.ExitCode.INTERNAL
    assert list(tmp_path.iterdir()) == []


def test_an_unwritable_folder(tmp_path: Path) -> None:
    with pytest.raises(errors.OutputError, match="cannot be written"):
        LiteRt().compile(_request(_relu()), tmp_path / "missing")


def test_a_missing_package_names_the_install_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "flatbuffers", None)
    with pytest.raises(errors.MissingBackendError, match=r"ai-edge-litert is not installed") as caught:
        LiteRt().compile(_request(_relu()), tmp_path)
    assert 'pip install "edgekit[litert]"' in caught.value.remedy
    assert list(tmp_path.iterdir()) == []


def test_a_missing_runtime_names_the_install_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(errors.MissingBackendError, match=r"edgekit\[litert\]"):
        LiteRtEngine(tmp_path / "m.tflite", RunOptions(), [], [])


def test_another_device_is_refused(tmp_path: Path) -> None:
    with pytest.raises(errors.MissingBackendError, match="cuda"):
        LiteRtEngine(tmp_path / "m.tflite", RunOptions(device="cuda"), [], [])


def test_an_unknown_setting_is_refused(tmp_path: Path) -> None:
    with pytest.raises(errors.InputError, match="unknown LiteRT setting"):
        LiteRtEngine(tmp_path / "m.tflite", RunOptions(settings=(("kernels", "fast"),)), [], [])


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(b"\x00" * 64)
    with pytest.raises(errors.ModelFileError, match=r"m\.tflite"):
        LiteRtEngine(path, RunOptions(), [], [])


def test_a_description_of_another_file_is_noticed(tmp_path: Path) -> None:
    artifact = LiteRt().compile(_request(_relu()), tmp_path)
    with pytest.raises(errors.ModelFileError, match="no tensor 'image'"):
        LiteRtEngine(artifact.path, RunOptions(), ["image"], [])


def test_a_shape_that_the_file_does_not_allow(tmp_path: Path) -> None:
    artifact = LiteRt().compile(_request(_relu()), tmp_path)
    names = [binding.name for binding in artifact.inputs], [binding.name for binding in artifact.outputs]
    engine = LiteRtEngine(artifact.path, RunOptions(), *names)
    with pytest.raises(errors.DataError, match="does not take inputs of shapes"):
        engine.bind({"x": np.zeros((2, 9, 9, 3), np.float32)})
