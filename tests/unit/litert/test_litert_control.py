"""If, Loop and Scan as IF and WHILE: ONNX Runtime's values, from one interpreter that runs several times."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import parser

from edgekit.backends.litert import flatbuffer
from edgekit.backends.litert.engine import LiteRtEngine
from edgekit.backends.litert.ops import control
from edgekit.backends.litert.ops.sequence import LONGEST
from edgekit.backends.litert.tensors import every_graph
from edgekit.spec import Array, Dim, RunOptions
from tests.unit.litert.litert_models import Info, Model, compiled, relative_error, run_litert, run_onnx

TOLERANCE = 1e-4  # of the output's range, as in tests/parity
HEADER = '<ir_version: 10, opset_import: ["" : 21]>\n'
SEEDS = range(4)

LOOPS = {
    "a-condition-that-is-computed": """
        t (float[3] x) => (float[3] y) <int64 n = {9}, bool t = {1}, float[1] half = {0.5}, float[1] least
            = {0.3}> {
          y = Loop <body = b (int64 i, bool c, float[3] s) => (bool on, float[3] next) {
            next = Mul(s, half) a = Abs(next) m = ReduceMax <keepdims = 0> (a) l = Squeeze(least)
            on = Greater(m, l) }> (n, t, x) }""",
    "no-count": """
        t (float[3] x) => (float[3] y) <bool t = {1}, float[1] half = {0.5}, float least = {0.01}> {
          y = Loop <body = b (int64 i, bool c, float[3] s) => (bool on, float[3] next) {
            next = Mul(s, half) a = Abs(next) m = ReduceMax <keepdims = 0> (a) on = Greater(m, least) }>
            ("", t, x) }""",
    "never-begins": """
        t (float[3] x) => (float[3] y, float[a, 3] z) <int64 n = {5}, bool f = {0}> {
          y, z = Loop <body = b (int64 i, bool c, float[3] s) => (bool on, float[3] next, float[3] row) {
            on = Identity(c) next = Neg(s) row = Abs(s) }> (n, f, x) }""",
    "begins-as-x-says": """
        t (float[3] x) => (float[3] y, float[a, 3] z) <int64 n = {70}, float zero = {0}, float[1] small =
            {0.01}> {
          m = ReduceSum <keepdims = 0> (x) g = Greater(m, zero)
          y, z = Loop <body = b (int64 i, bool c, float[3] s) => (bool on, float[3] next, float[3] row) {
            on = Identity(c) next = Add(s, small) row = Abs(s) }> (n, g, x) }""",
    "a-count-that-is-computed": """
        t (float[3] x) => (float[3] y, float[a, 3] z, int64[b] k) <bool t = {1}, float[1] one = {1}> {
          a = Abs(x) m = ReduceMax <keepdims = 0> (a) d = Add(m, m) n = Cast <to = 7> (d)
          y, z, k = Loop <body = b (int64 i, bool c, float[3] s)
                                => (bool on, float[3] next, float[3] row, int64 at) {
            on = Identity(c) next = Add(s, one) row = Mul(next, x) at = Identity(i) }> (n, t, x) }""",
    "stops-before-a-count-that-is-computed": """
        t (float[3] x) => (float[3] y, float[a, 3] z) <bool t = {1}, float[1] one = {1}, int64 last = {1}> {
          a = Abs(x) m = ReduceMax <keepdims = 0> (a) q = Mul(m, m) d = Add(q, q) n = Cast <to = 7> (d)
          y, z = Loop <body = b (int64 i, bool c, float[3] s) => (bool on, float[3] next, float[3] row) {
            on = Less(i, last) next = Add(s, one) row = Mul(next, x) }> (n, t, x) }""",
    "states-that-change-places": """
        t (float[3] x) => (float[3] p, float[3] q, float[3] r) <int64 n = {70}, bool t = {1}> {
          u = Neg(x) v = Abs(x)
          p, q, r = Loop <body = b (int64 i, bool c, float[3] s0, float[3] s1, float[3] s2)
                                => (bool on, float[3] t0, float[3] t1, float[3] t2) {
            on = Identity(c) t0 = Identity(s1) t1 = Identity(s2) t2 = Identity(s0) }> (n, t, x, u, v) }""",
    "fibonacci": """
        t (float[3] x) => (float[3] p, float[3] q) <int64 n = {71}, bool t = {1}, float[1] half = {0.5}> {
          u = Neg(x)
          p, q = Loop <body = b (int64 i, bool c, float[3] a, float[3] b) => (bool on, float[3] d, float[3]
            e) {
            on = Identity(c) d = Identity(b) f = Add(a, b) e = Mul(f, half) }> (n, t, x, u) }""",
    "a-state-that-becomes-a-constant": """
        t (float[3] x) => (float[3] p, float[3] q) <int64 n = {70}, bool t = {1}, float[3] k = {1, 2, 3}> {
          u = Neg(x)
          p, q = Loop <body = b (int64 i, bool c, float[3] a, float[3] b) => (bool on, float[3] d, float[3]
            e) {
            on = Identity(c) d = Identity(k) e = Add(b, a) }> (n, t, x, u) }""",
    "one-value-for-two-states": """
        t (float[3] x) => (float[3] p, float[3] q) <int64 n = {70}, bool t = {1}, float[1] half = {0.5}> {
          u = Neg(x)
          p, q = Loop <body = b (int64 i, bool c, float[3] a, float[3] b) => (bool on, float[3] d, float[3]
            e) {
            on = Identity(c) f = Mul(a, half) d = Add(f, b) e = Identity(d) }> (n, t, x, u) }""",
    "states-of-other-types": """
        t (float[3] x) => (int64[2] p, bool[1] q, int32 r) <int64 n = {70}, bool t = {1}, int64[2] one =
            {1, 2},
                                                        bool[1] no = {0}, int32 two = {2}> {
          zero = Sub(one, one)
          p, q, r = Loop <body = b (int64 i, bool c, int64[2] a, bool[1] b, int32 d)
                               => (bool on, int64[2] e, bool[1] f, int32 g) {
            on = Identity(c) e = Add(a, one) f = Not(b) g = Add(d, two) }> (n, t, zero, no, two) }""",
    "no-states": """
        t (float[3] x) => (float[70, 3] z) <int64 n = {70}, bool t = {1}> {
          z = Loop <body = b (int64 i, bool c) => (bool on, float[3] row) {
            on = Identity(c) f = Cast <to = 1> (i) row = Mul(x, f) }> (n, t) }""",
    "rows-that-are-scalars-and-flags": """
        t (float[3] x) => (float[70] z, bool[70, 1, 3] w) <int64 n = {70}, bool t = {1}, float[1] third =
            {0.3}> {
          z, w = Loop <body = b (int64 i, bool c) => (bool on, float row, bool[1, 3] flag) {
            on = Identity(c) f = Cast <to = 1> (i) m = Mul(x, f) row = ReduceSum <keepdims = 0> (m)
            s = Sub(m, third) zero = Sub(third, third) g = Greater(s, zero) a = Cast <to = 7> (zero)
            flag = Unsqueeze(g, a) }> (n, t) }""",
    "a-loop-in-a-loop": """
        t (float[3] x) => (float[3] y, float[66, 3] z) <int64 n = {66}, int64 few = {3}, bool t = {1},
                                                       float[1] half = {0.5}> {
          y, z = Loop <body = b (int64 i, bool c, float[3] s) => (bool on, float[3] next, float[3] row) {
            on = Identity(c) start = Add(s, x)
            next = Loop <body = d (int64 j, bool e, float[3] u) => (bool f, float[3] v) {
              k = Add(i, j) l = Cast <to = 1> (k) m = Mul(u, half) w = Sin(l) v = Add(m, w)
              f = Less(j, few) }> (few, t, start)
            row = Sub(next, s) }> (n, t, x) }""",
    "an-if-in-a-loop": """
        t (float[3] x) => (float[3] y) <int64 n = {66}, int64 two = {2}, int64 zero = {0}, bool t = {1},
                                       float[1] half = {0.5}, float[3, 3] w = {1,2,3,4,5,6,7,8,9}> {
          y = Loop <body = b (int64 i, bool c, float[3] s) => (bool on, float[3] next) {
            on = Identity(c) r = Mod(i, two) even = Equal(r, zero)
            next = If (even) <then_branch = p () => (float[3] a) { h = MatMul(s, w) a = Tanh(h) },
                              else_branch = q () => (float[3] d) { g = Mul(s, half) d = Sub(g, x) }> }> (n,
            t, x) }""",
    "a-recurrent-layer": """
        t (float[2, 1, 3] x) => (float[2, 1, 3] y) <int64 n = {66}, bool t = {1}, int64[1] axis = {1}> {
          y = Loop <body = b (int64 i, bool c, float[2, 1, 3] s) => (bool on, float[2, 1, 3] next) {
            on = Identity(c) h, l = LSTM <hidden_size = 3> (s, lstm_w, lstm_r) u = Squeeze(h, axis)
            next = Add(u, x) }> (n, t, x) }""",
    "a-layer-of-weights": """
        t (float[1, 2, 4, 4] x) => (float[1, 2, 4, 4] y) <int64 n = {66}, bool t = {1}> {
          y = Loop <body = b (int64 i, bool c, float[1, 2, 4, 4] s) => (bool on, float[1, 2, 4, 4] next) {
            on = Identity(c) h = Conv <pads = [1, 1, 1, 1]> (s, kernel) v = Relu(h) w = Sub(v, x)
            next = Tanh(w) }> (n, t, x) }""",
}
IFS = {
    "a-heavy-branch": """
        t (float[3] x) => (float[3] y) <float zero = {0}, float[3, 3] w = {1,2,3,4,5,6,7,8,9}> {
          m = ReduceSum <keepdims = 0> (x) g = Greater(m, zero)
          y = If (g) <then_branch = p () => (float[3] a) { h = MatMul(x, w) a = Tanh(h) },
                      else_branch = q () => (float[3] b) { b = Neg(x) }> }""",
    "other-shapes": """
        t (float[3] x) => (float[a] y) <float zero = {0}, int64[1] from = {0}, int64[1] to = {2}> {
          m = ReduceSum <keepdims = 0> (x) g = Greater(m, zero)
          y = If (g) <then_branch = p () => (float[3] a) { a = Exp(x) },
                      else_branch = q () => (float[2] b) { b = Slice(x, from, to) }> }""",
    "other-shapes-and-more-behind-it": """
        t (float[3] x) => (float[a] y, float z) <float zero = {0}, int64[1] from = {0}, int64[1] to = {2}> {
          m = ReduceSum <keepdims = 0> (x) g = Greater(m, zero)
          u = If (g) <then_branch = p () => (float[3] a) { a = Exp(x) },
                      else_branch = q () => (float[2] b) { b = Slice(x, from, to) }>
          y = Sigmoid(u) z = ReduceSum <keepdims = 0> (y) }""",
    "constants-and-the-input-itself": """
        t (float[3] x) => (float[3] y, float[3] z, int64[2] k) <float zero = {0}, float[3] c = {1, 2, 3},
            int64[2] d = {4, 5}, int64[2] e = {6, 7}, float[3, 3] w = {1,2,3,4,5,6,7,8,9}> {
          m = ReduceSum <keepdims = 0> (x) g = Greater(m, zero)
          y, z, k = If (g)
            <then_branch = p () => (float[3] a, float[3] a2, int64[2] a3) {
               a = Identity(x) a2 = Identity(c) a3 = Identity(d) },
             else_branch = q () => (float[3] b, float[3] b2, int64[2] b3) {
               b = Identity(c) b2 = MatMul(x, w) b3 = Identity(e) }> }""",
    "a-division-that-must-not-run": """
        t (float[3] x) => (int32 y) <float zero = {0}, int32 none = {0}, int32 tens = {10}> {
          m = ReduceSum <keepdims = 0> (x) g = Greater(m, zero) n = Cast <to = 6> (g)
          y = If (g) <then_branch = p () => (int32 a) { a = Div(tens, n) },
                      else_branch = q () => (int32 b) { b = Identity(none) }> }""",
    "an-if-in-an-if": """
        t (float[3] x) => (float[3] y) <float zero = {0}, float[3, 3] w = {1,2,3,4,5,6,7,8,9}> {
          m = ReduceSum <keepdims = 0> (x) g = Greater(m, zero) n = ReduceMax <keepdims = 0> (x)
          y = If (g) <then_branch = p () => (float[3] a) {
                        h = MatMul(x, w) v = Greater(n, m)
                        a = If (v) <then_branch = r () => (float[3] d) { d = Sub(h, x) },
                                    else_branch = s () => (float[3] e) { e = MatMul(h, w) }> },
                      else_branch = q () => (float[3] b) { b = Neg(x) }> }""",
    "a-loop-in-an-if": """
        t (float[3] x) => (float[3] y) <float zero = {0}, int64 n = {70}, bool t = {1}, float[1] half =
            {0.5}> {
          m = ReduceSum <keepdims = 0> (x) g = Greater(m, zero)
          y = If (g) <then_branch = p () => (float[3] a) {
                        a = Loop <body = b (int64 i, bool c, float[3] s) => (bool on, float[3] next) {
                          on = Identity(c) u = Mul(s, half) next = Add(u, x) }> (n, t, x) },
                      else_branch = q () => (float[3] b) { b = Neg(x) }> }""",
}
SCANS = {
    "long": "<num_scan_inputs = 1, body = BODY> (x2, x)",
    "backwards": """<num_scan_inputs = 1, scan_input_directions = [1], scan_output_directions = [1],
                    body = BODY> (x2, x)""",
    "into-columns": "<num_scan_inputs = 1, scan_output_axes = [1], body = BODY> (x2, x)",
}
SCAN = """
    t (float[70, 3] x) => (float[3] end, float[p, q] steps) <float[1] half = {0.5}> {
      x2 = ReduceMax <keepdims = 0> (x, axis)
      end, steps = Scan ATTRIBUTES }"""
SCAN_BODY = """b (float[3] s, float[3] row) => (float[3] next, float[3] step) {
      h = Mul(s, half) next = Add(h, row) step = Sin(next) }"""


def _model(text: str) -> onnx.ModelProto:
    model = parser.parse_model(HEADER + text)
    rng = np.random.default_rng(7)
    constants = {"kernel": (2, 2, 3, 3), "lstm_w": (1, 12, 3), "lstm_r": (1, 12, 3)}
    for name, shape in constants.items():
        data = (rng.standard_normal(shape) / 3).astype(np.float32)
        if name in text:
            model.graph.initializer.append(onnx.numpy_helper.from_array(data, name))
    if "(x, axis)" in text:
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray([0]), "axis"))
    onnx.checker.check_model(model)
    return model


def _scan(attributes: str) -> onnx.ModelProto:
    return _model(SCAN.replace("ATTRIBUTES", attributes.replace("BODY", SCAN_BODY)))


def feeds_of(model: onnx.ModelProto, seed: int, **sizes: int) -> dict[str, Array]:
    """Normal numbers; of odd seeds, the other sign: both branches of an If on the sum are taken."""
    rng = np.random.default_rng(seed // 2)
    made = {}
    for value in model.graph.input:
        shape = [dim.dim_value or sizes[dim.dim_param] for dim in value.type.tensor_type.shape.dim]
        made[value.name] = (rng.standard_normal(shape) * (-1) ** seed).astype(np.float32)
    return made


def codes_of(model: onnx.ModelProto) -> list[str]:
    made = compiled(model)
    assert made.lowered.rejections == ()
    return [op.code for graph in every_graph(made.lowered.graph) for op in graph.operators]


def agree(model: onnx.ModelProto, feeds: Sequence[Mapping[str, Array]], *, kernels: str) -> None:
    """One session and one interpreter, which keeps whatever it may keep, for all ``feeds``."""
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    made = compiled(model)
    assert made.lowered.rejections == ()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        path.write_bytes(flatbuffer.pack(made.lowered.graph))
        inputs = [binding.name for binding in made.inputs]
        engine = LiteRtEngine(path, RunOptions(settings=(("kernels", kernels),)), inputs, names)
        bindings = {binding.name: binding for binding in (*made.inputs, *made.outputs)}
        for each in feeds:
            stored = {
                name: np.transpose(value, bindings[name].permutation) if bindings[name].permutation else value
                for name, value in each.items()
            }
            found = engine.run(stored)
            for name, expected in zip(names, session.run(None, dict(each)), strict=True):
                result = found[name]
                if bindings[name].permutation:
                    result = np.transpose(result, np.argsort(bindings[name].permutation))
                assert relative_error(result, expected) <= TOLERANCE, name


@pytest.mark.parametrize("kernels", ["xnnpack", "builtin"])
@pytest.mark.parametrize("name", LOOPS)
def test_a_loop_computes_the_same(name: str, kernels: str) -> None:
    model = _model(LOOPS[name])
    assert "WHILE" in codes_of(model)
    agree(model, [feeds_of(model, seed) for seed in SEEDS], kernels=kernels)


@pytest.mark.parametrize("kernels", ["xnnpack", "builtin"])
@pytest.mark.parametrize("name", IFS)
def test_an_if_computes_the_same(name: str, kernels: str) -> None:
    model = _model(IFS[name])
    assert "IF" in codes_of(model)
    agree(model, [feeds_of(model, seed) for seed in SEEDS], kernels=kernels)


@pytest.mark.parametrize("name", SCANS)
def test_a_scan_computes_the_same(name: str) -> None:
    model = _scan(SCANS[name])
    assert "WHILE" in codes_of(model)
    agree(model, [feeds_of(model, seed) for seed in SEEDS], kernels="xnnpack")


SIZES = ({"time": 5, "batch": 2}, {"time": 9, "batch": 3})


@pytest.mark.parametrize("kernels", ["xnnpack", "builtin"])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize(("length", "batch"), [("time", 2), ("time", "batch"), (LONGEST + 1, 2)])
@pytest.mark.parametrize("operator", ["LSTM", "GRU", "RNN"])
def test_a_recurrent_layer_goes_round(
    operator: str, length: Dim, batch: Dim, direction: str, kernels: str
) -> None:
    """One that the sequence kernels do not hold: with a clip and a state before the first step."""
    m = Model()
    count, rows = (2 if direction == "bidirectional" else 1), {"LSTM": 16, "GRU": 12, "RNN": 4}[operator]
    x, h = m.input("x", (length, batch, 3)), m.input("h", (count, batch, 4))
    weights = [m.weight(count, rows, 3), m.weight(count, rows, 4), m.weight(count, 2 * rows)]
    outputs = 3 if operator == "LSTM" else 2
    y = m.add(operator, x, *weights, "", h, outputs=outputs, hidden_size=4, direction=direction, clip=0.7)
    model = m.build(y, *(f"{y}_{index}" for index in range(1, outputs)))
    assert "WHILE" in codes_of(model)
    agree(model, [feeds_of(model, 2 * seed, **sizes) for seed, sizes in enumerate(SIZES)], kernels=kernels)


def test_a_state_of_a_dynamic_batch_goes_round() -> None:
    model = _model("""
        t (float[batch, 3] x) => (float[batch, 3] y, float[70, batch, 3] z, float[batch, 3] w)
          <int64 n = {70}, bool t = {1}, float[1] half = {0.5}, float[3, 3] k = {1,2,3,4,5,6,7,8,9}> {
          u = Neg(x)
          y, z = Loop <body = b (int64 i, bool c, float[batch, 3] s)
                           => (bool on, float[batch, 3] next, float[batch, 3] row) {
            on = Identity(c) h = Mul(s, half) m = MatMul(h, k) v = Tanh(m) next = Add(v, x)
            row = Abs(next) }> (n, t, u)
          w = Relu(y) }""")
    assert "WHILE" in codes_of(model)
    agree(model, [feeds_of(model, seed, batch=1 + seed) for seed in SEEDS], kernels="xnnpack")


@pytest.mark.parametrize("kernels", ["xnnpack", "builtin"])
def test_a_quantized_body_has_integer_kernels(kernels: str) -> None:
    """Within one step of its last scale, 0.02; weights and bias are the outer graph's."""
    m = Model()
    x = m.input("x", (1, 4, 6, 6))
    data = (m.rng.standard_normal((4, 4, 3, 3)) / 8).astype(np.float32)
    weight, scales = m.quantized_weight(data, axis=0)
    bias = m.quantized_bias(m.rng.standard_normal(4), scales * np.float32(0.03))

    def once() -> list[Info]:
        conv = m.add("Conv", m.quantized("s", 0.03, 128), weight, bias, pads=[1, 1, 1, 1])
        last = m.add("Sub", m.quantized(m.add("Relu", conv), 0.02, 0), x)
        return [(m.add("Less", "i", m.constant(np.asarray(2))), (), "bool"), (last, (1, 4, 6, 6), "float32")]

    inputs: list[Info] = [("i", (), "int64"), ("c", (), "bool"), ("s", (1, 4, 6, 6), "float32")]
    loop = m.add("Loop", "", m.constant(np.asarray(True)), x, body=m.body(inputs, once))
    model = m.build(m.add("Identity", loop))
    body = every_graph(compiled(model).lowered.graph)[-1]
    (conv,) = [op for op in body.operators if op.code == "CONV_2D"]
    assert [body.tensors[index].dtype for index in conv.inputs] == ["int8", "int8", "int32"]
    feeds = feeds_of(model, 0)
    (expected,), (found,) = (
        run_onnx(model, feeds).values(),
        run_litert(model, feeds, kernels=kernels).values(),
    )
    assert np.allclose(found, expected, rtol=0, atol=0.02)


