"""The Keras reference models as ONNX on ONNX Runtime against Keras, on their own evaluation data.

Tolerance: 1e-4 of the output's range over all samples (float32 sums in another order stay near 1e-6); the
label of every sample is the same. Models that have real data in EDGEKIT_DATA are compared on it too; without
it they must work all the same, on data that is there anywhere.
"""

from __future__ import annotations

import importlib
import os
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pytest

from edgekit import dataset, recipe, settings
from edgekit.dataset import Dataset
from edgekit.frontends.request import FunctionRunner
from edgekit.frontends.source import Loaded, SourceRequest, load
from edgekit.ir import io
from edgekit.recipe import Recipe
from edgekit.spec import Runner, TensorSpec
from edgekit.validation.metrics import task_metric

MODELS = Path(__file__).parents[2] / "models"
TOLERANCE = 1e-4
WEIGHTS_BYTES = 1_000_000
TARGETS = {"onnxruntime-cpu", "openvino-cpu", "litert-cpu"}


@dataclass(frozen=True)
class Case:
    """One model on one of its data sets; ``folder`` is where EDGEKIT_DATA has the real one.

    ``count`` samples are compared, and on them its metric must be ``atleast`` so high.
    """

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    scored: str
    atleast: float
    folder: str = ""
    recurrent: bool = False
    count: int = 400

    @property
    def id(self) -> str:
        return f"{self.name}-{self.folder or 'anywhere'}"


def spec(name: str, *dims: int, dtype: str = "float32") -> TensorSpec:
    return TensorSpec(name, dtype, ("batch", *dims))


IMAGE = (spec("image", 64, 64, 3),)
CLASSES = (spec("probabilities", 10),)
TOKENS = (spec("tokens", 40, dtype="int32"),)
POSITIVE = (spec("positive", 1),)
DIGITS = (spec("rows", 8, 8), spec("h", 64), spec("c", 64))
STATE = (spec("logits", 10), spec("row_logits", 8, 10), spec("h_out", 64), spec("c_out", 64))
CASES = [
    Case("image_cnn_tf", IMAGE, CLASSES, "probabilities", 0.85),
    Case("image_cnn_tf", IMAGE, CLASSES, "probabilities", 0.45, folder="cifar10"),
    Case("digits_lstm_stateful", DIGITS, STATE, "logits", 0.97, recurrent=True),
    Case("text_lstm", TOKENS, POSITIVE, "positive", 0.85, recurrent=True),
    Case("text_lstm", TOKENS, POSITIVE, "positive", 0.72, folder="text", recurrent=True),
    Case("text_attention", TOKENS, POSITIVE, "positive", 0.85),
    Case("text_attention", TOKENS, POSITIVE, "positive", 0.7, folder="text"),
    Case("tabular_mlp", (spec("features", 30),), (spec("benign", 1),), "benign", 0.95),
    Case(
        "digits_unet", (spec("image", 64, 64, 1),), (spec("logits", 64, 64, 11),), "logits", 0.85, count=100
    ),
]
NAMES = sorted({case.name for case in CASES})


def prepare(case: Case, monkeypatch: pytest.MonkeyPatch) -> Case:
    """``case``, with EDGEKIT_DATA as it shall be."""
    settings.silence_native_libraries()
    pytest.importorskip("tensorflow")
    pytest.importorskip("sklearn")
    if not case.folder:
        monkeypatch.delenv("EDGEKIT_DATA", raising=False)
    elif not (Path(os.environ.get("EDGEKIT_DATA", "")) / case.folder).is_dir():
        pytest.skip(f"EDGEKIT_DATA has no {case.folder}")
    return case


