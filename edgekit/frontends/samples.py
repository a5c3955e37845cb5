"""TensorSpecs x seed -> random arrays that a model accepts: what models are traced and compared with.

| element type | values |
|---|---|
| float | uniform in [0, 1) or standard normal, as asked |
| integer | 0 or 1: valid as a class, a token, an index and a mask |
| bool | both |
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np

from edgekit.spec import Array, TensorSpec

FREE_AXIS = 64  # size of a dynamic axis that is not the batch: above the reach of common strides and kernels

Distribution = Literal["uniform", "normal"]


def sample(
    specs: tuple[TensorSpec, ...],
    *,
    batch: int,
    rng: np.random.Generator,
    distribution: Distribution = "uniform",
    sizes: Mapping[str, int] | None = None,
) -> dict[str, Array]:
    """One array per spec; a dynamic axis 0 is ``batch`` long, others ``sizes`` or ``FREE_AXIS``."""
    return {spec.name: _array(spec, batch, rng, distribution, sizes or {}) for spec in specs}


def _array(
    spec: TensorSpec,
    batch: int,
    rng: np.random.Generator,
    distribution: Distribution,
    sizes: Mapping[str, int],
) -> Array:
    shape = tuple(
        dim if isinstance(dim, int) else sizes.get(dim or "", batch if axis == 0 else FREE_AXIS)
        for axis, dim in enumerate(spec.shape)
    )
    dtype = np.dtype(spec.dtype)
    if dtype.kind in "iub":
        return rng.integers(0, 2, size=shape).astype(dtype)
    values = rng.random(shape) if distribution == "uniform" else rng.standard_normal(shape)
    return np.asarray(values).astype(dtype)
