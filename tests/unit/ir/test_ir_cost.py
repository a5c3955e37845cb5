"""ir.cost, ir.macs, ir.schemes: what operators cost, held against figures worked out by hand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir
import pytest

from edgekit.ir import cost, schemes
from edgekit.ir.contents import peak_bytes, scheme
from edgekit.ir.external import external_files
from edgekit.ir.infer import infer_shapes
from edgekit.ir.macs import einsum


def model(text: str, *, opset: int = 21, domains: str = "") -> ir.Model:
    return ir.from_onnx_text(f'<ir_version: 10, opset_import: ["" : {opset}{domains}]>\n{text}')


@dataclass(frozen=True)
class Case:
    name: str
    text: str
    macs: int
    opset: int = 21
    domains: str = ""

    def __str__(self) -> str:
        return self.name


MICROSOFT = ', "com.microsoft" : 1'
CASES = [
    Case(
        "Conv with groups and stride",
        "g (float[1,4,9,9] x, float[6,2,3,3] w) => (float[1,6,4,4] y) "
        "{ y = Conv<group = 2, strides = [2, 2]>(x, w) }",
        (6 * 4 * 4) * (2 * 3 * 3),
    ),
    Case(
        "depthwise Conv",
        "g (float[1,8,5,5] x, float[8,1,3,3] w) => (float[1,8,5,5] y) "
        "{ y = Conv<group = 8, pads = [1,1,1,1]>(x, w) }",
        (8 * 5 * 5) * 9,
    ),
    Case(
        "Conv over one axis",
        "g (float[1,3,10] x, float[5,3,4] w) => (float[1,5,7] y) { y = Conv(x, w) }",
        (5 * 7) * (3 * 4),
    ),
    Case(
        "ConvTranspose: every input meets every tap",
        "g (float[1,4,5,5] x, float[4,2,3,3] w) => (float[1,2,11,11] y) "
        "{ y = ConvTranspose<strides = [2, 2]>(x, w) }",
        (4 * 5 * 5) * (2 * 9),
    ),
    Case(
        "Gemm",
        "g (float[3,8] x, float[5,8] w, float[5] b) => (float[3,5] y) { y = Gemm<transB = 1>(x, w, b) }",
        3 * 5 * 8,
    ),
    Case(
        "Gemm, left transposed",
        "g (float[8,3] x, float[8,5] w) => (float[3,5] y) { y = Gemm<transA = 1>(x, w) }",
        3 * 5 * 8,
    ),
    Case(
        "MatMul, batched and broadcast",
        "g (float[2,4,3,8] x, float[8,5] w) => (float[2,4,3,5] y) { y = MatMul(x, w) }",
        2 * 4 * 3 * 5 * 8,
    ),
    Case(
        "MatMul of a vector",
        "g (float[8] x, float[8,5] w) => (float[5] y) { y = MatMul(x, w) }",
        5 * 8,
    ),
    Case(
        "MatMulInteger",
        "g (uint8[3,8] x, int8[8,5] w) => (int32[3,5] y) { y = MatMulInteger(x, w) }",
        3 * 5 * 8,
    ),
    Case(
        "Einsum of attention scores",
        "g (float[2,4,6,8] q, float[2,4,7,8] k) => (float[2,4,6,7] y) "
        '{ y = Einsum<equation = "bhqd,bhkd->bhqk">(q, k) }',
        2 * 4 * 6 * 7 * 8,
    ),
    Case(
        "LSTM: four gates in W and R",
        "g (float[7,1,5] x, float[1,12,5] w, float[1,12,3] r) => (float[7,1,1,3] y) "
        "{ y, h, c = LSTM<hidden_size = 3>(x, w, r) }",
        7 * (12 * 5 + 12 * 3),
    ),
    Case(
        "GRU in both directions",
        "g (float[7,2,5] x, float[2,9,5] w, float[2,9,3] r) => (float[7,2,2,3] y) "
        '{ y, h = GRU<hidden_size = 3, direction = "bidirectional">(x, w, r) }',
        7 * 2 * 2 * (9 * 5 + 9 * 3),
    ),
    Case(
        "RNN, batch first",
        "g (float[2,7,5] x, float[1,3,5] w, float[1,3,3] r) => (float[2,7,1,3] y) "
        "{ y, h = RNN<hidden_size = 3, layout = 1>(x, w, r) }",
        2 * 7 * (3 * 5 + 3 * 3),
    ),
    Case(
        "Attention, four axes, grouped keys",
        "g (float[1,8,6,16] q, float[1,2,9,16] k, float[1,2,9,32] v) => (float[1,8,6,32] y) "
        "{ y = Attention(q, k, v) }",
        8 * 6 * 9 * (16 + 32),
        opset=23,
    ),
    Case(
        "Attention, three axes",
        "g (float[1,6,64] q, float[1,9,64] k, float[1,9,64] v) => (float[1,6,64] y) "
        "{ y = Attention<q_num_heads = 4, kv_num_heads = 4>(q, k, v) }",
        6 * 9 * (64 + 64),
        opset=23,
    ),
    Case(
        "Attention of com.microsoft, weights inside",
        "g (float[1,6,32] x, float[32,96] w, float[96] b) => (float[1,6,32] y) "
        "{ y = com.microsoft.Attention<num_heads = 4>(x, w, b) }",
        6 * 32 * 96 + 2 * 6 * 6 * 32,
        domains=MICROSOFT,
    ),
    Case(
        "MultiHeadAttention",
        "g (float[1,6,32] q, float[1,9,32] k, float[1,9,32] v) => (float[1,6,32] y) "
        "{ y = com.microsoft.MultiHeadAttention<num_heads = 4>(q, k, v) }",
        6 * 9 * (32 + 32),
        domains=MICROSOFT,
    ),
    Case(
        "MatMulNBits: packed weights",
        "g (float[3,64] x, uint8[5,4,8] w, float[20] s) => (float[3,5] y) "
        "{ y = com.microsoft.MatMulNBits<K = 64, N = 5, bits = 4, block_size = 16>(x, w, s) }",
        3 * 5 * 64,
        domains=MICROSOFT,
    ),
    Case("elementwise: none", "g (float[1,9] x) => (float[1,9] y) { y = Mul(x, x) }", 0),
    Case("pooling: none", "g (float[1,4,8,8] x) => (float[1,4,1,1] y) { y = GlobalAveragePool(x) }", 0),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_macs_are_those_worked_out_by_hand(case: Case) -> None:
    built = infer_shapes(model(case.text, opset=case.opset, domains=case.domains))
    assert [layer.macs for layer in cost.layers(built)] == [case.macs]


def test_the_same_name_in_a_foreign_domain_is_another_operator() -> None:
    """Must not fire: my.own.MatMul is not ONNX's."""
    built = model(
        "g (float[3,8] x, float[8,5] w) => (float[3,5] y) { y = my.own.MatMul(x, w) }",
        domains=', "my.own" : 1',
    )
    assert cost.layers(built)[0].macs == 0


