"""What a runtime executed x what was asked for -> share of it that runs as asked.

    share = MACs of the operators that do / MACs of all operators that multiply and accumulate

V1 an operator that multiplies counts if it runs on the device and computes in a type of the precision
V2 an operator of any kind on another device is elsewhere, and a silent fall-back
V3 in another type than asked for: elsewhere; silent unless the plan says that it stays float
V4 some MACs are unknown: of operators that nobody could name it matters only whether they all count or
   none does; where that is open, the share is that of the number of operators
   A kernel that does not say its type (OpenVINO's generated ones) is left out of the share.
V5 weights alone (w8, w4): activations are float by design, so any type counts

The types are those of the kernels that ran (``spec.Executed``), not those of the file: ONNX Runtime's CPU
provider, for one, runs float16 files in float32.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from edgekit.spec import Executed, Precision

_ANY: frozenset[str] = frozenset()
# what an operator of the precision computes in; V5
_TYPES: Mapping[Precision, frozenset[str]] = {
    Precision.FP32: frozenset({"float32", "float64"}),
    Precision.FP16: frozenset({"float16"}),
    Precision.BF16: frozenset({"bfloat16"}),
    Precision.DYNAMIC: frozenset({"int8"}),
    Precision.W8A8: frozenset({"int8"}),
    Precision.W8A16: frozenset({"int16", "int8"}),
    Precision.W8: _ANY,
    Precision.W4: _ANY,
}
_SUFFIXES = ("_nchwc", "_quantized")  # what ONNX Runtime's layout pass and the TFLite compiler append


@dataclass(frozen=True, slots=True)
class Layer:
    """One operator of the model that multiplies.

    Attributes:
        name: of the node.
        aliases: names of what follows it up to the next branch: fused kernels are often called by those.
        macs: None where they are not known.
        planned: whether the plan itself leaves it in float.
    """

    name: str
    aliases: tuple[str, ...]
    macs: int | None
    planned: bool = False


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """An operator that does not run as asked; ``silent`` where nobody decided it (V2, V3)."""

    node: str
    operator: str
    device: str
    precision: str
    silent: bool


@dataclass(frozen=True)
class Coverage:
    """How much runs as asked.

    Attributes:
        share: from 0 to 1.
        by: what it is a share of (V4).
        operators: how many multiply.
        covered: how many of them run as asked.
        elsewhere: the others, and every operator on another device.
    """

    share: float
    by: Literal["MACs", "operators"]
    operators: int
    covered: int
    elsewhere: tuple[Elsewhere, ...] = ()


def coverage(
    rows: Sequence[Executed], layers: Sequence[Layer], *, precision: Precision, device: str
) -> Coverage | None:
    """Hold what ran against what was asked for; None where nothing in the model multiplies.

    Args:
        rows: what the runtime says that it ran.
        layers: the model's operators that multiply, before the runtime's rewrites.
        precision: of the artifact.
        device: that the target names.
    """
    types = _TYPES[precision]
    counted: list[tuple[bool, Layer | None]] = []
    elsewhere: list[Elsewhere] = []
    for row in rows:
        here = row.device == device
        multiplies = row.multiplies and bool(row.precision or not here)
        covered = here and (types is _ANY or row.precision in types)
        found = _layers_of(row, layers) if multiplies else (None,)
        if multiplies:
            counted += [(covered, layer) for layer in found]
        if not here or (multiplies and not covered):
            elsewhere += [_elsewhere(row, layer, here=here) for layer in found]
    if not counted:
        return None
    by_macs = _share_of_macs(counted, layers)
    good = sum(covered for covered, _ in counted)
    return Coverage(
        share=good / len(counted) if by_macs is None else by_macs,
        by="operators" if by_macs is None else "MACs",
        operators=len(counted),
        covered=good,
        elsewhere=tuple(elsewhere),
    )


def _elsewhere(row: Executed, layer: Layer | None, *, here: bool) -> Elsewhere:
    silent = not here or layer is None or not layer.planned
    name = layer.name if layer else next(iter(row.names), row.operator)
    return Elsewhere(name, row.operator, row.device, row.precision, silent)


def _layers_of(row: Executed, layers: Sequence[Layer]) -> tuple[Layer | None, ...]:
    """By names that are the layers' own, else by the longest one that is part of the kernel's."""
    own = tuple(layer for layer in layers if layer.name in row.names)
    return own or (_layer_like(row, layers),)


def _layer_like(row: Executed, layers: Sequence[Layer]) -> Layer | None:
    for name in row.names:
        for suffix in ("", *_SUFFIXES):
            for layer in layers:
                if name.removesuffix(suffix) in (layer.name, *layer.aliases):
                    return layer
    parts = [
        (len(known), layer)
        for layer in layers
        for known in (layer.name, *layer.aliases)
        if known and any(known in name for name in row.names)
    ]
    return max(parts, key=lambda part: part[0])[1] if parts else None


def _share_of_macs(counted: Sequence[tuple[bool, Layer | None]], layers: Sequence[Layer]) -> float | None:
    """V4; None where it is open."""
    if any(layer.macs is None for layer in layers):
        return None
    total = sum(layer.macs or 0 for layer in layers)
    good = {layer.name for covered, layer in counted if layer and covered}
    bad = {layer.name for covered, layer in counted if layer and not covered}
    nameless = {covered for covered, layer in counted if layer is None}
    if not total or good & bad or len(nameless) == 2:
        return None
    rest = [layer for layer in layers if layer.name not in good | bad]
    if rest and not nameless:  # a layer that no kernel stands for: folded away, or fused under another name
        total -= sum(layer.macs or 0 for layer in rest)
    known = sum(layer.macs or 0 for layer in layers if layer.name in good)
    if nameless == {True}:
        known += sum(layer.macs or 0 for layer in rest)
    return known / total if total else None
