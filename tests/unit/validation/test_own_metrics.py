"""file.py:callable as a metric: what it may give, what is refused (M1 to M7), and the table's own figures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from edgekit.errors import DataError, ExitCode, InputError, UnknownNameError
from edgekit.recipe import METRICS
from edgekit.validation.evaluate import Evaluation
from edgekit.validation.metrics import TASK_METRICS, TaskMetric, concatenate
from edgekit.validation.own_metric import metric_named
from edgekit.validation.statistics import paired_drop

SEED = 5
GOOD = """
from near import margin

def exact(outputs, labels):
    print("a user's print does not reach stdout")
    return outputs["scores"].argmax(axis=1) == labels

def error(outputs, labels):
    return abs(outputs["scores"].max(axis=1) - labels) * margin
error.higher_is_better = False
error.drop = "%"

def ratio(outputs, labels):
    return {"right": (outputs["scores"].argmax(axis=1) == labels).astype(float), "whole": labels * 0.0 + 1.0}
ratio.aggregate = lambda s, weights: (weights @ s["right"]) / (weights @ s["whole"])

class Judge:
    drop = "%"
    def __call__(self, outputs, labels):
        return labels + 1.0
judge = Judge()
"""
BAD = """
import numpy as np
number = 3
def raises(outputs, labels): raise KeyError("logits")
def one_number(outputs, labels): return 0.5
def short(outputs, labels): return np.zeros(len(labels) - 1)
def table(outputs, labels): return np.zeros((len(labels), 2))
def words(outputs, labels): return ["a"] * len(labels)
def nan(outputs, labels): return np.full(len(labels), np.nan)
def large(outputs, labels): return np.full(len(labels), 35.0)
def mapping(outputs, labels): return {"a": np.zeros(len(labels))}
def backwards(outputs, labels): return np.zeros(len(labels))
backwards.higher_is_better = "no"
def points(outputs, labels): return np.zeros(len(labels))
points.drop = "points"
def one_argument(outputs): return outputs
def wrong_sum(outputs, labels): return {"a": np.zeros(len(labels))}
wrong_sum.aggregate = lambda s, weights: 0.5
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "near.py").write_text("margin = 2.0\n")
    (tmp_path / "good.py").write_text(GOOD)
    (tmp_path / "bad.py").write_text(BAD)
    (tmp_path / "broken.py").write_text("import nothing_of_that_name\n")
    return tmp_path


def evaluated(row: TaskMetric, scores: np.ndarray, labels: np.ndarray) -> Evaluation:
    name = "output" if row.roles else "scores"
    parts = [
        row.sufficient({name: scores[place]}, labels[place]) for place in (slice(0, 9), slice(9, len(labels)))
    ]
    statistics = concatenate(row, parts)
    return Evaluation(
        row.id, row.value(statistics), statistics, len(labels), {}, own=row if row.is_own else None
    )


def pair(row: TaskMetric) -> tuple[Evaluation, Evaluation]:
    rng = np.random.default_rng(SEED)
    labels = rng.integers(0, 4, 200)
    scores = rng.normal(size=(200, 4)) + 2.0 * np.eye(4)[labels]
    worse = scores + rng.normal(scale=0.5, size=scores.shape)
    return evaluated(row, scores, labels), evaluated(row, worse, labels)


def test_right_or_wrong_equals_top1(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own, table = (paired_drop(*pair(metric_named(n, base=folder))) for n in ("good.py:exact", "top1"))
    assert (own.value_pp, own.low_pp, own.high_pp) == (table.value_pp, table.low_pp, table.high_pp)
    assert own.method.startswith("paired proportions")
    assert own.metric == "good.py:exact"
    caught = capsys.readouterr()
    assert caught.out == ""
    assert "user's print" in caught.err


def test_numbers_get_a_bootstrap_and_their_direction(folder: Path) -> None:
    row = metric_named("good.py:error", base=folder)
    assert (row.higher_is_better, row.drop_unit) == (False, "%")
    drop = paired_drop(*pair(row))
    assert drop.method.startswith("paired bootstrap")
    rise = 100 * (drop.candidate - drop.reference) / drop.reference
    assert drop.value_pp == pytest.approx(rise)
    assert drop.low_pp < rise < drop.high_pp


def test_statistics_with_an_aggregate(folder: Path) -> None:
    drop = paired_drop(*pair(metric_named("good.py:ratio", base=folder)))
    table = paired_drop(*pair(metric_named("top1", base=folder)))
    assert drop.value_pp == pytest.approx(table.value_pp)
    assert drop.high_pp == pytest.approx(table.high_pp, abs=1.0)  # two methods for one figure


def test_an_object_with_call_is_a_callable(folder: Path) -> None:
    assert metric_named("good.py:judge", base=folder).drop_unit == "%"


@dataclass(frozen=True)
class Refused:
    name: str
    words: str
    error: type[InputError] = DataError
    when_called: bool = True


REFUSED = [
    Refused("none.py:exact", "there is no file", when_called=False),  # M1
    Refused("bad.py:exakt", "metric in bad.py", UnknownNameError, when_called=False),
    Refused("bad.py:number", "is a int, not a function", when_called=False),
    Refused("broken.py:exact", "cannot be imported: ModuleNotFoundError", when_called=False),  # M2
    Refused("bad.py:backwards", "higher_is_better = 'no'", when_called=False),  # M3
    Refused("bad.py:points", "drop = 'points'", when_called=False),
    Refused("bad.py:raises", "raised KeyError: 'logits'"),  # M4
    Refused("bad.py:one_argument", "raised TypeError"),
    Refused("bad.py:one_number", r"gave shape \(\), float64 for 9 samples"),  # M5
    Refused("bad.py:short", r"gave shape \(8,\), float64 for 9 samples"),
    Refused("bad.py:table", r"gave shape \(9, 2\)"),
    Refused("bad.py:words", r"gave shape \(9,\), <U1"),
    Refused("bad.py:mapping", "gave no array of numbers|gave shape"),
    Refused("bad.py:wrong_sum", r"aggregate gave shape \(\) for 1 weightings"),
    Refused("bad.py:nan", "not finite"),  # M6
    Refused("bad.py:large", "scores from 35 to 35"),  # M7
    Refused("top_1", "top1", UnknownNameError, when_called=False),
]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_refused(folder: Path, case: Refused) -> None:
    def use() -> None:
        row = metric_named(case.name, base=folder)
        if case.when_called:
            row.value(row.sufficient({"scores": np.eye(9, 4)}, np.zeros(9, np.int64)))

    with pytest.raises(case.error, match=case.words) as caught:
        use()
    assert caught.value.exit_code is ExitCode.BAD_INPUT
    assert caught.value.remedy or isinstance(caught.value, UnknownNameError)


def test_the_recipe_knows_the_table() -> None:
    assert set(METRICS) == set(TASK_METRICS)
