"""S1 to S5: LSTM and RNN in one kernel, which begins anew in each inference; 1e-5 of the range, seed 0."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgekit.backends.litert import flatbuffer
from edgekit.backends.litert.backend import translate
from edgekit.backends.litert.engine import LiteRtEngine
from edgekit.backends.litert.ops.sequence import LONGEST
from edgekit.spec import Array, Dim, RunOptions
from tests.unit.litert.litert_models import Model, as_ir, relative_error, run_litert, run_onnx

LIMIT = 1e-5
LSTM, RNN = "UNIDIRECTIONAL_SEQUENCE_LSTM", "UNIDIRECTIONAL_SEQUENCE_RNN"
GATES = {"LSTM": 4, "RNN": 1, "GRU": 3}


@dataclass(frozen=True)
class Case:
    """``kernels``: how many sequence kernels the file has; 0: the steps are unrolled."""

    id: str
    kernels: int
    kind: str = "LSTM"
    length: Dim = 6
    batch: Dim = 1
    direction: str = "forward"
    outputs: int = 2
    activations: tuple[str, ...] = ()
    clip: float = 0.0
    peephole: bool = False
    initial: bool = False
    lengths: tuple[int, ...] = ()


CASES = (
    Case("plain", 1),
    Case("reverse", 1, direction="reverse"),
    Case("both", 2, direction="bidirectional"),
    Case("dynamic", 1, length="time", outputs=1),
    Case("dynamic-both", 2, length="time", outputs=1, direction="bidirectional", batch=3),
    Case("long", 1, length=LONGEST + 1),
    Case("long-batch", 1, length=LONGEST + 1, batch=2),
    Case("long-rnn", 1, kind="RNN", length=LONGEST + 1, batch=2),
    Case("long-relu", 1, kind="RNN", length=LONGEST + 1, activations=("Relu",)),
    Case("dynamic-rnn", 1, kind="RNN", length="time", outputs=1, direction="reverse"),
    Case("S1-batch-is-dynamic", 0, batch="batch"),
    Case("S1-initial-state", 0, initial=True),
    Case("S1-clip", 0, clip=0.3),
    Case("S1-lengths", 0, lengths=(6,)),
    Case("S2-activations", 0, activations=("Sigmoid", "Tanh", "Relu")),
    Case("S2-peephole", 0, peephole=True),
    Case("S2-last-cell-state", 0, outputs=3),
    Case("S5-batch", 0, batch=2),
    Case("S5-rnn", 0, kind="RNN"),
    Case("gru", 0, kind="GRU"),
)
EACH = pytest.mark.parametrize("case", CASES, ids=lambda c: c.id)


def model_of(case: Case, hidden: int = 5) -> onnx.ModelProto:
    m = Model()
    count = 2 if case.direction == "bidirectional" else 1
    rows = GATES[case.kind] * hidden
    x = m.input("x", (case.length, case.batch, 3))
    inputs = [x, m.weight(count, rows, 3), m.weight(count, rows, hidden), m.weight(count, 2 * rows)]
    if case.lengths:
        inputs.append(m.constant(np.array(case.lengths, np.int32)))
    if case.initial or case.peephole:
        states = [m.weight(count, 1, hidden) if case.initial else "" for _ in range(2)]
        inputs += ["", *states]
    if case.peephole:
        inputs.append(m.weight(count, 3 * hidden))
    attributes = {"activations": list(case.activations)} if case.activations else {}
    if case.clip:
        attributes["clip"] = case.clip  # type: ignore[assignment]  # a number among lists
    y = m.add(
        case.kind,
        *inputs,
        hidden_size=hidden,
        direction=case.direction,
        outputs=case.outputs,
        **attributes,  # type: ignore[arg-type]  # attributes
    )
    return m.build(*[y + (f"_{index}" if index else "") for index in range(case.outputs)])


def feeds(case: Case, length: int, batch: int = 1, *, seed: int = 0) -> dict[str, Array]:
    batch = case.batch if isinstance(case.batch, int) else batch
    drawn = np.random.default_rng(seed).standard_normal((length, batch, 3)).astype(np.float32)
    return {"x": drawn}


def operators(model: onnx.ModelProto) -> Counter[str]:
    made = translate(as_ir(model))
    assert made.lowered.rejections == ()
    return Counter(op.code for op in made.lowered.graph.operators)


@EACH
def test_which_operators_become_one_kernel(case: Case) -> None:
    found = operators(model_of(case))
    assert found[LSTM] + found[RNN] == case.kernels
    assert found["ZEROS_LIKE"] == case.kernels * (2 if case.kind == "LSTM" else 1)


@pytest.mark.parametrize("kernels", ["xnnpack", "builtin"])
@EACH
def test_values(case: Case, kernels: str) -> None:
    model = model_of(case)
    for length in (case.length,) if isinstance(case.length, int) else (1, 9):
        given = feeds(case, length)
        found = run_litert(model, given, kernels=kernels)
        for name, expected in run_onnx(model, given).items():
            assert relative_error(found[name], expected) <= LIMIT


def engine_of(case: Case, folder: Path, *, resets: bool = True) -> tuple[LiteRtEngine, str]:
    graph = translate(as_ir(model_of(case))).lowered.graph
    if not resets:
        graph = replace(graph, operators=tuple(op for op in graph.operators if op.code != "ZEROS_LIKE"))
    path = folder / "m.tflite"
    path.write_bytes(flatbuffer.pack(graph))
    return LiteRtEngine(path, RunOptions(), ["x"], list(graph.output_names)), graph.output_names[0]


@pytest.mark.parametrize("case", [c for c in CASES if c.kernels], ids=lambda c: c.id)
def test_each_inference_begins_anew(case: Case, tmp_path: Path) -> None:
    """Other sequences, of other lengths where they may be, in one interpreter."""
    engine, name = engine_of(case, tmp_path)
    model = model_of(case)
    lengths = (case.length,) * 3 if isinstance(case.length, int) else (4, 9, 4)
    for seed, length in enumerate(lengths):
        assert isinstance(length, int)
        given = feeds(case, length, seed=seed)
        assert relative_error(engine.run(given)[name], run_onnx(model, given)[name]) <= LIMIT


@pytest.mark.parametrize("case", [CASES[0], CASES[8]], ids=lambda c: c.id)
def test_sabotage_a_state_that_is_kept(case: Case, tmp_path: Path) -> None:
    engine, name = engine_of(case, tmp_path, resets=False)
    model = model_of(case)
    assert isinstance(case.length, int)
    given = feeds(case, case.length)
    expected = run_onnx(model, given)[name]
    assert relative_error(engine.run(given)[name], expected) <= LIMIT  # the first one begins with zeros
    assert relative_error(engine.run(given)[name], expected) > 100 * LIMIT


def test_weights_of_sixteen_bits(tmp_path: Path) -> None:
    """DEQUANTIZE in front of the kernel: float16 weights, H2 of ``half``."""
    model = model_of(CASES[0], hidden=32)
    for tensor in model.graph.initializer:
        array = onnx.numpy_helper.to_array(tensor).astype(np.float16).astype(np.float32)
        tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
    from edgekit.backends.litert.half import with_half_constants

    graph = with_half_constants(translate(as_ir(model)).lowered.graph)
    assert "DEQUANTIZE" in {op.code for op in graph.operators}
    path = tmp_path / "m.tflite"
    path.write_bytes(flatbuffer.pack(graph))
    engine = LiteRtEngine(path, RunOptions(), ["x"], list(graph.output_names))
    for seed in range(2):
        given = feeds(CASES[0], 6, seed=seed)
        name = graph.output_names[0]
        assert relative_error(engine.run(given)[name], run_onnx(model, given)[name]) <= LIMIT
