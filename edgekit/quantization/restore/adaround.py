"""Float model x QuantPlan x data -> for each weight, which integers are rounded up (learned rounding).

    minimize over up in {0, 1}:   tr( E G E^T ),   E = scale * (floor(W / scale) + up) - W

G is the second moment of what the layer reads, so this is the expected squared error of the layer's output.
It is the binary quadratic problem of the paper, which relaxes it and descends by gradients; here it is solved
as it stands, by coordinate descent from the nearest rounding: flip what lowers the error, until nothing does.

A1: the start is the nearest rounding and every flip lowers the error: the result is never worse by it, and a
    layer that gains less than GAIN keeps the nearest.
A2: integers stay in -127 .. 127.
A3: what rounding does to a channel's mean is left to ``correct_bias`` where the operator has room for a bias:
    G is then the covariance.
A4: G of few samples has directions that were never seen; RIDGE times its mean diagonal is added.
A5: layers whose patches ``layer_moments`` does not know, and weights that several operators read, are rounded
    to the nearest.
A6: a rounding is for the scales that it was learned with: with others ``rounded`` leaves it out.

Source: Nagel et al., "Up or Down? Adaptive Rounding for Post-Training Quantization" (2020), eq. 9-13.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgekit.ir.digest import digest_of_json
from edgekit.ir.external_data import room
from edgekit.ir.graph import is_onnx
from edgekit.quantization.arithmetic import SYMMETRIC_LIMIT, rounding_of
from edgekit.quantization.plan import QuantOperator, QuantPlan, QuantWeight
from edgekit.quantization.restore.layer_moments import (
    MEMORY_BYTES,
    Layer,
    chunks,
    layer_of,
    moments,
    weight_from_rows,
)
from edgekit.quantization.restore.restoration import Rounding
from edgekit.quantization.restore.stream import Floats, OpenModel
from edgekit.spec import BatchStream, Progress, Silent, from_json, to_json

Remember = Callable[[Mapping[str, object], Callable[[], object]], object]
"""(what it depends on, how to make it) -> JSON-ready value: a cache makes a stopped run go on."""

SWEEPS = 30  # over all columns; most layers are done after five
RIDGE = 0.01  # of the mean diagonal of G
GAIN = 0.98  # of the nearest rounding's error; less is not worth a rounding in the lock


def roundings(
    model: ir.Model,
    plan: QuantPlan,
    *,
    open_model: OpenModel,
    batches: BatchStream,
    count: int,
    seed: int = 0,
    progress: Progress | None = None,
    remember: Remember | None = None,
) -> dict[str, Rounding]:
    """Learn the rounding of the int8 weights of ``plan``, layer by layer.

    Args:
        model: the float model of ``plan``; untouched.
        plan: whose scales are kept.
        open_model: opens a model in a runtime.
        batches: batch size -> a pass over the data; read once for every few layers.
        count: samples; 64 are enough for layers of a few hundred columns.
        seed: of the positions that are looked at.
        progress: advanced by layers; the caller has opened the stage with ``len(layers_of(model, plan))``.
        remember: keeps what was learned of one layer. Its key has the model, the scales, the seed and the
            count; the caller adds what the data is.

    Returns:
        By operator name; layers that keep the nearest rounding are absent.
    """
    found: dict[str, Rounding] = {}
    layers = layers_of(model, plan)
    planned = {operator.name: operator for operator in plan.operators}
    for chunk in chunks(layers, memory_bytes=room(model, most=MEMORY_BYTES)):
        gathered = _Moments(
            partial(moments, model, chunk, open_model=open_model, batches=batches, count=count, seed=seed)
        )
        for layer in chunk:
            weight = planned[layer.name].weight
            if weight is None:
                continue
            learn = partial(_learned_json, layer, weight, gathered)
            key = {"model": plan.model_digest, "layer": layer.name, "scales": scales_digest(weight)}
            made = remember({**key, "seed": seed, "count": count}, learn) if remember else learn()
            if made:
                found[layer.name] = from_json(Rounding, made)
            (progress or Silent()).advance()
    return found


def layers_of(model: ir.Model, plan: QuantPlan) -> list[Layer]:
    """The layers of ``plan`` whose rounding can be learned (A5)."""
    nodes = {node.name: node for node in model.graph}
    found = []
    for operator in plan.operators:
        node, weight = nodes[operator.name], operator.weight
        if weight is None or weight.block or weight.params.dtype != "int8":
            continue
        source = node.inputs[1]
        layer = layer_of(node) if source is not None and len(tuple(source.uses())) == 1 else None
        if layer is not None:
            found.append(layer)
    return found


def rounded(plan: QuantPlan, found: Mapping[str, Rounding]) -> QuantPlan:
    """``plan`` with the roundings that were learned for its very scales (A6)."""
    return replace(plan, operators=tuple(_rounded(each, found.get(each.name)) for each in plan.operators))


def scales_digest(weight: QuantWeight) -> str:
    """Of the scales and how they run."""
    params = weight.params
    return digest_of_json([[scale.hex() for scale in params.scale], params.axis])


def _rounded(operator: QuantOperator, rounding: Rounding | None) -> QuantOperator:
    weight = operator.weight
    if weight is None or rounding is None or scales_digest(weight) != rounding.scales:
        return operator
    return replace(operator, weight=replace(weight, rounding=rounding.bits))


class _Moments:
    """Gathered when the first layer asks: one that a cache remembers costs no pass over the data."""

    def __init__(self, gather: Callable[[], dict[str, tuple[Floats, Floats]]]) -> None:
        self._gather = gather
        self._found: dict[str, tuple[Floats, Floats]] | None = None

    def of(self, layer: Layer) -> Floats:
        """G with A3 and A4: (groups, columns, columns)."""
        if self._found is None:
            self._found = self._gather()
        square, mean = self._found[layer.name]
        if is_onnx(layer.node, "Conv", "Gemm"):
            square = square - mean[:, :, None] * mean[:, None, :]
        diagonal = np.einsum("gkk->g", square) / square.shape[1]
        return np.asarray(square + RIDGE * diagonal[:, None, None] * np.eye(square.shape[1]))


def _learned_json(layer: Layer, weight: QuantWeight, gathered: _Moments) -> object:
    up = _up(layer, weight, gathered.of(layer))
    if up is None:
        return {}
    return to_json(Rounding(rounding_of(weight_from_rows(layer, up).astype(bool)), scales_digest(weight)))


def _up(layer: Layer, weight: QuantWeight, moment: Floats) -> npt.NDArray[np.bool_] | None:
    """Which integers are up from the floor: (groups, rows, columns); None where little is gained (A1)."""
    exact = layer.weight
    groups, rows, _ = exact.shape
    scales = np.broadcast_to(np.asarray(weight.params.scale, np.float64), (groups * rows,))
    steps = scales.reshape(groups, rows, 1)
    floor = np.floor(exact / steps)
    nearest = np.clip(np.rint(exact / steps), -SYMMETRIC_LIMIT, SYMMETRIC_LIMIT)
    integers = np.stack(
        [
            descend(exact[group], moment[group], steps[group], floor=floor[group], start=nearest[group])
            for group in range(groups)
        ]
    )
    before, after = (
        float(np.einsum("grk,gkl,grl->", error, moment, error, optimize=True))
        for error in (nearest * steps - exact, integers * steps - exact)
    )
    return None if after > GAIN * before else integers > floor


def descend(weight: Floats, moment: Floats, steps: Floats, *, floor: Floats, start: Floats) -> Floats:
    """Integers (rows, columns), each at its floor or one above, at a local minimum of the error.

    Args:
        weight: (rows, columns).
        moment: (columns, columns), symmetric.
        steps: (rows, 1) scales.
        floor: (rows, columns) of weight / steps.
        start: (rows, columns) integers to begin with.
    """
    integers = start.copy()
    error = integers * steps - weight
    slope = error @ moment
    order = np.argsort(-np.diag(moment), kind="stable")
    step = steps[:, 0]
    for _ in range(SWEEPS):
        flipped = 0
        for column in order:
            move = np.where(integers[:, column] > floor[:, column], -1.0, 1.0)
            other = integers[:, column] + move
            change = move * step
            gain = 2 * change * slope[:, column] + change**2 * moment[column, column]
            better = (gain < 0) & (np.abs(other) <= SYMMETRIC_LIMIT)
            if better.any():
                integers[better, column] = other[better]
                slope[better] += change[better, None] * moment[column]
                flipped += int(better.sum())
        if not flipped:
            break
    return integers
