"""The backbones of models/ as ONNX on ONNX Runtime against PyTorch, and what their READMEs say of them.

Tolerance: 1e-4 of the output's range (float32 sums in another order stay near 1e-6); all answers agree.
Weights of real data are tested where EDGEKIT_DATA is, those of data that is available anywhere always.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pytest

from edgekit import dataset, recipe, settings
from edgekit.frontends import parity
from edgekit.frontends.call_source import call_source
from edgekit.frontends.request import FunctionRunner
from edgekit.frontends.source import Loaded, SourceRequest, load
from edgekit.ir import io
from edgekit.spec import Runner
from edgekit.validation.metrics import task_metric

MODELS = Path(__file__).parents[2] / "models"
TOLERANCE = 1e-4
LARGEST_WEIGHTS = 1_000_000  # bytes
TARGETS = {"onnxruntime-cpu", "openvino-cpu", "litert-cpu"}


@dataclass(frozen=True)
class Backbone:
    """``parameters`` and ``macs`` are the published ones; ``statistics``: counted with those of the norms."""

    id: str
    outputs: dict[str, tuple[int | str, ...]]
    parameters: int
    macs: float
    data: str | None = None  # folder of EDGEKIT_DATA that it is trained on
    accuracy: float = 0.0  # top1 or mAP that it must reach on data available anywhere
    real_accuracy: float = 0.0  # top1 on the real test set
    statistics: bool = False

    def __hash__(self) -> int:
        return hash(self.id)


LOGITS_10: dict[str, tuple[int | str, ...]] = {"logits": ("batch", 10)}
LOGITS_1000: dict[str, tuple[int | str, ...]] = {"logits": ("batch", 1000)}
DETECTIONS: dict[str, tuple[int | str, ...]] = {
    "boxes": ("batch", 320, 4),
    "scores": ("batch", 320),
    "classes": ("batch", 320),
}
SEEDED = [
    Backbone("mobilenet_v2", LOGITS_1000, 3_504_872, 300.8e6),
    Backbone("mobilenet_v3_small", LOGITS_1000, 2_542_856, 56.5e6),
    Backbone("resnet18", LOGITS_1000, 11_689_512, 1.814e9),
]
TRAINED = [
    Backbone("resnet8", LOGITS_10, 78_666, 12.5e6, "cifar10", 0.97, 0.58, statistics=True),
    # the published 24,908 less two of the twelve classes
    Backbone("ds_cnn", LOGITS_10, 24_908 - 2 * 65, 2.66e6, "fsdd", 0.97, 0.9, statistics=True),
    Backbone("spoken_digits", LOGITS_10, 98_784, 14.59e6, "fsdd", 0.97, 0.9),
    Backbone("mobilenet_cifar", LOGITS_10, 98_058, 5.5e6, "cifar10", 0.96, 0.5),
    Backbone("digits_detector", DETECTIONS, 126_604, 14.48e6, accuracy=0.5),
]


@dataclass(frozen=True)
class Case:
    """One backbone with one set of weights."""

    backbone: Backbone
    real: bool = False

    @property
    def id(self) -> str:
        return f"{self.backbone.id}-{self.backbone.data}" if self.real else self.backbone.id

    @property
    def folder(self) -> Path:
        return MODELS / self.backbone.id


CASES = [Case(b) for b in (*SEEDED, *TRAINED)] + [Case(b, real=True) for b in TRAINED if b.data]


@pytest.fixture(params=CASES, ids=lambda case: case.id)
def case(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Case:
    found: Case = request.param
    settings.silence_native_libraries()
    for extra in ("torch", "safetensors", "sklearn", "PIL"):
        pytest.importorskip(extra)
    if not found.real:
        monkeypatch.delenv("EDGEKIT_DATA", raising=False)
        return found
    folder = settings.data_dir()
    assert found.backbone.data is not None
    if folder is None or not (folder / found.backbone.data).is_dir():
        pytest.skip(f"EDGEKIT_DATA with {found.backbone.data} is not there")
    return found


@cache
def exported(case: Case) -> Loaded:
    plan = recipe.load(case.folder / "edgekit.toml")
    inputs = tuple(table.spec() for table in plan.model.inputs)
    return load(SourceRequest(plan.model.source, case.folder, inputs=inputs))


def reference(case: Case) -> Runner:
    runner = exported(case).reference
    assert runner is not None
    return runner


def on_onnxruntime(model: ir.Model) -> FunctionRunner:
    settings.silence_native_libraries()
    ort = pytest.importorskip("onnxruntime")
    session = ort.InferenceSession(io.to_bytes(model), providers=["CPUExecutionProvider"])
    inputs, outputs = io.specs(model)
    names = [spec.name for spec in outputs]

    def run(arrays: tuple[Any, ...]) -> dict[str, Any]:
        feeds = dict(zip((spec.name for spec in inputs), arrays, strict=True))
        return dict(zip(names, session.run(names, feeds), strict=True))

    return FunctionRunner(inputs, outputs, run)


def evaluation(case: Case, samples: int) -> tuple[dict[str, npt.NDArray[Any]], npt.NDArray[Any]]:
    """The first samples of the recipe's evaluation and their labels."""
    plan = recipe.load(case.folder / "edgekit.toml")
    data = dataset.load(
        dataset.DataSource(plan.data.evaluation.source, samples=samples),
        inputs=tuple(table.spec() for table in plan.model.inputs),
        base=case.folder,
        preprocess=plan.data.preprocess,
    )
    assert data.labels is not None
    (batch,) = data.batches(samples)
    return dict(batch), data.labels


