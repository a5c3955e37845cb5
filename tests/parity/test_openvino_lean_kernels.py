"""What placement.lean of openvino-cpu is for: OpenVINO fuses a GELU into the integer product in front of it.

It cannot where the product's result is rounded first: then the GELU is a kernel of its own, and so is what
turns integers back into floats. Source: measured (runtime graph of OpenVINO 2026.4); figures are in
docs/quantization.md.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from edgekit.backends.base import CompileRequest
from edgekit.backends.openvino import OpenVino
from edgekit.passes import canonicalize
from edgekit.quantization.apply import apply
from edgekit.quantization.place import place
from edgekit.spec import Precision, Range
from edgekit.target import load

TARGET = load("openvino-cpu")
SEED = 0
TEXT = """<ir_version: 10, opset_import: ["" : 21]>
g (float[batch, 16, 64] x) => (float[batch, 16, 64] y)
<float[64, 128] v, float[128, 64] w>
{ a = MatMul(x, v) b = Gelu(a) y = MatMul(b, w) }"""


def kernels(placement: str, folder: Path, hint: str = "f32") -> dict[str, int]:
    """Kernels that OpenVINO runs, counted."""
    rng = np.random.default_rng(SEED)
    drawn = {"v": rng.normal(size=(64, 128)), "w": rng.normal(size=(128, 64))}
    tensors = [ir.tensor(array.astype(np.float32), name=name) for name, array in drawn.items()]
    model = canonicalize(ir.from_onnx_text(TEXT, initializers=tensors))
    values = [*model.graph.inputs, *(output for node in model.graph for output in node.outputs)]
    ranges = {value.name or "": Range(-3.0, 3.0) for value in values}
    form = apply(model, place(model, TARGET.placed(placement), ranges))
    stem = f"m-{placement}-{hint}"
    artifact = OpenVino().compile(
        CompileRequest(form, TARGET, Precision.W8A8, TARGET.run.options(), stem), folder
    )
    options = TARGET.model_copy(
        update={"run": TARGET.run.model_copy(update={"settings": {"INFERENCE_PRECISION_HINT": hint}})}
    ).run.options()
    with OpenVino().open(artifact, options) as session:
        pairs = (part.rsplit(":", 1) for part in session.facts["kernels"].split())
        return {name: int(count) for name, count in pairs}


@pytest.mark.parametrize("hint", ["f32", "bf16"])
def test_the_activation_is_inside_the_product(hint: str, tmp_path: Path) -> None:
    whole, lean = kernels("", tmp_path, hint), kernels("lean", tmp_path, hint)
    assert sum(lean.values()) < sum(whole.values()), (whole, lean)
    products = {name: count for name, count in lean.items() if "gemm" in name}
    assert sum(products.values()) == 2
    assert all(name.upper().endswith("I8") for name in products), lean
