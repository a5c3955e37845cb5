"""`prune`: float ONNX x calibration data -> fewer channels, weights solved anew, and the speed that it gave.

    --sparsity, --pattern: ``prune_zeros``; what follows removes channels

    dependencies -> order of channels -> widths -> remove -> repair -> (recover) -> measure, judge

--keep      one part for every group.
--speedup   widths from a table: each group at each width alone is measured, its latency on the target and its
            error at the outputs; the cheapest widths that add up to the speed are taken, and the whole is
            measured. What misses the speed is asked for more (P1); what breaks the budget for less (P2).

P1: savings do not quite add up: the goal is raised or lowered in proportion to what was measured, at most
    TRIES times.
P2: with a budget the search steps down through BACK parts of what was asked for, to say what the budget
    allows. Nothing is written then: what was asked for did not come of it.
P3: the repair does not change the latency, so widths are measured before weights are solved. It is
    ``reconstruct`` and then ``refine``, unless ``recover`` takes the latter's place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import onnx_ir as ir

from edgekit import settings
from edgekit import target as targets_
from edgekit.backends.onnxruntime import open_model
from edgekit.bundle.facts import Subject, Transformation
from edgekit.dataset import Dataset
from edgekit.errors import ExitCode, InputError
from edgekit.ir.cost import with_open_sizes
from edgekit.ir.digest import digest
from edgekit.ir.external_data import is_large, size_bytes
from edgekit.ir.macs import macs
from edgekit.measure.machine import facts
from edgekit.pipeline import calibrate, judge, steps
from edgekit.pipeline.blame_model import blames_model
from edgekit.pipeline.cache import Cache
from edgekit.pipeline.evaluation import Evaluated
from edgekit.pipeline.lineage import with_lineage
from edgekit.pipeline.model import Canonical, canonical_file
from edgekit.pipeline.prune_judge import Judging, in_memory
from edgekit.pipeline.prune_speed import Speedometer, slowest, undisturbed
from edgekit.pipeline.prune_zeros import ZerosAsked, with_zeros
from edgekit.pipeline.result import GateRow
from edgekit.pipeline.result.prune import (
    CellRow,
    KeptRow,
    PruneResult,
    PruneSpeedRow,
    PruneStepRow,
    RefinedRow,
    RepairRow,
    WidthRow,
)
from edgekit.pipeline.versions import tools
from edgekit.pipeline.write import write_model
from edgekit.preprocess import Step
from edgekit.pruning import widths as widths_
from edgekit.pruning.dependency import Dependencies, Group, dependencies
from edgekit.pruning.importance import Method, Order, order_channels
from edgekit.pruning.joints import joints
from edgekit.pruning.reconstruct import reconstruct
from edgekit.pruning.recover import recover
from edgekit.pruning.refine import Refinement, passes_of, refine
from edgekit.pruning.remove import is_branch, remove
from edgekit.pruning.sensitivity import output_error, outputs_of, sensitivity
from edgekit.pruning.zeros import Pattern
from edgekit.spec import Array, Progress
from edgekit.user_code import file_digest
from edgekit.validation.budget import Verdict

STEP = 8  # channels of a kernel's block: 8 floats of AVX2 and NEON pairs; wider ones show in the table (W1)
TRIES = 5  # P1
CLEARANCE = 0.01  # of the latency: what is asked for is not met by a hair
TOO_FAST = 1.04  # two per cent are the noise of a measurement, and widths come in blocks
BACK = (0.8, 0.6, 0.4, 0.2)  # P2, of the speed beyond 1
LOOKED_AT = (64, 256)  # samples for a cell's error: it ranks widths, the whole is judged on all
LOOKED_AT_MACS = (
    1e11  # of one pass over them: a model of images of 224 pixels is seen on fewer than a small one
)
REMEDY = "a smaller --speedup (the search says what the budget allows), --recover 20, or more samples"


@dataclass(frozen=True)
class Asked:
    """What the caller wants.

    Attributes:
        keep: part of every group's channels that stays; or
        speedup: how many times faster on every target; or
        zeros: which weights become zero (``prune_zeros``). One of the three.
        targets: where it is measured.
        threads: inside an operator; None = the target's own.
        threads_of: likewise, by target.
        importance: what decides which channels go.
        repair: "layers": each layer by least squares; "blocks": and then all of them together (``refine``).
        recover: epochs of distillation after the layers' repair, in place of ``refine``; 0 = none.
        require_speedup: zeros that save no time on a target are a failure there.
    """

    keep: float | None = None
    speedup: float | None = None
    zeros: Pattern | None = None
    targets: tuple[str, ...] = ("onnxruntime-cpu",)
    threads: int | None = None
    threads_of: Mapping[str, int] = field(default_factory=dict)
    importance: Method = "obs"
    repair: Literal["layers", "blocks"] = "blocks"
    recover: int = 0
    samples: int | None = None
    seed: int = 0
    require_speedup: bool = False


@blames_model
def prune(
    model: Path,
    *,
    calibration_data: object,
    out: Path,
    asked: Asked,
    judging: Judging,
    progress: Progress,
    preprocess: Path | None = None,
    cache_dir: Path | None = None,
) -> PruneResult:
    """Write a smaller form of ``model`` to ``out``.

    A missed speed or budget is in the result's exit code, and then nothing is written.

    Raises:
        InputError: the model is quantized, nothing in it may go, or both or neither of keep and speedup.
        DataError: the data does not fit.
        TargetRefusalError: a target cannot take the model.
    """
    check(asked)
    cache = Cache(cache_dir or settings.cache_dir())
    done_first = steps.read(preprocess) if preprocess is not None else ()
    canonical = canonical_file(model, cache=cache, progress=progress)
    data = calibrate.load(
        canonical, calibration_data, samples=asked.samples, seed=asked.seed, preprocess=done_first
    )
    made = pruned(canonical, data, asked=asked, judging=judging, preprocess=done_first, progress=progress)
    if made.result.exit_code is ExitCode.OK:
        file = Subject(name=model.name, digest=f"sha256:{file_digest(model)}")
        step = made.step.model_copy(update={"inputs": (file, *made.step.inputs)})
        write_model(with_lineage(made.model, canonical.lineage, step), out)
    return replace(made.result, path=out)


@dataclass(frozen=True, eq=False)
class Pruned:
    """A pruned model, what was found out about it (its path is of no file), and the step of its making."""

    model: ir.Model
    result: PruneResult
    step: Transformation


def pruned(
    canonical: Canonical,
    data: Dataset,
    *,
    asked: Asked,
    judging: Judging,
    preprocess: tuple[Step, ...],
    progress: Progress,
) -> Pruned:
    """The smaller form of a canonical model; nothing is written.

    Raises:
        InputError: as ``prune``.
        TargetRefusalError: a target cannot take the model.
    """
    check(asked)
    if asked.zeros is not None:
        zeros = ZerosAsked(
            asked.zeros, asked.targets, asked.threads, asked.seed, asked.require_speedup, asked.threads_of
        )
        made, result = with_zeros(
            canonical, data, zeros, judging, preprocess=preprocess, out=Path(), progress=progress
        )
        details = {
            "zeros": str(asked.zeros),
            "weights zeroed": str(sum(row.zeros for row in result.sparse)),
        }
        return Pruned(made, result, _step(canonical, data, made, details))
    job = Job(canonical, in_memory(data), asked, judging, preprocess, progress)
    found = job.by_speed() if asked.speedup is not None else job.by_part()
    step = _step(canonical, data, found.model, _details(asked, len(found.gone)))
    return Pruned(found.model, job.result(Path(), found), step)


def _step(canonical: Canonical, data: Dataset, made: ir.Model, details: Mapping[str, str]) -> Transformation:
    """What a pruned file says of itself, for the provenance of a release."""
    return Transformation(
        action="pruned",
        inputs=(Subject(name="canonical graph", digest=f"graph:{canonical.digest}"),),
        outputs=(Subject(name="pruned graph", digest=f"graph:{digest(made)}"),),
        using=(Subject(name="calibration data", digest=f"id:{data.digest}"),),
        tools=tools(),
        details={name: value for name, value in details.items() if value} | {"samples": str(data.count)},
    )


def _details(asked: Asked, gone: int) -> dict[str, str]:
    return {
        "keep": f"{asked.keep:g}" if asked.keep is not None else "",
        "speedup": f"{asked.speedup:g}" if asked.speedup is not None else "",
        "importance": asked.importance,
        "channels removed": str(gone),
        "epochs of recovery": str(asked.recover) if asked.recover else "",
    }


def check(asked: Asked) -> None:
    """Raise InputError where what is asked for makes no sense."""
    if sum(each is not None for each in (asked.keep, asked.speedup, asked.zeros)) != 1:
        raise InputError(
            "prune needs one of --speedup, --keep, --sparsity and --pattern",
            why="the first two remove channels, the others make single weights zero",
            remedy="--speedup 1.5, or --keep 0.7, or --sparsity 0.5, or --pattern 2:4",
        )
    if asked.zeros is not None and not 0 < asked.zeros.part < 1:
        raise InputError(
            f"--sparsity {asked.zeros.part:g} is no part of the weights",
            why="it lies between 0 and 1",
            remedy="--sparsity 0.5 makes every other weight zero",
        )
    if asked.require_speedup and asked.zeros is None:
        raise InputError(
            "--require-speedup goes with --sparsity or --pattern",
            why="--speedup is measured and required anyway, and --keep promises no speed",
            remedy="leave it out",
        )
    if asked.recover and asked.zeros is not None:
        raise InputError(
            "--recover goes with --speedup or --keep",
            why="training would fill the zeros again",
            remedy="leave it out: weights with zeros among them are solved from the data anyway",
        )
    if asked.keep is not None and not 0 < asked.keep < 1:
        raise InputError(
            f"--keep {asked.keep:g} is no part of the channels",
            why="it lies between 0 and 1",
            remedy="--keep 0.7 keeps seven of ten",
        )
    if asked.speedup is not None and not asked.speedup > 1:
        raise InputError(
            f"--speedup {asked.speedup:g} is not faster",
            why="1 is the float model's speed",
            remedy="--speedup 1.5",
        )


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
    table: tuple[widths_.Cell, ...] = ()
    search: list[PruneStepRow] = field(default_factory=list)
    found: Dependencies = field(init=False)
    orders: tuple[Order, ...] = field(init=False)
    speed: Speedometer = field(init=False)

    def __post_init__(self) -> None:
        self.progress.stage("find channels that go together")
        self.found = dependencies(self.canonical.model)
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

    # ---- --keep

    def by_part(self) -> Found:
        """The same part of every group."""
        widths = widths_.uniform(self.orders, self.asked.keep or 1.0, step=STEP)
        made = self._made(widths_.removed(self.found, self.orders, widths))
        return replace(made, speeds=self.speed.speeds(made.model, self.progress))

    # ---- --speedup

    def by_speed(self) -> Found:
        """What is fast enough, judged; where it breaks the budget, the path goes on (P2)."""
        wanted = self.asked.speedup or 1.0
        self.table = self._measured_table()
        gone = self._fast_enough(wanted)
        if gone is None:
            return self._too_slow(wanted)
        found = self._judged_and_timed(gone, wanted)
        if found.verdict is None or found.verdict.exit_code is ExitCode.OK:
            return found
        self._step_down(wanted)
        return found

    def _measured_table(self) -> tuple[widths_.Cell, ...]:
        wanted = {
            (order.group.name, width): widths_.removed(self.found, [order], {order.group.name: width})
            for order in self.orders
            for width in widths_.widths_of(
                order.group, step=STEP, branch=self.branches and is_branch(self.found, order.group)
            )
        }
        models = {f"{name}:{width}": remove(self.found, gone) for (name, width), gone in wanted.items()}
        savings = self.speed.savings(models, self.progress)
        by_name = {order.group.name: order for order in self.orders}
        self.progress.stage("what each width costs", total=len(wanted))
        cells = []
        for (name, width), gone in wanted.items():
            saving = savings[f"{name}:{width}"]
            # what saves nothing is never chosen, and nobody asks what it costs
            error = self._sensitivity(by_name[name], gone) if saving > 0 else float("inf")
            cells.append(widths_.Cell(name, width, saving, error))
            self.progress.advance()
        return tuple(cells)

    def _sensitivity(self, order: Order, gone: tuple[int, ...]) -> float:
        return sensitivity(
            self.found,
            order,
            gone,
            open_model=open_model,
            batches=self.data.batches,
            count=self._looked_at,
            seed=self.asked.seed,
            known=self._outputs,
        )

    @cached_property
    def _looked_at(self) -> int:
        fewest, most = LOOKED_AT
        affordable = int(LOOKED_AT_MACS / max(_macs(self.found.model) or 1, 1))
        return min(max(fewest, min(most, affordable)), self.data.count)

    @cached_property
    def _outputs(self) -> list[dict[str, Array]]:
        """The float model's, on the samples that cells are judged on: read once for all."""
        return list(
            outputs_of(
                self.found.model, open_model=open_model, batches=self.data.batches, count=self._looked_at
            )
        )

    def _fast_enough(self, wanted: float) -> tuple[int, ...] | None:
        """P1, P3: channels without which the model is ``wanted`` times faster; None where none are.

        What is much faster than asked for costs accuracy for nothing: then less is asked of the table. Of
        what is fast enough the table's least error counts, not the last measurement.
        """
        need = 1 - 1 / wanted
        errors = {(cell.group, cell.width): cell.error for cell in self.table}
        goal, low = need, 0.0
        best: tuple[int, ...] | None = None
        least = float("inf")
        for _ in range(TRIES):
            chosen = widths_.choose(self.table, saving=goal)
            if chosen is None:
                break
            gone = widths_.removed(self.found, self.orders, chosen)
            measured = undisturbed(self.speed.speeds(remove(self.found, gone), self.progress))
            gained = max(1 - 1 / measured, 0.05)
            if measured < wanted:
                self._note(wanted, measured, gone, "too slow: more is asked of the table")
                low = max(low, goal)
                goal = goal * min(need / gained, 2.0) + CLEARANCE
            else:
                self._note(wanted, measured, gone, "fast enough")
                error = sum(errors[each] for each in chosen.items())
                if error < least:
                    best, least = gone, error
                if measured <= TOO_FAST * wanted:
                    break
                goal = max(goal * need / gained + CLEARANCE, (low + goal) / 2)
        return best

    def _judged_and_timed(self, gone: tuple[int, ...], wanted: float) -> Found:
        made = self._made(gone)
        speeds = self.speed.speeds(made.model, self.progress)
        measured = slowest(speeds)
        missed = None if measured >= wanted else _missed(wanted, measured)
        return replace(made, speeds=speeds, missed=missed)

    def _step_down(self, wanted: float) -> None:
        """P2: notes in the path what the budget allows."""
        for part in BACK:
            less = 1 + (wanted - 1) * part
            gone = self._fast_enough(less)
            if gone is None:
                continue
            made = self._made(gone)
            inside = made.verdict is not None and made.verdict.exit_code is ExitCode.OK
            self._note(less, less, gone, "inside the budget" if inside else "outside the budget")
            if inside:
                return

    def _too_slow(self, wanted: float) -> Found:
        """Every group at its smallest is not enough: what that gives."""
        smallest = {
            cell.group: cell.width for cell in self.table if cell.saving > 0
        }  # the last is the smallest
        gone = widths_.removed(self.found, self.orders, smallest)
        made = Found(remove(self.found, gone), gone)
        speeds = self.speed.speeds(made.model, self.progress)
        return replace(made, speeds=speeds, missed=_missed(wanted, slowest(speeds), smallest=True))

    def _note(self, aimed: float, measured: float, gone: tuple[int, ...], said: str) -> None:
        kept = 1 - len(gone) / len(self.found.parts)
        self.search.append(PruneStepRow(aimed, measured, kept, said))

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
        refined = None
        if self.asked.recover:
            self.progress.stage("recover by distillation", total=self.asked.recover)
            model = self.trained(model) if self.trained else self._distilled(model, gone)
        elif self.asked.repair == "blocks":
            model, refined = self._refined(model, gone)
        rows = tuple(RepairRow(r.layer, r.before, r.bias_only, r.after) for r in repairs)
        made = Found(model, gone, rows, refined)
        if not self.judging.data:
            return made
        evaluated = self.judging.evaluated(
            self.canonical.model, model, preprocess=self.preprocess, progress=self.progress
        )
        return replace(made, evaluated=evaluated, verdict=self.judging.held(evaluated))

    def _refined(self, model: ir.Model, gone: tuple[int, ...]) -> tuple[ir.Model, Refinement]:
        if is_large(self.found.model):  # weights, gradients and two moments of each, in float32
            return model, Refinement(why="the model is large: training holds five times its weights")
        passes = passes_of(_macs(self.found.model), self.data.count)
        self.progress.stage("refine all blocks together", total=passes)
        return refine(
            self.found,
            model,
            gone,
            open_model=open_model,
            batches=self.data.batches,
            count=self.data.count,
            passes=passes,
            seed=self.asked.seed,
            threads=self.asked.threads,
            half=_is_bfloat16_fast(),
            progress=self.progress,
        )

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
            half=_is_bfloat16_fast(),
            progress=self.progress,
        )[0]

    def result(self, out: Path, found: Found) -> PruneResult:
        """All of it as plain values."""
        judged = judge.gate_rows(found.verdict) if found.verdict else ()
        gates = tuple(replace(row, remedy=REMEDY) if row.remedy else row for row in judged) + (
            (found.missed,) if found.missed else ()
        )
        code = found.verdict.exit_code if found.verdict else ExitCode.OK
        if code is ExitCode.OK and found.missed:
            code = ExitCode.LATENCY_OR_SIZE_GATE
        error = output_error(
            self.found.model,
            found.model,
            open_model=open_model,
            batches=self.data.batches,
            count=min(LOOKED_AT[1], self.data.count),
        )
        return PruneResult(
            path=out,
            importance=self.asked.importance,
            samples=self.data.count,
            parameters=_parameters(found.model),
            float_parameters=self.found.parameters(),
            macs=_macs(found.model),
            float_macs=_macs(self.found.model),
            size_bytes=size_bytes(found.model),
            float_size_bytes=size_bytes(self.canonical.model),
            output_error=error,
            widths=_widths(self.orders, found.gone),
            kept=tuple(KeptRow(each.initializer, each.count, each.reason) for each in self.found.kept),
            repairs=found.repairs,
            speeds=found.speeds,
            table=tuple(
                CellRow(c.group, c.width, c.saving, c.error if c.saving > 0 else None) for c in self.table
            ),
            search=tuple(self.search),
            recovered=self.asked.recover,
            refined=_refined_row(found.refined),
            gates=gates,
            accuracy=found.evaluated.accuracy if found.evaluated else None,
            exit_code=code,
        )


def _is_bfloat16_fast() -> bool:
    return "amx_bf16" in facts().features


def _refined_row(found: Refinement | None) -> RefinedRow | None:
    return None if found is None else RefinedRow(found.passes, found.before, found.after, found.why)


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


def _widths(orders: tuple[Order, ...], gone: tuple[int, ...]) -> tuple[WidthRow, ...]:
    left = set(gone)
    return tuple(
        WidthRow(
            order.group.name,
            len(order.group.channels),
            sum(channel not in left for channel in order.group.channels),
            len(order.readers),
        )
        for order in orders
    )


def _parameters(model: ir.Model) -> int:
    """Floating-point numbers; a branch that went takes layers along that had channels left."""
    return dependencies(model).parameters()


def _macs(model: ir.Model) -> int | None:
    """Of one inference, open sizes as 1."""
    counted = [macs(node) for node in with_open_sizes(model).graph]
    return None if None in counted else sum(each or 0 for each in counted)
