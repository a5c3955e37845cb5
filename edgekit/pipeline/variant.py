"""Canonical model x target x precision -> the ONNX form that is compiled: float, QDQ, integer weights.

A source that came quantized is its own w8a8 form on every target, with its own scales; its float forms are
what those integers stand for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import onnx_ir as ir

from edgekit.errors import InputError
from edgekit.ir.verify import QDQ
from edgekit.passes import canonicalize
from edgekit.passes.absorb_quantized_input import AbsorbQuantizedInput
from edgekit.passes.base import run
from edgekit.passes.embed_boundary import PREFIX
from edgekit.pipeline.came import Variant, as_it_came, came_as
from edgekit.pipeline.model import Canonical
from edgekit.pipeline.prepare import Prepared
from edgekit.pipeline.scheme import Scheme
from edgekit.quantization.apply import apply, output_steps
from edgekit.quantization.dequantize import to_float
from edgekit.quantization.float16 import float16_notes, left_float, to_float16
from edgekit.quantization.overrides import Override, kept_float, resolve
from edgekit.quantization.place import place
from edgekit.quantization.plan import QuantPlan
from edgekit.quantization.restore.choose import applied
from edgekit.quantization.saturation import as_fitting, as_unsigned, cross_cpu, find, saturating_on
from edgekit.quantization.weights import NoEligibleWeightError, place_weights
from edgekit.spec import Precision, Range, Rejection
from edgekit.target import Target


def make(
    canonical: Canonical,
    target: Target,
    scheme: Scheme,
    prepared: Prepared | None,
    *,
    overrides: Sequence[Override] = (),
) -> Variant:
    """The form of ``canonical`` in ``scheme`` for ``target``; the canonical model itself is not changed.

    Args:
        canonical: the float truth, or a source that came quantized.
        target: what it is for.
        scheme: which candidate.
        prepared: the float graph that plans are made for, and its ranges; needed where activations get
            scales.
        overrides: what the user says of single operators.

    Raises:
        RecipeError: an override matches nothing.
        InputError: w8a8 was asked for without ranges.
        NoEligibleWeightError: dynamic, w8 or w4 would leave every weight float, or the source came quantized.
    """
    precision = scheme.precision
    match precision:
        case Precision.FP32 | Precision.BF16:
            return Variant(_float(canonical), precision)
        case Precision.FP16:
            if canonical.quantized or prepared is None:
                return _half(_float(canonical), None, scheme)
            return _half(prepared.model, prepared.ranges.tensors, scheme)
        case Precision.W8A8 | Precision.W8A16:
            if canonical.quantized:
                return as_it_came(canonical, target)
            return _static(target, scheme, prepared, overrides)
        case Precision.DYNAMIC | Precision.W8 | Precision.W4:
            return _with_integer_weights(canonical, target, scheme, overrides)
        case Precision.AUTO:
            raise InputError(
                "auto is no precision by itself", why="it stands for a choice", remedy="name one"
            )


def _half(model: ir.Model, ranges: Mapping[str, Range] | None, scheme: Scheme) -> Variant:
    return Variant(
        to_float16(model, ranges=ranges, keep=scheme.keep_float),
        Precision.FP16,
        left_float=left_float(model, ranges=ranges, keep=scheme.keep_float),
        notes=(*float16_notes(model, ranges=ranges), *filter(None, (scheme.said,))),
    )


def _static(
    target: Target, scheme: Scheme, prepared: Prepared | None, overrides: Sequence[Override]
) -> Variant:
    if prepared is None:
        raise InputError(
            f"{scheme.precision} needs calibration data",
            why="static quantization takes the ranges of activations from data",
            remedy="give --calibration-data, or --ranges from `edgekit calibrate`",
        )
    plan = plan_of(prepared, target, scheme, overrides=overrides)
    return Variant(
        model=absorbed(apply(prepared.model, plan)),
        precision=scheme.precision,
        plan_digest=plan.digest,
        output_steps=output_steps(prepared.model, plan),
        left_float=plan.left_float,
        quantized=len(plan.operators),
        notes=(*prepared.restoration.notes, *cross_cpu(prepared.model, plan, target).notes()),
    )


def plan_of(
    prepared: Prepared, target: Target, scheme: Scheme, *, overrides: Sequence[Override] = ()
) -> QuantPlan:
    """The plan of a static scheme: what ``place`` decides, with the scheme's and the user's exceptions.

    Raises:
        RecipeError: an override matches nothing.
    """
    model = prepared.model
    kept = {**scheme.keep_float, **kept_float(model, overrides), **embedded_nodes(model)}
    rules = target.placed(scheme.placement)
    plan = place(model, rules, prepared.ranges.tensors, precision=scheme.precision, keep_float=kept)
    if scheme.weights == "exact":  # on every target: what one of them needs is in the plan that all share
        plan = as_fitting(model, plan, find(model, plan))
    decided = prepared.restoration
    plan = applied(plan, decided if scheme.corrected else replace(decided, corrections={}))
    return as_unsigned(plan, saturating_on(model, plan, target)) if scheme.weights == "uint8" else plan


def embedded_nodes(model: ir.Model) -> dict[str, Rejection]:
    """What was embedded at the model's ends, as ``place`` takes it: it stays float, or is absorbed."""
    said = "it is a step of the app, which is inside: exact in float"
    names = [node.name for node in model.graph if node.name and node.name.startswith(PREFIX)]
    return {name: Rejection(name, "embedded", said, "nothing to do: it runs in float") for name in names}


def absorbed(model: ir.Model) -> ir.Model:
    """The same numbers, with embedded bytes as the integers of the first operator where they are that."""
    if not any((node.name or "").startswith(PREFIX) for node in model.graph):
        return model
    return run(model, (AbsorbQuantizedInput(),), rules=QDQ, known=frozenset({"canonical"}))


def _with_integer_weights(
    canonical: Canonical, target: Target, scheme: Scheme, overrides: Sequence[Override]
) -> Variant:
    precision = scheme.precision
    if canonical.quantized and came_as(canonical) is precision:
        return as_it_came(canonical, target)
    if canonical.quantized:
        raise NoEligibleWeightError(
            f"{precision} is made of a float model, and this one came quantized",
            why=f"its integers have their scales already; they are its {came_as(canonical)} form",
            remedy="start from the float model it was made of",
        )
    plan = place_weights(canonical.model, target, precision, overrides=resolve(canonical.model, overrides))
    if scheme.weights == "exact":  # of weights alone nothing can saturate, and nothing changes
        plan = as_fitting(canonical.model, plan, find(canonical.model, plan))
    return Variant(
        model=apply(canonical.model, plan),
        precision=precision,
        plan_digest=plan.digest,
        left_float=plan.left_float,
        quantized=len(plan.operators),
    )


def _float(canonical: Canonical) -> ir.Model:
    return canonicalize(to_float(canonical.model)) if canonical.quantized else canonical.model
