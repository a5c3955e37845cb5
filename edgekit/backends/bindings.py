"""Reference arrays <-> artifact arrays, as the IoBindings of an artifact say.

    artifact = cast(quantize(transpose(reference)))        reference = transpose(cast(dequantize(artifact)))
    integer = clip(round_half_even(real / scale) + zero_point)      real = scale * (integer - zero_point)

Feeds that do not fit are refused here, before anything reaches native code (TFLite quantization
specification; ONNX QuantizeLinear-21 for the rounding).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.backends.shared_arrays import dtype_from_name
from edgekit.errors import DataError, closest
from edgekit.spec import Feeds, IoBinding, QuantParams, TensorSpec

if TYPE_CHECKING:
    import numpy.typing as npt

    from edgekit.spec import Array


def same_layout(spec: TensorSpec) -> IoBinding:
    """The binding of a tensor that the artifact takes or gives exactly as the reference does."""
    return IoBinding(reference=spec, name=spec.name, dtype=spec.dtype, shape=spec.shape)


def trial_feeds(inputs: tuple[TensorSpec, ...]) -> dict[str, Array] | None:
    """Zeros of batch 1 for a first run, or None where another size is open: 1 might be illegal there."""
    if any(not isinstance(dim, int) for spec in inputs for dim in spec.shape[1:]):
        return None
    return {
        spec.name: np.zeros(
            [dim if isinstance(dim, int) else 1 for dim in spec.shape], dtype_from_name(spec.dtype)
        )
        for spec in inputs
    }


def check_feeds(feeds: Feeds, inputs: tuple[TensorSpec, ...]) -> None:
    """Hold ``feeds`` against the specification of the inputs.

    Raises:
        DataError: C1 an input is missing, C2 a name is unknown, C3 wrong dtype, C4 wrong rank or size,
            C5 nothing in it, C6 one dynamic size with two values.
    """
    expected = f"expected are {', '.join(map(str, inputs)) or 'no inputs'}"
    names = [spec.name for spec in inputs]
    for name in names:  # C1
        if name not in feeds:
            raise DataError(
                f"input {name!r} is missing", why=expected, remedy=f"give an array under the name {name!r}"
            )
    for name in feeds:  # C2
        if name not in names:
            near = closest(name, names)
            raise DataError(
                f"unknown input {name!r}",
                why=expected,
                remedy=f"did you mean {', '.join(near)}?" if near else "leave it out",
            )
    sizes: dict[str, tuple[int, str]] = {}
    for spec in inputs:
        _check_array(feeds[spec.name], spec, sizes)


def _check_array(array: Array, spec: TensorSpec, sizes: dict[str, tuple[int, str]]) -> None:
    """C3 to C6 for one input; ``sizes`` collects what the named dynamic sizes are, and who said so."""
    remedy = f"give {spec}"
    if not isinstance(array, np.ndarray) or array.dtype.name != spec.dtype:  # C3
        found = array.dtype.name if isinstance(array, np.ndarray) else type(array).__name__
        raise DataError(
            f"input {spec.name!r} is {found}, not {spec.dtype}",
            why="a silent conversion would hide a mistake in the data",
            remedy=f"{remedy}; array.astype({spec.dtype!r}) converts",
        )
    shape = array.shape
    fits = len(shape) == len(spec.shape) and all(
        not isinstance(dim, int) or dim == size for dim, size in zip(spec.shape, shape, strict=True)
    )
    if not fits:  # C4
        raise DataError(
            f"input {spec.name!r} has shape {'x'.join(map(str, shape)) or 'scalar'}",
            why=f"the model takes {spec}",
            remedy=remedy,
        )
    if 0 in shape and 0 not in spec.shape:  # C5
        raise DataError(f"input {spec.name!r} is empty: {shape}", why="nothing to compute", remedy=remedy)
    for dim, size in zip(spec.shape, shape, strict=True):
        if not isinstance(dim, str):
            continue
        said, by = sizes.setdefault(dim, (size, spec.name))
        if said != size:  # C6
            raise DataError(
                f"input {spec.name!r} says {dim} = {size}, and input {by!r} says {dim} = {said}",
                why=f"both axes are the same dynamic size {dim!r}",
                remedy="give arrays of one batch",
            )


def artifact_from_reference(feeds: Feeds, bindings: tuple[IoBinding, ...]) -> dict[str, Array]:
    """Feeds in the reference's terms -> arrays as the artifact wants them, C-contiguous.

    Raises:
        DataError: a value does not fit into a narrower type of the artifact.
    """
    arrays = {}
    for binding in bindings:
        array = feeds[binding.reference.name]
        if binding.permutation:
            array = array.transpose(binding.permutation)
        if binding.quant is not None:
            array = _quantize(array, binding.quant, binding.dtype)
        arrays[binding.name] = np.asarray(_cast(array, binding), order="C")  # keeps a scalar a scalar
    return arrays


def reference_from_artifact(arrays: Mapping[str, Array], bindings: tuple[IoBinding, ...]) -> dict[str, Array]:
    """Outputs of the artifact -> arrays in the reference's names, layouts and types, C-contiguous."""
    outputs = {}
    for binding in bindings:
        array = arrays[binding.name]
        if binding.quant is not None:
            array = _dequantize(array, binding.quant)
        if binding.permutation:
            array = array.transpose(np.argsort(binding.permutation))
        outputs[binding.reference.name] = np.asarray(
            array.astype(dtype_from_name(binding.reference.dtype), copy=False), order="C"
        )
    return outputs


def _quantize(array: Array, quant: QuantParams, dtype: str) -> Array:
    """Real values -> integers that saturate at the ends of ``dtype``; NaN becomes the zero point."""
    scale, zero_point = _broadcast(quant, array.ndim)
    limits = np.iinfo(dtype)
    steps = np.nan_to_num(np.rint(array.astype(np.float32) / scale), posinf=limits.max, neginf=limits.min)
    integers: Array = np.clip(steps.astype(np.float64) + zero_point, limits.min, limits.max).astype(dtype)
    return integers


def _dequantize(array: Array, quant: QuantParams) -> Array:
    scale, zero_point = _broadcast(quant, array.ndim)
    real: Array = ((array.astype(np.int64) - zero_point) * scale).astype(np.float32)
    return real


def _broadcast(quant: QuantParams, rank: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Scale and zero point in a shape that broadcasts along ``quant.axis`` (of the artifact's layout)."""
    shape = [1] * rank
    if quant.axis is not None:
        shape[quant.axis] = len(quant.scale)
    scale = np.asarray(quant.scale, np.float32).reshape(shape)
    return scale, np.asarray(quant.zero_point, np.int64).reshape(shape)


def _cast(array: Array, binding: IoBinding) -> Array:
    dtype: np.dtype[Any] = dtype_from_name(binding.dtype)
    if array.dtype == dtype:
        return array
    if array.size and _loses_range(array, dtype):
        raise DataError(
            f"input {binding.reference.name!r} holds values that {binding.dtype} cannot: "
            f"{array.min()} to {array.max()}",
            why=f"the artifact takes {binding.dtype} where the reference takes {binding.reference.dtype}",
            remedy="use a float artifact, or data in the model's range",
        )
    return array.astype(dtype)


def _loses_range(array: Array, dtype: np.dtype[Any]) -> bool:
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return bool(array.min() < limits.min or array.max() > limits.max)
    if dtype.itemsize < array.dtype.itemsize and dtype.kind == "f" and array.dtype.kind == "f":
        finite = array[np.isfinite(array)]
        return bool(finite.size and np.abs(finite).max() > np.finfo(dtype).max)
    return False
