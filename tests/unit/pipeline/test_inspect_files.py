"""`edgekit.inspect` on model files: facts, costs and notes of ONNX, TFLite and OpenVINO files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

import edgekit
from edgekit.errors import ExportError, InputError, MissingBackendError, ModelFileError
from edgekit.ir import io
from edgekit.pipeline import compiled_file
from edgekit.pipeline import inspect as package
from edgekit.pipeline.inspect import compiled
from edgekit.pipeline.result import InspectResult

SMALL = """
<ir_version: 10, opset_import: ["" : 21], producer_name: "by hand">
g (float[batch,1,4,4] image) => (float[batch,2,4,4] scores)
<float[2,1,1,1] w = {1, 2}, float[2] b = {3, 4}>
{
  h = Conv(image, w, b)
  scores = Relu(h)
}
"""
QDQ = """
<ir_version: 10, opset_import: ["" : 21]>
g (float[1,2] x) => (float[1,3] y)
<float xs = {0.5}, uint8 xz = {128}, float[3] ws = {1, 2, 3}, int8[3] wz = {0, 0, 0},
 int8[3,2] w = {1, 2, 3, 4, 5, 6}>
{
  xq = QuantizeLinear(x, xs, xz)
  xd = DequantizeLinear(xq, xs, xz)
  wd = DequantizeLinear<axis = 0>(w, ws, wz)
  y = Gemm<transB = 1>(xd, wd)
}
"""


@pytest.fixture(autouse=True)
def nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The targets' verdicts have tests of their own; here they would only take time."""
    monkeypatch.setattr(package, "fits", lambda model, *, progress: ())


def onnx(folder: Path, text: str, name: str = "m.onnx") -> Path:
    io.save(ir.from_onnx_text(text), folder / name)
    return folder / name


def test_an_onnx_file(tmp_path: Path) -> None:
    path = onnx(tmp_path, SMALL)
    found = edgekit.inspect(path)
    assert found.kind == "ONNX model, float"
    assert found.facts["opset"] == "21"
    assert len(found.facts["digest"]) == 64
    assert found.size_bytes == path.stat().st_size
    assert (found.macs, found.parameters, found.parameter_bytes) == (32, 4, 16)
    assert found.peak_bytes == 4 * (16 + 32) + 4 * 16  # both of Relu's, which is not computed in place
    assert found.operators == {"Conv": 1, "Relu": 1}
    assert [layer.operator for layer in found.layers] == ["Conv", "Relu"]
    assert found.quantization is None
    assert found.notes == ()


def test_a_quantized_onnx_file(tmp_path: Path) -> None:
    found = edgekit.inspect(onnx(tmp_path, QDQ))
    assert found.kind == "ONNX model, quantized"
    assert found.quantization is not None
    assert (found.quantization.weighted, found.quantization.quantized) == (1, 1)
    assert found.operators == {"DequantizeLinear": 2, "Gemm": 1, "QuantizeLinear": 1}
    assert found.peak_bytes is None


def test_external_data_counts(tmp_path: Path) -> None:
    ir.save(ir.from_onnx_text(SMALL), tmp_path / "m.onnx", external_data="m.data", size_threshold_bytes=1)
    found = edgekit.inspect(tmp_path / "m.onnx")
    assert found.facts["external data"] == "m.data"
    assert found.size_bytes == sum((tmp_path / name).stat().st_size for name in ("m.onnx", "m.data"))
    assert found.parameters == 4


def test_functions_are_looked_into(tmp_path: Path) -> None:
    text = """
    <ir_version: 10, opset_import: ["" : 21, "my" : 1]>
    g (float[1,2] x) => (float[1,2] y) <float[2,2] w = {1, 2, 3, 4}> { y = my.dense(x, w) }
    <domain: "my", opset_import: ["" : 21]>
    dense (a, b) => (c) { c = MatMul(a, b) }
    """
    found = edgekit.inspect(onnx(tmp_path, text))
    assert found.operators == {"my.dense": 1}
    assert (found.macs, found.parameters) == (4, 4)


def test_open_sizes_and_unknown_costs_are_said(tmp_path: Path) -> None:
    text = """
    <ir_version: 10, opset_import: ["" : 21]>
    g (float[batch,seq,4] x) => (float[batch,seq,k] y) <float[4,2] w = {1, 2, 3, 4, 5, 6, 7, 8}>
    { h = MatMul(x, w) n = NonZero(h) t = Cast<to = 1>(n) y = MatMul(h, t) }
    """
    found = edgekit.inspect(onnx(tmp_path, text))
    assert found.notes[0].startswith("open sizes count as 1 here (seq)")
    assert "MACs are at least this: those of y (MatMul) are not known" in found.notes[1]
    assert found.macs == 8


ARITHMETIC = """
<ir_version: 10, opset_import: ["" : 21]>
g (float[batch,4,6] x) => (float[batch,k,3] y)
<float[6,3] w = {1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9}, int64[2] two = {0, 1},
 int64[1] one = {2}, int64[1] free = {-1}, int64[3] last = {1, 4, 3}>
{
  s = Shape(x)
  a = Gather(s, two)
  p = ReduceProd<keepdims = 1>(a, )
  b = Gather(s, one)
  r = Concat<axis = 0>(p, b)
  f = Reshape(x, r)
  m = MatMul(f, w)
  t = Shape(m)
  q = ReduceProd<keepdims = 1>(t, )
  u = Concat<axis = 0>(free, q)
  v = Reshape(m, u)
  n = Transpose<perm = [1, 0]>(v)
  o = MatMul(v, n)
  e = Reshape(m, last)
  y = Add(e, o)
}
"""


