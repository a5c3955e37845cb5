"""Float model x data x calibration x placement -> the steps of restoration that pay, and what they decided.

    for step in steps:  candidate = step(current);  keep it if  sqnr(candidate) >= sqnr(current) + GAIN_DB

R1: a step is judged by the whole integer model against the float model, on calibration data: by the error of
    all outputs, because labels of a hundred samples flip by chance.
R2: a step that has nothing to do costs nothing: no pass over the data, no calibration.
R3: equalization and SmoothQuant change the float model (never its function), so it is calibrated again.
R4: AdaRound leaves means to bias correction: they are one step where both are wanted.
R5: what a rounding or a correction is for is the plan's operators and scales: they are decided last.

    "auto"        equalize, smooth, bias-correction
    "adaround"    those, and adaround in front of the last
    "none"        nothing
    "a,b"         the named steps; they too have to pay

Order: Nagel et al., "A White Paper on Neural Network Quantization" (2021), figure 8.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from edgekit.errors import UnknownNameError
from edgekit.ir import io
from edgekit.ir.set_aside import computed
from edgekit.quantization.apply import apply
from edgekit.quantization.plan import QuantPlan
from edgekit.quantization.restore import adaround, correct_bias, equalize
from edgekit.quantization.restore.adaround import Remember
from edgekit.quantization.restore.equalize import Behind
from edgekit.quantization.restore.restoration import Restoration
from edgekit.quantization.restore.stream import OpenModel, channel_peaks, whole_batches
from edgekit.spec import Array, BatchStream, Progress, Range, RunOptions, Silent

STEPS = ("equalize", "smooth", "adaround", "bias-correction")
AUTO = ("equalize", "smooth", "bias-correction")
GAIN_DB = 0.1  # 2 % of the error: what is not felt is not worth a number in the lock
PEAKED = 32  # samples that tell the scale of a channel
JUDGED = 64  # samples that a step is judged on
ROUNDED = 64  # samples that a rounding is learned from

Ranges = Mapping[str, Range]


@dataclass(frozen=True)
class Work:
    """What the pipeline hands down.

    Attributes:
        calibrate: float model -> ranges; called for the model itself, and again for one that is equalized.
        place: float model x ranges -> plan.
        open_model: opens a model in a runtime.
        batches: batch size -> a pass over the calibration data.
        count: samples of it.
        seed: of everything that is drawn.
        remember: see ``adaround``.
    """

    calibrate: Callable[[ir.Model], Ranges]
    place: Callable[[ir.Model, Ranges], QuantPlan]
    open_model: OpenModel
    batches: BatchStream
    count: int
    seed: int = 0
    remember: Remember | None = None


@dataclass(frozen=True)
class Restored:
    """The model to quantize from here on, and how.

    Attributes:
        model: the float model, equalized where that pays; computes what the one handed in does.
        ranges: of ``model``.
        plan: of ``model``, with corrections and roundings.
        restoration: what was decided; ``replay`` does it again without data.
        sqnr_db: (before, after) of the integer model, on calibration data.
    """

    model: ir.Model
    ranges: Ranges
    plan: QuantPlan
    restoration: Restoration
    sqnr_db: tuple[float, float]


def steps_of(restore: str) -> tuple[str, ...]:
    """The steps that a recipe's ``restore`` names, in the order in which they run.

    Raises:
        UnknownNameError: no such step.
    """
    named = {"auto": AUTO, "adaround": STEPS, "none": ()}.get(restore)
    if named is not None:
        return named
    asked = [part.strip() for part in restore.split(",")]
    for part in asked:
        if part not in STEPS:
            raise UnknownNameError(
                "restoration step", part, ("auto", "none", *STEPS), listing="edgekit quantize --help"
            )
    return tuple(step for step in STEPS if step in asked)


def restored(
    model: ir.Model, steps: tuple[str, ...], *, work: Work, progress: Progress | None = None
) -> Restored:
    """Run ``steps``, keep those that pay (R1).

    Args:
        model: canonical float model; untouched.
        steps: from ``steps_of``.
        work: what the pipeline hands down.
        progress: told of each step as a stage of its own.

    Raises:
        DataError: no samples.
    """
    said = progress or Silent()
    ranges = work.calibrate(model)
    plan = work.place(model, ranges)
    if not steps or not plan.operators:
        return Restored(model, ranges, plan, Restoration(), (math.nan, math.nan))
    start = sqnr_db(model, plan, model, work=work)
    current = Restored(model, ranges, plan, Restoration(), (start, start))
    if "equalize" in steps or "smooth" in steps:
        current = _scaled(current, model, steps, work, said)
    if "adaround" in steps or "bias-correction" in steps:
        current = _tuned(current, model, steps, work, said)
    return current


def replay(model: ir.Model, decided: Restoration) -> ir.Model:
    """The float model of ``decided``: what a release that follows its lock quantizes."""
    return equalize.rescaled(model, decided.exponents)


def applied(plan: QuantPlan, decided: Restoration) -> QuantPlan:
    """``plan``, made for ``replay``'s model, with the roundings and corrections of its operators."""
    return correct_bias.corrected(adaround.rounded(plan, decided.roundings), decided.corrections)


