"""What validation refuses, each with its class and the words that name the culprit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgekit.errors import (
    DataError,
    ExitCode,
    InputError,
    NonFiniteOutputError,
    RecipeError,
    UnknownNameError,
)
from edgekit.spec import Array, BatchStream, Feeds, TensorSpec
from edgekit.validation.budget import Budget
from edgekit.validation.drift import agreement, drift, labels
from edgekit.validation.evaluate import Evaluation, evaluate
from edgekit.validation.metrics import TASK_METRICS
from edgekit.validation.statistics import paired_drop

Numbers = npt.NDArray[Any]


@dataclass
class Echo:
    """A Runner that gives its inputs, under the names it is asked for."""

    names: tuple[str, ...] = ("y",)
    change: Callable[[Numbers], Numbers] = field(default=lambda x: x)

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        return (TensorSpec("x", "float64", ("batch", 3)),)

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        return tuple(TensorSpec(name, "float64", ("batch", 3)) for name in self.names)

    def run(self, feeds: Feeds) -> dict[str, Array]:
        return {name: self.change(np.array(feeds["x"])) for name in self.names}


def rows(values: Numbers) -> BatchStream:
    def batches(size: int) -> Iterator[dict[str, Array]]:
        for start in range(0, len(values), size):
            yield {"x": values[start : start + size]}

    return batches


FINE = np.tile(np.arange(3.0), (4, 1))
LABELS = np.array([2, 2, 2, 2])


def score(
    values: Numbers = FINE,
    *,
    wanted: Numbers = LABELS,
    count: int | None = None,
    runner: Echo | None = None,
    output: str | None = None,
    metric: str = "top1",
) -> Evaluation:
    return evaluate(
        runner or Echo(),
        metric=metric,
        batches=rows(values),
        labels=wanted,
        count=len(wanted) if count is None else count,
        output=output,
        batch_size=2,
    )


def spoiled(value: float) -> Numbers:
    values = FINE.copy()
    values[3, 1] = value
    return values


def compare(
    reference: Echo, candidate: Echo, *, steps: dict[str, float] | None = None, count: int = 4
) -> None:
    drift(reference, candidate, batches=rows(FINE), count=count, output_steps=steps or {})


def disagreeing(_: int) -> Iterator[dict[str, Array]]:
    yield {"x": FINE, "other": FINE[:2]}


def batchless(_: int) -> Iterator[dict[str, Array]]:
    yield {"x": np.float64(1.0) * np.ones(())}


def sufficient(metric: str, wanted: Numbers, **outputs: Numbers) -> float:
    row = TASK_METRICS[metric]
    return row.value(row.sufficient(outputs, wanted))


def fake(metric: str, **statistics: Numbers) -> Evaluation:
    value = TASK_METRICS[metric].value(statistics)
    return Evaluation(metric, value, statistics, len(next(iter(statistics.values()))), {})


ONES = np.ones(4, np.int64)


@dataclass(frozen=True)
class Refusal:
    id: str
    call: Callable[[], object]
    words: str
    error: type[InputError] = DataError


REFUSALS = [
    Refusal(
        "nan-output",
        lambda: score(spoiled(np.nan)),
        r"'y' of the candidate is nan at sample 3",
        NonFiniteOutputError,
    ),
    Refusal(
        "inf-output",
        lambda: score(spoiled(np.inf)),
        r"inf at sample 3 \(index \(1,\)\)",
        NonFiniteOutputError,
    ),
    Refusal("no-samples", lambda: score(FINE[:0], wanted=LABELS[:0]), "0 samples were asked for"),
    Refusal("empty-stream", lambda: score(FINE[:0]), "no sample at all"),
    Refusal("labels-shorter", lambda: score(wanted=LABELS[:3]), "more than 3 samples"),
    Refusal("labels-longer", lambda: score(wanted=np.r_[LABELS, 1]), "ended after 4 samples, but 5"),
    Refusal("labels-not-count", lambda: score(count=3), "4 labels for 3 samples"),
    Refusal("open-output", lambda: score(runner=Echo(("a", "b"))), "2 outputs .* open which one"),
    Refusal("open-roles", lambda: score(metric="map"), "boxes / scores / classes"),
    Refusal("one-name-three-roles", lambda: score(metric="map", output="y"), "boxes / scores"),
    Refusal("unknown-output", lambda: score(output="z"), "unknown output 'z'", UnknownNameError),
    Refusal("unknown-metric", lambda: score(metric="top3"), "unknown metric 'top3'", UnknownNameError),
    Refusal("no-batch-axis", lambda: score(runner=Echo(change=lambda x: x[0])), "one row for each sample"),
    Refusal("scalar-output", lambda: score(runner=Echo(change=lambda x: x.sum())), r"shape \(\)"),
    Refusal(
        "inputs-disagree",
        lambda: evaluate(Echo(), metric="top1", batches=disagreeing, labels=LABELS, count=4),
        "different lengths",
    ),
    Refusal(
        "no-leading-axis",
        lambda: evaluate(Echo(), metric="top1", batches=batchless, labels=LABELS, count=4),
        "no array with a leading batch axis",
    ),
    Refusal("label-too-large", lambda: score(wanted=LABELS + 1), "from 3 to 3 for 3 classes"),
    Refusal("label-negative", lambda: score(wanted=LABELS - 3), "from -1 to -1"),
    Refusal("label-float", lambda: score(wanted=LABELS + 0.5), "labels of type float64"),
    Refusal("top1-rank", lambda: sufficient("top1", LABELS, output=FINE[:, :, None]), "needs scores"),
    # found by fuzzing: the message itself wanted the smallest of the words
    Refusal("top1-words", lambda: sufficient("top1", LABELS.astype(str), output=FINE), "labels of type <U"),
    Refusal("top1-one-column", lambda: sufficient("top1", LABELS, output=FINE[:, :1]), "classes >= 2"),
    Refusal("top5-few-classes", lambda: score(metric="top5"), "top5 got 3 classes"),
    Refusal("accuracy-rank", lambda: sufficient("accuracy", LABELS, output=FINE[:, :, None]), "accuracy got"),
    Refusal(
        "accuracy-no-probability",
        lambda: sufficient("accuracy", ONES, output=np.full((4, 1), 3.0)),
        "outputs from 3 to 3",
    ),
    Refusal(
        "accuracy-label", lambda: sufficient("accuracy", ONES * 2, output=FINE[:, :1] * 0), "from 2 to 2"
    ),
    Refusal("tokens-shape", lambda: sufficient("token_accuracy", LABELS, output=FINE), "token_accuracy got"),
    Refusal(
        "tokens-all-ignored",
        lambda: sufficient("token_accuracy", np.array([[-100]]), output=np.zeros((1, 1, 3))),
        "every position is ignored",
    ),
    Refusal("psnr-shape", lambda: sufficient("psnr", LABELS, output=FINE), "psnr got an output"),
    Refusal("psnr-range", lambda: sufficient("psnr", FINE * 0 + 255, output=FINE), "from 255 to 255"),
    Refusal("auc-rank", lambda: sufficient("auc", LABELS, output=FINE[:, :, None]), "auc got an output"),
    Refusal("auc-labels", lambda: sufficient("auc", LABELS, output=FINE[:, 0]), "0 to 1"),
    Refusal("auc-one-class", lambda: sufficient("auc", ONES, output=FINE[:, 0]), "auc has no value"),
    Refusal("mae-shape", lambda: sufficient("mae", LABELS, output=FINE), "mae got an output"),
    Refusal("mae-nan-label", lambda: sufficient("mae", spoiled(np.nan), output=FINE), "not finite"),
    Refusal("map-shape", lambda: sufficient("map", LABELS, boxes=FINE, scores=FINE, classes=FINE), "map got"),
    Refusal(
        "map-nan-label",
        lambda: sufficient(
            "map",
            np.full((1, 1, 5), np.nan),
            boxes=np.zeros((1, 1, 4)),
            scores=np.zeros((1, 1)),
            classes=np.zeros((1, 1)),
        ),
        "not finite",
    ),
    Refusal(
        "map-no-box",
        lambda: sufficient(
            "map",
            np.full((1, 1, 5), -1.0),
            boxes=np.zeros((1, 1, 4)),
            scores=np.zeros((1, 1)),
            classes=np.zeros((1, 1)),
        ),
        "no box in any label",
    ),
    Refusal("miou-shape", lambda: sufficient("miou", LABELS, output=FINE), "miou got an output"),
    Refusal(
        "miou-class",
        lambda: sufficient("miou", np.full((1, 2, 2), 3), output=np.zeros((1, 3, 2, 2))),
        "outside 0 to 2",
    ),
    Refusal(
        "miou-all-ignored",
        lambda: sufficient("miou", np.full((1, 2, 2), 255), output=np.zeros((1, 3, 2, 2))),
        "every pixel is ignored",
    ),
    Refusal("perplexity-shape", lambda: sufficient("perplexity", LABELS, output=FINE), "perplexity got"),
    Refusal(
        "perplexity-token",
        lambda: sufficient("perplexity", np.array([[5]]), output=np.zeros((1, 1, 3))),
        "outside 0 to 2",
    ),
    Refusal(
        "perplexity-all-ignored",
        lambda: sufficient("perplexity", np.array([[-100]]), output=np.zeros((1, 1, 3))),
        "every token is ignored",
    ),
    Refusal(
        "pair-of-other-samples",
        lambda: paired_drop(fake("top1", hit=np.ones(3, bool)), fake("top1", hit=np.ones(4, bool))),
        "cannot be paired",
    ),
    Refusal(
        "pair-of-other-metrics",
        lambda: paired_drop(fake("top1", hit=np.ones(4, bool)), fake("top5", hit=np.ones(4, bool))),
        "cannot be paired",
    ),
    Refusal(
        "reference-without-error",
        lambda: paired_drop(
            fake("mae", error=np.zeros(4), elements=ONES), fake("mae", error=np.ones(4), elements=ONES)
        ),
        "relative loss against it is undefined",
    ),
    Refusal(
        "resamples-undefined",
        lambda: paired_drop(
            *(fake("auc", score=np.array([0.1, 0.2, 0.3 + d]), label=np.array([0, 0, 1])) for d in (0, 0.1))
        ),
        "undefined in .* of the resamples",
    ),
    Refusal("drift-other-names", lambda: compare(Echo(("a",)), Echo(("b",))), "no output 'a'"),
    Refusal(
        "drift-other-shape", lambda: compare(Echo(), Echo(change=lambda x: x[:, :2])), "element by element"
    ),
    Refusal(
        "drift-nan", lambda: compare(Echo(), Echo(change=lambda x: x * np.nan)), "of the candidate is nan"
    ),
    Refusal(
        "drift-nan-reference", lambda: compare(Echo(change=lambda x: x * np.nan), Echo()), "the reference"
    ),
    Refusal("drift-no-samples", lambda: compare(Echo(), Echo(), count=0), "0 samples"),
    Refusal("drift-too-few", lambda: compare(Echo(), Echo(), count=5), "ended after 4"),
    Refusal(
        "drift-step-zero", lambda: compare(Echo(), Echo(), steps={"y": 0.0}), "step of output 'y' is 0.0"
    ),
    Refusal("drift-step-nan", lambda: compare(Echo(), Echo(), steps={"y": np.nan}), "step of output"),
    Refusal(
        "labels-of-an-image",
        lambda: labels(Echo(change=lambda x: x[:, :, None]), batches=rows(FINE), count=4),
        "gives no labels",
    ),
    Refusal("agreement-lengths", lambda: agreement(ONES, ONES[:2]), "cannot be compared"),
    Refusal("agreement-empty", lambda: agreement(ONES[:0], ONES[:0]), "cannot be compared"),
    Refusal("budget-negative", lambda: Budget(max_drop_pp=-1.0), "max_drop_pp = -1.0", RecipeError),
    Refusal("budget-nan", lambda: Budget(max_latency_ms=np.nan), "max_latency_ms = nan", RecipeError),
    Refusal(
        "budget-word",
        lambda: Budget(on_inconclusive="maybe"),  # type: ignore[arg-type]  # the point of the test
        "'maybe' is unknown",
        RecipeError,
    ),
]


@pytest.mark.parametrize("case", REFUSALS, ids=lambda case: case.id)
def test_refused(case: Refusal) -> None:
    with pytest.raises(case.error, match=case.words) as caught:
        case.call()
    # An artifact that gives NaN for good data is broken; everything else here is bad input.
    broken = isinstance(caught.value, NonFiniteOutputError)
    assert caught.value.exit_code is (ExitCode.ACCURACY_GATE if broken else ExitCode.BAD_INPUT)
    assert caught.value.remedy


def test_the_same_data_is_accepted() -> None:
    """None of the refusals above comes from the set-up itself."""
    assert score().value == 1.0
    compare(Echo(), Echo(), steps={"y": 0.1})
