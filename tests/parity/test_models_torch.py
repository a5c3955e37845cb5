"""The PyTorch reference models of models/: each exports, and ONNX Runtime computes what PyTorch computes.

Tolerance: 1e-4 of the output's range over seeded inputs of several batch sizes, seed 0; labels agree on every
sample. The weights that stand in for EDGEKIT_DATA's are tested with and without it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from edgekit import dataset, recipe, settings
from edgekit.dataset import DataSource
from edgekit.frontends import parity
from edgekit.frontends.request import FunctionRunner
from edgekit.frontends.source import Loaded, SourceRequest, load
from edgekit.ir import io
from edgekit.spec import Array, Runner, TensorSpec
from edgekit.validation.evaluate import evaluate

REAL_DATA = os.environ.get("EDGEKIT_DATA", "")  # before a test removes it
MODELS = Path(__file__).parents[2] / "models"
TOLERANCE = 1e-4
LARGEST_WEIGHTS = 1_000_000  # bytes
CACHE = ("batch", 4, "past", 24)
GROWN = ("batch", 4, "past + tokens", 24)


@dataclass(frozen=True)
class Model:
    """What a reference model promises; ``metric`` is a bound on the recipe's metric, with some room."""

    id: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    metric: float
    needs: tuple[str, ...] = ()
    refused_by: str = ""  # a target that is not in the recipe, because it will not come to take the model


MODEL_TABLE = [
    Model(
        "digits_rnn",
        (TensorSpec("image", "float32", ("batch", 1, 28, 28)),),
        (TensorSpec("logits", "float32", ("batch", 10)),),
        metric=0.95,
        needs=("sklearn",),
    ),
    Model(
        "text_bert",
        (
            TensorSpec("input_ids", "int64", ("batch", 48)),
            TensorSpec("attention_mask", "int64", ("batch", 48)),
        ),
        (TensorSpec("logits", "float32", ("batch", 2)),),
        metric=0.74,
        needs=("transformers",),
    ),
    Model(
        "text_decoder",
        (
            TensorSpec("tokens", "int64", ("batch", "tokens")),
            *(TensorSpec(f"past_{part}_{i}", "float32", CACHE) for i in (0, 1) for part in ("key", "value")),
        ),
        (
            TensorSpec("logits", "float32", ("batch", "tokens", 96)),
            *(
                TensorSpec(f"present_{part}_{i}", "float32", GROWN)
                for i in (0, 1)
                for part in ("key", "value")
            ),
        ),
        metric=6.0,
    ),
    Model(
        "seq2seq_attention",
        (TensorSpec("characters", "int64", ("batch", 24)),),
        (TensorSpec("symbols", "float32", ("batch", 10, 11)),),
        metric=0.99,
    ),
    Model(
        "recommender",
        (
            TensorSpec("user", "int64", ("batch",)),
            TensorSpec("item", "int64", ("batch",)),
            TensorSpec("content", "float32", ("batch", 12)),
        ),
        tuple(
            TensorSpec(name, "float32", ("batch",)) for name in ("collaborative", "content_based", "hybrid")
        ),
        metric=0.55,
    ),
    Model(
        "digits_autoencoder",
        (TensorSpec("pixels", "float32", ("batch", 64)),),
        (TensorSpec("score", "float32", ("batch",)), TensorSpec("reconstruction", "float32", ("batch", 64))),
        metric=0.97,
        needs=("sklearn",),
    ),
    Model(
        "digits_generator",
        (TensorSpec("latent", "float32", ("batch", 16)),),
        (TensorSpec("image", "float32", ("batch", 1, 28, 28)),),
        metric=59.9,
    ),
]


@pytest.fixture(params=MODEL_TABLE, ids=lambda model: model.id)
def model(request: pytest.FixtureRequest) -> Model:
    found: Model = request.param
    _require(found)
    return found


# torch 2.13 says both when it decomposes nn.GRU (torch/export, torch/_decomp); neither is ours to change.
pytestmark = [
    pytest.mark.filterwarnings("ignore:The tensor attributes self.encoder:UserWarning"),
    pytest.mark.filterwarnings("ignore:_check_is_size will be removed:FutureWarning"),
]