def sqnr_db(model: ir.Model, plan: QuantPlan, reference: ir.Model, *, work: Work) -> float:
    """Signal to noise of the integer form of ``model`` against ``reference``, the mean over outputs.

    Outputs are float tensors; others have no such figure. Infinite where nothing differs.
    """
    signal: dict[str, float] = {}
    noise: dict[str, float] = {}
    integer = apply(model, plan)
    names = [spec.name for spec in io.specs(reference)[0]]
    with work.open_model(integer, RunOptions()) as found:
        for many, wanted in computed(_with_outputs(reference, work), of=reference):
            other = found.run({name: wanted.pop(name) for name in names})
            for name, array in wanted.items():
                if array.dtype.kind == "f":
                    values, these = (
                        np.atleast_1d(each.astype(np.float64))[:many] for each in (array, other[name])
                    )
                    error = values - these
                    signal[name] = signal.get(name, 0.0) + float((values**2).sum())
                    noise[name] = noise.get(name, 0.0) + float((error**2).sum())
    shares = [noise[name] / signal[name] for name in signal if signal[name] > 0]
    share = sum(shares) / len(shares) if shares else 0.0
    return -10 * math.log10(share) if share > 0 else math.inf


def _with_outputs(model: ir.Model, work: Work) -> Iterator[tuple[int, dict[str, Array]]]:
    """(samples, what it takes and gives) of what a step is judged on, batch by batch."""
    with work.open_model(model, RunOptions()) as session:
        for feeds, many in whole_batches(model, work.batches, count=min(work.count, JUDGED)):
            yield many, {**feeds, **session.run(feeds)}


def _scaled(
    current: Restored, model: ir.Model, steps: tuple[str, ...], work: Work, progress: Progress
) -> Restored:
    """Equalization, then SmoothQuant, each kept if it pays."""
    values = equalize.watched_channels(model)
    if not values:
        return current  # R2
    progress.stage("equalize channels")
    peaks = channel_peaks(
        model, values, open_model=work.open_model, batches=work.batches, count=min(work.count, PEAKED)
    )
    kinds: tuple[tuple[str, Behind, str], ...] = (
        ("equalize", "layers", "cross-layer equalization"),
        ("smooth", "norms", "SmoothQuant migration"),
    )
    for step, behind, words in kinds:
        found = equalize.exponents(model, peaks, behind=behind) if step in steps else {}
        if found:
            exponents = {**current.restoration.exponents, **found}
            scaled = equalize.rescaled(model, exponents)
            ranges = work.calibrate(scaled)  # R3
            candidate = replace(
                current,
                model=scaled,
                ranges=ranges,
                plan=work.place(scaled, ranges),
                restoration=replace(current.restoration, exponents=exponents),
            )
            count = len(found)
            many = f"{count} value" if count == 1 else f"{count} values"
            current = _better(current, candidate, f"{words} of {many}", reference=model, work=work)
    return current


def _tuned(
    current: Restored, model: ir.Model, steps: tuple[str, ...], work: Work, progress: Progress
) -> Restored:
    """AdaRound with bias correction, then bias correction alone where that did not pay (R4, R5)."""
    known = current.restoration
    if "adaround" in steps:
        layers = adaround.layers_of(current.model, current.plan)
        progress.stage("learn rounding", total=len(layers))
        found = adaround.roundings(
            current.model,
            current.plan,
            open_model=work.open_model,
            batches=work.batches,
            count=min(work.count, ROUNDED),
            seed=work.seed,
            progress=progress,
            remember=work.remember,
        )
        if found:
            decided = replace(known, roundings=found)
            decided = replace(decided, corrections=_corrections(current, decided, work, progress))
            candidate = replace(current, plan=applied(current.plan, decided), restoration=decided)
            words = f"AdaRound of {len(found)} weights with bias correction"
            better = _better(current, candidate, words, reference=model, work=work)
            if better.restoration.roundings:
                return better
            current = better
    if "bias-correction" not in steps:
        return current
    corrections = _corrections(current, current.restoration, work, progress)
    if not corrections:
        return current
    decided = replace(current.restoration, corrections=corrections)
    candidate = replace(current, plan=applied(current.plan, decided), restoration=decided)
    words = f"bias correction of {len(corrections)} operators"
    return _better(current, candidate, words, reference=model, work=work)


def _corrections(
    current: Restored, decided: Restoration, work: Work, progress: Progress
) -> dict[str, tuple[float, ...]]:
    progress.stage("correct biases", total=work.count)
    return correct_bias.corrections(
        current.model,
        adaround.rounded(current.plan, decided.roundings),
        open_model=work.open_model,
        batches=work.batches,
        count=work.count,
        progress=progress,
    )


def _better(
    current: Restored, candidate: Restored, words: str, *, reference: ir.Model, work: Work
) -> Restored:
    """R1, with a note either way."""
    before = current.sqnr_db[1]
    after = sqnr_db(candidate.model, candidate.plan, reference, work=work)
    kept = after >= before + GAIN_DB
    figures = f"{before:.1f} dB -> {after:.1f} dB"
    note = f"{words}: {figures}" if kept else f"{words}: left out, it does not pay ({figures})"
    chosen = candidate if kept else current
    notes = (*current.restoration.notes, note)
    return replace(
        chosen,
        restoration=replace(chosen.restoration, notes=notes),
        sqnr_db=(current.sqnr_db[0], after if kept else before),
    )