def test_an_unknown_size_gives_no_figure() -> None:
    built = model("g (float[3,k] x, float[k,5] w) => (float[3,5] y) { y = MatMul(x, w) }")
    assert cost.layers(built)[0].macs is None


@pytest.mark.parametrize(
    ("equation", "shapes", "macs"),
    [
        ("ij,jk->ik", [(2, 3), (3, 4)], 24),
        ("...ij,...jk->...ik", [(5, 2, 3), (5, 3, 4)], 120),
        ("i,j,k->ijk", [(2,), (3,), (4,)], 48),
        ("ii->i", [(3, 3)], 0),
    ],
)
def test_einsum_is_one_loop_over_all_letters(equation: str, shapes: list[tuple[int, ...]], macs: int) -> None:
    assert einsum(equation, shapes) == macs


def test_malformed_nodes_give_no_figure() -> None:
    equation = model(
        'g (float[2,3] x, float[3,4] w) => (float[2,4] y) { y = Einsum<equation = "ijk,jk->ik">(x, w) }'
    )
    missing = model("g (float[1,2,4,4] x) => (float[1,2,4,4] y) { y = Conv(x) }")
    assert cost.layers(equation)[0].macs is None
    assert cost.layers(missing)[0].macs is None


DYNAMIC = """
g (float[batch, seq, 8] x) => (float[batch, after, 2] y)
<float[8, 2] w = {1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8}>
{
  t = Transpose<perm = [0, 2, 1]>(x)
  u = Transpose<perm = [0, 2, 1]>(t)
  y = MatMul(u, w)
}
"""


