"""Artifact x the reference's interface -> the artifact under the reference's names.

A file that somebody else compiled has names of its own ("serving_default_image:0"). Inputs and outputs are
matched with those of the reference model, inputs and outputs apart:

    M1 by equal names
    M2 what is left, by position, where both sides have as many, of one kind of number, and of shapes that
       agree (an open size agrees with every size)
    M3 as M2, where the file is channels-last and the reference channels-first: the layout is changed on the
       way

Whatever does not match stays as it is, and is refused where the two are compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edgekit.backends.shared_arrays import dtype_from_name
from edgekit.spec import Artifact, Dim, IoBinding, TensorSpec


def in_terms_of(
    artifact: Artifact, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> tuple[Artifact, tuple[str, ...]]:
    """``artifact`` under the names of ``inputs`` and ``outputs``, and what was matched by position.

    Returns:
        The artifact, and one sentence for each input and output whose name or layout differs.
    """
    taken, about_inputs = _matched(artifact.inputs, inputs, kind="input")
    given, about_outputs = _matched(artifact.outputs, outputs, kind="output")
    names = {old.reference.name: new.reference.name for old, new in zip(artifact.outputs, given, strict=True)}
    steps = {names.get(name, name): step for name, step in artifact.output_steps.items()}
    return (
        replace(artifact, inputs=taken, outputs=given, output_steps=steps),
        (*about_inputs, *about_outputs),
    )


def _matched(
    bindings: tuple[IoBinding, ...], wanted: Sequence[TensorSpec], *, kind: str
) -> tuple[tuple[IoBinding, ...], list[str]]:
    by_name = {spec.name: spec for spec in wanted}
    own = {binding.reference.name for binding in bindings}
    missing = [spec for spec in wanted if spec.name not in own]
    if len(bindings) != len(wanted):
        return bindings, []
    found, said = [], []
    for binding in bindings:
        name = binding.reference.name
        spec = by_name[name] if name in by_name else missing.pop(0)  # M1, else the next one in order
        new = _as(binding, spec)
        if new is None:
            return bindings, []
        if spec.name != name:
            said.append(f"{kind} {name!r} stands for {spec.name!r} of the reference: matched by position")
        if new.permutation != binding.permutation:
            said.append(
                f"{kind} {name!r} has its channels last, {spec.name!r} of the reference has them second"
            )
        found.append(new)
    return tuple(found), said


def _as(binding: IoBinding, spec: TensorSpec) -> IoBinding | None:
    """``binding`` under the name of ``spec``; None where they are not the same tensor."""
    own = binding.reference
    if dtype_from_name(own.dtype).kind != dtype_from_name(spec.dtype).kind:
        return None
    if _agree(own.shape, spec.shape):  # M2
        return replace(binding, reference=TensorSpec(spec.name, spec.dtype, own.shape))
    rank = len(own.shape)
    if rank < 4 or binding.permutation:  # with fewer axes there are no images, and any layout may be meant
        return None
    first = (own.shape[0], own.shape[-1], *own.shape[1:-1])
    if not _agree(first, spec.shape) or not all(isinstance(dim, int) for dim in first[1:]):
        return None
    order = (0, *range(2, rank), 1)  # M3
    return replace(binding, reference=TensorSpec(spec.name, spec.dtype, first), permutation=order)


def _agree(one: tuple[Dim, ...], other: tuple[Dim, ...]) -> bool:
    return len(one) == len(other) and all(
        not isinstance(a, int) or not isinstance(b, int) or a == b for a, b in zip(one, other, strict=True)
    )