REFUSED = {
    "loop-shape": """
        t (float[3] x) => (float[a] y) <int64 n = {70}, bool t = {1}> {
          y = Loop <body = b (int64 i, bool c, float[d] s) => (bool on, float[e] next) {
            on = Identity(c) next = Concat <axis = 0> (s, s) }> (n, t, x) }""",
    "loop-count": """
        t (float[3] x) => (float[3] y, float[a, 3] z) <bool t = {1}, float least = {0.1}> {
          y, z = Loop <body = b (int64 i, bool c, float[3] s) => (bool on, float[3] next, float[3] row) {
            next = Sin(s) m = ReduceMax <keepdims = 0> (next) on = Greater(m, least) row = Abs(s) }> ("",
            t, x) }""",
    "unknown-operator": """
        t (float[3] x) => (float[3] y) <int64 n = {70}, bool t = {1}> {
          y = Loop <body = b (int64 i, bool c, float[3] s) => (bool on, float[3] next) {
            on = Identity(c) next = Bernoulli(s) }> (n, t, x) }""",
}


@pytest.mark.parametrize("rule", REFUSED)
def test_what_a_while_cannot_hold_is_refused(rule: str) -> None:
    (rejection,) = compiled(_model(REFUSED[rule])).lowered.rejections
    assert rejection.rule == rule
    assert rejection.remedy
    assert rejection.node


