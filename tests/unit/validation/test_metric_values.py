"""The task metrics against values worked out by hand and against scikit-learn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgekit.errors import UnknownNameError
from edgekit.validation.metrics import TASK_METRICS, concatenate, task_metric

Numbers = npt.NDArray[Any]

SEED = 20240607


def value(metric: str, labels: Numbers, **outputs: Numbers) -> float:
    row = task_metric(metric)
    return row.value(row.sufficient(outputs, labels))


@dataclass(frozen=True)
class Case:
    id: str
    metric: str
    outputs: Mapping[str, Numbers]
    labels: Numbers
    expected: float


def boxes(*rows: tuple[float, float, float, float]) -> Numbers:
    return np.array([rows], np.float32)


TRUTH = np.array([[[0, 0, 10, 10, 0], [20, 20, 30, 30, 0]]], np.float32)

CASES = [
    Case("top1", "top1", {"output": np.array([[1, 3], [2, 1], [5, 4.0]])}, np.array([1, 1, 0]), 2 / 3),
    # Equal scores: class 0 comes first, so that label 0 is right and label 1 is not.
    Case("top1-tie", "top1", {"output": np.array([[7, 7], [7, 7.0]])}, np.array([0, 1]), 0.5),
    Case("top5", "top5", {"output": np.tile(np.arange(7.0), (2, 1))}, np.array([2, 1]), 0.5),
    # Five equal scores before it in class order: label 5 is sixth, label 4 is fifth.
    Case("top5-tie", "top5", {"output": np.zeros((2, 7))}, np.array([5, 4]), 0.5),
    Case("accuracy", "accuracy", {"output": np.array([[1, 3], [2, 1.0]])}, np.array([1, 1]), 0.5),
    # Probability 0.5 itself is not above one half.
    Case("accuracy-sigmoid", "accuracy", {"output": np.array([[0.5], [0.6]])}, np.array([0, 1]), 1.0),
    Case("accuracy-flat", "accuracy", {"output": np.array([0.2, 0.9])}, np.array([[1], [1]]), 0.5),
    Case(
        "token-accuracy",
        "token_accuracy",
        {"output": np.eye(3)[None]},
        np.array([[0, 2, -100]]),
        0.5,
    ),
    # Mean squared errors of 1/100 and 0: 20 dB and the cap of 60 dB.
    Case("psnr", "psnr", {"output": np.array([[0.1], [1.0]])}, np.array([[0.0], [1.0]]), 40.0),
    Case("auc", "auc", {"output": np.array([0.1, 0.4, 0.35, 0.8])}, np.array([0, 0, 1, 1]), 0.75),
    Case("auc-all-tied", "auc", {"output": np.array([[1.0], [1.0], [1.0]])}, np.array([0, 1, 1]), 0.5),
    # Logits: only the difference of the columns ranks.
    Case("auc-two-columns", "auc", {"output": np.array([[5, 6], [0, 3.0]])}, np.array([0, 1]), 1.0),
    # Class 0: 1 of 1 guess is right, 1 of 2 labels found: 2/3. Class 1 from the other side: 2/3. Class 2: 1.
    Case("f1", "f1", {"output": np.eye(3)[[0, 1, 1, 2]]}, np.array([0, 0, 1, 2]), (2 / 3 + 2 / 3 + 1) / 3),
    # tp 1, fp 1, fn 1; the class that neither labels nor guesses have does not exist here.
    Case("f1-binary", "f1_binary", {"output": np.array([0.9, 0.6, 0.5, 0.1])}, np.array([1, 0, 1, 0]), 0.5),
    Case("rmse", "rmse", {"output": np.array([[1.0], [2.0]])}, np.array([4.0, 6.0]), 12.5**0.5),
    Case("mae", "mae", {"output": np.array([[1.0], [2.0]])}, np.array([2.0, 4.0]), 1.5),
    Case("miou", "miou", {"output": np.array([[[0, 0], [1, 1]]])}, np.array([[[0, 1], [1, 255]]]), 0.5),
    Case(
        "miou-negative-label-ignored",
        "miou",
        {"output": np.array([[[0, 0], [1, 1]]])},
        np.array([[[0, -1], [1, 1]]]),
        1.0,
    ),
    # Equal logits: every token has probability 1/4; the ignored one would have had another.
    Case(
        "perplexity", "perplexity", {"output": np.zeros((1, 3, 4))}, np.array([[0, 3, -100]]), 4.0
    ),
    Case(
        "perplexity-far-logits-do-not-overflow",
        "perplexity",
        {"output": np.array([[[1e4, 0.0], [0.0, -1e4]]])},
        np.array([[0, 0]]),
        1.0,
    ),
    Case(
        "map-perfect",
        "map",
        {"boxes": boxes((0, 0, 10, 10), (20, 20, 30, 30)), "scores": np.array([[0.9, 0.8]]),
         "classes": np.array([[0, 0]])},
        TRUTH,
        1.0,
    ),
    # 6.25 / 10 = IoU 0.625: right at 0.50, 0.55, 0.60, wrong at the seven others.
    Case(
        "map-iou",
        "map",
        {"boxes": boxes((0, 0, 10, 6.25)), "scores": np.array([[0.9]]), "classes": np.array([[0]])},
        TRUTH[:, :1],
        0.3,
    ),
    # Recall stops at one half: 51 of the 101 recall points have precision 1.
    Case(
        "map-half-found",
        "map",
        {"boxes": boxes((0, 0, 10, 10)), "scores": np.array([[0.9]]), "classes": np.array([[0]])},
        TRUTH,
        51 / 101,
    ),
    # A false detection with the higher score halves precision everywhere.
    Case(
        "map-false-first",
        "map",
        {"boxes": boxes((50, 50, 60, 60), (0, 0, 10, 10)), "scores": np.array([[0.9, 0.8]]),
         "classes": np.array([[0, 0]])},
        TRUTH[:, :1],
        0.5,
    ),
    # A second detection of the same box is false, but comes after full recall and costs nothing.
    Case(
        "map-duplicate-after",
        "map",
        {"boxes": boxes((0, 0, 10, 10), (0, 0, 10, 10)), "scores": np.array([[0.9, 0.8]]),
         "classes": np.array([[0, 0]])},
        TRUTH[:, :1],
        1.0,
    ),
    # The first detection overlaps both boxes alike (IoU 90/110) and takes the later one; only so the second,
    # which overlaps the earlier one at 90/110 and the later at 70/130, is right up to threshold 0.80.
    Case(
        "map-equal-overlap-takes-the-later-box",
        "map",
        {"boxes": boxes((1, 0, 11, 10), (-1, 0, 9, 10)), "scores": np.array([[0.9, 0.8]]),
         "classes": np.array([[0, 0]])},
        np.array([[[0, 0, 10, 10, 0], [2, 0, 12, 10, 0]]], np.float32),
        0.7,
    ),
    # Class 1 has a box that nobody found; detections of class 2, which has no box, do not count.
    Case(
        "map-classes",
        "map",
        {"boxes": boxes((0, 0, 10, 10), (0, 0, 10, 10), (0, 0, 0, 0)), "scores": np.array([[0.9, 0.9, 0]]),
         "classes": np.array([[0, 2, -1]])},
        np.array([[[0, 0, 10, 10, 0], [20, 20, 30, 30, 1], [0, 0, 0, 0, -1]]], np.float32),
        0.5,
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_hand_computed(case: Case) -> None:
    # Relative to the metric's range; float64 throughout.
    assert value(case.metric, case.labels, **case.outputs) == pytest.approx(case.expected, abs=1e-12)


def test_every_metric_has_a_hand_computed_case() -> None:
    assert {case.metric for case in CASES} == set(TASK_METRICS)


def test_auc_equals_scikit_learn() -> None:
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(SEED)
    # Rounded scores give many ties, as quantized outputs do.
    scores, labels = rng.normal(size=300).round(1), rng.integers(0, 2, 300)
    assert value("auc", labels, output=scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)

    many, classes = rng.dirichlet(np.ones(5), 300).round(2), rng.integers(0, 5, 300)
    many[:, 0] += 1.0 - many.sum(axis=1)  # scikit-learn insists on sums of exactly 1
    expected = roc_auc_score(classes, many, multi_class="ovr", average="macro")
    assert value("auc", classes, output=many) == pytest.approx(expected, abs=1e-12)


def test_top_k_and_mae_equal_scikit_learn() -> None:
    from sklearn.metrics import mean_absolute_error, top_k_accuracy_score

    rng = np.random.default_rng(SEED)
    scores, labels = rng.normal(size=(200, 9)), rng.integers(0, 9, 200)
    for k in (1, 5):
        expected = top_k_accuracy_score(labels, scores, k=k, labels=range(9))
        assert value(f"top{k}", labels, output=scores) == pytest.approx(expected, abs=1e-12)
    wanted = rng.normal(size=(200, 9))
    assert value("mae", wanted, output=scores) == pytest.approx(
        mean_absolute_error(wanted, scores), abs=1e-12
    )


def test_f1_and_rmse_equal_scikit_learn() -> None:
    from sklearn.metrics import f1_score, root_mean_squared_error

    rng = np.random.default_rng(SEED)
    # Class 6 is never a label, class 5 neither label nor guess.
    scores, labels = rng.normal(size=(200, 7)) + 5.0 * (np.arange(7) == 6), rng.integers(0, 5, 200)
    scores[:, 5] = -100.0
    guess = scores.argmax(axis=1)
    expected = f1_score(labels, guess, average="macro", zero_division=0)
    assert value("f1", labels, output=scores) == pytest.approx(expected, abs=1e-12)
    two, truth = rng.normal(size=(200, 2)), rng.integers(0, 2, 200)
    expected = f1_score(truth, two.argmax(axis=1))
    assert value("f1_binary", truth, output=two) == pytest.approx(expected, abs=1e-12)
    wanted = rng.normal(size=(200, 7))
    expected = root_mean_squared_error(wanted.ravel(), scores.ravel())
    assert value("rmse", wanted, output=scores) == pytest.approx(expected, rel=1e-12)


def test_accuracy_and_token_accuracy_equal_scikit_learn() -> None:
    from sklearn.metrics import accuracy_score

    rng = np.random.default_rng(SEED)
    scores, labels = rng.normal(size=(40, 6, 5)), rng.integers(0, 5, (40, 6))
    expected = accuracy_score(labels.ravel(), scores.argmax(axis=2).ravel())
    assert value("token_accuracy", labels, output=scores) == pytest.approx(expected, abs=1e-12)
    expected = accuracy_score(labels[:, 0], scores[:, 0].argmax(axis=1))
    assert value("accuracy", labels[:, 0], output=scores[:, 0]) == pytest.approx(expected, abs=1e-12)


def test_miou_equals_scikit_learn_in_both_layouts() -> None:
    from sklearn.metrics import jaccard_score

    rng = np.random.default_rng(SEED)
    scores, labels = rng.normal(size=(6, 4, 8, 9)), rng.integers(0, 4, (6, 8, 9))
    expected = jaccard_score(labels.ravel(), scores.argmax(axis=1).ravel(), average="macro")
    assert value("miou", labels, output=scores) == pytest.approx(expected, abs=1e-12)
    assert value("miou", labels, output=scores.transpose(0, 2, 3, 1)) == pytest.approx(expected, abs=1e-12)


def test_perplexity_equals_scikit_learn() -> None:
    from sklearn.metrics import log_loss

    rng = np.random.default_rng(SEED)
    logits, labels = rng.normal(size=(5, 7, 11)), rng.integers(0, 11, (5, 7))
    share = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
    expected = np.exp(log_loss(labels.ravel(), share.reshape(-1, 11), labels=range(11)))
    assert value("perplexity", labels, output=logits) == pytest.approx(expected, rel=1e-12)


def naive_map(images: list[tuple[Numbers, Numbers, Numbers, Numbers]]) -> float:
    """COCO's rules once more, with loops only: boxes (K, 4), scores (K,), classes (K,), truth (M, 5)."""
    from edgekit.validation.average_precision import iou

    averages = []
    for klass in sorted({int(c) for *_, truth in images for c in truth[:, 4] if c >= 0}):
        for threshold in np.linspace(0.5, 0.95, 10):
            found, total = [], 0
            for box, score, kind, truth in images:
                wanted = truth[truth[:, 4] == klass, :4].astype(np.float64)
                total += len(wanted)
                free = set(range(len(wanted)))
                for k in sorted(np.flatnonzero(kind == klass), key=lambda k: -score[k]):
                    over = iou(box[k : k + 1].astype(np.float64), wanted)[0] if len(wanted) else []
                    best = max(free, key=lambda g: (over[g], g), default=None)
                    right = best is not None and over[best] >= threshold
                    if right and best is not None:
                        free.remove(best)
                    found.append((float(score[k]), right))
            found.sort(key=lambda pair: -pair[0])
            rights = np.cumsum([right for _, right in found])
            precision = rights / np.arange(1, len(found) + 1)
            recall = rights / total
            averages.append(
                np.mean([max(precision[recall >= r - 1e-12], default=0.0) for r in np.linspace(0, 1, 101)])
            )
    return float(np.mean(averages))


