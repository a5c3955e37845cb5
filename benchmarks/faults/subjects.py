"""A reference model's recipe -> Subject: its float graph, ranges, and samples to look at.

The graph is the canonical one and the ranges are plain minimum and maximum, so that whatever is wrong with a
candidate was put there. Recipes whose calibration data or weights need ``EDGEKIT_DATA`` are used where it
is set.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import onnx_ir as ir

from edgekit import dataset
from edgekit import target as targets
from edgekit.dataset import Dataset, DataSource
from edgekit.frontends.source import SourceRequest
from edgekit.pipeline import model as models
from edgekit.pipeline import plan as plans
from edgekit.pipeline import ranges as calibration
from edgekit.pipeline.cache import Cache
from edgekit.pipeline.model import Canonical
from edgekit.quantization.apply import apply
from edgekit.quantization.place import place
from edgekit.quantization.plan import QuantPlan
from edgekit.recipe import CalibrationTable
from edgekit.spec import Array, Precision, Range, Silent

ROOT = Path(__file__).parents[2] / "models"
CALIBRATION_SAMPLES = 96  # how good the scales are is no matter here
SAMPLES = 24  # that are looked at


@dataclass(frozen=True, eq=False)
class Subject:
    """One model, in float.

    Attributes:
        name: folder under models/.
        model: canonical float graph.
        ranges: of its values, minimum and maximum over calibration data.
        feeds: batches of evaluation samples.
        data: the calibration data.
        canonical: what the pipeline makes of it.
        cache: what was calibrated before.
        request: how it is loaded from its framework.
    """

    name: str
    model: ir.Model
    ranges: Mapping[str, Range]
    feeds: tuple[Mapping[str, Array], ...]
    data: Dataset
    canonical: Canonical
    cache: Cache
    request: SourceRequest

    def plan(self, target_name: str = "portable", *, precision: Precision = Precision.W8A8) -> QuantPlan:
        """The healthy plan."""
        return place(self.model, targets.load(target_name), self.ranges, precision=precision)

    def candidate(self, target_name: str = "portable") -> ir.Model:
        """The healthy QDQ form."""
        return apply(self.model, self.plan(target_name))

    def recalibrated(
        self,
        model: ir.Model,
        *,
        method: str = "minmax",
        data: Dataset | None = None,
        feeds: tuple[Mapping[str, Array], ...] | None = None,
    ) -> Subject:
        """The same with another float graph, or other data: its ranges are learned anew."""
        canonical = replace(self.canonical, model=model, origin="")
        learning = data or self.data
        found = calibration.obtain(canonical, learning, method=method, cache=self.cache, progress=Silent())
        return replace(
            self,
            model=model,
            ranges=dict(found.ranges.tensors),
            canonical=canonical,
            data=learning,
            feeds=self.feeds if feeds is None else feeds,
        )


def load(name: str, cache: Cache, *, root: Path = ROOT) -> Subject:
    """The subject of ``models/<name>``."""
    plan = plans.make(root / name / "edgekit.toml")
    table = plan.recipe.model
    found = models.obtain(plan.request, tolerance=table.tolerance, cache=cache, progress=Silent())

    def data(said: CalibrationTable, count: int) -> Dataset:
        where = DataSource(said.source, split=said.split, samples=count, seed=said.seed)
        steps = plan.recipe.data.preprocess
        return dataset.load(where, inputs=found.inputs, base=plan.base, preprocess=steps)

    assert plan.recipe.data.calibration is not None
    learning = data(plan.recipe.data.calibration, CALIBRATION_SAMPLES)
    judging = data(plan.recipe.data.evaluation, SAMPLES)
    names = {spec.name for spec in found.inputs}
    size = next((spec.shape[0] for spec in found.inputs if spec.shape and isinstance(spec.shape[0], int)), 8)
    feeds = tuple(
        {key: array for key, array in batch.items() if key in names}
        for batch in itertools.islice(judging.batches(size), max(SAMPLES // size, 1))
    )
    subject = Subject(name, found.model, {}, feeds, learning, found, cache, plan.request)
    return subject.recalibrated(found.model)


def transformed(
    data: Dataset, change: Callable[[Mapping[str, Array]], dict[str, Array]], says: str
) -> Dataset:
    """The data with every sample changed; ``says`` tells it from others."""
    return replace(
        data,
        digest=hashlib.sha256(f"{data.digest} {says}".encode()).hexdigest(),
        samples=lambda: (change(sample) for sample in data.samples()),
    )