def test_names_and_shapes_are_those_of_the_recipe(case: Case) -> None:
    plan = recipe.load(case.folder / "edgekit.toml")
    inputs, outputs = io.specs(exported(case).model)
    assert inputs == tuple(table.spec() for table in plan.model.inputs)
    assert {spec.name: spec.shape for spec in outputs} == case.backbone.outputs


def test_every_output_agrees_with_the_framework(case: Case) -> None:
    report = parity.check(reference(case), on_onnxruntime(exported(case).model), tolerance=TOLERANCE, seed=0)
    assert report.passed, report


def test_answers_agree_on_the_evaluation_data(case: Case) -> None:
    feeds, _ = evaluation(case, 8 if case.backbone in SEEDED else 100)
    want, have = reference(case).run(feeds), on_onnxruntime(exported(case).model).run(feeds)
    for name in want:
        first, second = (np.asarray(found[name], np.float64) for found in (want, have))
        assert np.abs(first - second).max() <= TOLERANCE * np.ptp(first), name
        if name != "boxes":
            assert np.array_equal(first.argmax(axis=1), second.argmax(axis=1)), name


def test_a_perturbed_weight_is_seen(case: Case) -> None:
    model = io.from_bytes(io.to_bytes(exported(case).model))
    value = next(
        v for v in model.graph.initializers.values() if v.const_value is not None and len(v.shape or ()) == 4
    )
    assert value.const_value is not None
    array = value.const_value.numpy().copy()
    array[0] += 0.5 * np.abs(array).max()
    value.const_value = ir.tensor(array, name=value.name)
    report = parity.check(reference(case), on_onnxruntime(model), tolerance=TOLERANCE, seed=0)
    assert not report.passed


def counted(module: Any, shape: tuple[int, ...], *, statistics: bool) -> tuple[int, int]:
    """Parameters, and the multiply-accumulates of convolutions and linear layers for one sample."""
    torch = pytest.importorskip("torch")
    macs = [0]

    def count(layer: Any, _: Any, output: Any) -> None:
        if isinstance(layer, torch.nn.Conv2d):
            macs[0] += output[0].numel() * layer.weight[0].numel()
        elif isinstance(layer, torch.nn.Linear):
            macs[0] += layer.weight.numel()

    handles = [layer.register_forward_hook(count) for layer in module.modules()]
    with torch.no_grad():
        module(torch.zeros(1, *shape))
    for handle in handles:
        handle.remove()
    parameters = sum(tensor.numel() for tensor in module.parameters())
    if statistics:
        parameters += sum(t.numel() for name, t in module.state_dict().items() if "running" in name)
    return parameters, macs[0]


