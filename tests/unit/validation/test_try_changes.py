"""A segment of the reference beside what an artifact computes -> the change that makes both the same.

Sabotage of an artifact: the truth is the segment with one thing changed by hand, run on ONNX Runtime; seed 3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir
import pytest

from edgekit.backends.onnxruntime import open_model
from edgekit.spec import Array, QuantParams, RunOptions
from edgekit.validation.diagnose.changes import CHANGES, LAST, Change, Segment
from edgekit.validation.diagnose.changes.change_products import HIGHEST, LOWEST
from edgekit.validation.diagnose.evidence import Trial
from edgekit.validation.diagnose.observed import Observed
from edgekit.validation.diagnose.try_changes import merged, try_changes
from edgekit.validation.layers import WeightEvidence

SEED = 3
NEAR_DB = 60.0  # float32 of two graphs
UNSIGNED = QuantParams("uint8", (1 / 64,), (100,))
IMAGE = '<ir_version: 10, opset_import: ["" : 21]> g (float[batch,3,8,8] image) => (float[batch,4,?,?] y)'
CONV = "{ s = Conv<pads=[1,1,1,1]>(image, w, b) \n y = Relu(s) }"


@dataclass(frozen=True)
class Fault:
    """What is changed by hand, and what should be named."""

    change: str
    body: str
    edit: Callable[[ir.Model], None] | None = None
    feed: Callable[[Array], Array] = field(default=lambda array: array)
    head: str = IMAGE


def _graph(head: str, body: str) -> ir.Model:
    rng = np.random.default_rng(SEED)
    model = ir.from_onnx_text(f"{head}\n{body}")
    graph = model.graph
    for number, node in enumerate(graph):
        node.name = f"node_{number}"  # as in every canonical graph
    shapes = {"w": (4, 3, 3, 3), "b": (4,), "scale": (8,), "bias": (8,)}
    for name, shape in shapes.items():
        holes = [(n, i) for n in graph for i, v in enumerate(n.inputs) if v is not None and v.name == name]
        if not holes:
            continue
        array = rng.normal(size=shape).astype(np.float32)
        value = ir.Value(
            name=name,
            shape=ir.Shape(shape),
            type=ir.TensorType(ir.DataType.FLOAT),
            const_value=ir.tensor(array, name=name),
        )
        graph.register_initializer(value)
        for node, index in holes:
            node.replace_input_with(index, value)
    return model


def _set(op_type: str, attribute: ir.Attr) -> Callable[[ir.Model], None]:
    def edit(model: ir.Model) -> None:
        node = next(node for node in model.graph if node.op_type == op_type)
        node.attributes[attribute.name] = attribute

    return edit


def _without(op_type: str) -> Callable[[ir.Model], None]:
    def edit(model: ir.Model) -> None:
        node = next(node for node in model.graph if node.op_type == op_type)
        model.graph.outputs[0] = node.inputs[0]  # type: ignore[assignment]  # it has one
        model.graph.remove(node, safe=True)

    return edit


def _run(model: ir.Model, image: Array) -> Array:
    with open_model(model, RunOptions()) as session:
        (name,) = (spec.name for spec in session.inputs)
        (found,) = session.run({name: image}).values()
    return found


RESIZE = (
    '{ s = Resize<mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor">'
    "(image, none, two) }"
)
FAULTS = (
    Fault("pads", CONV, _set("Conv", ir.AttrInt64s("pads", [2, 2, 0, 0]))),
    Fault("activation", CONV, _without("Relu")),
    Fault("normalization", CONV, feed=lambda image: np.divide(image, np.float32(255))),
    Fault("layout", CONV, feed=lambda image: np.ascontiguousarray(image[:, ::-1])),
    Fault(
        "layout",
        CONV,
        feed=lambda image: image.transpose(0, 2, 3, 1).reshape(image.shape),
    ),
    Fault(
        "epsilon",
        "{ n = LayerNormalization<axis=-1, epsilon=0.00001>(image, scale, bias) \n"
        " y = Conv<pads=[1,1,1,1]>(n, w, b) }",
        _set("LayerNormalization", ir.AttrFloat32("epsilon", 1.0)),
    ),
)


def observed(fault: Fault, *, wrong: bool = True) -> tuple[Segment, list[Observed]]:
    """The right segment, and what an artifact with the fault computes."""
    model = _graph(fault.head, fault.body)
    artifact = _graph(fault.head, fault.body)
    if wrong and fault.edit is not None:
        fault.edit(artifact)
    image = np.random.default_rng(SEED).normal(size=(4, 3, 8, 8)).astype(np.float32)
    seen = _run(artifact, np.ascontiguousarray(fault.feed(image)) if wrong else image)
    return Segment(model, fed=frozenset({"image"})), [Observed({"image": image}, seen)]


def best(trials: tuple[Trial, ...]) -> Trial:
    return max(trials, key=lambda trial: trial.own.sqnr_db)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.change)
def test_the_change_that_was_made_is_found(fault: Fault) -> None:
    segment, seen = observed(fault)
    trials = try_changes("y", segment, seen, params=None, open_model=open_model)
    none = next(trial for trial in trials if trial.change == "none")
    assert none.own.sqnr_db < 20.0
    assert best(trials).change == fault.change
    assert best(trials).own.sqnr_db > NEAR_DB


def test_without_a_fault_no_change_is_nearer_than_none() -> None:
    segment, seen = observed(FAULTS[0], wrong=False)
    trials = try_changes("y", segment, seen, params=None, open_model=open_model)
    assert best(trials).change == "none"


def test_saturation_alone_makes_no_change_look_good() -> None:
    """The artifact holds 0 to 1 and the values go further: limited to that, the reference is the same."""
    segment, seen = observed(FAULTS[0], wrong=False)
    narrow = QuantParams("uint8", (1 / 255,), (0,))
    clipped = [Observed(seen[0].inputs, np.clip(seen[0].output, 0.0, 1.0))]
    trials = try_changes("y", segment, clipped, params=narrow, open_model=open_model)
    none = next(trial for trial in trials if trial.change == "none")
    assert none.own.sqnr_db > NEAR_DB
    trials = try_changes("y", segment, clipped, params=None, open_model=open_model)  # sabotage: not limited
    none = next(trial for trial in trials if trial.change == "none")
    assert none.own.sqnr_db < 20.0


def test_another_number_in_the_padding() -> None:
    """The integer 0 of a uint8 tensor whose zero point is 100."""
    segment, seen = observed(FAULTS[0], wrong=False)
    image = seen[0].inputs["image"]
    padded = np.pad(image, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-100 / 64)
    artifact = _graph(IMAGE.replace("8,8", "10,10"), CONV.replace("[1,1,1,1]", "[0,0,0,0]"))
    held = Segment(segment.model, {"image": UNSIGNED})
    wrong = [Observed({"image": image}, _run(artifact, padded))]
    trials = try_changes("y", held, wrong, params=None, open_model=open_model)
    assert best(trials).change == "pad-value"
    assert best(trials).value == "-1.5625"


def test_folded_norms_are_found_by_their_gains() -> None:
    """Each output channel times a gain below 1, in front of the Relu."""
    segment, seen = observed(FAULTS[0], wrong=False)
    gains = np.array([0.3, 0.5, 0.7, 0.9], np.float32)
    artifact = _graph(IMAGE, CONV)
    array = artifact.graph.initializers["w"].const_value.numpy() * gains[:, None, None, None]  # type: ignore[union-attr]
    artifact.graph.initializers["w"].const_value = ir.tensor(array.astype(np.float32), name="w")
    held = Segment(segment.model, weight=WeightEvidence("w", (4, 3, 3, 3), 0, (), (), False, None))
    wrong = [Observed(seen[0].inputs, _run(artifact, seen[0].inputs["image"]))]
    trials = try_changes("y", held, wrong, params=None, open_model=open_model)
    assert best(trials).change == "gain"
    assert [float(word) for word in best(trials).value.split()] == pytest.approx([0.3, 0.6, 0.9], abs=1e-3)


def test_saturating_sums_are_those_of_vpmaddubsw() -> None:
    """u (2, 6) x s (6, 3), pairs side by side, limited to 16 bits before they are added; NumPy's integers."""
    rng = np.random.default_rng(SEED)
    u = rng.integers(150, 256, (2, 6))
    s = rng.integers(90, 128, (6, 3)) * np.array([1, 1, 1, 1, -1, -1])[:, None]
    pairs = u[:, :, None] * s[None]
    sums = np.clip(pairs[:, 0::2] + pairs[:, 1::2], LOWEST, HIGHEST).sum(axis=1)
    zero, step, small = 100, 1 / 64, 1 / 127
    expected = (sums - zero * s.sum(axis=0)) * step * small
    head = '<ir_version: 10, opset_import: ["" : 21]> g (float[batch,6] x) => (float[batch,3] y)'
    model = _graph(head, "{ y = MatMul(x, m) }")
    array = (s * small).astype(np.float32)
    value = ir.Value(
        name="m",
        shape=ir.Shape((6, 3)),
        type=ir.TensorType(ir.DataType.FLOAT),
        const_value=ir.tensor(array, name="m"),
    )
    model.graph.register_initializer(value)
    model.graph[0].replace_input_with(1, value)
    params = QuantParams("int8", (small,) * 3, (0,) * 3, 1)
    segment = Segment(model, {"x": UNSIGNED}, WeightEvidence("m", (6, 3), 1, (), (), False, params))
    x = ((u - zero) * step).astype(np.float32)
    seen = [Observed({"x": x}, expected.astype(np.float32))]
    trials = try_changes("y", segment, seen, params=None, open_model=open_model)
    assert best(trials).change == "products"
    assert best(trials).own.sqnr_db > NEAR_DB
    exact = [Observed({"x": x}, (x @ array).astype(np.float32))]
    trials = try_changes("y", segment, exact, params=None, open_model=open_model)
    assert "products" not in {trial.change for trial in trials}  # what is explained is not tried further