def test_a_count_of_for_ever_is_no_size() -> None:
    """PyTorch exports ``while`` with the largest int64 as its trip count."""
    text = REFUSED["loop-count"].replace('("", t, x)', "(many, t, x)")
    model = _model(text.replace("<bool t", "<int64 many = {9223372036854775807}, bool t"))
    (rejection,) = compiled(model).lowered.rejections
    assert rejection.rule == "loop-count"


def test_what_the_body_only_reads_is_not_copied() -> None:
    """W3: the same tensor in and out, which while.cc looks for."""
    made = compiled(_model(LOOPS["a-layer-of-weights"])).lowered.graph
    (loop,) = [op for op in made.operators if op.code == "WHILE"]
    body = loop.graphs[1]
    kept = [index for index, end in zip(body.inputs, body.outputs, strict=True) if index == end]
    assert [body.tensors[index].name for index in kept] == ["x"]


def test_weights_of_a_body_are_its_own_constants() -> None:
    """B2: as loop variables they would not be weights to the kernels."""
    graph = compiled(_model(LOOPS["a-layer-of-weights"])).lowered.graph
    body = every_graph(graph)[-1]
    (conv,) = [op for op in body.operators if op.code == "CONV_2D"]
    assert body.tensors[conv.inputs[1]].data is not None