@pytest.fixture(autouse=True)
def _without_real_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fallback data and its weights, which work anywhere, unless a test asks for the real data."""
    monkeypatch.delenv("EDGEKIT_DATA", raising=False)


def _require(model: Model) -> None:
    settings.silence_native_libraries()
    for module in ("torch", "safetensors", "onnxruntime", *model.needs):
        pytest.importorskip(module)


def _plan(name: str) -> recipe.Recipe:
    return recipe.load(MODELS / name / "edgekit.toml")


@cache
def _exported(name: str, source: str = "model.py:build", real_data: bool = False) -> Loaded:
    """``real_data`` is only a key: what is exported then depends on EDGEKIT_DATA."""
    del real_data
    specs = tuple(table.spec() for table in _plan(name).model.inputs)
    return load(SourceRequest(source, MODELS / name, inputs=specs))


def _reference(name: str) -> Runner:
    runner = _exported(name).reference
    assert runner is not None
    return runner


def _on_onnxruntime(model: ir.Model) -> FunctionRunner:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(io.to_bytes(model), options, providers=["CPUExecutionProvider"])
    inputs, outputs = io.specs(model)
    names = [spec.name for spec in outputs]

    def run(arrays: tuple[Any, ...]) -> dict[str, Any]:
        feeds = dict(zip((spec.name for spec in inputs), arrays, strict=True))
        return dict(zip(names, session.run(names, feeds), strict=True))

    return FunctionRunner(inputs, outputs, run)


def _distance(one: Array, other: Array) -> float:
    return float(np.max(np.abs(one.astype(np.float64) - other.astype(np.float64))))


def _agree(want: Mapping[str, Array], have: Mapping[str, Array]) -> None:
    """Each output within the tolerance of its range, and the same label where there are scores."""
    assert set(want) == set(have)
    for name, array in want.items():
        assert array.shape == have[name].shape
        span = float(np.ptp(array)) or 1.0
        assert _distance(array, have[name]) <= TOLERANCE * span, name
        if name in {"logits", "symbols"}:
            np.testing.assert_array_equal(array.argmax(-1), have[name].argmax(-1))


def test_the_recipe_names_every_runtime_that_may_take_it(model: Model) -> None:
    plan = _plan(model.id)
    wanted = [name for name in ("onnxruntime-cpu", "openvino-cpu", "litert-cpu") if name != model.refused_by]
    assert [target.name for target in plan.target] == wanted
    assert plan.model.tolerance <= TOLERANCE


def test_names_types_and_shapes(model: Model) -> None:
    inputs, outputs = io.specs(_exported(model.id).model)
    assert inputs == model.inputs
    assert outputs == model.outputs


def test_every_output_agrees_on_seeded_inputs(model: Model) -> None:
    candidate = _on_onnxruntime(_exported(model.id).model)
    report = parity.check(_reference(model.id), candidate, tolerance=TOLERANCE, seed=0)
    assert report.passed, report


def test_every_output_and_label_agrees_on_calibration_data(model: Model) -> None:
    plan = _plan(model.id)
    assert plan.data.calibration is not None
    reference, candidate = _reference(model.id), _on_onnxruntime(_exported(model.id).model)
    data = dataset.load(
        DataSource(plan.data.calibration.source, split=plan.data.calibration.split, samples=64),
        inputs=reference.inputs,
        base=MODELS / model.id,
        preprocess=plan.data.preprocess,
    )
    dataset.check(data, reference.inputs)
    for feeds in data.batches(32):
        _agree(reference.run(feeds), candidate.run(feeds))


def test_a_perturbed_weight_is_seen(model: Model) -> None:
    sabotaged = io.from_bytes(io.to_bytes(_exported(model.id).model))
    weights = [
        value
        for value in sabotaged.graph.initializers.values()
        if value.const_value is not None and len(value.shape or ()) > 1 and value.dtype == ir.DataType.FLOAT
    ]
    for value in weights:
        assert value.const_value is not None
        value.const_value = ir.tensor(value.const_value.numpy() * np.float32(1.01), name=value.name)
    report = parity.check(_reference(model.id), _on_onnxruntime(sabotaged), tolerance=TOLERANCE, seed=0)
    assert not report.passed


def test_weights_are_small(model: Model) -> None:
    files = sorted((MODELS / model.id).glob("*.safetensors"))
    assert files
    assert all(file.stat().st_size <= LARGEST_WEIGHTS for file in files)


def test_the_metric_of_the_recipe(model: Model) -> None:
    _metric_holds(model)


@pytest.mark.parametrize("name", ["text_bert", "text_decoder"])
def test_real_text_has_its_own_weights(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if not REAL_DATA:
        pytest.skip("EDGEKIT_DATA is not set: SST-2 is not here")
    model = next(each for each in MODEL_TABLE if each.id == name)
    _require(model)
    monkeypatch.setenv("EDGEKIT_DATA", REAL_DATA)
    _metric_holds(model, real_data=True)


def _metric_holds(model: Model, *, real_data: bool = False) -> None:
    plan = _plan(model.id).data
    runner = _on_onnxruntime(_exported(model.id, real_data=real_data).model)
    data = dataset.load(
        DataSource(plan.evaluation.source, split=plan.evaluation.split),
        inputs=runner.inputs,
        base=MODELS / model.id,
        preprocess=plan.preprocess,
    )
    assert data.labels is not None
    found = evaluate(
        runner,
        metric=plan.evaluation.metric,
        batches=data.batches,
        labels=data.labels,
        count=data.count,
        output=plan.evaluation.output or None,
    )
    lower_is_better = plan.evaluation.metric in {"mae", "perplexity"}
    assert found.value <= model.metric if lower_is_better else found.value >= model.metric


def test_no_word_of_the_vocabulary_is_taken_from_the_reviews() -> None:
    """vocabulary.txt is made of docstrings: what it holds are words of this very library's docstrings."""
    words = (MODELS / "text_bert" / "vocabulary.txt").read_text("utf-8").splitlines()
    assert len(words) == len(set(words)) == 1500
    assert {"server", "decimal", "return", "header"} <= set(words)
    assert not {"movie", "actor", "funny", "comedy", "plot"} & set(words)


