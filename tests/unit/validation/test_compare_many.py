"""compare: one pass over several runners gives what single passes give; a broken one stops no other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest

from edgekit.errors import DataError, ExitCode, NonFiniteOutputError
from edgekit.spec import Array, Feeds, TensorSpec
from edgekit.validation.compare import Side, compare
from edgekit.validation.drift import drift
from edgekit.validation.evaluate import Evaluation, evaluate
from edgekit.validation.metrics import task_metric
from edgekit.validation.streaming import run_in_batches

SEED = 11
COUNT = 21  # no multiple of the batch sizes below
SAMPLES = np.random.default_rng(SEED).normal(size=(COUNT, 6)).astype(np.float32)
LABELS = np.random.default_rng(SEED + 1).integers(0, 4, COUNT)


def batches(size: int) -> Iterator[dict[str, Array]]:
    for start in range(0, COUNT, size):
        yield {"x": SAMPLES[start : start + size]}


@dataclass
class Linear:
    """Scores x @ w; counts its calls, insists on ``fixed`` samples, and spoils sample ``nan_at``."""

    seed: int
    fixed: int | None = None
    nan_at: int | None = None
    calls: int = 0
    seen: int = 0

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        return (TensorSpec("x", "float32", (self.fixed or "batch", 6)),)

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        return (TensorSpec("scores", "float32", (self.fixed or "batch", 4)),)

    def run(self, feeds: Feeds) -> dict[str, Array]:
        x = np.asarray(feeds["x"], np.float32)
        assert self.fixed in (None, len(x))
        self.calls += 1
        w = np.random.default_rng(SEED).normal(size=(6, 4))
        w += 0.1 * self.seed * np.random.default_rng(self.seed).normal(size=(6, 4))
        scores = (x @ w).astype(np.float32)
        if self.nan_at is not None and self.seen <= self.nan_at < self.seen + len(x):
            scores[self.nan_at - self.seen, 2] = np.nan
        self.seen += len(x)
        return {"scores": scores}


def together(*runners: Linear, keep: int = 0) -> tuple[tuple[object, ...], object, object]:
    sides = [Side(f"side {n}", each, is_reference=n == 0) for n, each in enumerate(runners)]
    found = compare(
        sides,
        pairs=[(0, n) for n in range(1, len(runners))],
        metric=task_metric("top1"),
        batches=batches,
        labels=LABELS,
        count=COUNT,
        keep=keep,
        batch_size=5,
    )
    return found.evaluations, found.drifts, found.kept


def test_one_pass_equals_single_passes() -> None:
    runners = [Linear(0), Linear(1), Linear(2, fixed=4)]
    sides = [Side("reference", runners[0], is_reference=True), Side("a", runners[1], {"scores": 0.25})]
    sides.append(Side("b", runners[2]))
    found = compare(
        sides,
        pairs=[(0, 1), (0, 2), (1, 2)],
        metric=task_metric("top1"),
        batches=batches,
        labels=LABELS,
        count=COUNT,
        batch_size=5,
    )
    for n, evaluation in enumerate(found.evaluations):
        alone = evaluate(Linear(n), metric="top1", batches=batches, labels=LABELS, count=COUNT)
        assert isinstance(evaluation, Evaluation)
        assert evaluation.value == alone.value
        np.testing.assert_array_equal(evaluation.statistics["hit"], alone.statistics["hit"])
    steps = {"scores": 0.25}
    alone_drift = drift(Linear(0), Linear(1), batches=batches, count=COUNT, output_steps=steps)
    assert found.drifts[0, 1].outputs[0].max_steps == alone_drift.outputs[0].max_steps
    assert found.drifts[0, 1].outputs[0].flips == alone_drift.outputs[0].flips
    assert set(found.drifts) == {(0, 1), (0, 2), (1, 2)}
    assert (runners[0].calls, runners[1].calls) == (5, 5)  # each batch once, whatever the number of pairs


@pytest.mark.parametrize("fixed", [1, 2, 4, 7, 40])
def test_a_fixed_batch_is_filled_and_cut(fixed: int) -> None:
    whole = np.asarray(Linear(3).run({"x": SAMPLES})["scores"], np.float32)
    cut = np.asarray(run_in_batches(Linear(3, fixed=fixed), {"x": SAMPLES})["scores"], np.float32)
    assert cut.shape == whole.shape
    np.testing.assert_allclose(cut, whole, atol=1e-6)  # a few float32 ulps: BLAS sums in another order


def test_outputs_of_the_first_samples_are_kept() -> None:
    _, _, kept = together(Linear(0), Linear(1), keep=7)
    assert isinstance(kept, tuple)
    assert [each["scores"].shape for each in kept] == [(7, 4), (7, 4)]
    alone = np.asarray(Linear(0).run({"x": SAMPLES[:7]})["scores"], np.float32)
    np.testing.assert_allclose(kept[0]["scores"], alone, atol=1e-6)


def test_a_candidate_with_nan_is_out_and_the_others_are_not() -> None:
    broken, healthy = Linear(1, nan_at=12), Linear(2)
    evaluations, drifts, _ = together(Linear(0), broken, healthy)
    error, good = evaluations[1], evaluations[2]
    assert isinstance(error, NonFiniteOutputError)
    assert "output 'scores' of the side 1 is nan at sample 12" in error.what
    assert error.exit_code is ExitCode.ACCURACY_GATE
    assert isinstance(good, Evaluation)
    assert good.count == COUNT
    assert isinstance(drifts, dict)
    assert set(drifts) == {(0, 2)}
    assert broken.calls < healthy.calls  # it is not run to the end


def test_a_reference_with_nan_is_an_error_of_the_data() -> None:
    with pytest.raises(DataError, match="nan at sample 3") as caught:
        together(Linear(0, nan_at=3), Linear(1))
    assert caught.value.exit_code is ExitCode.BAD_INPUT


def test_an_error_of_one_runner_is_raised() -> None:
    class Dies(Linear):
        def run(self, feeds: Feeds) -> dict[str, Array]:
            raise ValueError("gone")

    with pytest.raises(ValueError, match="gone"):
        together(Linear(0), Dies(1))