def test_shape_arithmetic_is_computed_where_inference_does_not_follow(tmp_path: Path) -> None:
    """ReduceProd is nothing that onnx propagates; the second MatMul's sizes hang on the first one's."""
    found = edgekit.inspect(onnx(tmp_path, ARITHMETIC))
    assert {layer.name: layer.macs for layer in found.layers if layer.macs} == {"m": 4 * 6 * 3, "o": 12}
    assert len(found.layers) == 15  # the operators of the file, computed or not
    assert found.notes == ()
    assert found.peak_bytes is not None


def test_bodies_are_counted_once_and_said(tmp_path: Path) -> None:
    text = """
    <ir_version: 10, opset_import: ["" : 21]>
    g (bool c, float[1,2] x) => (float[1,2] y) <float[2,2] w = {1, 2, 3, 4}>
    { y = If (c) <
        then_branch = yes () => (float[1,2] a) { a = MatMul(x, w) },
        else_branch = no () => (float[1,2] b) { b = Relu(x) }> }
    """
    found = edgekit.inspect(onnx(tmp_path, text))
    assert found.macs == 4
    assert found.peak_bytes is None
    assert "counted once" in found.notes[-1]


def test_a_model_that_is_not_well_formed_is_refused(tmp_path: Path) -> None:
    model = ir.from_onnx_text(SMALL)
    proto = ir.to_proto(model)
    proto.graph.node[0].input[0] = "nowhere"
    (tmp_path / "m.onnx").write_bytes(proto.SerializeToString())
    with pytest.raises(ModelFileError, match="nowhere"):
        edgekit.inspect(tmp_path / "m.onnx")


def artifact(folder: Path, target: str) -> Path:
    onnx(folder, SMALL)
    return edgekit.compile(folder / "m.onnx", target=target, out=folder / "out", name="small").path


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize(
    ("target", "form"), [("litert-cpu", "TFLite"), ("openvino-cpu", "OpenVINO IR")], ids=str
)
def test_a_compiled_file_with_and_without_its_description(tmp_path: Path, target: str, form: str) -> None:
    path = artifact(tmp_path, target)
    described = edgekit.inspect(path)
    assert described.kind == f"artifact for {target}, fp32"
    assert described.facts["plan"] == "float"
    assert [str(spec) for spec in described.inputs] == ["image:float32:batchx1x4x4"]
    assert edgekit.inspect(path.parent) == InspectResult(**{**vars(described), "path": path.parent})
    path.with_name(path.name + ".json").unlink()
    bare = edgekit.inspect(path)
    assert bare.kind == f"{form} file, fp32"
    assert f"its own runtime only: target {target}" in bare.notes[0]
    for found in (described, bare):
        assert (found.macs, found.parameters) == (32, 4)
        assert found.targets == ()
        assert sum(found.operators.values()) == len(found.layers)


@pytest.mark.usefixtures("cache")
def test_an_artifact_of_onnx_runtime(tmp_path: Path) -> None:
    found = edgekit.inspect(artifact(tmp_path, "onnxruntime-cpu").parent)
    assert found.kind == "artifact for onnxruntime-cpu, fp32"
    assert (found.macs, found.parameters) == (32, 4)


@pytest.mark.usefixtures("cache")
def test_without_the_reader_an_artifact_still_says_what_its_description_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = artifact(tmp_path, "litert-cpu")
    missing = MissingBackendError("ai-edge-litert is not installed", remedy='pip install "edgekit[litert]"')

    def read(_path: Path) -> None:
        raise missing

    monkeypatch.setattr(compiled_file, "contents", read)
    found = edgekit.inspect(path)
    assert found.layers == ()
    assert found.notes[-1] == 'ai-edge-litert is not installed: pip install "edgekit[litert]"'


def test_a_plug_ins_own_format_shows_its_description(tmp_path: Path) -> None:
    (tmp_path / "m.chip").write_bytes(b"...")
    result = InspectResult(path=tmp_path / "m.chip", kind="artifact", facts={})
    assert compiled.look_inside(result, tmp_path / "m.chip") is result


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "m.npy", np.zeros(3))
    with pytest.raises(InputError, match="no file that edgekit can look into") as caught:
        edgekit.inspect(tmp_path / "m.npy")
    assert "edgekit export m.npy" in caught.value.remedy
    with pytest.raises(InputError, match="does not exist"):
        edgekit.inspect(tmp_path / "none.tflite")
    with pytest.raises(InputError, match="holds 0 artifacts"):
        edgekit.inspect(tmp_path)


def test_a_recipe_is_named_as_one_with_the_verb_that_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "edgekit.toml"
    path.write_text("schema = 1\n")
    with pytest.raises(InputError, match="is a recipe, not a model") as looked:
        edgekit.inspect(path)
    assert f"edgekit release {path} -o dist/" in looked.value.remedy
    with pytest.raises(ExportError, match="is a recipe, not a model") as exported:
        edgekit.export(str(path), out=tmp_path / "m.onnx")
    assert f"edgekit release {path} -o dist/" in exported.value.remedy
