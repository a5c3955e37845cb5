"""What a runtime executed x what was asked for -> share of it that runs as asked.

    share = MACs of the operators that do / MACs of all operators that multiply and accumulate

V1 an operator that multiplies counts if it runs on the device and computes in a type of the precision
V2 an operator of any kind on another device is elsewhere, and a silent fall-back
V3 in another type than asked for: elsewhere; silent unless the plan says that it stays float. A runtime may
   call an operator by a name of its own: then it is taken for a planned one as long as such a one is missing
V4 some MACs are unknown: of operators that nobody could name it matters only whether they all count or
   none does; where that is open, the share is that of the number of operators
   A kernel that does not say its type (OpenVINO's generated ones) is left out of it, and counted apart.
V5 weights alone (w8, w4): activations are float by design, so any type counts

The types are those of the kernels that ran (``spec.Executed``), not those of the file: ONNX Runtime's CPU
provider, for one, runs float16 files in float32.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
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
        untold: operators that multiply, and do not say in which type.
    """

    share: float
    by: Literal["MACs", "operators"]
    operators: int
    covered: int
    elsewhere: tuple[Elsewhere, ...] = ()
    untold: int = 0


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
    found = [each for row in rows for each in _entries(row, layers, precision=precision, device=device)]
    counted = [entry for entry in found if entry.multiplies]
    if not counted:
        return None
    by_macs = _share_of_macs(found, layers)
    good = sum(entry.covered for entry in counted)
    return Coverage(
        share=good / len(counted) if by_macs is None else by_macs,
        by="operators" if by_macs is None else "MACs",
        operators=len(counted),
        covered=good,
        elsewhere=tuple(_elsewhere(found, layers)),
        untold=sum(entry.row.multiplies and not entry.multiplies for entry in found),
    )


@dataclass(frozen=True, slots=True)
class _Entry:
    """One kernel, or one of the layers that it stands for.

    Attributes:
        here: whether it runs on the wanted device.
        multiplies: whether it counts (V1, V4).
    """

    row: Executed
    layer: Layer | None
    here: bool
    multiplies: bool
    covered: bool


def _entries(row: Executed, layers: Sequence[Layer], *, precision: Precision, device: str) -> list[_Entry]:
    types, here = _TYPES[precision], row.device == device
    multiplies = row.multiplies and bool(row.precision or not here)
    covered = here and (types is _ANY or row.precision in types)
    found = _layers_of(row, layers) if row.multiplies else (None,)
    return [_Entry(row, layer, here, multiplies, covered) for layer in found]


def _unmatched(entries: Sequence[_Entry], layers: Sequence[Layer]) -> list[Layer]:
    """Layers that no kernel names."""
    matched = {entry.layer.name for entry in entries if entry.layer}
    return [layer for layer in layers if layer.name not in matched]


def _elsewhere(entries: Sequence[_Entry], layers: Sequence[Layer]) -> Iterator[Elsewhere]:
    """V2, V3. A kernel that nobody can name may be any layer that no kernel names: planned ones go first."""
    planned = sum(layer.planned for layer in _unmatched(entries, layers))
    for entry in entries:
        row, layer = entry.row, entry.layer
        if entry.here and (entry.covered or not entry.multiplies):
            continue
        silent = not entry.here or not (layer.planned if layer else planned > 0)
        if entry.here and layer is None:
            planned -= 1
        name = layer.name if layer else next(iter(row.names), row.operator)
        yield Elsewhere(name, row.operator, row.device, row.precision, silent)


def named_layers(names: Sequence[str], layers: Sequence[Layer], *, exact: bool) -> tuple[Layer, ...]:
    """The layers that a kernel of these ``names`` stands for: by the layers' own, or else the likeliest."""
    own = tuple(layer for layer in layers if layer.name in names)
    if own or exact:
        return own
    like = _layer_like(names, layers)
    return (like,) if like else ()


def _layers_of(row: Executed, layers: Sequence[Layer]) -> tuple[Layer | None, ...]:
    """By names that are the layers' own, else by the longest one that is part of the kernel's."""
    return named_layers(row.names, layers, exact=False) or (None,)


def _layer_like(names: Sequence[str], layers: Sequence[Layer]) -> Layer | None:
    for name in names:
        for suffix in ("", *_SUFFIXES):
            for layer in layers:
                if name.removesuffix(suffix) in (layer.name, *layer.aliases):
                    return layer
    parts = [
        (len(known), layer)
        for layer in layers
        for known in (layer.name, *layer.aliases)
        if known and any(known in name for name in names)
    ]
    return max(parts, key=lambda part: part[0])[1] if parts else None


def _share_of_macs(entries: Sequence[_Entry], layers: Sequence[Layer]) -> float | None:
    """V4; None where it is open. Layers that no kernel stands for (folded, untold) are not in the whole."""
    if any(layer.macs is None for layer in layers):
        return None
    counted = [entry for entry in entries if entry.multiplies]
    good = {entry.layer for entry in counted if entry.layer and entry.covered}
    bad = {entry.layer for entry in counted if entry.layer and not entry.covered}
    nameless = {entry.covered for entry in counted if entry.layer is None}
    if good & bad or len(nameless) == 2:
        return None
    rest = _unmatched(entries, layers) if nameless else []
    known, missing = _macs(good), _macs(bad)
    if nameless == {True}:
        known += _macs(rest)
    else:
        missing += _macs(rest)
    return known / (known + missing) if known + missing else None


def _macs(layers: Iterable[Layer]) -> int:
    return sum(layer.macs or 0 for layer in layers)