def test_open_sizes_count_as_one_and_the_model_stays_as_it_was() -> None:
    built = model(DYNAMIC)
    sized = cost.with_open_sizes(built)
    assert [layer.macs for layer in cost.layers(sized)] == [0, 0, 8 * 2]
    assert [layer.macs for layer in cost.layers(cost.with_open_sizes(built, size=3))] == [0, 0, 9 * 8 * 2]
    assert str(built.graph.inputs[0].shape) == "[batch,seq,8]"


def test_parameters_are_weights_and_not_settings() -> None:
    built = model(
        """
        g (float[1,1,4,4] x) => (float[1,2,8,8] z)
        <float[2,1,1,1] w = {1, 2}, float[2] b = {3, 4}, float[4] scales = {1, 1, 2, 2}, float e = {1e-5}>
        {
          c = Conv(x, w, b)
          r = Resize(c, , scales)
          z = Add(r, e)
        }
        """
    )
    found = cost.layers(infer_shapes(built))
    assert [layer.parameters for layer in found] == [4, 0, 0]
    assert found[0].parameter_bytes == 4 * 4
    assert found[0].output == (1, 2, 4, 4)
    assert found[0].output_bytes == 2 * 4 * 4 * 4


def test_a_shared_constant_is_counted_with_its_first_reader() -> None:
    built = model(
        "g (float[2,2] x) => (float[2,2] y) <float[2,2] w = {1, 2, 3, 4}> "
        "{ h = MatMul(x, w) y = MatMul(h, w) }"
    )
    assert [layer.parameters for layer in cost.layers(built)] == [4, 0]


QDQ = """
g (float[1,2] x) => (float[1,3] y)
<float xs = {0.5}, uint8 xz = {128}, float[3] ws = {1, 2, 3}, int8[3] wz = {0, 0, 0},
 int8[3,2] w = {1, 2, 3, 4, 5, 6}, int32[3] b = {1, 2, 3}, float[3] bs = {1, 1, 1}, int32[3] bz = {0, 0, 0}>
{
  xq = QuantizeLinear(x, xs, xz)
  xd = DequantizeLinear(xq, xs, xz)
  wd = DequantizeLinear<axis = 0>(w, ws, wz)
  bd = DequantizeLinear<axis = 0>(b, bs, bz)
  y = Gemm<transB = 1>(xd, wd, bd)
}
"""


def test_a_qdq_graph_counts_what_is_stored_and_its_schemes() -> None:
    built = infer_shapes(model(QDQ))
    (layer,) = cost.layers(built)
    assert (layer.operator, layer.macs) == ("Gemm", 6)
    assert layer.parameters == 6 + 3  # scales and zero points are none
    assert layer.parameter_bytes == 6 * 1 + 3 * 4
    found = schemes.quantization(built)
    assert (found.weighted, found.quantized) == (1, 1)
    assert found.schemes == {"weights s8:channel:sym, activations u8:tensor:asym": 1}


