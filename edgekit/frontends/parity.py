"""Reference Runner x candidate Runner -> ParityReport: does the export compute what the framework computes?

    relative = max |reference - candidate| / (max reference - min reference)      over all cases of one output
    ulps     = max |reference - candidate| / spacing of its element type at max |reference|
    steps    = |reference - candidate| / quantization step                        where the model is quantized

Cases differ in batch size (1, 5, 2, where the batch is dynamic) and in distribution (uniform, normal); some
calibration data comes on top where there is any. A NaN or an infinity counts as equal only to the same at the
same place.

What passes:

P1 float: ``relative`` is within the tolerance, and the most likely class is the same wherever the reference's
   own margin is larger than the tolerance (below it, the tie is the model's).
P2 quantized: 95 % of the values are within 1 step and 99.9 % within 5; an output that has no step of its own
   is judged in steps of range / 255. Every rounding inside may fall the other way on another runtime.

It takes Runners and knows no runtime. Of a large model two copies at once are one too many: ``record`` runs
the reference alone, ``check_recorded`` the candidate, when the reference is closed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt

from edgekit.errors import ExportError
from edgekit.frontends.samples import Distribution, sample
from edgekit.spec import Array, Feeds, Runner

_CASES: tuple[tuple[int, Distribution], ...] = ((1, "uniform"), (5, "normal"), (2, "normal"))
LEVELS = 255  # steps of an 8-bit tensor, where an output's own step is not known
STEPS_95, STEPS_999 = 1.0, 5.0  # what kernels that round differently inside reach

Floats = npt.NDArray[np.float64]
Outputs = Mapping[str, Array]


@dataclass(frozen=True)
class OutputParity:
    """One output.

    Attributes:
        name: of the output.
        max_abs: largest absolute difference, in the output's own unit; inf where one has NaN or infinity and
            the other has not.
        relative: the same as a part of the output's range over all cases.
        ulps: the same in units in the last place at the output's largest magnitude; None for integers.
        label_agreement: share of rows with the same most likely class; None where the output has no classes.
        steps_95: 95th percentile of the difference in quantization steps; None for a float model.
        steps_999: 99.9th percentile.
        passed: P1 or P2.
    """

    name: str
    max_abs: float
    relative: float
    ulps: float | None
    label_agreement: float | None
    steps_95: float | None
    steps_999: float | None
    passed: bool


@dataclass(frozen=True)
class ParityReport:
    """How far a candidate is from its reference.

    Attributes:
        outputs: every output, in the reference's order.
        cases: how many inputs were compared, those of the data included.
        from_data: how many of them came from the data.
        tolerance: largest ``relative`` that passes.
    """

    outputs: tuple[OutputParity, ...]
    cases: int
    from_data: int
    tolerance: float

    @property
    def worst(self) -> OutputParity:
        """The output that is furthest off; one that fails before one that passes."""
        return max(self.outputs, key=lambda each: (not each.passed, each.relative))

    @property
    def passed(self) -> bool:
        """Whether every output does."""
        return all(each.passed for each in self.outputs)


def check(
    reference: Runner,
    candidate: Runner,
    *,
    tolerance: float,
    seed: int,
    cases: int = 3,
    data: Iterable[Feeds] = (),
    output_steps: Mapping[str, float] | None = None,
) -> ParityReport:
    """Run both on the same inputs and compare every output.

    Args:
        reference: the framework.
        candidate: its export; it has the same names of inputs and outputs.
        tolerance: largest difference that passes (P1), as a part of the output's range.
        seed: of the random inputs.
        cases: how many random inputs.
        data: further inputs, out of the calibration data.
        output_steps: of a quantized model (P2): the step by output name, as far as known; None = float.

    Raises:
        ExportError: names or shapes of the outputs differ.
    """
    results: list[tuple[Outputs, Outputs]] = []
    with ThreadPoolExecutor(1) as beside:  # the candidate computes in a process of its own, meanwhile
        for feeds in chain(_random(reference, seed=seed, cases=cases), data):
            coming = beside.submit(candidate.run, feeds)
            want = reference.run(feeds)
            results.append((want, coming.result()))
    return _report(results, tolerance=tolerance, cases=cases, output_steps=output_steps)


@dataclass(frozen=True)
class Recorded:
    """What a reference gave: (feeds, outputs) of each case; the first ``random`` cases are random."""

    cases: tuple[tuple[Feeds, Outputs], ...]
    random: int


def record(reference: Runner, *, seed: int, cases: int = 3, data: Iterable[Feeds] = ()) -> Recorded:
    """The first half of ``check``; the reference may be closed then."""
    given = chain(_random(reference, seed=seed, cases=cases), data)
    return Recorded(tuple((feeds, reference.run(feeds)) for feeds in given), cases)


def check_recorded(
    reference: Recorded,
    candidate: Runner,
    *,
    tolerance: float,
    output_steps: Mapping[str, float] | None = None,
) -> ParityReport:
    """The second half; raises what ``check`` raises."""
    results = [(want, candidate.run(feeds)) for feeds, want in reference.cases]
    return _report(results, tolerance=tolerance, cases=reference.random, output_steps=output_steps)


def _report(
    results: Sequence[tuple[Outputs, Outputs]],
    *,
    tolerance: float,
    cases: int,
    output_steps: Mapping[str, float] | None,
) -> ParityReport:
    pairs: dict[str, list[tuple[Array, Array]]] = {}
    for want, have in results:
        _require_same_form(want, have)
        for name, array in want.items():
            pairs.setdefault(name, []).append((array, have[name]))
    outputs = tuple(_compared(name, found, tolerance, output_steps) for name, found in pairs.items())
    return ParityReport(outputs, len(results), len(results) - cases, tolerance)


def identical(outputs: Iterable[str], *, tolerance: float) -> ParityReport:
    """The report of a candidate that is its reference, value by value: nothing has to run to know it."""
    exact = (OutputParity(name, 0.0, 0.0, 0.0, None, None, None, passed=True) for name in outputs)
    return ParityReport(tuple(exact), 0, 0, tolerance)


def _random(reference: Runner, *, seed: int, cases: int) -> Iterator[Feeds]:
    rng = np.random.default_rng(seed)
    for index in range(cases):
        batch, distribution = _CASES[index % len(_CASES)]
        yield sample(reference.inputs, batch=batch, rng=rng, distribution=distribution)


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


def _compared(
    name: str,
    pairs: list[tuple[Array, Array]],
    tolerance: float,
    output_steps: Mapping[str, float] | None,
) -> OutputParity:
    want = np.concatenate([_flat(first) for first, _ in pairs])
    have = np.concatenate([_flat(second) for _, second in pairs])
    kind = pairs[0][0].dtype
    finite = np.isfinite(want)
    odd = ~finite | ~np.isfinite(have)
    if not np.array_equal(want[odd], have[odd], equal_nan=True):
        return OutputParity(name, math.inf, math.inf, math.inf, None, None, None, passed=False)
    want, have = want[finite], have[finite]
    apart = np.abs(want - have)
    largest = float(apart.max(initial=0.0))
    # A constant output has no range: then its magnitude is the measure, and 1.0 where that is zero too.
    peak = float(np.abs(want).max(initial=0.0))
    span = (float(np.ptp(want)) if want.size else 0.0) or peak or 1.0
    agreement, flipped = _labels(pairs, margin=tolerance * span)
    ulps = largest / float(np.spacing(kind.type(peak or 1.0))) if kind.kind == "f" else None
    if output_steps is None:
        passed = largest <= tolerance * span and not flipped
        return OutputParity(name, largest, largest / span, ulps, agreement, None, None, passed)
    steps = apart / output_steps.get(name, span / LEVELS)
    common, rare = (float(np.quantile(steps, q)) if steps.size else 0.0 for q in (0.95, 0.999))
    within = common <= STEPS_95 + 1e-3 and rare <= STEPS_999 + 1e-3  # 1e-3: float32 outputs of whole steps
    return OutputParity(name, largest, largest / span, ulps, agreement, common, rare, within)


def _labels(pairs: list[tuple[Array, Array]], *, margin: float) -> tuple[float | None, bool]:
    """Share of rows with the same most likely class, and whether one with a clear margin differs."""
    rows = [
        pair for pair in pairs if pair[0].ndim == 2 and pair[0].shape[1] > 1 and pair[0].dtype.kind == "f"
    ]
    if not rows or len(rows) != len(pairs):
        return None, False
    want = np.concatenate([first for first, _ in rows]).astype(np.float64)
    have = np.concatenate([second for _, second in rows]).astype(np.float64)
    if not np.isfinite(want).all() or not len(want):
        return None, False
    same = want.argmax(axis=1) == have.argmax(axis=1)
    top = np.sort(want, axis=1)
    clear = top[:, -1] - top[:, -2] > margin
    return float(same.mean()), bool((~same & clear).any())


def _flat(array: Array) -> Floats:
    return np.asarray(array).astype(np.float64).ravel()