class TestTextDecoder:
    """Both modes of the one graph: prefill (P = 0) and one step with the cache (T = 1)."""

    ID = "text_decoder"
    LENGTH = 12

    @pytest.fixture(autouse=True)
    def _here(self) -> None:
        _require(next(model for model in MODEL_TABLE if model.id == self.ID))

    def _tokens(self) -> Array:
        return np.random.default_rng(0).integers(1, 96, (3, self.LENGTH)).astype(np.int64)

    def _empty(self) -> dict[str, Array]:
        specs = io.specs(_exported(self.ID).model)[0][1:]
        return {spec.name: np.zeros((3, 4, 0, 24), np.float32) for spec in specs}

    def test_prefill_agrees(self) -> None:
        feeds = {"tokens": self._tokens(), **self._empty()}
        candidate = _on_onnxruntime(_exported(self.ID).model)
        _agree(_reference(self.ID).run(feeds), candidate.run(feeds))

    def test_steps_with_the_cache_give_what_prefill_gives(self) -> None:
        reference, candidate = _reference(self.ID), _on_onnxruntime(_exported(self.ID).model)
        tokens, cache = self._tokens(), self._empty()
        whole = candidate.run({"tokens": tokens, **cache})["logits"]
        span = float(np.ptp(whole))
        for step in range(self.LENGTH):
            feeds = {"tokens": tokens[:, step : step + 1], **cache}
            outputs = candidate.run(feeds)
            _agree(reference.run(feeds), outputs)
            assert _distance(outputs["logits"][:, 0], whole[:, step]) <= TOLERANCE * span
            cache = {name: outputs[name.replace("past", "present")] for name in cache}

    def test_a_forgotten_cache_is_seen(self) -> None:
        candidate = _on_onnxruntime(_exported(self.ID).model)
        tokens = self._tokens()
        whole = candidate.run({"tokens": tokens, **self._empty()})["logits"]
        alone = candidate.run({"tokens": tokens[:, -1:], **self._empty()})["logits"]
        assert _distance(alone[:, 0], whole[:, -1]) > TOLERANCE * float(np.ptp(whole))


def test_the_large_bert_exports() -> None:
    _require(next(model for model in MODEL_TABLE if model.id == "text_bert"))
    specs = tuple(TensorSpec(name, "int64", ("batch", 128)) for name in ("input_ids", "attention_mask"))
    loaded = load(SourceRequest("model.py:build_large", MODELS / "text_bert", inputs=specs))
    assert loaded.reference is not None
    report = parity.check(loaded.reference, _on_onnxruntime(loaded.model), tolerance=TOLERANCE, seed=0)
    assert report.passed, report
    assert io.specs(loaded.model)[1] == (TensorSpec("logits", "float32", ("batch", 2)),)
