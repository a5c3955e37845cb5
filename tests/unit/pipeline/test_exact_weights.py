"""Candidates get weights that give the same integers on every CPU, unless the recipe says otherwise."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import numpy as np
import onnx_ir as ir
import pytest

from edgekit import target as targets
from edgekit.ir.digest import digest
from edgekit.passes import canonicalize
from edgekit.pipeline import variant
from edgekit.pipeline.model import Canonical
from edgekit.pipeline.prepare import Prepared
from edgekit.pipeline.scheme import Scheme, Weights
from edgekit.quantization.restore.restoration import Restoration
from edgekit.quantization.saturation import cross_cpu, saturating_on
from edgekit.spec import Precision, Range, Ranges

SEED, SIZE = 4, 512
TARGET = targets.load("onnxruntime-cpu")
TEXT = f"""<ir_version: 10, opset_import: ["" : 21]>
g (float[n, {SIZE}] x) => (float[n, {SIZE}] y) <float[{SIZE}, {SIZE}] w> {{ y = MatMul(x, w) }}"""


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    drawn = np.random.default_rng(SEED).normal(size=(SIZE, SIZE)).astype(np.float32)
    model = canonicalize(ir.from_onnx_text(TEXT, initializers=[ir.tensor(drawn, name="w")]))
    tensors = {"x": Range(-4.0, 4.0), "y": Range(-100.0, 100.0)}
    return Prepared(model, Ranges(tensors, "minmax", digest(model), "", "", 1, 0), Restoration())


def test_no_sum_of_two_products_saturates(prepared: Prepared) -> None:
    plan = variant.plan_of(prepared, TARGET, Scheme(Precision.W8A8))
    assert not saturating_on(prepared.model, plan, TARGET)
    assert "x86-64 without VNNI" in cross_cpu(prepared.model, plan, TARGET).same


@pytest.mark.parametrize("weights", ["int8", "uint8"])
def test_all_eight_bits_on_request(prepared: Prepared, weights: Weights) -> None:
    """Sabotage: with them as they are, sums saturate; stored as uint8 they are the same plan, and do not."""
    plan = variant.plan_of(prepared, TARGET, Scheme(Precision.W8A8, weights=weights))
    assert bool(saturating_on(prepared.model, plan, TARGET)) is (weights == "int8")
    whole = variant.plan_of(prepared, TARGET, Scheme(Precision.W8A8, weights="int8"))
    assert plan.digest == whole.digest
    assert plan.digest != variant.plan_of(prepared, TARGET, Scheme(Precision.W8A8)).digest


def test_targets_that_saturate_nowhere_share_the_plan(prepared: Prepared) -> None:
    names = ("onnxruntime-cpu", "openvino-cpu", "litert-cpu", "portable")
    plans = {variant.plan_of(prepared, targets.load(each), Scheme(Precision.W8A8)).digest for each in names}
    assert len(plans) == 1


def test_dynamic_has_them_too_and_weights_alone_are_what_they_were(prepared: Prepared) -> None:
    source = cast("Canonical", SimpleNamespace(model=prepared.model, quantized=False))

    def made(precision: Precision, weights: Weights) -> str:
        return variant.make(source, TARGET, Scheme(precision, weights=weights), None).plan_digest

    assert made(Precision.DYNAMIC, "exact") != made(Precision.DYNAMIC, "int8")
    assert made(Precision.W8, "exact") == made(Precision.W8, "int8")