def test_sabotage_an_output_of_a_branch_that_is_computed_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """W6: without the SELECT_V2 the branch gives what was in memory before."""
    model = _model("""
        t (float[batch, 3] x) => (int64[2] y) <float zero = {0}, float[3, 3] k = {1,2,3,4,5,6,7,8,9}> {
          m = ReduceSum <keepdims = 0> (x) g = Greater(m, zero)
          y = If (g) <then_branch = p () => (int64[2] a) { u = Abs(x) a = Shape(u) },
                      else_branch = q () => (int64[2] b) {
                        u = MatMul(x, k) v = Shape(u) b = Neg(v) }> }""")
    feeds = [feeds_of(model, seed, batch=2 + seed) for seed in SEEDS]
    agree(model, feeds, kernels="builtin")
    early = [op for graph in every_graph(compiled(model).lowered.graph) for op in graph.operators]
    assert "SELECT_V2" in [op.code for op in early]
    monkeypatch.setattr(control, "_computed_early", lambda _graph: set())
    assert "SELECT_V2" not in codes_of(model)


LENGTHS = {
    "a-count-that-is-a-size": """
        t (float[time, 3] x) => (float[3] y, float[rows, 3] z)
          <bool t = {1}, float[1] half = {0.5}, int64 first = {0}, int64[1] along = {0}> {
          s = Shape(x) n = Gather(s, first) m = ReduceMax <keepdims = 0> (x, along)
          y, z = Loop <body = b (int64 i, bool c, float[3] s0) => (bool on, float[3] next, float[3] row) {
            on = Identity(c) r = Gather(x, i) u = Mul(s0, half) next = Add(u, r)
            row = Tanh(next) }> (n, t, m) }""",
    "a-scan-over-a-dynamic-axis": """
        t (float[time, 3] x) => (float[3] y, float[rows, 3] z) <float[3] start = {0, 0, 0}, float[1] half =
            {0.5}> {
          y, z = Scan <num_scan_inputs = 1, body = b (float[3] s, float[3] r) => (float[3] next, float[3]
            row) {
            u = Mul(s, half) next = Add(u, r) row = Tanh(next) }> (start, x) }""",
    "indices-from-the-end-of-a-dynamic-axis": """
        t (float[time, 3] x) => (float[2, 3] y) <float[2] k = {-2, 1}> {
          w = ReduceMax <keepdims = 0> (x) z = Sub(w, w) m = Add(k, z) i = Cast <to = 7> (m)
          y = Gather(x, i) }""",
}


@pytest.mark.parametrize("kernels", ["xnnpack", "builtin"])
@pytest.mark.parametrize("name", LENGTHS)
def test_a_dynamic_axis_is_walked_along(name: str, kernels: str) -> None:
    model = _model(LENGTHS[name])
    agree(model, [feeds_of(model, 2 * seed, time=4 + seed) for seed in SEEDS], kernels=kernels)
