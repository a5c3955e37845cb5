"""Probabilities, calibration error and KL divergence: by hand, against SciPy, and where they do not apply."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgekit.validation.confidence import (
    BINS,
    are_probabilities,
    calibration_error,
    confidence_of,
    divergence,
    probabilities,
)
from edgekit.validation.drift import DriftTally

Numbers = npt.NDArray[Any]
SEED = 37


def rows(*confidence_and_right: tuple[float, float]) -> Numbers:
    return np.array([(c, r, 0.0) for c, r in confidence_and_right])


def test_calibration_error_by_hand() -> None:
    # Two bins: (0.9, 0.9) with one right of two: |1 - 1.8| / 4; (0.5, 0.5), both right: |2 - 1| / 4.
    assert calibration_error(rows((0.9, 1), (0.9, 0), (0.5, 1), (0.5, 1))) == pytest.approx(0.2 + 0.25)
    assert calibration_error(rows((1.0, 1), (1.0, 1))) == 0.0
    assert calibration_error(rows((1.0, 0), (1.0, 0))) == 1.0


def test_calibration_error_equals_the_naive_form() -> None:
    rng = np.random.default_rng(SEED)
    confidence, right = rng.random(500), rng.random(500) < 0.6
    edges = np.linspace(0, 1, BINS + 1)
    expected = 0.0
    for low, high in itertools.pairwise(edges):
        inside = (confidence >= low) & ((confidence < high) | (high == 1.0))
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    found = np.stack([confidence, right, right], axis=1).astype(np.float64)
    assert calibration_error(found) == pytest.approx(expected, abs=1e-12)


def test_divergence_equals_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")  # comes with scikit-learn
    special = pytest.importorskip("scipy.special")
    rng = np.random.default_rng(SEED)
    logits, others = rng.normal(size=(40, 7)), rng.normal(size=(40, 7))
    p, q = special.softmax(logits, axis=1), special.softmax(others, axis=1)
    expected = stats.entropy(p, q, axis=1)
    np.testing.assert_allclose(divergence(logits, others, given=False), expected, rtol=1e-9)
    np.testing.assert_allclose(divergence(p, q, given=True), expected, rtol=1e-9)
    assert float(divergence(p, p, given=True).max()) == 0.0


def test_probabilities_are_recognised() -> None:
    rng = np.random.default_rng(SEED)
    p = rng.dirichlet(np.ones(10), 30)
    assert are_probabilities(p)
    assert are_probabilities(np.round(p * 256) / 256)  # the softmax of an int8 model: sums of nearly 1
    assert not are_probabilities(np.log(p))
    assert not are_probabilities(1 / (1 + np.exp(-rng.normal(size=(30, 10)))))  # one sigmoid for each class
    np.testing.assert_allclose(probabilities(np.log(p), given=False), p, atol=1e-12)


def test_a_zero_probability_is_not_infinite() -> None:
    p, q = np.array([[0.5, 0.5]]), np.array([[1.0, 0.0]])  # an 8-bit softmax rounds to zero
    assert 10 < float(divergence(p, q, given=True)[0]) < 20


def test_confidence_of_scores_and_of_one_probability() -> None:
    scores, labels = np.array([[0.0, np.log(3.0)], [5.0, 5.0]], np.float32), np.array([1, 1])
    found = confidence_of(scores, labels)
    assert found is not None
    assert found.ravel().tolist() == pytest.approx([0.75, 1, 1, 0.5, 0, 0], abs=1e-6)
    one = confidence_of(np.array([[0.2], [0.9]], np.float32), labels)
    assert one is not None
    assert one.ravel().tolist() == pytest.approx([0.8, 0, 0, 0.9, 1, 1], abs=1e-6)


@pytest.mark.parametrize(
    ("output", "labels"),
    [
        (np.zeros((2, 3), np.int8), np.array([0, 1])),
        (np.zeros((2, 3), np.float32), np.array([0, 3])),
        (np.zeros((2, 3), np.float32), np.array([0.0, 1.0])),
        (np.zeros((2, 3, 4), np.float32), np.array([0, 1])),
        (np.array([[2.0], [0.1]], np.float32), np.array([0, 1])),
    ],
    ids=["integers", "no-such-class", "fractions", "three-axes", "no-probability"],
)
def test_where_there_are_no_classes(output: Numbers, labels: Numbers) -> None:
    assert confidence_of(output, labels) is None


def test_drift_has_flips_and_divergence() -> None:
    rng = np.random.default_rng(SEED)
    a = rng.normal(size=(50, 4)).astype(np.float32)
    b = a.copy()
    b[:3] = b[:3, ::-1]
    tally = DriftTally(["y"], output_steps={})
    for part in (slice(0, 20), slice(20, 50)):
        tally.add({"y": a[part]}, {"y": b[part]})
    (row,) = tally.finish().outputs
    assert row.flips == int((a.argmax(axis=1) != b.argmax(axis=1)).sum()) > 0
    assert row.kl == pytest.approx(float(divergence(a, b, given=False).mean()))
    assert row.samples == 50
    images = DriftTally(["y"], output_steps={})
    images.add({"y": np.zeros((2, 3, 4, 4))}, {"y": np.zeros((2, 3, 4, 4))})
    assert (images.finish().outputs[0].flips, images.finish().outputs[0].kl) == (None, None)
