"""Canonical model x calibration data -> Prepared: the float graph that plans are made for, and its ranges.

    calibrate -> restore: equalize channels, migrate scales, learn roundings, correct biases, where it pays

The measure is the signal to noise of the outputs on calibration data, of the portable plan on ONNX Runtime
against the float model: one decision for all targets, so that plans stay comparable. Nothing here needs
labels. What was decided is a ``Restoration``, which the lock holds beside the ranges.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import onnx_ir as ir

from edgekit import target as targets
from edgekit.backends.onnxruntime import open_model
from edgekit.dataset import Dataset
from edgekit.ir.digest import digest
from edgekit.pipeline import ranges as calibration
from edgekit.pipeline.cache import Cache
from edgekit.pipeline.model import Canonical
from edgekit.pipeline.versions import tools
from edgekit.quantization.place import place
from edgekit.quantization.plan import QuantPlan
from edgekit.quantization.restore import choose
from edgekit.quantization.restore.restoration import Restoration
from edgekit.quantization.saturation import as_fitting, find
from edgekit.spec import Progress, Range, Ranges, from_json, to_json

Restore = Literal["auto", "none", "adaround"]
MEASURED_ON = "portable"  # the target whose plan stands for all in the measure
LOOKED_AT = 256  # samples for mean errors of channels; more change them by less than a step of a bias


@dataclass(frozen=True, eq=False)
class Prepared:
    """What static quantization starts from.

    Attributes:
        model: the canonical model, or the same function with channels of like size.
        ranges: of the values of ``model``.
        restoration: what was decided; empty where nothing pays.
        findings: what calibration noticed about the data.
    """

    model: ir.Model
    ranges: Ranges
    restoration: Restoration
    findings: tuple[str, ...] = ()


def again(canonical: Canonical, ranges: Ranges, restoration: Restoration) -> Prepared:
    """The same as was decided before: what a release that follows its lock starts from.

    Raises:
        InputError: the restoration is of another model.
    """
    return Prepared(choose.replay(canonical.model, restoration), ranges, restoration)


def prepare(
    canonical: Canonical,
    data: Dataset,
    *,
    method: str,
    restore: Restore,
    exact: bool = True,
    cache: Cache,
    progress: Progress,
) -> Prepared:
    """Calibrate, and decide what wins accuracy back.

    Args:
        canonical: the float truth.
        data: what is calibrated on.
        method: of ``calibration``.
        restore: which steps are tried.
        exact: whether plans get weights of which no sum of two products saturates: what restores accuracy
            is learned beside the roundings of those.
        cache: where ranges and restorations are kept.
        progress: told of each stage.

    Raises:
        DataError: no samples, NaN in the data, or NaN in an activation.
    """
    found = calibration.obtain(canonical, data, method=method, cache=cache, progress=progress)
    plain = Prepared(canonical.model, found.ranges, Restoration(), found.findings)
    if restore == "none":
        return plain
    key = {
        "model": canonical.digest,
        "data": data.digest,
        "method": method,
        "restore": restore,
        "exact": exact,
        "tools": tools(),
    }

    def make() -> dict[str, object]:
        made = _Restoring(plain, canonical, data, method=method, exact=exact, cache=cache, progress=progress)
        return made.run(choose.steps_of(restore))

    value = cache.value("restore", key, make)
    restoration = from_json(Restoration, value["restoration"])
    ranges = from_json(Ranges, value["ranges"]) if value["ranges"] is not None else found.ranges
    return replace(again(canonical, ranges, restoration), findings=found.findings)


class _Restoring:
    """What ``quantization.restore`` is handed: calibration, placement, a runtime and the cache."""

    def __init__(
        self,
        plain: Prepared,
        canonical: Canonical,
        data: Dataset,
        *,
        method: str,
        exact: bool,
        cache: Cache,
        progress: Progress,
    ) -> None:
        self._canonical, self._data, self._method, self._exact = canonical, data, method, exact
        self._cache, self._progress = cache, progress
        self._target = targets.load(MEASURED_ON)
        self._known = {digest(canonical.model): plain.ranges}  # the one calibration is not done again

    def run(self, steps: tuple[str, ...]) -> dict[str, object]:
        """The restoration, and the ranges of the model that it gives (None: the canonical model's own)."""
        work = choose.Work(
            calibrate=self._calibrate,
            place=self._place,
            open_model=open_model,
            batches=self._data.batches,
            count=min(LOOKED_AT, self._data.count),
            seed=self._data.seed,
            remember=self._remember,
        )
        found = choose.restored(self._canonical.model, steps, work=work, progress=self._progress)
        ranges = self._known.get(digest(found.model)) if found.restoration.exponents else None
        return {"restoration": to_json(found.restoration), "ranges": to_json(ranges) if ranges else None}

    def _calibrate(self, model: ir.Model) -> Mapping[str, Range]:
        key = digest(model)
        if key not in self._known:
            of_model = replace(self._canonical, model=model, origin="")
            self._known[key] = calibration.obtain(
                of_model, self._data, method=self._method, cache=self._cache, progress=self._progress
            ).ranges
        return self._known[key].tensors

    def _place(self, model: ir.Model, ranges: Mapping[str, Range]) -> QuantPlan:
        plan = place(model, self._target, ranges)
        return as_fitting(model, plan, find(model, plan)) if self._exact else plan

    def _remember(self, key: Mapping[str, object], make: Callable[[], object]) -> object:
        text = json.loads(json.dumps(key, default=str))
        return self._cache.value("rounding", text, lambda: {"rounding": make()})["rounding"]
