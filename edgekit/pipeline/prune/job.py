"""One pruning: channels are ordered, cut out, weights repaired, the whole measured and judged.

    dependencies -> order of channels -> widths -> remove -> repair -> (recover) -> measure, judge

--keep      one part for every group.
--speedup   widths that are as fast as asked for (``width_search``); what breaks the
            budget is asked for less (P1).

P1: with a budget the search steps down through BACK parts of what was asked for, to say what the budget
    allows. Nothing is written then: what was asked for did not come of it.
P2: the repair does not change the latency, so widths are measured before weights are solved. It is
    ``reconstruct`` and then ``refine``, unless ``recover`` takes the latter's place.
P3: the embedding width of a transformer is a width like others where the table says what it costs. One part
    for every group would take it from all layers at once, and no table would say so. Its readers are
    all layers: the order of its channels holds moments of all of them, so that of a large model it stays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import onnx_ir as ir

from edgekit import target as targets_
from edgekit.backends.onnxruntime import open_model
from edgekit.dataset import Dataset
from edgekit.errors import ExitCode, InputError
from edgekit.ir.external_data import is_large
from edgekit.pipeline.evaluation import Evaluated
from edgekit.pipeline.model import Canonical
from edgekit.pipeline.prune.asked import Asked
from edgekit.pipeline.prune.judging import Judging
from edgekit.pipeline.prune.refined import is_bfloat16_fast, refined
from edgekit.pipeline.prune.speedometer import Speedometer, slowest
from edgekit.pipeline.prune.width_search import STEP, WidthSearch
from edgekit.pipeline.result import GateRow
from edgekit.pipeline.result.prune import PruneSpeedRow, RepairRow
from edgekit.preprocess import Step
from edgekit.pruning import widths as widths_
from edgekit.pruning.dependency import Dependencies, Group, dependencies
from edgekit.pruning.importance import Order, order_channels
from edgekit.pruning.joints import joints
from edgekit.pruning.reconstruct import reconstruct
from edgekit.pruning.recover import recover
from edgekit.pruning.refine import Refinement
from edgekit.pruning.remove import remove
from edgekit.spec import Array, Progress
from edgekit.validation.budget import Verdict

BACK = (0.8, 0.6, 0.4, 0.2)  # P1, of the speed beyond 1


@dataclass(frozen=True, eq=False)
class Found:
    """One pruned model, and what was found out about it."""

    model: ir.Model
    gone: tuple[int, ...]
    repairs: tuple[RepairRow, ...] = ()
    refined: Refinement | None = None
    evaluated: Evaluated | None = None
    verdict: Verdict | None = None
    speeds: tuple[PruneSpeedRow, ...] = ()
    missed: GateRow | None = None


@dataclass(eq=False)
class Job:
    """One model and its data; each step is done once.

    Attributes:
        may_go: whether channels of a group may go at all.
        branches: whether a residual branch may go as a whole.
        trained: recovery in the framework that the model comes from; None = in PyTorch (``recover``).
    """

    canonical: Canonical
    data: Dataset
    asked: Asked
    judging: Judging
    preprocess: tuple[Step, ...]
    progress: Progress
    may_go: Callable[[Dependencies, Group], bool] = lambda found, group: True
    branches: bool = True
    trained: Callable[[ir.Model], ir.Model] | None = None
    found: Dependencies = field(init=False)
    orders: tuple[Order, ...] = field(init=False)
    speed: Speedometer = field(init=False)
    widths: WidthSearch = field(init=False)

    def __post_init__(self) -> None:
        self.progress.stage("find channels that go together")
        self.found = dependencies(self.canonical.model, embedding_widths=self._measures_embedding_widths)
        if not any(len(group.channels) > 1 and self.may_go(self.found, group) for group in self.found.groups):
            raise _nothing_may_go(self.found)
        self.speed = Speedometer(
            self.found.model,
            tuple(targets_.load(name) for name in self.asked.targets),
            self.asked.threads,
            next(iter(self.data.batches(1))),
            self.asked.seed,
            self.asked.threads_of,
        )
        self.progress.stage(f"order channels ({self.asked.importance})")
        orders = order_channels(
            self.found,
            method=self.asked.importance,
            open_model=open_model,
            batches=self.data.batches,
            count=self.data.count,
            labels=_classes(self.data),
            seed=self.asked.seed,
            progress=self.progress,
        )
        self.orders = tuple(order for order in orders if self.may_go(self.found, order.group))
        self.widths = WidthSearch(
            self.found, self.orders, self.speed, self.data, self.asked.seed, self.branches, self.progress
        )

    @property
    def _measures_embedding_widths(self) -> bool:
        """P3."""
        small = not is_large(self.canonical.model)
        return self.asked.speedup is not None and small

    # ---- --keep

    def by_part(self) -> Found:
        """The same part of every group."""
        widths = widths_.uniform(self.orders, self.asked.keep or 1.0, step=STEP)
        made = self._made(widths_.removed(self.found, self.orders, widths))
        return replace(made, speeds=self.speed.speeds(made.model, self.progress))

    # ---- --speedup

    def by_speed(self) -> Found:
        """What is fast enough, judged; where it breaks the budget, the path goes on (P1)."""
        wanted = self.asked.speedup or 1.0
        self.widths.measure()
        gone = self.widths.fast_enough(wanted)
        if gone is None:
            return self._too_slow(wanted)
        found = self._judged_and_timed(gone, wanted)
        if found.verdict is None or found.verdict.exit_code is ExitCode.OK:
            return found
        self._step_down(wanted)
        return found

    def _judged_and_timed(self, gone: tuple[int, ...], wanted: float) -> Found:
        made = self._made(gone)
        speeds = self.speed.speeds(made.model, self.progress)
        measured = slowest(speeds)
        missed = None if measured >= wanted else _missed(wanted, measured)
        return replace(made, speeds=speeds, missed=missed)

    def _step_down(self, wanted: float) -> None:
        """P1: notes in the path what the budget allows."""
        for part in BACK:
            less = 1 + (wanted - 1) * part
            gone = self.widths.fast_enough(less)
            if gone is None:
                continue
            made = self._made(gone)
            inside = made.verdict is not None and made.verdict.exit_code is ExitCode.OK
            self.widths.note(less, less, gone, "inside the budget" if inside else "outside the budget")
            if inside:
                return

    def _too_slow(self, wanted: float) -> Found:
        """Every group at its smallest is not enough: what that gives."""
        gone = self.widths.smallest()
        made = Found(remove(self.found, gone), gone)
        speeds = self.speed.speeds(made.model, self.progress)
        return replace(made, speeds=speeds, missed=_missed(wanted, slowest(speeds), smallest=True))

    # ---- both

    def _made(self, gone: tuple[int, ...]) -> Found:
        """Cut out, repaired, recovered, judged."""
        self.progress.stage("solve weights anew")
        model, repairs = reconstruct(
            self.found,
            remove(self.found, gone),
            gone,
            open_model=open_model,
            batches=self.data.batches,
            count=self.data.count,
            seed=self.asked.seed,
            progress=self.progress,
        )
        repair = None
        if self.asked.recover:
            self.progress.stage("recover by distillation", total=self.asked.recover)
            model = self.trained(model) if self.trained else self._distilled(model, gone)
        elif self.asked.repair == "blocks":
            model, repair = refined(
                self.found,
                model,
                gone,
                data=self.data,
                seed=self.asked.seed,
                threads=self.asked.threads,
                progress=self.progress,
            )
        rows = tuple(RepairRow(r.layer, r.before, r.bias_only, r.after) for r in repairs)
        made = Found(model, gone, rows, repair)
        if not self.judging.data:
            return made
        evaluated = self.judging.evaluated(
            self.canonical.model, model, preprocess=self.preprocess, progress=self.progress
        )
        return replace(made, evaluated=evaluated, verdict=self.judging.held(evaluated))

    def _distilled(self, model: ir.Model, gone: tuple[int, ...]) -> ir.Model:
        return recover(
            self.found.model,
            model,
            batches=self.data.batches,
            count=self.data.count,
            epochs=self.asked.recover,
            seed=self.asked.seed,
            threads=self.asked.threads,
            labels=_classes(self.data),
            joints=joints(self.found, model, gone),
            half=is_bfloat16_fast(),
            progress=self.progress,
        )[0]


def _classes(data: Dataset) -> Array | None:
    """(count,) labels of the calibration data, where they are classes."""
    labels = None if data.labels is None else np.asarray(data.labels)
    if labels is None or labels.size != data.count or labels.dtype.kind not in "iu":
        return None
    return labels.reshape(-1)


def _nothing_may_go(found: Dependencies) -> InputError:
    reasons: Mapping[str, int] = {each.reason: 1 for each in found.kept}
    return InputError(
        "no channel of this model may go",
        why="; ".join(list(reasons)[:4]) or "no layer has a constant weight",
        remedy="quantize it instead: `edgekit quantize MODEL.onnx --calibration-data D -o q.onnx`",
        more="docs/pruning.md",
    )


def _missed(wanted: float, measured: float, *, smallest: bool = False) -> GateRow:
    return GateRow(
        name="speedup",
        status="fail",
        measured=f"{measured:.2f} times",
        limit=f"at least {wanted:g} times",
        reason="every group that saves time is at its smallest width"
        if smallest
        else "slower than the same widths were when they were chosen: the machine is not quiet",
        remedy=f"--speedup {max(1.05, np.floor(measured * 20) / 20):.4g}, or measure on a quiet machine",
    )