@pytest.fixture(params=CASES, ids=lambda case: case.id)
def case_of_data(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Case:
    return prepare(request.param, monkeypatch)


@pytest.fixture(params=CASES, ids=lambda case: case.id)
def case(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Case:
    return prepare(request.param, monkeypatch)


def plan(name: str) -> Recipe:
    return recipe.load(MODELS / name / "edgekit.toml")


@cache
def exported(case: Case) -> Loaded:
    table = plan(case.name).model
    inputs = tuple(each.spec() for each in table.inputs)
    return load(SourceRequest(table.source, MODELS / case.name, inputs=inputs))


@cache
def samples(case: Case, part: str) -> Dataset:
    """What the recipe names as ``calibration`` or ``evaluation``, prepared as it says."""
    tables = plan(case.name)
    table = getattr(tables.data, part)
    return dataset.load(
        dataset.DataSource(table.source, samples=case.count),
        inputs=tuple(each.spec() for each in tables.model.inputs),
        base=MODELS / case.name,
        preprocess=tables.data.preprocess,
    )


def on_onnxruntime(model: ir.Model) -> FunctionRunner:
    ort = pytest.importorskip("onnxruntime")
    session = ort.InferenceSession(io.to_bytes(model), providers=["CPUExecutionProvider"])
    inputs, outputs = io.specs(model)
    names = [each.name for each in outputs]

    def run(arrays: tuple[Any, ...]) -> dict[str, Any]:
        feeds = dict(zip((each.name for each in inputs), arrays, strict=True))
        return dict(zip(names, session.run(names, feeds), strict=True))

    return FunctionRunner(inputs, outputs, run)


def outputs_of(runner: Runner, data: Dataset) -> dict[str, npt.NDArray[Any]]:
    """Every output for every sample."""
    parts = [runner.run(batch) for batch in data.batches(100)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


@cache
def of_keras(case: Case) -> dict[str, npt.NDArray[Any]]:
    runner = exported(case).reference
    assert runner is not None
    return outputs_of(runner, samples(case, "evaluation"))


def distance(want: npt.NDArray[Any], have: npt.NDArray[Any]) -> float:
    """Largest difference as a part of the range of ``want``."""
    return float(np.abs(want.astype(np.float64) - have).max() / np.ptp(want))


def label_of(scores: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return scores[..., 0] > 0.5 if scores.shape[-1] == 1 else scores.argmax(axis=-1)


def test_names_types_and_shapes(case: Case) -> None:
    assert io.specs(exported(case).model) == (case.inputs, case.outputs)


def test_every_output_is_that_of_keras(case: Case) -> None:
    want, have = (
        of_keras(case),
        outputs_of(on_onnxruntime(exported(case).model), samples(case, "evaluation")),
    )
    assert list(have) == [each.name for each in case.outputs]
    for name in want:
        assert have[name].shape == want[name].shape
        assert distance(want[name], have[name]) <= TOLERANCE, name
    assert np.array_equal(label_of(have[case.scored]), label_of(want[case.scored]))


def test_a_perturbed_weight_is_seen(case: Case) -> None:
    model = io.from_bytes(io.to_bytes(exported(case).model))
    value = max(
        (each for each in model.graph.initializers.values() if each.const_value is not None),
        key=lambda each: each.const_value.size if each.const_value is not None else 0,
    )
    assert value.const_value is not None
    array = value.const_value.numpy()
    value.const_value = ir.tensor(array + 0.1 * np.abs(array).max().astype(array.dtype), name=value.name)
    have = outputs_of(on_onnxruntime(model), samples(case, "evaluation"))
    assert max(distance(want, have[name]) for name, want in of_keras(case).items()) > TOLERANCE


def test_it_has_learned_its_task(case: Case) -> None:
    data, row = samples(case, "evaluation"), task_metric(plan(case.name).data.evaluation.metric)
    assert data.labels is not None
    assert row.value(row.sufficient({"output": of_keras(case)[case.scored]}, data.labels)) >= case.atleast


def test_it_is_not_tuned_on_what_judges_it(case_of_data: Case) -> None:
    seen, judged = (
        {
            b"".join(np.ascontiguousarray(array).tobytes() for array in sample.values())
            for sample in data.samples()
        }
        for data in (samples(case_of_data, "calibration"), samples(case_of_data, "evaluation"))
    )
    assert len(seen) >= 100
    assert len(seen & judged) <= 0.01 * len(seen)  # two sentences may have the same words


def test_a_recurrence_is_one_operator(case: Case) -> None:
    found = [node.op_type for graph in exported(case).model.graphs() for node in graph]
    assert found.count("LSTM") == (1 if case.recurrent else 0)
    assert not {"Loop", "Scan", "If"} & set(found)


def test_the_state_goes_in_and_comes_out() -> None:
    """Two calls, the second with the state of the first, are not two calls from zero."""
    settings.silence_native_libraries()
    pytest.importorskip("tensorflow")
    pytest.importorskip("sklearn")
    case = next(each for each in CASES if each.name == "digits_lstm_stateful")
    runner = on_onnxruntime(exported(case).model)
    first = next(samples(case, "evaluation").batches(4))
    one = runner.run(first)
    two = runner.run({"rows": first["rows"], "h": one["h_out"], "c": one["c_out"]})
    assert np.array_equal(one["logits"], one["row_logits"][:, -1])
    assert distance(one["logits"], two["logits"]) > 0.01
    assert np.abs(one["h_out"]).max() > 0.1


@pytest.mark.parametrize("name", NAMES)
def test_recipe_and_weights(name: str) -> None:
    tables, folder = plan(name), MODELS / name
    assert {table.name for table in tables.target} >= TARGETS
    assert tables.model.name == name.replace("_", "-")
    assert (folder / "README.md").is_file()
    weights = sorted(folder.glob("*.h5"))
    assert weights
    assert all(file.stat().st_size <= WEIGHTS_BYTES for file in weights)


@pytest.mark.parametrize("name", ["text_lstm", "text_attention"])
def test_the_vocabulary_travels_with_the_model_and_is_pythons(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(MODELS))
    sentences = importlib.import_module("sentences")
    text = (MODELS / name / "vocabulary.txt").read_text("utf-8")
    assert tomllib.loads((MODELS / name / "edgekit.toml").read_text("utf-8"))["model"]["files"] == [
        "vocabulary.txt"
    ]
    assert len(set(text.split())) == len(text.split()) == sentences.WORDS
    known = {word for sentence, _ in sentences.docstring_sentences() for word in sentences.words(sentence)}
    assert (
        sum(word in known for word in text.split()) >= 0.9 * sentences.WORDS
    )  # docstrings change with Python