def test_a_change_that_does_not_compute_is_no_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    """C2: one broken graph among the changes takes no other with it."""
    import edgekit.validation.diagnose.try_changes as module

    def broken(segment: Segment) -> Iterator[Change]:
        clone = segment.model.clone()
        next(iter(clone.graph)).attributes["pads"] = ir.AttrInt64s("pads", [1, 1])
        yield Change("broken", "a graph that no runtime takes", "", clone)

    monkeypatch.setattr(module, "CHANGES", (broken, *CHANGES))
    segment, seen = observed(FAULTS[0])
    trials = try_changes("y", segment, seen, params=None, open_model=open_model)
    assert "broken" not in {trial.change for trial in trials}
    assert best(trials).change == "pads"


def test_the_segment_is_untouched_and_tensors_are_shared() -> None:
    model = _graph(IMAGE, CONV)
    before = [(node.op_type, len(node.inputs)) for node in model.graph]
    made = [
        change.model for make in (*CHANGES, *LAST) for change in make(Segment(model, {"image": UNSIGNED}))
    ]
    assert [(node.op_type, len(node.inputs)) for node in model.graph] == before
    together = merged(made)
    weights = {
        id(value.const_value) for value in together.graph.initializers.values() if len(value.shape or ()) == 4
    }
    assert len(weights) == 1  # stored once, whatever the number of changes
