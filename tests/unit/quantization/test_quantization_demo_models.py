"""Both demo models, from their frameworks to integers on ONNX Runtime: the bars of the main job.

Budget: at most 1 point of top-1 on the 899 test digits. Plans agree on all CPU targets.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pytest

from edgekit import recipe
from edgekit.backends.onnxruntime import open_model
from edgekit.calibration.collect import collect
from edgekit.dataset.sources import DataSource
from edgekit.dataset.sources import load as load_data
from edgekit.frontends.source import SourceRequest, load
from edgekit.ir import io
from edgekit.passes import canonicalize
from edgekit.quantization.apply import apply, output_steps
from edgekit.quantization.place import place
from edgekit.spec import Array, TensorSpec
from edgekit.target import load as load_target

MODELS = Path(__file__).parents[3] / "models"
Evaluate = Callable[[ir.Model, Mapping[str, Array]], list[npt.NDArray[np.float32]]]
Kernels = Callable[[ir.Model], Counter[str]]


@dataclass(frozen=True)
class Demo:
    name: str
    framework: str
    shape: tuple[int | str, ...]
    integer_kernels: dict[str, int]


DEMOS = (
    Demo(
        "digits_cnn",
        "torch",
        ("batch", 1, 28, 28),
        {"QLinearConv": 5, "QLinearAdd": 1, "QLinearGlobalAveragePool": 1, "QGemm": 1},
    ),
    Demo(
        "digits_keras",
        "keras",
        ("batch", 28, 28, 1),
        {"QLinearConv": 5, "QLinearGlobalAveragePool": 1, "QGemm": 2},
    ),
)


@pytest.mark.slow
@pytest.mark.parametrize("demo", DEMOS, ids=lambda demo: demo.name)
def test_a_demo_model_in_integers(demo: Demo, evaluate: Evaluate, kernels: Kernels) -> None:
    pytest.importorskip(demo.framework)
    folder = MODELS / demo.name
    spec = TensorSpec("image", "float32", demo.shape)
    loaded = load(SourceRequest("model.py:build", base=folder, inputs=(spec,)))
    model = canonicalize(loaded.model)
    data = recipe.load(folder / "edgekit.toml").data
    assert data is not None
    assert data.calibration is not None
    inputs = io.specs(model)[0]
    calibration, evaluation = (
        load_data(
            DataSource(table.source, split=table.split, samples=table.samples, seed=table.seed),
            inputs=inputs,
            base=folder,
            preprocess=data.preprocess,
        )
        for table in (data.calibration, data.evaluation)
    )
    found = collect(
        model,
        open_model=open_model,
        batches=calibration.batches,
        count=calibration.count,
        method="minmax",
    )
    assert found.findings == ()

    targets = [load_target(name) for name in ("onnxruntime-cpu", "openvino-cpu", "litert-cpu", "portable")]
    plans = [place(model, target, found.tensors) for target in targets]
    assert len({plan.digest for plan in plans}) == 1
    assert all(plan.left_float == () for plan in plans)

    quantized = apply(model, plans[0])
    counted = kernels(quantized)
    assert {name: counted[name] for name in demo.integer_kernels} == demo.integer_kernels
    assert counted["QuantizeLinear"] == counted["DequantizeLinear"] == 1, "at the edges only"
    assert counted["Conv"] == counted["Gemm"] == counted["MatMul"] == counted["Add"] == 0

    (feeds,) = evaluation.batches(evaluation.count)
    labels = np.asarray(evaluation.labels)
    assert len(labels) == 899
    reference, candidate = evaluate(model, feeds)[0], evaluate(quantized, feeds)[0]
    float_right, integer_right = (
        int((logits.argmax(axis=1) == labels).sum()) for logits in (reference, candidate)
    )
    assert float_right - integer_right <= 0.01 * len(labels)
    steps = np.abs(candidate - reference) / output_steps(model, plans[0])["logits"]
    assert np.percentile(steps, 95) <= 4, "in steps of the output; 1.6 and 1.7 were measured"
