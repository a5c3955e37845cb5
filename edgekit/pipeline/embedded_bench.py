"""Workbench of a model x Embedded -> workbench of the same model with steps inside.

The embedded model is a float truth of its own: it takes what the app has, and its candidates are held
against it. It is proved against the model that it was made from: on samples, both give the same answer once
the app's part is done for one (``bundle.answers``); accuracy of both is a finding. Ranges and restoration are
the model's own, learned once; what is new has ranges by definition (bytes 0..255, probabilities 0..1).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgekit.backends.onnxruntime import open_model
from edgekit.bundle.answers import answers
from edgekit.bundle.processing import Processing
from edgekit.dataset import Dataset
from edgekit.errors import ParityError
from edgekit.ir import io
from edgekit.ir.verify import canonical_rules
from edgekit.passes.absorb_quantized_input import AbsorbQuantizedInput
from edgekit.passes.base import Pass, run
from edgekit.passes.fold_input_scale import FoldInputScale
from edgekit.passes.infer_shapes import InferShapes
from edgekit.pipeline.embedding import Embedded
from edgekit.pipeline.evaluation import BOOTSTRAP_SEED
from edgekit.pipeline.model import Canonical
from edgekit.pipeline.prepare import Prepared
from edgekit.pipeline.workbench import Workbench
from edgekit.spec import RunOptions
from edgekit.validation.statistics import paired_drop
from edgekit.validation.streaming import run_in_batches

Arrays = Mapping[str, npt.NDArray[Any]]
_KNOWN = frozenset({"canonical", "opset-canonical"})
SAMPLES = 8  # a wrong axis, scale or order shows on the first
TOLERANCE = 1e-4  # of the output's range: two orders of the same float32 arithmetic


def canonical_of(canonical: Canonical, embedded: Embedded) -> Canonical:
    """The model with its steps inside; what can be folded into its first operator is."""
    passes = (*embedded.passes, FoldInputScale(), AbsorbQuantizedInput(), InferShapes(again=True))
    model = _run(canonical.model, passes)
    inputs, outputs = io.specs(model)
    return replace(canonical, model=model, inputs=inputs, outputs=outputs, origin="")


def prepared_of(prepared: Prepared, embedded: Embedded) -> Prepared:
    """What static quantization starts from: the same restoration and ranges, under the names inside."""
    ranges = prepared.ranges
    tensors = {embedded.names.get(name, name): each for name, each in ranges.tensors.items()}
    return replace(
        prepared,
        model=_run(prepared.model, (*embedded.passes, InferShapes(again=True))),
        ranges=replace(ranges, tensors={**tensors, **embedded.ranges}),
    )


def _run(model: ir.Model, passes: tuple[Pass, ...]) -> ir.Model:
    return run(model, passes, rules=canonical_rules(model), known=_KNOWN)


def once(make: Callable[[], Prepared]) -> Callable[[], Prepared]:
    """``make``, called when first asked."""
    return cache(make)


@dataclass(frozen=True)
class Sides:
    """The model on pre-processed data, and with steps inside on the app's data; the same samples."""

    model: Canonical
    data: Dataset
    inside: Canonical
    raw: Dataset


def prove(sides: Sides, embedded: Embedded, *, whole: Processing) -> None:
    """Run both on the first samples.

    Raises:
        ParityError: they differ by more than the order of float32 arithmetic: a bug of edgekit.
    """
    before, after = (_outputs(c, d) for c, d in ((sides.model, sides.data), (sides.inside, sides.raw)))
    wanted = answers(before, done_inside(whole, embedded.processing))
    for name, array in wanted.items():
        away = _away(array, after[name])
        if not away <= TOLERANCE:
            raise ParityError(
                f"with {', '.join(embedded.asked)} inside, output {name!r} is {away:.3g} of its range away",
                why=f"at most {TOLERANCE:g} is float32's order of summation",
                remedy="report it with the recipe; leave embed out until then",
                more="docs/embed.md",
            )


def done_inside(whole: Processing, left: Processing) -> Processing:
    """What ``whole`` has behind the model, and ``left`` has not any more."""
    rest = {each.name: each.activation for each in left.outputs}
    return Processing(
        outputs=tuple(
            each.model_copy(update={"activation": "none"}) if rest[each.name] == each.activation else each
            for each in whole.outputs
        ),
        nms=whole.nms if left.nms is None else None,
    )


def _outputs(canonical: Canonical, data: Dataset) -> dict[str, npt.NDArray[Any]]:
    samples = list(itertools.islice(data.samples(), SAMPLES))
    feeds = {name: np.stack([each[name] for each in samples]) for name in samples[0]}
    with open_model(canonical.model, RunOptions()) as session:
        return dict(run_in_batches(session, feeds))


def _away(wanted: npt.NDArray[Any], found: npt.NDArray[Any]) -> float:
    """Largest difference as a part of the range; infinite where shapes differ or a value is not finite."""
    if wanted.shape != found.shape:
        return float("inf")
    one, other = wanted.astype(np.float64), found.astype(np.float64)
    gap = float(np.abs(one - other).max(initial=0.0))
    return gap / (float(np.ptp(one)) or 1.0) if np.isfinite(gap) else float("inf")


def finding(before: Workbench, after: Workbench, embedded: Embedded) -> str:
    """What both float truths score, in a sentence."""
    model, inside = before.reference.evaluation, after.reference.evaluation
    drop = paired_drop(model, inside, seed=BOOTSTRAP_SEED)
    return (
        f"embedded {', '.join(embedded.asked)}: {model.row.id} {inside.value:.4g}; the model with these steps"
        f" in the app {model.value:.4g} (a difference of {drop.value_pp:.3g} {model.row.drop_unit},"
        f" {model.count} samples)"
    )
