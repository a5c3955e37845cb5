"""Golden vectors: a session's outputs for fixed inputs, recorded once and compared wherever the bundle goes.

    prepared(raw inputs, processing) -> inputs
    record(session, inputs) -> outputs          compare(outputs, recorded) -> first difference, or none

The vectors start at the raw sample, so that a wrong step in front of the model is seen as well.

Tolerances. The same file on the same runtime differs between classes of CPU: fp32 by the order of summation,
fp16 by its 11 bits, int8 by roundings that fall to the other side and travel on. So: quantized outputs in
steps, others relative to the recorded output's range.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from edgekit.bundle.manifest import Tolerance
from edgekit.bundle.processing import Processing
from edgekit.bundle.ranked import in_order_of
from edgekit.errors import DataError
from edgekit.preprocess import apply
from edgekit.spec import Array, Feeds, Precision, Runner

Arrays = Mapping[str, npt.NDArray[Any]]

TOLERANCES: Mapping[Precision, Tolerance] = {
    # A sum of 10,000 float32 products in another order moves by about 1e-5 of its range; ten times that.
    Precision.FP32: Tolerance(steps=1.0, relative_to_range=1e-4),
    # One rounding in fp16 is 5e-4; a few tens of layers add up to some of them.
    Precision.FP16: Tolerance(steps=1.0, relative_to_range=1e-2),
    # One rounding in bfloat16 is 4e-3, sums are float32; a CPU without it computes the same file in float32.
    Precision.BF16: Tolerance(steps=1.0, relative_to_range=5e-2),
    # ONNX Runtime against OpenVINO, the same QDQ graph: 1 step at the median, 4 in the tail (RUNTIMES.md);
    # 4 of 255 steps is 1.6 % of the range where the output itself is float.
    Precision.W8A8: Tolerance(steps=4.0, relative_to_range=2e-2),
    # A step of 16 bits is 1.5e-5 of the range; kernels differ by a few of them after each layer.
    Precision.W8A16: Tolerance(steps=256.0, relative_to_range=5e-3),
    # Activations are rounded to 8 bits as in w8a8, and the results between them stay float.
    Precision.DYNAMIC: Tolerance(steps=4.0, relative_to_range=2e-2),
    # Float arithmetic on weights that are the same integers everywhere.
    Precision.W8: Tolerance(steps=1.0, relative_to_range=1e-4),
    Precision.W4: Tolerance(steps=1.0, relative_to_range=1e-4),
}


def tolerance_for(precision: Precision, *, between: Precision = Precision.FP32) -> Tolerance:
    """The tolerance that a release records for artifacts of this precision: the wider of the two.

    Args:
        precision: of the artifact.
        between: what its operators compute in that are not integer.
    """
    own, other = TOLERANCES[precision], TOLERANCES[between]
    return Tolerance(
        steps=max(own.steps, other.steps),
        relative_to_range=max(own.relative_to_range, other.relative_to_range),
    )


def prepared(raw: Arrays, processing: Processing) -> dict[str, npt.NDArray[Any]]:
    """Raw golden inputs -> what a session takes, by the steps that the app does for it.

    Args:
        raw: (samples, ...) by input name.
        processing: of the target; inputs that it does not name are taken as they are.

    Raises:
        DataError: a step does not fit the raw samples.
    """
    steps = {each.name: each.steps for each in processing.inputs}
    return {
        name: np.stack([apply(sample, steps[name]) for sample in array]) if steps.get(name) else array
        for name, array in raw.items()
    }


def _fixed_batch(session: Runner, inputs: Arrays) -> int | None:
    """The batch that the session insists on, where the inputs hold another number of samples."""
    for spec in session.inputs:
        if spec.shape and isinstance(spec.shape[0], int) and len(inputs[spec.name]) != spec.shape[0]:
            return spec.shape[0]
    return None


@runtime_checkable
class OnesOwnLoop(Protocol):
    """A Runner that would rather have all batches at once: a device far away, for one."""

    def run_each(self, batches: Sequence[Feeds]) -> list[dict[str, Array]]:
        """The outputs of each batch; all are of one shape."""


def _run_each(session: Runner, batches: Sequence[Feeds]) -> list[dict[str, Array]]:
    if isinstance(session, OnesOwnLoop):
        return session.run_each(batches)
    return [dict(session.run(batch)) for batch in batches]


def record(session: Runner, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
    """The session's outputs for ``inputs``, batch by batch where its batch size is fixed.

    Args:
        session: an opened artifact.
        inputs: (samples, ...) by reference input name.

    Raises:
        DataError: an input is missing, or the samples cannot be split into the session's batches.
    """
    missing = [spec.name for spec in session.inputs if spec.name not in inputs]
    if missing:
        raise DataError(
            f"the golden inputs lack {missing[0]!r}",
            why="the artifact takes it",
            remedy="release the bundle again",
        )
    feeds = {spec.name: inputs[spec.name] for spec in session.inputs}
    batch = _fixed_batch(session, feeds)
    if batch is None:
        return _run_each(session, [feeds])[0]
    total = max(len(value) for value in feeds.values())
    if total % batch or any(len(value) != total for value in feeds.values()):
        raise DataError(
            f"{total} golden samples do not fill batches of {batch}",
            why="the artifact takes batches of that size only",
            remedy="record a multiple of the batch size",
        )
    starts = range(0, total, batch)
    batches = [{name: value[start : start + batch] for name, value in feeds.items()} for start in starts]
    parts = _run_each(session, batches)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _difference(
    name: str, found: npt.NDArray[Any], recorded: npt.NDArray[Any], *, step: float | None, limit: Tolerance
) -> str:
    """The first reason why one output is not the recorded one; "" where it is within the tolerance."""
    if found.shape != recorded.shape:
        return f"output {name!r} has shape {found.shape}, recorded {recorded.shape}"
    if found.dtype != recorded.dtype:
        return f"output {name!r} has type {found.dtype}, recorded {recorded.dtype}"
    if not found.size:
        return f"output {name!r} is empty, which proves nothing"
    got, wanted = found.astype(np.float64), recorded.astype(np.float64)
    finite = np.isfinite(got) & np.isfinite(wanted)
    if not finite.all():
        index = tuple(int(i) for i in np.unravel_index(int(np.argmin(finite)), finite.shape))
        return f"output {name!r} at {index} is {got[index]:g}, recorded {wanted[index]:g}: not finite"
    gap = np.abs(got - wanted)
    if step is not None:
        unit, allowed, words = step, limit.steps, "steps"
    else:
        spread = float(np.ptp(wanted)) or float(np.abs(wanted).max()) or 1.0
        unit, allowed, words = spread, limit.relative_to_range, "of the output's range"
    wrong = ~(gap / unit <= allowed)
    if not wrong.any():
        return ""
    index = tuple(int(i) for i in np.unravel_index(int(np.argmax(wrong)), wrong.shape))
    return (
        f"output {name!r} at {index} is {got[index]:.6g}, recorded {wanted[index]:.6g}:"
        f" {gap[index] / unit:.3g} {words}, allowed {allowed:g}; {int(wrong.sum())} of {wrong.size} differ"
    )


def compare(
    found: Arrays,
    recorded: Arrays,
    *,
    steps: Mapping[str, float],
    tolerance: Tolerance,
    processing: Processing | None = None,
) -> str:
    """The first difference of an artifact's outputs from the recorded ones, in words; "" = within tolerance.

    Args:
        found: outputs by reference name.
        recorded: outputs of the machine that released.
        steps: one quantization step of each quantized output.
        tolerance: from the manifest.
        processing: likewise; where suppression is inside, rows are compared with those that they stand for.
    """
    if not recorded:
        return "no output is recorded, which proves nothing"
    if set(found) != set(recorded):
        return f"outputs are {', '.join(sorted(found))}; recorded are {', '.join(sorted(recorded))}"
    if processing is not None:
        found = in_order_of(recorded, found, processing, tolerance=tolerance.relative_to_range)
    for name in sorted(recorded):
        words = _difference(name, found[name], recorded[name], step=steps.get(name), limit=tolerance)
        if words:
            return words
    return ""