def detection_batch(rng: np.random.Generator, images: int) -> tuple[dict[str, Numbers], Numbers]:
    """Random boxes of 3 classes, and detections that are shifted boxes, lost boxes and noise."""
    corner = rng.uniform(0, 80, (images, 6, 2))
    truth = np.concatenate([corner, corner + rng.uniform(5, 20, (images, 6, 2))], axis=2)
    kind = rng.integers(-1, 3, (images, 6))
    noise = truth + rng.normal(0, 1.0, truth.shape)
    lost = rng.random((images, 6)) < 0.2
    outputs = {
        "boxes": np.concatenate([noise, noise[:, :3] + 40], axis=1),
        "scores": rng.random((images, 9)),
        "classes": np.concatenate([np.where(lost, -1, kind), rng.integers(0, 3, (images, 3))], axis=1),
    }
    return outputs, np.concatenate([truth, kind[..., None]], axis=2)


def test_map_equals_the_naive_form() -> None:
    outputs, labels = detection_batch(np.random.default_rng(SEED), 12)
    images = [
        (outputs["boxes"][n], outputs["scores"][n], outputs["classes"][n], labels[n]) for n in range(12)
    ]
    assert value("map", labels, **outputs) == pytest.approx(naive_map(images), abs=1e-12)


@pytest.mark.parametrize(
    ("images", "expected"), [(12, 0.25756851882752324), (60, 0.22216346300154555), (200, 0.20677366465157915)]
)
def test_map_equals_pycocotools(images: int, expected: float) -> None:
    """``COCOeval(...).stats[0]`` of pycocotools 2.0.11 on the same boxes as x, y, w, h; iouType "bbox"."""
    outputs, labels = detection_batch(np.random.default_rng(SEED), images)
    assert value("map", labels, **outputs) == pytest.approx(expected, abs=1e-12)


