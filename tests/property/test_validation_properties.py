"""Properties of intervals and metrics that hold for every input."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.validation.metrics import TASK_METRICS
from edgekit.validation.proportions import paired_interval

Numbers = npt.NDArray[Any]


@st.composite
def counts(draw: st.DrawFn) -> tuple[int, int, int]:
    count = draw(st.integers(1, 100_000))
    lost = draw(st.integers(0, count))
    gained = draw(st.integers(0, count - lost))
    return lost, gained, count


@given(counts(), st.sampled_from([0.8, 0.9, 0.95, 0.99]))
@settings(max_examples=200, deadline=None)
def test_interval_holds_the_drop_and_mirrors(case: tuple[int, int, int], confidence: float) -> None:
    lost, gained, count = case
    low, high = paired_interval(lost=lost, gained=gained, count=count, confidence=confidence)
    assert -1.0 <= low <= (lost - gained) / count <= high <= 1.0
    mirrored = paired_interval(lost=gained, gained=lost, count=count, confidence=confidence)
    assert mirrored == pytest.approx((-high, -low), abs=1e-12)


@given(counts())
@settings(max_examples=100, deadline=None)
def test_one_more_loss_raises_both_ends(case: tuple[int, int, int]) -> None:
    lost, gained, count = case
    if lost + gained == count:
        return
    before = paired_interval(lost=lost, gained=gained, count=count, confidence=0.95)
    after = paired_interval(lost=lost + 1, gained=gained, count=count, confidence=0.95)
    assert after[0] >= before[0] - 1e-12
    assert after[1] >= before[1] - 1e-12


RANKED = ("accuracy", "auc", "mae", "top1", "top5")


@given(st.integers(0, 2**32 - 1), st.sampled_from(RANKED))
@settings(max_examples=60, deadline=None)
def test_the_order_of_samples_does_not_matter(seed: int, metric: str) -> None:
    rng = np.random.default_rng(seed)
    scores, labels = rng.normal(size=(30, 7)).round(1), np.r_[0:7, rng.integers(0, 7, 23)]
    wanted: Numbers = rng.normal(size=(30, 7)) if metric == "mae" else labels
    row, order = TASK_METRICS[metric], rng.permutation(30)
    first = row.value(row.sufficient({"output": scores}, wanted))
    second = row.value(row.sufficient({"output": scores[order]}, wanted[order]))
    assert first == pytest.approx(second, rel=1e-12)


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 100), st.floats(-50, 50))
@settings(max_examples=60, deadline=None)
def test_ranking_metrics_ignore_scale_and_offset(seed: int, scale: float, offset: float) -> None:
    """A quantized output's scale and zero point change neither top1 nor AUC."""
    rng = np.random.default_rng(seed)
    integers, labels = rng.integers(-128, 128, (40, 6)), np.r_[0:6, rng.integers(0, 6, 34)]
    for metric in ("top1", "top5", "auc"):
        row = TASK_METRICS[metric]
        raw = row.value(row.sufficient({"output": integers}, labels))
        real = row.value(row.sufficient({"output": integers * scale + offset}, labels))
        assert raw == pytest.approx(real, abs=1e-12)