def test_parameters_and_macs_are_the_published_ones(case: Case) -> None:
    plan = recipe.load(case.folder / "edgekit.toml")
    module = call_source(plan.model.source, base=case.folder)
    shape = tuple(int(size) for size in plan.model.inputs[0].shape[1:])
    parameters, macs = counted(module, shape, statistics=case.backbone.statistics)
    assert parameters == case.backbone.parameters
    assert macs == pytest.approx(case.backbone.macs, rel=0.005)


@pytest.mark.parametrize("backbone", [*SEEDED, *TRAINED], ids=lambda b: b.id)
def test_recipe_weights_and_readme_are_complete(backbone: Backbone) -> None:
    folder = MODELS / backbone.id
    plan = recipe.load(folder / "edgekit.toml")
    assert {table.name for table in plan.target} == TARGETS
    weights = sorted(folder.glob("*.safetensors"))
    assert len(weights) == (2 if backbone.data else 1)
    assert all(path.stat().st_size <= LARGEST_WEIGHTS for path in weights)
    text = (folder / "README.md").read_text("utf-8")
    assert re.search(r"\d[\d,]* parameters", text)
    assert "multiply-accumulates" in text
    assert re.search(r"^Data: ", text, re.MULTILINE)


def score(case: Case, samples: int) -> float:
    """The recipe's metric of the ONNX model."""
    feeds, labels = evaluation(case, samples)
    outputs = on_onnxruntime(exported(case).model).run(feeds)
    metric = task_metric(recipe.load(case.folder / "edgekit.toml").data.evaluation.metric)
    found = {name: np.asarray(array) for name, array in outputs.items()}
    scored = found if len(metric.roles) > 1 else dict(zip(metric.roles, found.values(), strict=True))
    return metric.value(metric.sufficient(scored, labels))


@pytest.mark.parametrize(
    "case", [c for c in CASES if c.backbone in TRAINED], ids=lambda case: case.id, indirect=True
)
def test_a_trained_backbone_is_as_good_as_its_readme_says(case: Case) -> None:
    wanted = case.backbone.real_accuracy if case.real else case.backbone.accuracy
    assert score(case, 100 if case.backbone.id == "digits_detector" else 300) >= wanted


@pytest.fixture(params=SEEDED, ids=lambda b: b.id)
def seeded(request: pytest.FixtureRequest) -> Case:
    settings.silence_native_libraries()
    for extra in ("torch", "safetensors", "sklearn", "PIL"):
        pytest.importorskip(extra)
    return Case(request.param)


def liveliness(logits: npt.NDArray[Any]) -> float:
    """How much logits differ between images, as a part of how much they differ at all."""
    return float(logits.std(axis=0).mean() / logits.std())


def test_seeded_weights_answer_differently_to_different_images(seeded: Case) -> None:
    feeds, labels = evaluation(seeded, 24)  # one crop of each view
    logits = np.asarray(reference(seeded).run(feeds)["logits"], np.float64)
    assert len(np.unique(labels)) >= 12
    # another CPU's float sums, or another JPEG decoder, may tip one crop
    assert np.mean(logits.argmax(axis=1) == labels) >= 0.95
    best = np.sort(logits, axis=1)[:, -2:]
    assert np.median(best[:, 1] - best[:, 0]) >= 0.5 * logits.std()
    assert liveliness(logits) >= 0.2


def test_dead_logits_are_seen() -> None:
    same = np.repeat(np.random.default_rng(0).standard_normal((1, 1000)), 24, axis=0)
    assert liveliness(same) < 1e-6
