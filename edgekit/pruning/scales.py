"""Normalization over channels of which some are gone -> scale and bias that fit what the float model gives.

    min over s, b of  sum (s_c * n_c + b_c - y_c)^2        each channel by itself

n: the channels that are left, normalized by their own mean and variance. y: what the float model has behind
its normalization of all of them.

F1: LayerNormalization has a place for a bias, RMSNormalization has none.
F2: a channel that is always the same keeps its scale.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgekit.ir.graph import add_initializer, constant, float_attribute, is_onnx
from edgekit.pruning.layers import Floats
from edgekit.spec import Array

EPSILON = 1e-5  # of the specification
STILL = 1e-12  # F2: variance, where one is the mean


@dataclass(frozen=True)
class Fit:
    """Mean squared error behind the normalization, as a part of the float values' variance.

    Attributes:
        before: with the scale and the bias that were there.
        bias_only: with the bias moved.
        after: fitted.
    """

    before: float
    bias_only: float
    after: float


def is_normalization(node: ir.Node) -> bool:
    """Whether it normalizes along axes of each sample."""
    return is_onnx(node, "LayerNormalization", "RMSNormalization")


def fit_scale(model: ir.Model, node: ir.Node, seen: Iterable[tuple[Array, Array]]) -> Fit:
    """Into ``model``: new initializers.

    Args:
        model: that of ``node``.
        node: normalizes over the last axis; scale and bias are constants.
        seen: batches of what it reads, and what the float model's node gives of the same channels.
    """
    sums = _Sums.of(node, seen)
    scale_in, bias_in = node.inputs[1], node.inputs[2] if len(node.inputs) > 2 else None
    old, held = constant(scale_in), constant(bias_in)
    if scale_in is None or old is None:
        raise TypeError(f"{node.name} has no constant scale")
    scale = np.asarray(old, np.float64)
    bias = np.zeros_like(scale) if held is None else np.asarray(held, np.float64)
    before = sums.error(scale, bias)
    if not is_onnx(node, "LayerNormalization"):  # F1
        new = np.where(sums.nn > STILL, sums.ny / np.maximum(sums.nn, STILL), scale)
        scale_in.const_value = ir.tensor(new.astype(old.dtype), name=scale_in.name)
        return Fit(before, before, sums.error(new, bias))
    variance = sums.nn - sums.n**2
    new = np.where(variance > STILL, (sums.ny - sums.n * sums.y) / np.maximum(variance, STILL), scale)
    moved = sums.y - new * sums.n
    scale_in.const_value = ir.tensor(new.astype(old.dtype), name=scale_in.name)
    if bias_in is not None and bias_in.name:
        bias_in.const_value = ir.tensor(moved.astype(old.dtype), name=bias_in.name)
    else:
        node.resize_inputs(3)
        value = add_initializer(model.graph, f"{node.name}_bias", moved.astype(old.dtype))
        node.replace_input_with(2, value)
    return Fit(before, sums.error(scale, sums.y - scale * sums.n), sums.error(new, moved))


@dataclass(frozen=True)
class _Sums:
    """Means over all places, each (channels,): of n, y and their products."""

    n: Floats
    y: Floats
    nn: Floats
    ny: Floats
    yy: Floats

    @classmethod
    def of(cls, node: ir.Node, seen: Iterable[tuple[Array, Array]]) -> _Sums:
        sums: Floats = np.zeros((5, 1))
        count = 0
        for x, wanted in seen:
            n = _normalized(node, x).reshape(-1, x.shape[-1])
            y = np.asarray(wanted, np.float64).reshape(n.shape)
            sums = sums + np.stack([each.sum(axis=0) for each in (n, y, n * n, n * y, y * y)])
            count += len(n)
        return cls(*(sums / max(count, 1)))

    def error(self, scale: Floats, bias: Floats) -> float:
        """Mean squared error of ``scale * n + bias``, as a part of y's variance."""
        fit = scale**2 * self.nn + 2 * scale * bias * self.n + bias**2
        error = float((fit - 2 * (scale * self.ny + bias * self.y) + self.yy).sum())
        return max(error, 0.0) / max(float((self.yy - self.y**2).sum()), 1e-30)


def _normalized(node: ir.Node, value: Array) -> Floats:
    """Before scale and bias."""
    x = np.asarray(value, np.float64)
    if is_onnx(node, "LayerNormalization"):
        x = x - x.mean(axis=-1, keepdims=True)
    return np.asarray(
        x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + float_attribute(node, "epsilon", EPSILON))
    )
