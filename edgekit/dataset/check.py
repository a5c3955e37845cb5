"""Dataset x model inputs -> nothing, or the one error that says what does not fit.

D1 no samples · D2 an input without data, or data without an input · D3 wrong dtype · D4 wrong shape ·
D5 NaN or infinite values · D6 labels of another length. Only the first sample's names, dtype and shape are
compared before a long run starts; NaN is looked for in all samples, in one streamed pass.
"""

from __future__ import annotations

import numpy as np

from edgekit.dataset.stream import Dataset, Sample
from edgekit.errors import DataError, closest
from edgekit.spec import Dim, TensorSpec

_MORE = "docs/recipe.md#data"


def check(data: Dataset, inputs: tuple[TensorSpec, ...], *, labelled: bool = False) -> None:
    """Raise DataError (D1 to D6) unless every sample fits the model's ``inputs``.

    Args:
        data: what is to be fed.
        inputs: the model's inputs; axis 0 of each is the batch.
        labelled: whether labels are needed (evaluation).
    """
    if data.count == 0:
        raise DataError(
            f"{data.name} has no samples",
            why="nothing can be learned or proved from nothing",
            remedy="give at least one sample (128 are a good start for calibration)",
            more=_MORE,
        )
    if labelled:
        _check_labels(data)
    for index, sample in enumerate(data.samples()):
        if index == 0:
            _check_names(data.name, sample, inputs)
        for spec in inputs:
            _check_array(data.name, index, sample, spec)


def _check_labels(data: Dataset) -> None:
    if data.labels is None:
        raise DataError(
            f"{data.name} has no labels",
            why="a task metric compares outputs with labels",
            remedy="add an array named 'labels' to the .npz, one entry per sample",
            more=_MORE,
        )
    if len(data.labels) != data.count:
        raise DataError(
            f"{data.name} has {data.count} samples and {len(data.labels)} labels",
            why="each sample needs its own label",
            remedy="make both the same length",
            more=_MORE,
        )


def _check_names(name: str, sample: Sample, inputs: tuple[TensorSpec, ...]) -> None:
    wanted = [spec.name for spec in inputs]
    missing = [each for each in wanted if each not in sample]
    unknown = [each for each in sample if each not in wanted]
    if not missing and not unknown:
        return
    near = closest(missing[0], sample) if missing else closest(unknown[0], wanted)
    hint = f"; is {near[0]!r} what you mean?" if near else ""
    raise DataError(
        f"{name} has arrays {sorted(sample)}, and the model's inputs are {sorted(wanted)}",
        why=f"arrays are matched to inputs by name (missing: {missing}, unknown: {unknown}){hint}",
        remedy=f"rename the arrays to {', '.join(wanted)}",
        more=_MORE,
    )


def _check_array(name: str, index: int, sample: Sample, spec: TensorSpec) -> None:
    array = sample[spec.name]
    if array.dtype.name != spec.dtype:
        raise DataError(
            f"{name}: {spec.name!r} is {array.dtype.name} in sample {index}, the model takes {spec.dtype}",
            why="edgekit does not convert data silently: a forgotten scale would pass unnoticed",
            remedy=f"store {spec.dtype}, or add a pre-processing step (scale, normalize or cast)",
            more=_MORE,
        )
    if not _fits(array.shape, spec.shape[1:]):
        swapped = (
            " (the axes look swapped: NHWC against NCHW; use the layout step)"
            if sorted(array.shape) == sorted(d for d in spec.shape[1:] if isinstance(d, int))
            else ""
        )
        raise DataError(
            f"{name}: {spec.name!r} has shape {array.shape} in sample {index}, "
            f"and the model takes {_shape_text(spec.shape[1:])} per sample",
            why=f"shapes must agree{swapped}",
            remedy="reshape the data, or add a pre-processing step (resize, layout)",
            more=_MORE,
        )
    if array.dtype.kind == "f" and not bool(np.isfinite(array).all()):
        raise DataError(
            f"{name}: {spec.name!r} has NaN or infinite values in sample {index}",
            why="a range or a metric computed from them means nothing",
            remedy="remove or repair the sample",
            more=_MORE,
        )


def _fits(shape: tuple[int, ...], wanted: tuple[Dim, ...]) -> bool:
    return len(shape) == len(wanted) and all(
        not isinstance(want, int) or have == want for have, want in zip(shape, wanted, strict=True)
    )


def _shape_text(shape: tuple[Dim, ...]) -> str:
    return "(" + ", ".join("any" if not isinstance(d, int) else str(d) for d in shape) + ")"
