"""``file.py:callable`` -> a row of the metric table: the user's own metric.

    def exact_match(outputs, labels):            # outputs: {name: (batch, ...)}, labels: (batch, ...)
        return outputs["scores"].argmax(axis=1) == labels      # (batch,): one score for each sample

    exact_match.higher_is_better = True          # default
    exact_match.drop = "pp"                      # default: scores in 0..1, 100 * loss of their mean;
                                                 # "%": percent of the reference's mean

The value is the mean of the scores. Truth values (bool) are right or wrong and get the interval of paired
proportions, numbers the paired bootstrap. A metric that is no mean gives its sufficient statistics instead,
and says how they are put together, many weightings of the samples at once:

    def ratio(outputs, labels):
        return {"right": ..., "whole": ...}      # arrays with a leading batch axis
    ratio.aggregate = lambda s, weights: (weights @ s["right"]) / (weights @ s["whole"])
                                                 # weights (R, N) -> values (R,), NaN where there is none

What is refused, cited below:

    M1  no such file, module or callable             M2  it fails on import
    M3  an attribute with a value that has no meaning
    M4  it raises                                    M5  it gives something else than one score a sample
    M6  scores that are not finite                   M7  scores outside 0..1 though the drop is in points
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.errors import DataError, EdgekitError, UnknownNameError
from edgekit.user_code import importable, load_file
from edgekit.validation.metrics import TASK_METRICS, TaskMetric, task_metric

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[Any]

DROPS = ("pp", "%")
SCORE, HIT = "score", "hit"
_MORE = "docs/validation.md#your-own-metric"


def metric_named(name: str, *, base: Path) -> TaskMetric:
    """The row ``name``, or the user's own metric: ``file.py:callable`` or ``package.module:callable``.

    Args:
        name: as a recipe or a flag has it.
        base: folder that relative paths start from.

    Raises:
        UnknownNameError: neither.
        DataError: M1 to M3.
    """
    return own_metric(name, base=base) if ":" in name and name not in TASK_METRICS else task_metric(name)


def own_metric(source: str, *, base: Path) -> TaskMetric:
    """The row of the callable that ``source`` names; it is called once for each batch.

    Raises:
        DataError: M1 to M3.
        UnknownNameError: M1, a file without that name.
    """
    where, _, attribute = source.rpartition(":")
    folder = (base / where).resolve().parent if where.endswith(".py") else base.resolve()
    call = _Call(source, folder, _imported(source, where, attribute, base=base, folder=folder))
    better = _attribute(call, "higher_is_better", True)
    drop = _attribute(call, "drop", "pp")
    aggregate = getattr(call.function, "aggregate", None)
    if not isinstance(better, bool) or drop not in DROPS or not (aggregate is None or callable(aggregate)):
        raise DataError(  # M3
            f"{source} says higher_is_better = {better!r}, drop = {drop!r}, aggregate = {aggregate!r}",
            why='higher_is_better is True or False, drop is "pp" or "%", and aggregate a function',
            remedy="set the function's attributes, or leave them out",
            more=_MORE,
        )
    own = _Own(call, drop, aggregate)
    return TaskMetric(
        id=source,
        formula="the user's own: mean of the scores, or what its aggregate gives",
        unit="share" if drop == "pp" else "score",
        higher_is_better=better,
        best=1.0 if better else 0.0,
        undefined="no sample, or the metric's own aggregate says so",
        drop_unit="pp" if drop == "pp" else "%",
        sufficient=own.sufficient,
        aggregate=own.aggregate,
        roles=(),
        is_own=True,
    )


@dataclass(frozen=True)
class _Call:
    """A user's function with its folder on the path while it runs; what it prints goes to stderr."""

    source: str
    folder: Path
    function: Callable[..., Any]

    def __call__(self, *arguments: object) -> Any:
        with _guarded(self.source, self.folder, doing="raised"):
            return self.function(*arguments)


@contextlib.contextmanager
def _guarded(source: str, folder: Path, *, doing: str) -> Iterator[None]:
    try:
        with contextlib.redirect_stdout(sys.stderr), importable(folder):
            yield
    except EdgekitError:
        raise
    except Exception as error:  # user code may raise anything
        raise DataError(  # M2, M4
            f"metric {source} {doing} {type(error).__name__}: {error}",
            why="the metric is computed by that code",
            remedy="run it by itself on the outputs of one batch, and correct it",
            more=_MORE,
        ) from error


