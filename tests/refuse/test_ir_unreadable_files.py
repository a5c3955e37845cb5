"""Each kind of file that is not a usable ONNX model ends in one ModelFileError that says what to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx_ir as ir
import pytest

from edgekit.errors import ExitCode, ModelFileError
from edgekit.ir import io

TEXT = """
<ir_version: 10, opset_import: ["" : 21]>
tiny (float[batch, 2] x) => (float[batch, 3] y)
<float[2, 3] w = {1, 2, 3, 4, 5, 6}>
{
  y = MatMul(x, w)
}
"""


def whole() -> bytes:
    return io.to_bytes(ir.from_onnx_text(TEXT))


def without_opset() -> bytes:
    proto: Any = ir.to_proto(ir.from_onnx_text(TEXT))
    proto.ClearField("opset_import")
    return bytes(proto.SerializeToString())


def of_ir_version(version: int) -> bytes:
    proto: Any = ir.to_proto(ir.from_onnx_text(TEXT))
    proto.ir_version = version
    if version < 3:
        proto.ClearField("opset_import")
    return bytes(proto.SerializeToString())


def other_protobuf() -> bytes:
    proto: Any = ir.to_proto(ir.from_onnx_text(TEXT))
    proto.ClearField("graph")
    return bytes(proto.SerializeToString())


def contradictory() -> bytes:
    proto: Any = ir.to_proto(ir.from_onnx_text(TEXT))
    proto.graph.initializer[0].data_type = 999
    return bytes(proto.SerializeToString())


def external(location: str, *, offset: str = "0", length: str = "24", in_constant: bool = False) -> bytes:
    proto: Any = ir.to_proto(ir.from_onnx_text(TEXT))
    weight = proto.graph.initializer[0]
    if in_constant:
        node = proto.graph.node.add(op_type="Constant", output=["c"])
        weight = node.attribute.add(name="value", type=4).t
        weight.data_type, weight.name = 1, "c"
        weight.dims.extend([2, 3])
    for field in ("raw_data", "float_data"):
        weight.ClearField(field)
    weight.data_location = 1
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        weight.external_data.add(key=key, value=value)
    return bytes(proto.SerializeToString())


@dataclass(frozen=True)
class Case:
    id: str
    content: Callable[[], bytes]
    says: str


CASES = (
    Case("empty", lambda: b"", "is empty"),
    Case("text", lambda: b"this is not a model, it is a sentence", "not an ONNX file"),
    Case("truncated", lambda: whole()[: len(whole()) // 2], "cut off"),
    Case("one byte short", lambda: whole()[:-1], "cut off"),
    Case("no opset", without_opset, "no opset_import"),
    Case("IR version 1", lambda: of_ir_version(1), "of IR version 1, from before ONNX 1.0"),
    Case("no IR version", lambda: of_ir_version(0), "of IR version unknown"),
    Case("no graph", other_protobuf, "holds no graph"),
    Case("contradictory", contradictory, "cannot be read as an ONNX graph"),
    Case("external parent", lambda: external("../secret.bin"), "outside the model's folder"),
    Case("external hidden parent", lambda: external("a/../../secret.bin"), "outside the model's folder"),
    Case("external absolute", lambda: external("/etc/passwd"), "outside the model's folder"),
    Case("external drive", lambda: external("C:\\secret.bin"), "outside the model's folder"),
    Case("external backslash", lambda: external("..\\secret.bin"), "outside the model's folder"),
    Case("external link", lambda: external("link.bin"), "outside the model's folder"),
    Case("external link folder", lambda: external("linked/secret.bin"), "outside the model's folder"),
    Case("external nameless", lambda: external(""), "outside the model's folder"),
    Case("external missing", lambda: external("gone.bin"), "is not there"),
    Case("external short", lambda: external("short.bin"), "which has 8"),
    Case("external negative", lambda: external("short.bin", offset="-4"), "wants 24 bytes from byte -4"),
    Case(
        "external attribute",
        lambda: external("../secret.bin", in_constant=True),
        "outside the model's folder",
    ),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_file_that_is_no_model_is_refused(case: Case, tmp_path: Path) -> None:
    (tmp_path / "secret.bin").write_bytes(b"\0" * 24)
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "short.bin").write_bytes(b"\0" * 8)
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    (folder / "linked").symlink_to(tmp_path)
    (folder / "m.onnx").write_bytes(case.content())
    with pytest.raises(ModelFileError, match=case.says) as caught:
        io.load(folder / "m.onnx")
    assert caught.value.exit_code == ExitCode.BAD_INPUT
    assert caught.value.why
    assert caught.value.remedy
    assert "m.onnx" in caught.value.what


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="no model file"):
        io.load(tmp_path / "gone.onnx")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="is a folder"):
        io.load(tmp_path)


def test_bytes_cannot_have_external_data() -> None:
    with pytest.raises(ModelFileError, match="keeps its data in another file"):
        io.from_bytes(external("w.bin"))


def test_every_truncation_is_noticed() -> None:
    content = whole()
    for size in range(len(content)):
        with pytest.raises(ModelFileError):
            io.from_bytes(content[:size])


def test_an_operator_without_a_counterpart_in_opset_21_is_refused() -> None:
    from edgekit.ir.opset import convert_opset

    model = ir.from_onnx_text("""
<ir_version: 11, opset_import: ["" : 23]>
new (float[2, 4] x, float[4] s) => (float[2, 4] y) { y = RMSNormalization(x, s) }
""")
    with pytest.raises(ModelFileError, match="RMSNormalization"):
        convert_opset(model, 21)


def test_an_old_scan_is_refused() -> None:
    from edgekit.ir.opset import convert_opset

    model = ir.from_onnx_text("""
<ir_version: 4, opset_import: ["" : 8]>
old (float[1, 3, 2] x) => (float[1, 3, 2] y) { y = Scan(x) }
""")
    with pytest.raises(ModelFileError, match="Scan had another meaning"):
        convert_opset(model, 21)


def test_an_old_operator_that_the_converter_does_not_know_is_refused() -> None:
    from edgekit.ir.opset import convert_opset

    model = ir.from_onnx_text("""
<ir_version: 4, opset_import: ["" : 8]>
old (float[2, 3] x) => (float[2, 3] y) { y = ImageScaler(x) }
""")
    with pytest.raises(ModelFileError, match="cannot be moved from opset 8 to 21"):
        convert_opset(model, 21)
