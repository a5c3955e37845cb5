"""OpenVINO IR files are read without OpenVINO: interface, costs, quantization, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir
import pytest

from edgekit import target as targets
from edgekit.backends import openvino_xml
from edgekit.backends.base import CompileRequest
from edgekit.backends.openvino import OpenVino
from edgekit.backends.openvino_reading import read
from edgekit.errors import ModelFileError
from edgekit.ir import cost
from edgekit.ir.contents import total_macs
from edgekit.spec import Precision, RunOptions

PORT = '<port id="{number}" precision="{kind}"{names}>{dims}</port>'


def port(number: int, shape: Sequence[int], *, kind: str = "FP32", names: str = "") -> str:
    dims = "".join(f"<dim>{dim}</dim>" for dim in shape)
    return PORT.format(number=number, kind=kind, dims=dims, names=f' names="{names}"' if names else "")


def layer(
    key: int,
    kind: str,
    *,
    inputs: Sequence[str] = (),
    outputs: Sequence[str] = (),
    data: str = "",
    extra: str = "",
    version: str = "opset1",
) -> str:
    return (
        f'<layer id="{key}" name="{kind.lower()}_{key}" type="{kind}" version="{version}" {extra}>'
        f"<data {data}/><input>{''.join(inputs)}</input><output>{''.join(outputs)}</output></layer>"
    )


def const(key: int, shape: Sequence[int], *, kind: str = "f32", offset: int = 0, size: int = 0) -> str:
    sizes = ", ".join(map(str, shape))
    data = f'element_type="{kind}" shape="{sizes}" offset="{offset}" size="{size}"'
    names = {"f32": "FP32", "f16": "FP16", "i8": "I8", "i64": "I64", "u8": "U8"}
    return layer(key, "Const", data=data, outputs=[port(0, shape, kind=names[kind])])


def edge(start: int, out: int, end: int, into: int) -> str:
    return f'<edge from-layer="{start}" from-port="{out}" to-layer="{end}" to-port="{into}"/>'


def net(layers: Sequence[str], edges: Sequence[str], *, head: str = "") -> bytes:
    return (
        f'<?xml version="1.0"?>{head}<net name="n" version="11"><layers>{"".join(layers)}</layers>'
        f"<edges>{''.join(edges)}</edges>"
        '<rt_info><info name="OpenVINO Runtime" value="2026.4.1"/></rt_info></net>'
    ).encode()


X = layer(
    0,
    "Parameter",
    data='shape="?,2,8,8" element_type="f32"',
    outputs=[port(0, (-1, 2, 8, 8), names="image,alias")],
)
CONV = layer(
    2,
    "Convolution",
    inputs=[port(0, (-1, 2, 8, 8)), port(1, (4, 2, 3, 3))],
    outputs=[port(2, (-1, 4, 6, 6), names="features")],
)
RESULT = layer(3, "Result", inputs=[port(0, (-1, 4, 6, 6))], extra='output_names="scores,alias"')
EDGES = [edge(0, 0, 2, 0), edge(1, 0, 2, 1), edge(2, 2, 3, 0)]
SMALL = net([X, const(1, (4, 2, 3, 3), size=288), CONV, RESULT], EDGES)


def written(folder: Path, content: bytes, *, weights: int = 288) -> Path:
    path = folder / "m.xml"
    path.write_bytes(content)
    if weights:
        (folder / "m.bin").write_bytes(b"\0" * weights)
    return path


def test_a_small_network(tmp_path: Path) -> None:
    found = read(written(tmp_path, SMALL))
    assert [str(binding.reference) for binding in found.inputs] == ["image:float32:batchx2x8x8"]
    assert [str(binding.reference) for binding in found.outputs] == ["scores:float32:batchx4x6x6"]
    (only,) = found.layers
    assert (only.operator, only.macs, only.parameters, only.parameter_bytes) == (
        "Convolution",
        (4 * 6 * 6) * (2 * 9),
        72,
        288,
    )
    assert found.precision is Precision.FP32
    assert found.versions == {"Convolution": "opset1"}
    assert found.facts == {"made by": "OpenVINO 2026.4.1", "IR": "version 11"}
    assert found.files == ("m.xml", "m.bin")
    assert found.notes == ()


def test_without_output_names_the_tensor_and_then_the_layer_names_the_output(tmp_path: Path) -> None:
    named = SMALL.replace(b'output_names="scores,alias"', b"")
    assert read(written(tmp_path, named)).outputs[0].name == "features"
    nameless = named.replace(b' names="features"', b"")
    assert read(written(tmp_path, nameless)).outputs[0].name == "convolution_2"


def test_missing_weights_are_a_note_and_short_weights_an_error(tmp_path: Path) -> None:
    path = written(tmp_path, SMALL, weights=0)
    assert "m.bin, which holds the weights, is not beside it" in read(path).notes[0]
    with pytest.raises(ModelFileError, match=r"m\.bin has 100 bytes, and m\.xml names 288"):
        read(written(tmp_path, SMALL, weights=100))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="cannot be read"):
        read(tmp_path / "no.xml")


@dataclass(frozen=True)
class Rule:
    kind: str
    inputs: tuple[tuple[int, ...], ...]
    output: tuple[int, ...]
    macs: int | None
    data: str = ""
    version: str = "opset1"

    def __str__(self) -> str:
        return self.kind


RULES = [
    Rule("GroupConvolution", ((1, 4, 8, 8), (2, 3, 2, 3, 3)), (1, 6, 6, 6), (6 * 36) * (2 * 9)),
    Rule("ConvolutionBackpropData", ((1, 4, 5, 5), (4, 2, 3, 3)), (1, 2, 7, 7), (4 * 25) * (2 * 9)),
    Rule("GroupConvolutionBackpropData", ((1, 4, 5, 5), (2, 2, 3, 3, 3)), (1, 6, 7, 7), (4 * 25) * (3 * 9)),
    Rule("MatMul", ((8, 3), (8, 5)), (3, 5), 3 * 5 * 8, 'transpose_a="true" transpose_b="false"'),
    Rule(
        "LSTMSequence", ((2, 7, 5), (2, 1, 3), (2, 1, 3), (2,), (1, 12, 5), (1, 12, 3)), (2, 1, 7, 3), 14 * 96
    ),
    Rule("GRUSequence", ((2, 7, 5), (2, 1, 3), (2,), (1, 9, 5), (1, 9, 3)), (2, 1, 7, 3), 14 * 72),
    Rule("LSTMCell", ((2, 5), (2, 3), (2, 3), (12, 5), (12, 3)), (2, 3), 2 * 96),
    Rule("Einsum", ((2, 3), (3, 4)), (2, 4), 24, 'equation="ij,jk->ik"'),
    Rule(
        "ScaledDotProductAttention", ((1, 8, 6, 16), (1, 8, 9, 16), (1, 8, 9, 32)), (1, 8, 6, 32), 48 * 9 * 48
    ),
    Rule("ReLU", ((1, 4),), (1, 4), 0),
    Rule("Mystery", ((1, 4),), (1, 4), None, version="extension"),
    Rule("MatMul", (), (1, 4), None),
]


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_macs_are_those_worked_out_by_hand(rule: Rule, tmp_path: Path) -> None:
    parameters = [
        layer(i, "Parameter", data='element_type="f32"', outputs=[port(0, shape)])
        for i, shape in enumerate(rule.inputs)
    ]
    middle = layer(
        50,
        rule.kind,
        inputs=[port(i, shape) for i, shape in enumerate(rule.inputs)],
        outputs=[port(99, rule.output)],
        data=rule.data,
        version=rule.version,
    )
    end = layer(60, "Result", inputs=[port(0, rule.output)])
    edges = [edge(i, 0, 50, i) for i in range(len(rule.inputs))] + [edge(50, 99, 60, 0)]
    found = read(written(tmp_path, net([*parameters, middle, end], edges)))
    assert [each.macs for each in found.layers] == [rule.macs]


def compressed(kind: str) -> bytes:
    """Const -> Convert -> Multiply -> MatMul: how OpenVINO stores weights smaller than it computes."""
    number = {"f16": "FP16", "i8": "I8"}[kind]
    layers = [
        layer(0, "Parameter", data='element_type="f32"', outputs=[port(0, (1, 4), names="x")]),
        const(1, (4, 5), kind=kind, size=40),
        layer(2, "Convert", inputs=[port(0, (4, 5), kind=number)], outputs=[port(1, (4, 5))]),
        const(3, (1, 5), offset=40, size=20),
        layer(4, "Multiply", inputs=[port(0, (4, 5)), port(1, (1, 5))], outputs=[port(2, (4, 5))]),
        layer(5, "MatMul", inputs=[port(0, (1, 4)), port(1, (4, 5))], outputs=[port(2, (1, 5), names="y")]),
        layer(6, "Result", inputs=[port(0, (1, 5))]),
    ]
    edges = [
        edge(1, 0, 2, 0),
        edge(2, 1, 4, 0),
        edge(3, 0, 4, 1),
        edge(0, 0, 5, 0),
        edge(4, 2, 5, 1),
        edge(5, 2, 6, 0),
    ]
    return net(layers, edges)


def test_decompression_of_constants_is_part_of_the_constants(tmp_path: Path) -> None:
    found = read(written(tmp_path, compressed("i8")))
    assert [each.operator for each in found.layers] == ["MatMul"]
    assert found.layers[0].parameters == 20
    assert found.quantization.schemes == {"weights s8:channel, activations float": 1}
    assert found.quantization.quantized == 0
    assert found.precision is Precision.FP32


def test_half_precision_weights(tmp_path: Path) -> None:
    found = read(written(tmp_path, compressed("f16")))
    assert found.precision is Precision.FP16
    assert found.quantization.schemes == {"float": 1}


def test_a_body_is_counted_once_and_said(tmp_path: Path) -> None:
    inner = (
        SMALL.split(b"?>")[1]
        .replace(b'<net name="n" version="11">', b"<body>")
        .replace(b"</net>", b"</body>")
    )
    outer = net(
        [
            layer(0, "Parameter", data='element_type="f32"', outputs=[port(0, (1, 4), names="x")]),
            layer(1, "Loop", inputs=[port(0, (1, 4))], outputs=[port(1, (1, 4))]).replace(
                "</layer>", f"{inner.decode()}</layer>"
            ),
            layer(2, "Result", inputs=[port(0, (1, 4))]),
        ],
        [edge(0, 0, 1, 0), edge(1, 1, 2, 0)],
    )
    found = read(written(tmp_path, outer))
    assert [each.operator for each in found.layers] == ["Loop", "Convolution"]
    assert "counted once" in found.notes[0]


@dataclass(frozen=True)
class Bad:
    name: str
    content: bytes
    message: str

    def __str__(self) -> str:
        return self.name


LAUGHS = '<!DOCTYPE net [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]>'
BAD = [
    Bad("empty", b"", "not readable as XML"),
    Bad("no XML", b"\x89PNG\r\n", "not readable as XML"),
    Bad("cut off", SMALL[:300], "not readable as XML"),
    Bad("an unknown encoding", b'<?xml version="1.0" encoding="klingon"?><net/>', "not readable as XML"),
    Bad("entities", net([X], [], head=LAUGHS), "document type or an entity"),
    Bad("a document type", net([X], [], head='<!DOCTYPE net SYSTEM "file:///etc/passwd">'), "document type"),
    Bad("another root", b"<html><body/></html>", "its root is <html>"),
    Bad("no layers", b'<net name="n" version="11"></net>', "do not fit together"),
    Bad("a layer without a type", SMALL.replace(b' type="Convolution"', b""), "do not fit together"),
    Bad("an edge from nowhere", SMALL.replace(b'from-layer="1"', b'from-layer="77"'), "do not fit together"),
    Bad(
        "a size that is no number", SMALL.replace(b"<dim>4</dim>", b"<dim>four</dim>"), "do not fit together"
    ),
    Bad("a negative size", SMALL.replace(b"<dim>4</dim>", b"<dim>-4</dim>"), "do not fit together"),
    Bad("an offset that is no number", SMALL.replace(b'offset="0"', b'offset="zero"'), "do not fit together"),
    Bad("no output port", SMALL.replace(b'<port id="0" precision="FP32" names', b"<pork names"), "is "),
    Bad(
        "a layer that reads itself",
        SMALL.replace(b'from-layer="0"', b'from-layer="2"'),
        "do not fit together",
    ),
    Bad("deep nesting", b"<net>" * 500, "not readable as XML"),
]


@pytest.mark.parametrize("bad", BAD, ids=str)
def test_what_is_no_whole_ir_is_refused_in_one_error(bad: Bad, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=bad.message) as caught:
        read(written(tmp_path, bad.content))
    assert caught.value.why
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("f32", "float32"),
        ("FP16", "float16"),
        ("I64", "int64"),
        ("u8", "uint8"),
        ("boolean", "bool"),
        ("BF16", "bfloat16"),
        ("nf4", "nf4"),
        ("string", "string"),
        ("", ""),
    ],
)
def test_element_types_get_their_numpy_names(text: str, name: str) -> None:
    assert openvino_xml.dtype_name(text) == name


def test_sizes_and_names() -> None:
    assert [openvino_xml.size(text) for text in ("28", "-1", "?", "1..8", " 3 ")] == [28, None, None, None, 3]
    assert openvino_xml.split_names(r"a,b\,c") == ("a", "b,c")


MODEL = """
<ir_version: 10, opset_import: ["" : 21]>
g (float[batch,1,4,4] image) => (float[batch,3] scores)
<float[2,1,1,1] w = {1, 2}, float[2] b = {3, 4}, int64[2] shape = {-1, 32},
 float[3,32] v = {0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5,
 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5,
 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5,
 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5,
 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5,
 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5},
 float[3] c = {1, 2, 3}>
{
  h = Conv(image, w, b)
  r = Relu(h)
  f = Reshape(r, shape)
  scores = Gemm<transB = 1>(f, v, c)
}
"""


def test_a_file_that_openvino_wrote_costs_what_its_onnx_costs(tmp_path: Path) -> None:
    model = ir.from_onnx_text(MODEL)
    request = CompileRequest(model, targets.load("openvino-cpu"), Precision.FP32, RunOptions(), "m")
    artifact = OpenVino().compile(request, tmp_path)
    found = read(artifact.path)
    before = cost.layers(cost.with_open_sizes(model))
    assert total_macs(found.layers) == total_macs(before) == 2 * 16 + 32 * 3
    assert sum(each.parameters for each in found.layers) == sum(each.parameters for each in before) == 103
    assert found.inputs == artifact.inputs
    assert found.outputs == artifact.outputs
