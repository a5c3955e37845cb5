"""What static quantization starts from, made when a candidate first needs it."""

from __future__ import annotations

from edgekit.dataset import Dataset
from edgekit.errors import RecipeError
from edgekit.pipeline import prepare
from edgekit.pipeline.cache import Cache
from edgekit.pipeline.lock import Lock
from edgekit.pipeline.model import Canonical
from edgekit.pipeline.plan import Plan
from edgekit.pipeline.prepare import Prepared
from edgekit.pipeline.result import CalibrationRow
from edgekit.spec import Progress


class PreparedOnce:
    """What plans are made from: out of the lock, or learned once when a candidate first needs it."""

    def __init__(
        self,
        canonical: Canonical,
        learning: Dataset | None,
        *,
        plan: Plan,
        lock: Lock | None,
        cache: Cache,
        progress: Progress,
    ) -> None:
        self._table = plan.recipe.optimize.quantize
        wanted = (*plan.targets, *plan.checks)
        self._static = any(each.is_static for target in wanted for each in target.candidates)
        self._canonical = canonical
        self._learning = learning
        self._cache = cache
        self._progress = progress
        locked = lock.locked_ranges() if lock else None
        self._from_lock = locked is not None
        self._found: Prepared | None = None
        if lock is not None and locked is not None:
            self._found = prepare.again(canonical, locked, lock.locked_restoration())

    def __call__(self) -> Prepared:
        """It, learned where nobody has asked before."""
        if self._found is None:
            if self._learning is None:
                raise RecipeError(
                    "the recipe has no [data] calibration, and a candidate needs ranges",
                    why="static quantization (and fp16's guard against overflow) learns them from data",
                    remedy='add calibration = { source = "..." } under [data], or ask for precision = "fp32"',
                    more="docs/recipe.md",
                )
            self._found = prepare.prepare(
                self._canonical,
                self._learning,
                method=self._table.method,
                restore=self._table.restore if self._static else "none",
                exact=self._table.cross_cpu == "exact",
                cache=self._cache,
                progress=self._progress,
            )
        return self._found

    @property
    def used(self) -> Prepared | None:
        """It, if any candidate needed it."""
        return self._found

    @property
    def row(self) -> CalibrationRow | None:
        """What the ranges were learned from, if any candidate needed them."""
        if self._found is None:
            return None
        ranges = self._found.ranges
        return CalibrationRow(
            source=self._learning.name if self._learning else "",
            method=ranges.method,
            samples=ranges.samples,
            tensors=len(ranges.tensors),
            from_lock=self._from_lock,
            findings=self._found.findings,
        )

    @property
    def findings(self) -> tuple[str, ...]:
        """What calibration noticed about the data."""
        return self._found.findings if self._found else ()
