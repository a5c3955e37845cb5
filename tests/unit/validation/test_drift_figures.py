"""drift: every figure against its definition on all data at once."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest

from edgekit.spec import Array, BatchStream, Feeds, TensorSpec
from edgekit.validation.drift import OutputDrift, agreement, drift, labels

SEED = 11
STEP = 0.05
Floats = npt.NDArray[np.float64]


@dataclass
class Fixed:
    """A Runner that looks its outputs up by sample number, which is its input."""

    values: dict[str, Floats]

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        return (TensorSpec("i", "int64", ("batch",)),)

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        return tuple(TensorSpec(n, "float64", ("batch", *v.shape[1:])) for n, v in self.values.items())

    def run(self, feeds: Feeds) -> dict[str, Array]:
        return {name: value[feeds["i"]] for name, value in self.values.items()}


def numbers(count: int) -> BatchStream:
    def batches(size: int) -> Iterator[dict[str, Array]]:
        for start in range(0, count, size):
            yield {"i": np.arange(start, min(start + size, count))}

    return batches


def one(
    reference: Floats, candidate: Floats, *, step: float | None = None, batch_size: int = 7
) -> OutputDrift:
    found = drift(
        Fixed({"y": reference}),
        Fixed({"y": candidate}),
        batches=numbers(len(reference)),
        count=len(reference),
        output_steps={"y": step} if step else {},
        batch_size=batch_size,
    )
    return found.outputs[0]


def test_every_figure_equals_its_definition() -> None:
    rng = np.random.default_rng(SEED)
    r = rng.normal(size=(500, 10))
    c = np.round(r / STEP) * STEP + rng.choice([0, 0, 0, 1, -1, 3], r.shape) * STEP
    gap = np.abs(r - c)
    row = one(r, c, step=STEP)
    assert row.max_abs == pytest.approx(gap.max(), rel=1e-12)
    assert row.mean_abs == pytest.approx(gap.mean(), rel=1e-12)
    assert row.max_steps == pytest.approx(gap.max() / STEP, rel=1e-12)
    assert row.cosine == pytest.approx((r * c).sum() / np.sqrt((r**2).sum() * (c**2).sum()), rel=1e-12)
    assert row.sqnr_db == pytest.approx(10 * np.log10((r**2).sum() / (gap**2).sum()), rel=1e-12)
    assert row.label_agreement == np.mean(r.argmax(1) == c.argmax(1))
    assert row.elements == 5000
    for share, found in ((0.95, row.p95_steps), (0.999, row.p999_steps)):
        exact = np.sort(gap.ravel())[math.ceil(share * gap.size) - 1] / STEP
        assert found is not None
        assert exact * (1 - 1e-12) <= found <= exact * 2 ** (1 / 32)  # never too small, 2.2 % at most


def test_batches_do_not_matter() -> None:
    rng = np.random.default_rng(SEED)
    r = rng.normal(size=(40, 6))
    c = r + rng.normal(scale=0.01, size=r.shape)
    whole, pieces = one(r, c, step=STEP, batch_size=40), one(r, c, step=STEP, batch_size=3)
    assert whole.p95_steps == pieces.p95_steps
    assert whole.sqnr_db == pytest.approx(pieces.sqnr_db, rel=1e-12)


def test_equal_outputs() -> None:
    r = np.random.default_rng(SEED).normal(size=(5, 3))
    row = one(r, r.copy(), step=STEP)
    assert (row.max_abs, row.max_steps, row.p95_steps, row.p999_steps) == (0.0, 0.0, 0.0, 0.0)
    assert row.cosine == pytest.approx(1.0, abs=1e-15)
    assert row.sqnr_db == math.inf
    assert row.label_agreement == 1.0


def test_one_side_all_zero_is_no_similarity() -> None:
    zeros, ones = np.zeros((2, 3)), np.ones((2, 3))
    assert (one(zeros, zeros).cosine, one(zeros, zeros).sqnr_db) == (1.0, math.inf)
    assert (one(zeros, ones).cosine, one(zeros, ones).sqnr_db) == (0.0, -math.inf)
    assert (one(ones, zeros).cosine, one(ones, zeros).sqnr_db) == (0.0, 0.0)


def test_no_step_no_steps_and_no_classes_no_labels() -> None:
    image = np.ones((2, 3, 4, 4))
    row = one(image, image)
    assert (row.step, row.max_steps, row.p95_steps, row.p999_steps, row.label_agreement) == (None,) * 5
    column = np.ones((2, 1))
    assert one(column, column).label_agreement is None


def test_extreme_steps_stay_within_the_maximum() -> None:
    r = np.zeros((2, 2))
    far = one(r, r + 1e12, step=1.0)
    assert far.p95_steps is not None
    assert far.max_steps == 1e12
    assert far.p95_steps <= 1e12
    assert one(r, r + 1e-12, step=1.0).p95_steps == pytest.approx(1e-12)


def test_only_the_first_samples_are_looked_at() -> None:
    r = np.zeros((10, 2))
    c = r.copy()
    c[6:] = 1.0
    runners = Fixed({"y": r}), Fixed({"y": c})
    found = drift(*runners, batches=numbers(10), count=6, output_steps={}, batch_size=4)
    assert (found.count, found.outputs[0].max_abs, found.outputs[0].elements) == (6, 0.0, 12)


def test_the_worst_output_has_the_lowest_sqnr() -> None:
    a, b = np.ones((3, 2)), np.full((3, 2), 5.0)
    found = drift(
        Fixed({"a": a, "b": b}),
        Fixed({"a": a + 0.1, "b": b + 0.1}),
        batches=numbers(3),
        count=3,
        output_steps={},
    )
    assert found.worst.output == "a"


def test_agreement_of_two_candidates() -> None:
    scores = np.eye(3)[np.array([0, 1, 2, 0])]
    first = labels(Fixed({"y": scores}), batches=numbers(4), count=4, batch_size=3)
    second = labels(Fixed({"y": np.eye(3)[np.array([0, 1, 1, 0])]}), batches=numbers(4), count=4)
    assert first.tolist() == [0, 1, 2, 0]
    assert agreement(first, second) == 0.75