def _imported(source: str, where: str, attribute: str, *, base: Path, folder: Path) -> Callable[..., Any]:
    path = base / where
    if where.endswith(".py") and not path.is_file():
        raise DataError(  # M1
            f"metric {source}: there is no file {path.resolve()}",
            why="relative paths start at the recipe's folder, or the current one for flags",
            remedy="correct the path before the colon, or name a metric of the table",
            more=_MORE,
        )
    with _guarded(source, folder, doing="cannot be imported:"):
        module = load_file(path) if where.endswith(".py") else importlib.import_module(where)
    known = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
    if not hasattr(module, attribute):
        raise UnknownNameError(
            f"metric in {where}", attribute, known, listing=f"grep -n 'def ' {where}"
        )  # M1
    function = getattr(module, attribute)
    if not callable(function):
        raise DataError(  # M1
            f"metric {source} is a {type(function).__name__}, not a function",
            why="it is called with the outputs and the labels of each batch",
            remedy="name a function of two arguments, outputs and labels",
            more=_MORE,
        )
    found: Callable[..., Any] = function
    return found


def _attribute(call: _Call, name: str, default: object) -> object:
    return getattr(call.function, name, default)


@dataclass(frozen=True)
class _Own:
    """The two functions of the row."""

    call: _Call
    drop: object
    put_together: Callable[[Mapping[str, Numbers], Floats], object] | None

    def sufficient(self, outputs: Mapping[str, Numbers], labels: Numbers) -> dict[str, Numbers]:
        """One batch -> its statistics.

        Raises:
            DataError: M4 to M7.
        """
        found = self.call(dict(outputs), labels)
        if isinstance(found, Mapping) and self.put_together is not None:
            statistics = {str(name): np.asarray(array) for name, array in found.items()}
        else:
            scores = np.asarray(found)
            statistics = {HIT if scores.dtype == bool else SCORE: scores}
        for array in statistics.values():
            self._check(array, len(labels), scores=self.put_together is None)
        return statistics

    def _check(self, array: Numbers, count: int, *, scores: bool) -> None:
        wrong = array.ndim == 0 or len(array) != count or array.dtype.kind not in "biuf"
        if wrong or (scores and array.ndim != 1):
            shown = (
                f"shape {array.shape}, {array.dtype}" if array.dtype.kind != "O" else "no array of numbers"
            )
            raise DataError(  # M5
                f"metric {self.call.source} gave {shown} for {count} samples",
                why="it gives one score for each sample, so that a loss gets an interval from the samples",
                remedy=f"return an array of shape ({count},); a mapping needs the attribute aggregate",
                more=_MORE,
            )
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise DataError(  # M6
                f"metric {self.call.source} gave a score that is not finite",
                why="it would make the mean meaningless",
                remedy="give samples without a value a score of their own, or leave them out of the data",
                more=_MORE,
            )
        if scores and self.drop == "pp" and len(array) and not 0 <= array.min() <= array.max() <= 1:
            raise DataError(  # M7
                f"metric {self.call.source} gave scores from {array.min():g} to {array.max():g}",
                why="its loss is in percentage points, so that scores lie in 0..1",
                remedy=f'set {self.call.source.rpartition(":")[2]}.drop = "%", or scale the scores',
                more=_MORE,
            )

    def aggregate(self, statistics: Mapping[str, Numbers], weights: Floats) -> Floats:
        """Statistics of N samples, weights (R, N) -> values (R,).

        Raises:
            DataError: the user's aggregate raises, or gives another number of values.
        """
        if self.put_together is None:
            scores = next(iter(statistics.values())).astype(np.float64)
            whole = weights.sum(axis=1)
            mean: Floats = np.divide(
                weights @ scores, whole, out=np.full(whole.shape, np.nan), where=whole > 0
            )
            return mean
        call = _Call(f"{self.call.source}.aggregate", self.call.folder, self.put_together)
        values = np.asarray(call(statistics, weights), np.float64)
        if values.shape != (len(weights),):
            raise DataError(  # M5
                f"metric {call.source} gave shape {values.shape} for {len(weights)} weightings",
                why="it gives one value for each row of the weights",
                remedy=f"return an array of shape ({len(weights)},): weights @ statistic sums over samples",
                more=_MORE,
            )
        return values
