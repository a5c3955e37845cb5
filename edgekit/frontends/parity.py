"""Reference Runner x candidate Runner -> ParityReport: does the export compute what the framework computes?

    relative_to_range = max over outputs of  max |reference - candidate| / (max reference - min reference)

Cases differ in batch size (1, 5, 2, where the batch is dynamic) and in distribution (uniform, normal). A NaN
or an infinity counts as equal only to the same at the same place. It takes Runners and knows no runtime.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgekit.errors import ExportError
from edgekit.frontends.samples import Distribution, sample
from edgekit.spec import Array, Runner

_CASES: tuple[tuple[int, Distribution], ...] = ((1, "uniform"), (5, "normal"), (2, "normal"))


@dataclass(frozen=True)
class ParityReport:
    """How far a candidate is from its reference on random inputs.

    Attributes:
        max_abs: largest absolute difference, in the worst output's own unit; inf where one has NaN or
            infinity and the other has not.
        relative_to_range: largest difference as a part of that output's range over all cases.
        worst_output: the output with the largest ``relative_to_range``.
        cases: how many random inputs were compared.
        tolerance: largest ``relative_to_range`` that passes.
        passed: whether it does.
    """

    max_abs: float
    relative_to_range: float
    worst_output: str
    cases: int
    tolerance: float
    passed: bool


def check(
    reference: Runner, candidate: Runner, *, tolerance: float, seed: int, cases: int = 3
) -> ParityReport:
    """Run both on the same random inputs and compare every output.

    Args:
        reference: the framework.
        candidate: its export; it has the same names of inputs and outputs.
        tolerance: largest difference that passes, as a part of the output's range.
        seed: of the inputs.
        cases: how many inputs.

    Raises:
        ExportError: names or shapes of the outputs differ.
    """
    rng = np.random.default_rng(seed)
    pairs: dict[str, list[tuple[Array, Array]]] = {}
    for index in range(cases):
        batch, distribution = _CASES[index % len(_CASES)]
        feeds = sample(reference.inputs, batch=batch, rng=rng, distribution=distribution)
        want, have = reference.run(feeds), candidate.run(feeds)
        _require_same_form(want, have)
        for name, array in want.items():
            pairs.setdefault(name, []).append((array, have[name]))
    figures = {name: _difference(found) for name, found in pairs.items()}
    worst = max(figures, key=lambda name: figures[name][1])
    max_abs, relative = figures[worst]
    return ParityReport(max_abs, relative, worst, cases, tolerance, relative <= tolerance)


def _require_same_form(want: Mapping[str, Array], have: Mapping[str, Array]) -> None:
    if set(want) != set(have) or not want:
        raise ExportError(
            f"the reference has outputs {', '.join(sorted(want)) or 'none'}, "
            f"its export {', '.join(sorted(have)) or 'none'}",
            why="outputs are compared by name",
            remedy="this is a fault of the front end: please report it with the model",
        )
    for name, array in want.items():
        if array.shape != have[name].shape:
            raise ExportError(
                f"output {name!r} is {array.shape} in the reference and {have[name].shape} in its export",
                why="the export computes something else, or fixed an axis that is dynamic",
                remedy="declare the axis as a number if the model only works at that size",
            )


def _difference(pairs: list[tuple[Array, Array]]) -> tuple[float, float]:
    """Largest absolute difference of one output over all cases, and the same as a part of its range."""
    want = np.concatenate([_flat(first) for first, _ in pairs])
    have = np.concatenate([_flat(second) for _, second in pairs])
    finite = np.isfinite(want)
    odd = ~finite | ~np.isfinite(have)
    if not np.array_equal(want[odd], have[odd], equal_nan=True):
        return math.inf, math.inf
    if not finite.any():
        return 0.0, 0.0
    want, have = want[finite], have[finite]
    largest = float(np.max(np.abs(want - have)))
    # A constant output has no range: then its magnitude is the measure, and 1.0 where that is zero too.
    span = float(np.ptp(want)) or float(np.max(np.abs(want))) or 1.0
    return largest, largest / span


def _flat(array: Array) -> npt.NDArray[np.float64]:
    return np.asarray(array).astype(np.float64).ravel()