def test_weights_alone_are_not_a_quantized_operator() -> None:
    """Must not fire: integer weights with float activations compute in floats."""
    text = QDQ.replace("Gemm<transB = 1>(xd", "Gemm<transB = 1>(x")
    found = schemes.quantization(infer_shapes(model(text)))
    assert (found.weighted, found.quantized) == (1, 0)
    assert found.schemes == {"weights s8:channel:sym, activations float": 1}


def test_integer_operators_say_their_schemes() -> None:
    static = model(
        """
        g (uint8[1,2] x) => (uint8[1,3] y)
        <float s = {0.5}, uint8 z = {3}, int8[2,3] w = {1, 2, 3, 4, 5, 6},
         float[3] ws = {1, 1, 1}, int8[3] wz = {0, 0, 0}>
        { y = QLinearMatMul(x, s, z, w, ws, wz, s, z) }
        """
    )
    dynamic = model(
        "g (uint8[1,2] x) => (int32[1,3] y) <int8[2,3] w = {1, 2, 3, 4, 5, 6}> { y = MatMulInteger(x, w) }"
    )
    assert schemes.quantization(static).schemes == {"weights s8:channel:sym, activations u8:tensor:asym": 1}
    assert schemes.quantization(dynamic).schemes == {"weights s8:tensor:sym, activations dynamic": 1}
    assert cost.layers(static)[0].parameters == 6


def test_a_float_graph_has_only_float_schemes() -> None:
    built = model("g (float[1,2] x) => (float[1,2] y) <float[2,2] w = {1, 2, 3, 4}> { y = MatMul(x, w) }")
    found = schemes.quantization(built)
    assert (found.weighted, found.quantized, found.schemes) == (1, 0, {"float": 1})


@pytest.mark.parametrize(
    ("dtype", "zeros", "channels", "words"),
    [
        ("int8", [0, 0], True, "s8:channel:sym"),
        ("int8", [-128], False, "s8:tensor:asym"),
        ("uint8", [0], False, "u8:tensor:asym"),
        ("int16", [0], False, "s16:tensor:sym"),
        ("uint4", [8], False, "u4:tensor:asym"),
    ],
)
def test_schemes_are_in_the_words_of_the_targets(
    dtype: str, zeros: list[int], channels: bool, words: str
) -> None:
    assert scheme(dtype, zero_points=zeros, channels=channels) == words


def test_peak_memory_frees_what_nobody_reads_any_more() -> None:
    """a(4) -> b(8) -> c(2) -> d(1): the most is a + b while b is made, though all four sum to 15."""
    steps = [(["a"], ["b"]), (["b", "w"], ["c"]), (["c"], ["d"])]
    sizes = {"a": 4, "b": 8, "c": 2, "d": 1}
    assert peak_bytes(steps, sizes, given=["a"], kept=["d"]) == 12
    assert peak_bytes(steps, sizes, given=["a"], kept=["b", "d"]) == 12
    assert peak_bytes([*steps, (["a"], ["e"])], {**sizes, "e": 3}, given=["a"], kept=["e"]) == 14
    assert peak_bytes(steps, {**sizes, "c": None}, given=["a"], kept=["d"]) is None
    assert peak_bytes([], {"a": 4}, given=["a"], kept=["a"]) == 4


def test_peak_of_a_graph_leaves_weights_out() -> None:
    built = model(
        "g (float[1,2] x) => (float[1,2] y) <float[2,2] w = {1, 2, 3, 4}> { h = MatMul(x, w) y = Relu(h) }"
    )
    assert cost.peak_activation_bytes(infer_shapes(built)) == 8 + 8


def test_external_files_are_named(tmp_path: Path) -> None:
    built = model("g (float[1,2] x) => (float[1,2] y) <float[2,2] w = {1, 2, 3, 4}> { y = MatMul(x, w) }")
    ir.save(built, tmp_path / "inside.onnx")
    ir.save(built, tmp_path / "m.onnx", external_data="m.data", size_threshold_bytes=1)
    assert external_files(tmp_path / "inside.onnx") == ()
    assert external_files(tmp_path / "m.onnx") == ("m.data",)
