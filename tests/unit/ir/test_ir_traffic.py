"""ir.traffic: operations and bytes of single operators, against figures worked out by hand (T1 to T8)."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir
import pytest

from edgekit.ir.graph import walk
from edgekit.ir.infer import infer_shapes
from edgekit.ir.traffic import NOTHING, operations, traffic


def model(text: str) -> ir.Model:
    head = '<ir_version: 10, opset_import: ["" : 21]>\n'
    return infer_shapes(ir.from_onnx_text(head + text))


@dataclass(frozen=True)
class Case:
    """``read`` of activations, ``weights`` in the file, ``written``: bytes."""

    name: str
    text: str
    operations: int
    read: int
    weights: int
    written: int

    def __str__(self) -> str:
        return self.name


CASES = [
    Case(
        "T1 Conv: two for each MAC",
        "g (float[1,4,9,9] x) => (float[1,6,4,4] y) <float[6,4,3,3] w = {" + ",".join(["1"] * 216) + "}> "
        "{ y = Conv<strides = [2, 2]>(x, w) }",
        2 * (6 * 4 * 4) * (4 * 9),
        4 * 4 * 81,
        4 * 216,
        4 * 96,
    ),
    Case(
        "T1 depthwise Conv, weights handed in are activations",
        "g (float[1,8,5,5] x, float[8,1,3,3] w) => (float[1,8,5,5] y) "
        "{ y = Conv<group = 8, pads = [1,1,1,1]>(x, w) }",
        2 * 8 * 25 * 9,
        4 * (200 + 72),
        0,
        4 * 200,
    ),
    Case(
        "T1 Gemm with bias",
        "g (float[2,5] x) => (float[2,3] y) <float[5,3] w = {1,1,1,1,1,1,1,1,1,1,1,1,1,1,1}, "
        "float[3] b = {0,0,0}> { y = Gemm(x, w, b) }",
        2 * 2 * 3 * 5,
        40,
        4 * (15 + 3),
        24,
    ),
    Case(
        "T1 MatMul of two activations",
        "g (float[2,7,4] x, float[2,4,3] z) => (float[2,7,3] y) { y = MatMul(x, z) }",
        2 * 2 * 7 * 3 * 4,
        4 * (56 + 24),
        0,
        4 * 42,
    ),
    Case(
        "T1 LSTM: all gates of all steps",
        "g (float[10,1,3] x, float[1,8,3] w, float[1,8,2] r) => (float[10,1,1,2] y) "
        "{ y = LSTM<hidden_size = 2>(x, w, r) }",
        2 * 10 * (8 * 3 + 8 * 2),
        4 * (30 + 24 + 16),
        0,
        4 * 20,
    ),
    Case(
        "T2 MaxPool: the window for each output",
        "g (float[1,2,6,6] x) => (float[1,2,3,3] y) "
        "{ y = MaxPool<kernel_shape = [2,2], strides = [2,2]>(x) }",
        18 * 4,
        4 * 72,
        0,
        4 * 18,
    ),
    Case(
        "T3 GlobalAveragePool: every input once",
        "g (float[1,3,7,7] x) => (float[1,3,1,1] y) { y = GlobalAveragePool(x) }",
        147,
        4 * 147,
        0,
        12,
    ),
    Case(
        "T4 Softmax",
        "g (float[2,10] x) => (float[2,10] y) { y = Softmax(x) }",
        100,
        80,
        0,
        80,
    ),
    Case(
        "T5 Add with broadcasting: elements of the output",
        "g (float[4,8] x, float[8] z) => (float[4,8] y) { y = Add(x, z) }",
        32,
        4 * (32 + 8),
        0,
        4 * 32,
    ),
    Case(
        "T6 Transpose moves and computes nothing",
        "g (float[4,8] x) => (float[8,4] y) { y = Transpose<perm = [1, 0]>(x) }",
        0,
        128,
        0,
        128,
    ),
    Case(
        "T7 at the element type: int64",
        "g (int64[4] x, int64[4] z) => (int64[4] y) { y = Add(x, z) }",
        4,
        64,
        0,
        32,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_by_hand(case: Case) -> None:
    (node,) = [node for node in walk(model(case.text)) if node.op_type != "Constant"]
    found = traffic(node)
    assert (found.operations, found.read_bytes, found.weight_bytes, found.written_bytes) == (
        case.operations,
        case.read,
        case.weights,
        case.written,
    )
    assert found.moved_bytes == case.read + case.weights + case.written


def test_what_only_renames_moves_nothing() -> None:
    graph = model("g (float[4,8] x) => (float[32] y) <int64[1] s = {32}> { y = Reshape(x, s) }")
    (node,) = [node for node in walk(graph) if node.op_type == "Reshape"]
    assert traffic(node) == NOTHING  # T8


def test_an_unknown_size_is_said() -> None:
    graph = model("g (float[N,8] x) => (float[N,8] y) { y = Relu(x) }")
    (node,) = walk(graph)
    assert traffic(node).moved_bytes is None
    assert operations(node) is None


QDQ = """
g (float[1,4,6,6] x) => (float[1,2,6,6] y)
<float s = {0.1}, uint8 z = {128}, int8 wz = {0}, int8[2,4,1,1] w = {1,1,1,1,1,1,1,1}>
{
    xq = QuantizeLinear(x, s, z)
    xd = DequantizeLinear(xq, s, z)
    wd = DequantizeLinear(w, s, wz)
    h = Conv(xd, wd)
    hq = QuantizeLinear(h, s, z)
    y = DequantizeLinear(hq, s, z)
}
"""


def test_a_qdq_graph_moves_integers() -> None:
    found = {node.outputs[0].name: traffic(node) for node in walk(model(QDQ)) if node.op_type != "Constant"}
    conv = found["h"]
    assert (conv.read_bytes, conv.weight_bytes, conv.written_bytes) == (144, 8, 72)
    assert conv.operations == 2 * 72 * 4
    assert found["xd"] == found["wd"] == found["hq"] == NOTHING  # inside a kernel
    assert (found["xq"].read_bytes, found["xq"].written_bytes) == (4 * 144, 144)  # the edge of the graph
    assert (found["y"].read_bytes, found["y"].written_bytes) == (72, 4 * 72)


def test_against_a_peer() -> None:
    """torch.utils.flop_counter counts two for each MAC of convolutions and products, as T1 does."""
    torch = pytest.importorskip("torch")
    from torch.utils.flop_counter import FlopCounterMode

    class Net(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.first = torch.nn.Conv2d(3, 8, 3, stride=2, padding=1)
            self.depthwise = torch.nn.Conv2d(8, 8, 3, padding=1, groups=8)
            self.up = torch.nn.ConvTranspose2d(8, 4, 2, stride=2)
            self.last = torch.nn.Linear(4 * 16 * 16, 10)

        def forward(self, x: object) -> object:
            return self.last(self.up(self.depthwise(self.first(x)).relu()).flatten(1))

    net = Net().eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(torch.zeros(1, 3, 16, 16))
    text = """
    g (float[1,3,16,16] x, float[8,3,3,3] a, float[8,1,3,3] b, float[8,4,2,2] c, float[1024,10] d)
      => (float[1,10] y)
    {
        h = Conv<strides = [2,2], pads = [1,1,1,1]>(x, a)
        i = Conv<group = 8, pads = [1,1,1,1]>(h, b)
        j = Relu(i)
        k = ConvTranspose<strides = [2,2]>(j, c)
        l = Flatten(k)
        y = MatMul(l, d)
    }
    """
    counted = [operations(node) or 0 for node in walk(model(text)) if node.op_type != "Relu"]
    assert sum(counted) == counter.get_total_flops()


def test_an_unknown_domain_is_not_counted() -> None:
    node = ir.node("Add", [ir.Value(name="a")], domain="my.own")
    assert operations(node) == 0
