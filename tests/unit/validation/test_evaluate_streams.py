"""evaluate: streaming, which output is scored, and what reaches the metric."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import pytest

from edgekit.spec import Array, BatchStream, Feeds, TensorSpec
from edgekit.validation.evaluate import evaluate, scored_outputs


@dataclass
class Table:
    """A Runner that looks its outputs up by sample number, which is its input."""

    rows: Mapping[str, Array]
    seen: list[int] = field(default_factory=list)

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        return (TensorSpec("i", "int64", ("batch",)),)

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        return tuple(TensorSpec(n, str(v.dtype), ("batch", *v.shape[1:])) for n, v in self.rows.items())

    def run(self, feeds: Feeds) -> dict[str, Array]:
        self.seen.append(len(feeds["i"]))
        return {name: value[feeds["i"]] for name, value in self.rows.items()}


def numbers(count: int) -> BatchStream:
    def batches(size: int) -> Iterator[dict[str, Array]]:
        for start in range(0, count, size):
            yield {"i": np.arange(start, min(start + size, count))}

    return batches


@dataclass
class Steps:
    """A Progress that keeps what it is told."""

    total: int | None = None
    done: int = 0

    def stage(self, name: str, *, total: int | None = None) -> None:
        assert "top1" in name
        self.total = total

    def advance(self, steps: int = 1) -> None:
        self.done += steps

    def note(self, text: str) -> None:
        raise AssertionError(text)


SCORES = np.eye(4)[np.array([0, 1, 2, 3, 0, 1, 2])]
LABELS = np.array([0, 1, 2, 3, 0, 1, 0])


@pytest.mark.parametrize("batch_size", [1, 3, 7, 50])
def test_batch_size_does_not_matter(batch_size: int) -> None:
    runner = Table({"scores": SCORES})
    found = evaluate(runner, metric="top1", batches=numbers(7), labels=LABELS, count=7, batch_size=batch_size)
    assert found.value == pytest.approx(6 / 7)
    assert found.count == 7
    assert found.statistics["hit"].tolist() == [True] * 6 + [False]
    assert max(runner.seen) <= batch_size
    assert sum(runner.seen) == 7


def test_progress_counts_samples() -> None:
    steps = Steps()
    evaluate(
        Table({"scores": SCORES}),
        metric="top1",
        batches=numbers(7),
        labels=LABELS,
        count=7,
        batch_size=2,
        progress=steps,
    )
    assert (steps.total, steps.done) == (7, 7)


def test_a_named_output_is_scored() -> None:
    runner = Table({"wrong": SCORES[:, ::-1], "right": SCORES})
    found = evaluate(runner, metric="top1", batches=numbers(7), labels=LABELS, count=7, output="right")
    assert found.value == pytest.approx(6 / 7)
    assert found.output == {"output": "right"}


def test_detection_outputs_are_found_by_role() -> None:
    roles = ("boxes", "scores", "classes")
    assert scored_outputs(("scores", "boxes", "classes", "n"), roles=roles, output=None) == {
        r: r for r in roles
    }
    by_hand = {"boxes": "o0", "scores": "o1", "classes": "o2"}
    assert scored_outputs(("o0", "o1", "o2"), roles=roles, output=by_hand) == by_hand


def test_integer_outputs_need_no_check_for_nan() -> None:
    runner = Table({"scores": (SCORES * 100).astype(np.uint8)})
    assert evaluate(runner, metric="top1", batches=numbers(7), labels=LABELS, count=7).value > 0.8