def test_map_looks_at_one_hundred_detections_per_class() -> None:
    far = np.tile(np.array([500, 500, 510, 510.0]), (100, 1))
    outputs = {
        "boxes": np.concatenate([far, [[0, 0, 10, 10.0]]])[None],
        "scores": np.linspace(1, 0, 101)[None],
        "classes": np.zeros((1, 101), int),
    }
    truth = np.array([[[0, 0, 10, 10, 0.0]]])
    assert value("map", truth, **outputs) == 0.0
    outputs["classes"][0, 0] = 1  # one fewer of the class: the box is found as its 100th detection
    assert value("map", truth, **outputs) == pytest.approx(0.01)


Maker = Callable[[np.random.Generator], tuple[dict[str, Numbers], Numbers]]

MAKERS: dict[str, Maker] = {
    "top1": lambda rng: ({"output": rng.normal(size=(40, 6))}, rng.integers(0, 6, 40)),
    "top5": lambda rng: ({"output": rng.normal(size=(40, 9))}, rng.integers(0, 9, 40)),
    "accuracy": lambda rng: ({"output": rng.random((40, 1))}, rng.integers(0, 2, 40)),
    "token_accuracy": lambda rng: ({"output": rng.normal(size=(40, 5, 7))}, rng.integers(0, 7, (40, 5))),
    "psnr": lambda rng: ({"output": rng.random((40, 1, 4, 4))}, rng.random((40, 1, 4, 4))),
    "auc": lambda rng: ({"output": rng.normal(size=(40, 3)).round(1)}, rng.integers(0, 3, 40)),
    "f1": lambda rng: ({"output": rng.normal(size=(40, 4))}, rng.integers(0, 4, 40)),
    "f1_binary": lambda rng: ({"output": rng.random(40)}, rng.integers(0, 2, 40)),
    "rmse": lambda rng: ({"output": rng.normal(size=(40, 2))}, rng.normal(size=(40, 2))),
    "mae": lambda rng: ({"output": rng.normal(size=(40, 2))}, rng.normal(size=(40, 2))),
    "map": lambda rng: detection_batch(rng, 40),
    "miou": lambda rng: ({"output": rng.normal(size=(40, 3, 4, 4))}, rng.integers(0, 3, (40, 4, 4))),
    "perplexity": lambda rng: ({"output": rng.normal(size=(40, 5, 7))}, rng.integers(0, 7, (40, 5))),
}


