"""Which operators a partial plan leaves float: those with few products for their tensors, and no others."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgekit import target as targets
from edgekit.ir.digest import digest
from edgekit.ir.graph import add_initializer
from edgekit.passes import canonicalize
from edgekit.pipeline.partial import VARIANTS, partial_schemes
from edgekit.pipeline.prepare import Prepared
from edgekit.pipeline.scheme import Scheme
from edgekit.pipeline.variant import plan_of
from edgekit.quantization.restore.restoration import Restoration
from edgekit.spec import Precision, Range, Ranges

SEED = 3
TARGET = targets.load("onnxruntime-cpu")
WHOLE = Scheme(Precision.W8A8)


def _prepared(*, depthwise: bool) -> Prepared:
    """x -> wide 1x1 Conv -> (depthwise 3x3 Conv) -> wide 1x1 Conv, added to what went in."""
    rng = np.random.default_rng(SEED)
    x = ir.val("x", dtype=ir.DataType.FLOAT, shape=[1, 32, 16, 16])
    graph = ir.Graph([x], [], nodes=[], opset_imports={"": 21}, name="g")
    value, shape = x, (32, 32, 1, 1)
    for name in ("first", "spatial", "last"):
        grouped = name == "spatial"
        if grouped and not depthwise:
            continue
        drawn = rng.normal(size=(32, 1, 3, 3) if grouped else shape).astype(np.float32)
        weight = add_initializer(graph, f"{name}_w", drawn)
        attributes = {"group": 32, "pads": [1, 1, 1, 1]} if grouped else {}
        graph.append(ir.node("Conv", [value, weight], attributes=attributes, name=name))
        value = graph[-1].outputs[0]
    if depthwise:
        graph.append(ir.node("Add", [value, x], name="residual"))
        value = graph[-1].outputs[0]
    value.name, value.dtype, value.shape = "y", ir.DataType.FLOAT, x.shape
    graph.outputs.append(value)
    model = canonicalize(ir.Model(graph, ir_version=10))
    values = [*model.graph.inputs, *(value for node in model.graph for value in node.outputs)]
    tensors = {value.name or "": Range(-4.0, 4.0) for value in values}
    return Prepared(model, Ranges(tensors, "minmax", digest(model), "", "", 1, 0), Restoration())


def test_the_depthwise_convolution_is_left_float_first_then_what_stands_between() -> None:
    prepared = _prepared(depthwise=True)
    heavy, alone = partial_schemes(prepared, TARGET, WHOLE, overrides=())
    assert (heavy.label, alone.label) == tuple(f"w8a8-{name}" for name in VARIANTS)
    assert set(heavy.keep_float) == {"spatial"}
    assert set(alone.keep_float) == {"spatial", "residual"}
    left = plan_of(prepared, TARGET, alone).operators
    assert [operator.name for operator in left] == ["first", "last"]
    assert all(each.rule == "latency" for each in alone.keep_float.values())


def test_nothing_is_proposed_where_every_operator_is_heavy() -> None:
    assert partial_schemes(_prepared(depthwise=False), TARGET, WHOLE, overrides=()) == ()
