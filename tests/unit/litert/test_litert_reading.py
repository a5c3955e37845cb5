"""TFLite files are read without the runtime: interface, costs, quantization; our own files and others'."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from edgekit import target as targets
from edgekit.backends.base import CompileRequest
from edgekit.backends.litert import counting, reading, tables
from edgekit.backends.litert.backend import LiteRt
from edgekit.errors import MissingBackendError, ModelFileError
from edgekit.ir import cost
from edgekit.ir.contents import Contents, total_macs
from edgekit.spec import Artifact, Precision, QuantParams, RunOptions
from tests.unit.litert.litert_models import Model, as_ir

TARGET = targets.load("litert-cpu")
DATA = os.environ.get("EDGEKIT_DATA", "")
needs_data = pytest.mark.skipif(not DATA, reason="EDGEKIT_DATA names no folder with real files")


def small() -> Model:
    m = Model(seed=1)
    x = m.input("image", ("batch", 3, 8, 8))
    y = m.add("Relu", m.add("Conv", x, m.weight(4, 3, 3, 3), m.weight(4), pads=[1, 1, 1, 1]))
    m.add("Gemm", m.add("Flatten", y), m.weight(256, 5), m.weight(5), out="scores")
    return m


def compiled(m: Model, folder: Path, *, precision: Precision = Precision.FP32) -> tuple[Artifact, Contents]:
    built = m.build("scores")
    request = CompileRequest(as_ir(built), TARGET, precision, RunOptions(), "small")
    artifact = LiteRt().compile(request, folder)
    return artifact, reading.read(artifact.path)


def test_our_own_file_costs_what_its_onnx_costs(tmp_path: Path) -> None:
    m = small()
    _, found = compiled(m, tmp_path)
    before = cost.layers(cost.with_open_sizes(as_ir(m.build("scores"))))
    assert total_macs(found.layers) == total_macs(before) == 4 * 64 * 27 + 256 * 5
    assert sum(each.parameters for each in found.layers) == 4 * 27 + 4 + 256 * 5 + 5
    assert sum(each.parameters for each in before) == 4 * 27 + 4 + 256 * 5 + 5
    assert found.precision is Precision.FP32
    assert found.form == "TFLite"
    assert found.facts["made by"] == "edgekit"


def test_the_interface_is_the_files_own(tmp_path: Path) -> None:
    artifact, found = compiled(small(), tmp_path)
    assert artifact.inputs[0].permutation == (0, 2, 3, 1)
    (taken,) = found.inputs
    assert taken.permutation == ()
    assert str(taken.reference) == "image:float32:batchx8x8x3"
    assert [binding.name for binding in found.outputs] == ["scores"]


def quantized(m: Model) -> None:
    x = m.quantized(m.input("image", ("batch", 3, 8, 8)), 0.02, 120)
    w, _ = m.quantized_weight((m.rng.standard_normal((4, 3, 3, 3)) * 0.5).astype(np.float32), axis=0)
    y = m.quantized(m.add("Conv", x, w), 0.05, 100)
    m.add("Identity", y, out="scores")


def test_a_quantized_file_says_its_schemes(tmp_path: Path) -> None:
    m = Model(seed=2)
    quantized(m)
    _, found = compiled(m, tmp_path, precision=Precision.W8A8)
    assert found.precision is Precision.W8A8
    assert (found.quantization.weighted, found.quantization.quantized) == (1, 1)
    assert found.quantization.schemes == {"weights s8:channel:sym, activations s8:tensor:asym": 1}
    assert found.quantization.tensors["s8:channel:sym"] == 1
    assert found.versions["CONV_2D"] != ""


def test_without_the_schema_the_message_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact, _ = compiled(small(), tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "ai_edge_litert", None)
    with pytest.raises(MissingBackendError) as caught:
        reading.read(artifact.path)
    assert caught.value.remedy == 'pip install "edgekit[litert]"'


def test_what_is_no_tflite_file_is_refused(tmp_path: Path) -> None:
    for content, why in ((b"", "it is empty"), (b"PK\x03\x04 a zip file", "not TFL3")):
        (tmp_path / "m.tflite").write_bytes(content)
        with pytest.raises(ModelFileError, match="is not a TFLite file") as caught:
            reading.read(tmp_path / "m.tflite")
        assert why in caught.value.why
    with pytest.raises(ModelFileError, match="cannot be read"):
        reading.read(tmp_path / "none.tflite")


def test_a_constant_that_does_not_fill_its_shape_is_refused(tmp_path: Path) -> None:
    """The size 256 of the dense weight occurs in shapes only as int32: the first one becomes 255."""
    artifact, _ = compiled(small(), tmp_path)
    content = artifact.path.read_bytes()
    shape = np.asarray([5, 256], np.int32).tobytes()
    assert shape in content
    wrong = content.replace(shape, np.asarray([5, 255], np.int32).tobytes())
    with pytest.raises(ModelFileError, match="damaged") as caught:
        tables.parse(wrong, name="m.tflite")
    assert "bytes for float32 (5, 255)" in caught.value.why


@dataclass(frozen=True)
class Rule:
    operator: str
    inputs: tuple[tuple[int, ...] | None, ...]
    output: tuple[int, ...]
    macs: int | None

    def __str__(self) -> str:
        return self.operator


LSTM = ((2, 7, 5), *[(3, 5)] * 4, *[(3, 3)] * 4, *[None] * 3, *[(3,)] * 4, None, None, (2, 3), (2, 3))
RULES = [
    Rule("CONV_2D", ((1, 8, 8, 4), (6, 3, 3, 2)), (1, 6, 6, 6), (6 * 36) * 18),
    Rule("DEPTHWISE_CONV_2D", ((1, 8, 8, 4), (1, 3, 3, 8)), (1, 6, 6, 8), (8 * 36) * 9),
    Rule("CONV_3D", ((1, 4, 8, 8, 2), (2, 3, 3, 2, 5)), (1, 3, 6, 6, 5), (3 * 36 * 5) * 36),
    Rule("TRANSPOSE_CONV", ((4,), (2, 3, 3, 4), (1, 5, 5, 4)), (1, 11, 11, 2), (25 * 4) * 18),
    Rule("FULLY_CONNECTED", ((3, 8), (5, 8), (5,)), (3, 5), 120),
    Rule("BATCH_MATMUL", ((2, 3, 8), (2, 8, 5)), (2, 3, 5), 240),
    Rule("BATCH_MATMUL", ((2, 8, 3), (2, 8, 5)), (2, 3, 5), 240),
    Rule("UNIDIRECTIONAL_SEQUENCE_LSTM", LSTM, (2, 7, 3), 14 * 4 * (15 + 9)),
    Rule("UNIDIRECTIONAL_SEQUENCE_RNN", ((2, 7, 5), (3, 5), (3, 3), (3,), (2, 3)), (2, 7, 3), 14 * 24),
    Rule("SVDF", ((1, 5), (4, 5), (4, 8), None, (1, 32)), (1, 4), 20 + 32),
    Rule("ADD", ((1, 4), (1, 4)), (1, 4), 0),
    Rule("CUSTOM mine", ((1, 4),), (1, 4), None),
    Rule("CONV_2D", ((1, 8, 8, 4),), (1, 6, 6, 6), None),
]


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_macs_are_those_worked_out_by_hand(rule: Rule) -> None:
    assert counting.macs(rule.operator, rule.inputs, [rule.output]) == rule.macs


@dataclass(frozen=True)
class Real:
    """A file of EDGEKIT_DATA and what is known of it: MACs by hand or by another format of the same model."""

    path: str
    macs: int
    parameters: int
    precision: Precision
    quantized: int

    def __str__(self) -> str:
        return self.path


REAL = [
    Real("mlperf_tiny_ic/pretrainedResnet.tflite", 12_501_632, 77_706, Precision.FP32, 0),
    Real("mlperf_tiny_ic/pretrainedResnet_quant.tflite", 12_501_632, 77_706, Precision.W8A8, 10),
    Real("mnist/trained_lstm.tflite", 28 * 4 * 20 * (28 + 20) + 28 * 20 * 10, 9_530, Precision.FP32, 0),
    Real("mnist/conv_fc_mnist.tflite", 106_944, 50_608, Precision.FP32, 0),
    Real("mlperf_tiny_sww/str_ww_ref_model.tflite", 826_368, 46_883, Precision.W8A8, 9),
]


@needs_data
@pytest.mark.parametrize("real", REAL, ids=str)
def test_real_files(real: Real) -> None:
    found = reading.read(Path(DATA) / real.path)
    assert total_macs(found.layers) == real.macs
    assert sum(each.parameters for each in found.layers) == real.parameters
    assert found.precision is real.precision
    assert found.quantization.quantized == real.quantized
    assert found.peak_bytes is not None


@needs_data
def test_integer_inputs_are_taken_in_floats() -> None:
    found = reading.read(Path(DATA) / "mlperf_tiny_ic/pretrainedResnet_quant.tflite")
    (taken,) = found.inputs
    assert str(taken.reference) == "input_1_int8:float32:batchx32x32x3"
    assert (taken.dtype, taken.quant) == ("int8", QuantParams("int8", (1.0,), (-128,)))


@needs_data
def test_one_model_costs_the_same_as_onnx_and_as_tflite() -> None:
    from edgekit.ir import io

    folder = Path(DATA) / "basic_pitch/basic_pitch/saved_models/icassp_2022"
    before = cost.layers(cost.with_open_sizes(io.load(folder / "nmp.onnx")))
    found = reading.read(folder / "nmp.tflite")
    assert total_macs(found.layers) == total_macs(before) == 524_079_648
    assert sum(each.parameters for each in found.layers) == sum(each.parameters for each in before) == 35_736
