"""Data that is wrong for both sides alike: red where it is wrong, green where the task is hard."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgekit.errors import DataError, ExitCode
from edgekit.spec import Array, Feeds, TensorSpec
from edgekit.validation.compare import Side, compare
from edgekit.validation.evaluate import Evaluation
from edgekit.validation.metrics import task_metric
from edgekit.validation.reference import check_reference, shuffled, wilson

Numbers = npt.NDArray[Any]
SEED = 17


@dataclass
class Gives:
    """Gives the outputs that it was made with."""

    outputs_of: dict[str, Numbers]
    place: int = 0
    names: tuple[str, ...] = field(default_factory=tuple)

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        return (TensorSpec("x", "float32", ("batch", 1)),)

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        return tuple(TensorSpec(n, "float32", ("batch", *a.shape[1:])) for n, a in self.outputs_of.items())

    def run(self, feeds: Feeds) -> dict[str, Array]:
        first, self.place = self.place, self.place + len(feeds["x"])
        return {name: array[first : self.place] for name, array in self.outputs_of.items()}


def reference_on(metric: str, labels: Numbers, **outputs: Numbers) -> Evaluation:
    count = len(labels)

    def batches(size: int) -> Iterator[dict[str, Array]]:
        for start in range(0, count, size):
            yield {"x": np.zeros((min(size, count - start), 1), np.float32)}

    found = compare(
        [Side("reference", Gives(outputs), is_reference=True)],
        pairs=[],
        metric=task_metric(metric),
        batches=batches,
        labels=labels,
        count=count,
        mispaired=shuffled(labels),
    ).evaluations[0]
    assert isinstance(found, Evaluation)
    return found


def classifier(count: int, *, classes: int, skill: float, sure: float) -> tuple[Numbers, Numbers]:
    """Probabilities and labels: right in a share ``skill`` beyond chance, and ``sure`` of its answers."""
    rng = np.random.default_rng(SEED)
    labels = rng.integers(0, classes, count)
    guess = np.where(rng.random(count) < skill, labels, rng.integers(0, classes, count))
    chance = np.full((count, classes), (1 - sure) / (classes - 1), np.float32)
    chance[np.arange(count), guess] = sure
    return chance, labels


def red(metric: str, labels: Numbers, *, expected: float | None = None, **outputs: Numbers) -> str:
    with pytest.raises(DataError) as caught:
        check_reference(reference_on(metric, labels, **outputs), labels, expected=expected)
    assert caught.value.exit_code is ExitCode.BAD_INPUT
    assert caught.value.remedy
    return str(caught.value)


def green(metric: str, labels: Numbers, *, expected: float | None = None, **outputs: Numbers) -> None:
    check_reference(reference_on(metric, labels, **outputs), labels, expected=expected)


@pytest.mark.parametrize("metric", ["top1", "accuracy", "f1", "auc"])
@pytest.mark.parametrize("count", [60, 2000])
def test_labels_of_another_file(metric: str, count: int) -> None:  # R2
    scores, labels = classifier(count, classes=10, skill=0.95, sure=0.9)
    green(metric, labels, output=scores)
    text = red(metric, np.random.default_rng(SEED + 1).permutation(labels), output=scores)
    assert "labels in random order" in text
    assert "90% sure" in text


def test_classes_shifted_by_one() -> None:
    scores, labels = classifier(500, classes=10, skill=0.95, sure=0.9)
    assert "though it is 90% sure" in red("top1", (labels + 1) % 10, output=scores)


@pytest.mark.parametrize("count", [20, 200, 2000])
@pytest.mark.parametrize(
    ("classes", "skill", "sure"), [(2, 0.02, 0.53), (2, 0.1, 0.6), (10, 0.02, 0.15), (1000, 0.01, 0.03)]
)
def test_a_hard_task_is_green(count: int, classes: int, skill: float, sure: float) -> None:
    """Models with next to no skill, which samples as few as these cannot tell from none, but which say so."""
    scores, labels = classifier(count, classes=classes, skill=skill, sure=sure)
    green("top1", labels, output=scores)


def test_two_hundred_hard_tasks_are_green() -> None:
    """52 % of two classes, 150 samples each, seed 17: a test of significance alone would refuse most."""
    rng = np.random.default_rng(SEED)
    for _ in range(200):
        labels = rng.integers(0, 2, 150)
        chance = np.clip(0.5 + 0.02 * (2 * labels - 1) + rng.normal(0, 0.08, 150), 0, 1)
        green("accuracy", labels, output=np.stack([1 - chance, chance], axis=1).astype(np.float32))


def test_an_unbalanced_set_is_green() -> None:
    """All samples of one class: the order of the labels says nothing, and the model is right."""
    scores, labels = classifier(300, classes=10, skill=0.97, sure=0.95)
    only = labels == 3
    green("top1", labels[only], output=scores[only])


def test_few_samples_are_green() -> None:
    scores, labels = classifier(4, classes=10, skill=0.9, sure=0.95)
    green("top1", labels, output=scores)


def test_regression_against_shuffled_targets() -> None:
    rng = np.random.default_rng(SEED)
    targets = rng.normal(size=(400, 3)).astype(np.float32)
    values = (targets + 0.1 * rng.normal(size=targets.shape)).astype(np.float32)
    for metric in ("mae", "rmse"):
        green(metric, targets, output=values)
        assert "one constant answer" in red(metric, rng.permutation(targets), output=values)
        green(metric, targets, output=targets)  # labels that are its own outputs: nothing to object to
        # A hard task: 1 % of the variance explained, and outputs that vary no more than that.
        hard = (0.01 * targets + 0.1 * rng.normal(size=targets.shape) * 0.1).astype(np.float32)
        green(metric, targets, output=hard)


def test_segmentation_against_the_masks_of_other_images() -> None:
    rng = np.random.default_rng(SEED)
    labels = rng.integers(0, 3, (300, 6, 6))
    scores = np.moveaxis(np.eye(3, dtype=np.float32)[labels], 3, 1) + rng.normal(0, 0.4, (300, 3, 6, 6))
    green("miou", labels, output=scores)
    assert "by at most" in red("miou", rng.permutation(labels), output=scores)


def test_a_stated_score() -> None:  # R1
    scores, labels = classifier(1000, classes=10, skill=0.9, sure=0.9)
    value = reference_on("top1", labels, output=scores).value
    for expected in (value, value + 0.015, value - 0.3):  # as stated, within 2 points, and better than stated
        green("top1", labels, output=scores, expected=expected)
    text = red("top1", labels, output=scores, expected=value + 0.06)
    assert "is expected of it" in text
    assert "6 pp short" in text
    # Few samples explain more by chance: 5 of 40 points of a proportion are no evidence.
    green("top1", labels[:40], output=scores[:40], expected=min(1.0, value + 0.05))
    # What is stated is true, also at chance: the order of labels is not looked at.
    shuffled_labels = np.random.default_rng(SEED).permutation(labels)
    green("top1", shuffled_labels, output=scores, expected=0.1)


def test_a_stated_error_of_a_regression() -> None:
    rng = np.random.default_rng(SEED)
    targets = rng.normal(size=(400, 3)).astype(np.float32)
    values = (targets + 0.1 * rng.normal(size=targets.shape)).astype(np.float32)
    error = reference_on("mae", targets, output=values).value
    green("mae", targets, output=values, expected=error * 0.97)
    green("mae", targets, output=values, expected=error * 3)
    assert "% short" in red("mae", targets, output=values, expected=error * 0.7)


def test_wilsons_interval() -> None:
    """81 of 263: [0.255, 0.366] (Newcombe, Statistics in Medicine 17:857, 1998, table I, method 3)."""
    assert wilson(81 / 263, 263, confidence=0.95) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson(0.0, 20, confidence=0.95) == pytest.approx((0.0, 0.1611), abs=1e-4)
