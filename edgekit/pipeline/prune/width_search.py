"""Groups of channels x targets -> widths with which the whole is as fast as asked for, at the least error.

A table is measured: each group at each width alone, its latency on the targets and its error at the outputs.
The cheapest widths that add up to the speed are taken, and the whole is measured.

S1: savings do not quite add up: the goal is raised or lowered in proportion to what was measured, at most
    TRIES times.
S2: what is faster by less than NOISE may be too slow when it is timed again, minutes later and with its
    weights solved: it is taken where nothing clearer is found.
S3: what is chosen is timed once more, and chosen again by the mean of both looks, until nothing that is
    chosen was looked at once only (at most AGAIN times for each try). Of many cells each measured once, the
    cheapest that save enough are those whose saving came out too large: that is the winner's curse, or
    optimizer's curse (Smith and Winkler, Management Science, 2006).
S4: no more is asked of the table than all its groups together save, and no widths are tried twice: the goal
    goes on in steps of CLEARANCE. Where nothing else is left, every group is tried at its smallest width.
S5: what is still much faster than asked for gets channels back (``give_back``).
S6: cells of which one is as much work as the other (``alike``) save the mean of all their looks.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import fmean

import onnx_ir as ir

from edgekit.backends.onnxruntime import open_model
from edgekit.dataset import Dataset
from edgekit.ir.cost import inference_macs
from edgekit.pipeline.prune.alike import sizes, work
from edgekit.pipeline.prune.give_back import Measures, Plan, give_back
from edgekit.pipeline.prune.speedometer import Speedometer
from edgekit.pipeline.result.prune import PruneStepRow
from edgekit.pruning import widths as widths_
from edgekit.pruning.dependency import Dependencies
from edgekit.pruning.importance import Order
from edgekit.pruning.remove import is_branch, remove
from edgekit.pruning.resume import Resumed
from edgekit.pruning.sensitivity import sensitivity
from edgekit.spec import Progress

STEP = 8  # channels of a kernel's block: 8 floats of AVX2 and NEON pairs; wider ones show in the table (W1)
TRIES = 5  # S1
AGAIN = 8  # S3: in simulation no try needed more
CLEARANCE = 0.01  # of the latency: a try that was too slow asks for at least this much more
NOISE = 0.02  # of a measurement (S2)
TOO_FAST = 1.06  # times what is asked for: NOISE, and widths come in blocks
LOOKED_AT = (64, 256)  # samples for a cell's error: it ranks widths, the whole is judged on all
LOOKED_AT_MACS = (
    1e11  # of one pass over them: a model of images of 224 pixels is seen on fewer than a small one
)


@dataclass(eq=False)
class WidthSearch:
    """The table, and the path through it.

    Attributes:
        found: the float model and its groups.
        orders: of those that may lose channels.
        speed: measures.
        data: that of calibration.
        seed: of intervals and of the samples that a cell is judged on.
        branches: whether a residual branch may go as a whole.
        table: what ``measure`` found.
        path: what was tried.
    """

    found: Dependencies
    orders: tuple[Order, ...]
    speed: Speedometer
    data: Dataset
    seed: int
    branches: bool
    progress: Progress
    table: tuple[widths_.Cell, ...] = ()
    path: list[PruneStepRow] = field(default_factory=list)
    _work: dict[tuple[str, int], Hashable] = field(default_factory=dict)

    def measure(self) -> None:
        """Fill the table."""
        wanted = [
            (order.group.name, width)
            for order in self.orders
            for width in widths_.widths_of(
                order.group, step=STEP, branch=self.branches and is_branch(self.found, order.group)
            )
        ]
        models = self._cut(wanted)
        known = sizes(self.found.model)
        self._work = {cell: work(model, known) for cell, model in models.items()}
        savings = self._timed(models, "time each width")
        del models
        alike = [[each for each in wanted if self._work[each] == self._work[cell]] for cell in wanted]
        by_name = {order.group.name: order for order in self.orders}
        self.progress.stage("what each width costs", total=len(wanted))
        cells = []
        original = Resumed.beside(self.found.model)  # up to a gigabyte, which is free again for what follows
        for (name, width), same in zip(wanted, alike, strict=True):
            saving = fmean(savings[each] for each in same)  # S6
            # what saves nothing is never chosen, and nobody asks what it costs
            error = self._sensitivity(by_name[name], width, original) if saving > 0 else float("inf")
            cells.append(widths_.Cell(name, width, saving, error, looks=len(same)))
            self.progress.advance()
        self.table = tuple(cells)

    def fast_enough(self, wanted: float) -> tuple[int, ...] | None:
        """S1: channels without which the model is ``wanted`` times faster; None where none are.

        What is much faster than asked for costs accuracy for nothing: then less is asked of the table. Of
        what is fast enough the table's least error counts, not the last measurement.
        """
        need, clear = (1 - 1 / speed for speed in (wanted, wanted * (1 + NOISE)))
        if widths_.most(self.table) < need:
            return None
        errors = {(cell.group, cell.width): cell.error for cell in self.table}
        goal, low, high = need, 0.0, 1.0  # high: with that much it was fast enough
        best: Plan | None = None
        fastest = 0.0
        by_a_hair: tuple[int, ...] | None = None
        least = float("inf")
        tried: list[Plan] = []
        for _ in range(TRIES):
            goal, chosen = self._untried(goal, tried, high=high)
            if not chosen and best is None:
                chosen = self._smallest()
            if not chosen or chosen in tried:
                break
            tried.append(chosen)
            gone = self._removed(chosen)
            measured = self._measured(chosen)
            gained = max(1 - 1 / measured, 0.05)
            if measured < wanted * (1 + NOISE):
                said = "too slow"
                if measured >= wanted:
                    said, by_a_hair = "fast enough by a hair", by_a_hair or gone
                self.note(wanted, measured, gone, f"{said}: more is asked of the table")
                low = max(low, goal)
                goal = goal * min(clear / gained, 2.0) + CLEARANCE
            else:
                self.note(wanted, measured, gone, "fast enough")
                error = sum(errors[each] for each in chosen.items())
                if error < least:
                    best, least, fastest = chosen, error, measured
                if measured <= TOO_FAST * wanted:
                    break
                high = min(high, goal)
                goal = max(goal * need / gained + CLEARANCE, (low + goal) / 2)
        if best is None:
            return by_a_hair
        return self._removed(self._given_back(best, fastest, wanted))

    def _given_back(self, plan: Plan, faster: float, wanted: float) -> Plan:
        """S5."""

        def savings(plans: Mapping[str, Plan]) -> dict[str, tuple[float, ...]]:
            models = {name: remove(self.found, self._removed(each)) for name, each in plans.items()}
            return self.speed.savings(models, self.progress, stage="time wider forms of what is too fast")

        def measured(wider: Plan) -> float:
            found = self._measured(wider)
            said = "less is given back" if found < least else "fast enough, with some channels back"
            self.note(wanted, found, self._removed(wider), said)
            return found

        least = wanted * (1 + NOISE)
        measures = Measures(savings, measured)
        return give_back(plan, faster, self.table, measures, least=least, enough=TOO_FAST * wanted)

    def _measured(self, plan: Plan) -> float:
        """How many times faster the whole is."""
        model = remove(self.found, self._removed(plan))
        return self.speed.times_faster(model, self.progress)

    def _removed(self, plan: Plan) -> tuple[int, ...]:
        return widths_.removed(self.found, self.orders, plan)

    def _untried(self, goal: float, tried: list[Plan], *, high: float) -> tuple[float, Plan]:
        """S4: ``goal``, or the next below ``high`` whose widths are new; and these, {} where none are."""
        while (chosen := self._chosen(goal)) in tried:
            goal += CLEARANCE
            if goal >= min(high, widths_.most(self.table) + CLEARANCE):
                return goal, {}
        return goal, chosen

    def _chosen(self, goal: float) -> Plan:
        """S3: the cheapest widths that save ``goal``, or all that can be saved."""
        for _ in range(AGAIN):
            chosen = self._cheapest(goal)
            once = [cell for cell in self.table if cell.looks == 1 and chosen.get(cell.group) == cell.width]
            if not once:
                return chosen
            self._look_again(once)
        return self._cheapest(goal)

    def _cheapest(self, goal: float) -> Plan:
        return widths_.choose(self.table, saving=min(goal, widths_.most(self.table))) or {}

    def _look_again(self, cells: Sequence[widths_.Cell]) -> None:
        """S3: those cells of the table, and all that are alike (S6), save the mean of all looks."""
        first: dict[Hashable, widths_.Cell] = {}
        for cell in cells:
            first.setdefault(self._work_of(cell), cell)
        models = self._cut([(cell.group, cell.width) for cell in first.values()])
        savings = self._timed(models, "time the chosen widths once more")
        seen = {work: savings[cell.group, cell.width] for work, cell in first.items()}
        self.table = tuple(
            cell.looked_at_again(seen[work]) if (work := self._work_of(cell)) in seen else cell
            for cell in self.table
        )

    def _work_of(self, cell: widths_.Cell) -> Hashable:
        return self._work.get((cell.group, cell.width), (cell.group, cell.width))

    def _cut(self, wanted: Sequence[tuple[str, int]]) -> dict[tuple[str, int], ir.Model]:
        """Each group at each width alone."""
        return {cell: remove(self.found, self._alone(*cell)) for cell in wanted}

    def _timed(self, models: Mapping[tuple[str, int], ir.Model], stage: str) -> dict[tuple[str, int], float]:
        """What each of ``_cut`` saves."""
        named = {f"{name}:{width}": model for (name, width), model in models.items()}
        savings = self.speed.savings(named, self.progress, stage=stage)
        return {(name, width): fmean(savings[f"{name}:{width}"]) for name, width in models}  # W2

    def _alone(self, name: str, width: int) -> tuple[int, ...]:
        order = next(order for order in self.orders if order.group.name == name)
        return widths_.removed(self.found, [order], {name: width})

    def note(self, aimed: float, measured: float, gone: tuple[int, ...], said: str) -> None:
        """A step of the path."""
        kept = 1 - len(gone) / len(self.found.parts)
        self.path.append(PruneStepRow(aimed, measured, kept, said))

    def smallest(self) -> tuple[int, ...]:
        """Channels that go where every group that saves time is at its smallest width."""
        return widths_.removed(self.found, self.orders, self._smallest())

    def _smallest(self) -> Plan:
        """The last of a group in the table is its smallest."""
        return {cell.group: cell.width for cell in self.table if cell.saving > 0}

    def _sensitivity(self, order: Order, width: int, original: Resumed) -> float:
        return sensitivity(
            self.found,
            order,
            self._alone(order.group.name, width),
            open_model=open_model,
            batches=self.data.batches,
            count=self._looked_at,
            seed=self.seed,
            original=original,
        )

    @cached_property
    def _looked_at(self) -> int:
        fewest, most = LOOKED_AT
        affordable = int(LOOKED_AT_MACS / max(inference_macs(self.found.model) or 1, 1))
        return min(max(fewest, min(most, affordable)), self.data.count)