@pytest.mark.parametrize("metric", sorted(TASK_METRICS))
def test_weights_are_repetitions(metric: str) -> None:
    """A sample of weight w counts like w copies, which is what a bootstrap relies on."""
    rng = np.random.default_rng(SEED)
    row = TASK_METRICS[metric]
    outputs, labels = MAKERS[metric](rng)
    weights = rng.integers(0, 4, (3, 40))
    found = row.aggregate(row.sufficient(outputs, labels), weights.astype(np.float64))
    for r in range(3):
        picks = np.repeat(np.arange(40), weights[r])
        again = row.sufficient({k: v[picks] for k, v in outputs.items()}, labels[picks])
        assert found[r] == pytest.approx(row.value(again), rel=1e-9)


@pytest.mark.parametrize("metric", sorted(TASK_METRICS))
def test_batches_do_not_matter(metric: str) -> None:
    row = TASK_METRICS[metric]
    outputs, labels = MAKERS[metric](np.random.default_rng(SEED))
    parts = [
        row.sufficient({k: v[s] for k, v in outputs.items()}, labels[s])
        for s in (slice(0, 1), slice(1, 17), slice(17, 40))
    ]
    assert row.value(concatenate(row, parts)) == pytest.approx(value(metric, labels, **outputs), rel=1e-12)


def test_detections_of_other_numbers_are_joined() -> None:
    """Non-maximum suppression gives another number of detections for each batch."""
    row = TASK_METRICS["map"]
    outputs, labels = detection_batch(np.random.default_rng(SEED), 4)
    short = {k: v[2:, :7] for k, v in outputs.items()}
    padded = {k: v.copy() for k, v in outputs.items()}
    padded["classes"][2:, 7:] = -1
    joined = concatenate(
        row,
        [
            row.sufficient({k: v[:2] for k, v in outputs.items()}, labels[:2]),
            row.sufficient(short, labels[2:]),
        ],
    )
    assert row.value(joined) == pytest.approx(value("map", labels, **padded), rel=1e-12)


def test_quantized_types_are_scored_as_they_are() -> None:
    scores = np.array([[100, 120], [120, 100]], np.uint8)
    assert value("top1", np.array([1, 0]), output=scores) == 1.0
    assert value("mae", np.array([[120, 100], [120, 100]], np.uint8), output=scores) == 10.0


def test_unknown_metric_names_the_closest() -> None:
    with pytest.raises(UnknownNameError, match="top1"):
        task_metric("top_1")
