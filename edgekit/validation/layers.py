"""Streams of three arrays at the end of a kernel -> what that kernel does to the numbers.

    r  reference    what the float model computes there
    c  candidate    what the artifact holds there, as real numbers
    e  expected     what the float model computes from the candidate's inputs of the same segment

    total error  c - r    everything that went wrong up to here
    own error    c - e    what went wrong here

    sqnr_db   10 log10(sum r^2 / sum error^2)        (own: e in the place of r)
    clipped   share of r that lies outside of what the candidate's integers can hold
    clip_noise  sum (r - nearest value that they hold)^2 / sum r^2
    used      share of what they can hold that r fills
    gain, offset  of each channel: the least squares line c = gain * e + offset, and what it leaves

A segment is the part of the reference between the places that are looked at: the nodes that one kernel of the
runtime computes. Streamed: sums, extrema and one row of each for every channel are kept.

Source: the split into own and accumulated error is that of ONNX Runtime's qdq_loss_debug (local and
accumulated); here both come from the fused kernels as they ship.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from edgekit.errors import DataError
from edgekit.spec import Array, QuantParams

Attribute = float | str | tuple[float, ...]
"""Attribute of a node: a number, a word, or numbers."""
_Row = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ErrorStats:
    """How far two streams of one tensor are apart.

    Attributes:
        sqnr_db: signal to noise; inf where nothing differs, -inf where the truth is all zero.
        cosine: 1 = same direction; 0 where exactly one side is all zero.
        max_abs: largest difference, in the tensor's unit.
        max_steps: that in quantization steps of the candidate's tensor; None where it has no scale.
        mean_error: mean of (candidate - truth): a shift.
        rms: root of the mean square of the difference.
    """

    sqnr_db: float
    cosine: float
    max_abs: float
    max_steps: float | None
    mean_error: float
    rms: float


@dataclass(frozen=True)
class ChannelStats:
    """One entry for each channel along ``axis``; one in all where the tensor has no channels.

    Attributes:
        axis: of the reference's tensor; None = no channels, everything is one.
        low: least value of the reference.
        high: largest value of the reference.
        signal: mean square of the reference.
        noise: mean square of the own error.
        mean_error: mean of the own error.
        gain: slope of the candidate over what is expected; 1 where the channel is constant.
        offset: value of that line at 0.
        residual: mean square of what the line leaves of the own error.
    """

    axis: int | None
    low: tuple[float, ...]
    high: tuple[float, ...]
    signal: tuple[float, ...]
    noise: tuple[float, ...]
    mean_error: tuple[float, ...]
    gain: tuple[float, ...] = ()
    offset: tuple[float, ...] = ()
    residual: tuple[float, ...] = ()


@dataclass(frozen=True)
class WeightEvidence:
    """The constant operand of a kernel, and how the candidate stores it.

    Attributes:
        name: in the reference.
        shape: in the reference.
        axis: of the output channels, in the reference.
        low: least value of each output channel.
        high: largest value of each output channel.
        depthwise: whether each output channel reads one input channel.
        params: scales in the candidate, one in all or one for each output channel; None = float, or unknown.
        input_peak: largest absolute value of the weight for each input channel; () where it has one alone.
    """

    name: str
    shape: tuple[int, ...]
    axis: int
    low: tuple[float, ...]
    high: tuple[float, ...]
    depthwise: bool
    params: QuantParams | None
    input_peak: tuple[float, ...] = ()


@dataclass(frozen=True)
class NodeFact:
    """One node of a segment of the reference.

    Attributes:
        attributes: as far as they are numbers and words.
    """

    name: str
    op_type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute] = field(default_factory=dict)


@dataclass(frozen=True)
class Figures:
    """What ``Layer`` counted.

    Attributes:
        total: candidate against reference.
        own: candidate against what is expected from its own inputs.
        channels: by channel.
        low: least value of the reference.
        high: its largest value.
        clipped_low: share of the reference's values below the candidate's least representable value.
        clipped_high: likewise above the largest.
        used: share of the representable range that the reference's values span; 1.0 without a scale.
        edge_low: share of the candidate's values that are its least integer.
        edge_high: likewise the largest.
        elements: how many values were compared.
        clip_noise: what clipping alone does to the reference: power lost over power.
    """

    total: ErrorStats
    own: ErrorStats
    channels: ChannelStats
    low: float
    high: float
    clipped_low: float
    clipped_high: float
    used: float
    edge_low: float
    edge_high: float
    elements: int
    clip_noise: float = 0.0


@dataclass(frozen=True)
class KernelEvidence:
    """One kernel's end, as it was seen on the real runtime.

    Attributes:
        name: of the value, in the reference's canonical float graph.
        node: of the reference that computes the value.
        op_type: of the segment's head: the node with a weight where there is one, else the last.
        inputs: values of the reference at which its segment starts.
        segment: its nodes, in order.
        kernel: what the runtime says that it runs (QLinearConv, CONV_2D, ...); "" = unknown.
        integer: whether it computes in integers.
        params: of the tensor in the candidate; None = float there.
        weight: its constant operand, or None.
        figures: what was measured.
        disturbed: looking at it changed the kernel, so the figures are those of another one.
    """

    name: str
    node: str
    op_type: str
    inputs: tuple[str, ...]
    segment: tuple[NodeFact, ...]
    kernel: str
    integer: bool
    params: QuantParams | None
    weight: WeightEvidence | None
    figures: Figures
    disturbed: bool = False

    @property
    def total(self) -> ErrorStats:
        """Candidate against reference."""
        return self.figures.total

    @property
    def own(self) -> ErrorStats:
        """Candidate against what the reference computes from the candidate's inputs."""
        return self.figures.own

    @property
    def channels(self) -> ChannelStats:
        """The same by channel."""
        return self.figures.channels


@dataclass
class Error:
    """Sums over one difference."""

    elements: int = 0
    truth: float = 0.0  # sum of squares
    candidate: float = 0.0
    dot: float = 0.0
    noise: float = 0.0
    shift: float = 0.0
    largest: float = 0.0

    def add(self, truth: _Row, candidate: _Row, gap: _Row) -> None:
        """One batch; ``gap`` is ``candidate - truth``."""
        self.elements += gap.size
        # no dot product: its threads cost more than the sums where cores are few or taken
        self.truth += float(np.square(truth).sum())
        self.candidate += float(np.square(candidate).sum())
        self.dot += float((truth * candidate).sum())
        self.noise += float(np.square(gap).sum())
        self.shift += float(gap.sum())
        self.largest = max(self.largest, float(np.abs(gap).max(initial=0.0)))

    def finish(self, step: float | None) -> ErrorStats:
        """The figures; ``step``: one quantization step of the candidate's tensor, or None."""
        norm = math.sqrt(self.truth) * math.sqrt(self.candidate)
        cosine = self.dot / norm if norm else float(self.noise == 0.0)
        count = max(self.elements, 1)
        return ErrorStats(
            sqnr_db=sqnr_db(self.truth, self.noise),
            cosine=max(-1.0, min(1.0, cosine)),
            max_abs=self.largest,
            max_steps=None if step is None else self.largest / step,
            mean_error=self.shift / count,
            rms=math.sqrt(self.noise / count),
        )


class Layer:
    """What is kept of one tensor while it streams by."""

    def __init__(self, name: str, *, params: QuantParams | None, axis: int | None) -> None:
        """Begin.

        Args:
            name: for messages.
            params: of the candidate's tensor, per tensor; None = float.
            axis: of the channels in the arrays to come; None = none.
        """
        self._name, self._axis = name, axis
        self._limits = None if params is None else limits(params)
        self._step = None if params is None else params.scale[0]
        self._total, self._own = Error(), Error()
        self._below = self._above = self._least = self._most = 0
        self._lost = 0.0  # sum of squares
        self._rows: dict[str, _Row] = {}
        self._values = 0  # of one channel

    def add(self, reference: Array, candidate: Array, *, expected: Array) -> None:
        """One batch of each, all of one shape, in real numbers.

        Raises:
            DataError: they differ in shape.
        """
        if not reference.shape == candidate.shape == expected.shape:
            raise DataError(
                f"value {self._name!r} is {reference.shape} in the reference, {candidate.shape} in the "
                f"candidate and {expected.shape} as expected",
                why="drift compares element by element",
                remedy="compare an artifact with the model it was made from",
            )
        r, c, e = (array.astype(np.float64) for array in (reference, candidate, expected))
        self._total.add(r, c, c - r)
        own = c - e
        self._own.add(e, c, own)
        self._add_channels(r, own, e)
        if self._limits is not None and self._step is not None:
            low, high = self._limits
            half = self._step / 2  # what rounds to the last integer is not clipped
            self._below += int(np.count_nonzero(r < low - half))
            self._above += int(np.count_nonzero(r > high + half))
            self._least += int(np.count_nonzero(c < low + half))
            self._most += int(np.count_nonzero(c > high - half))
            self._lost += float(np.square(r - np.clip(r, low - half, high + half)).sum())

    def _add_channels(self, r: _Row, own: _Row, e: _Row) -> None:
        axis = self._axis
        rows, errors, truth = (
            array.reshape(1, -1)
            if axis is None or array.ndim == 0
            else np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1)
            for array in (r, own, e)
        )
        if not rows.size:
            return
        self._values += rows.shape[1]
        self._keep("low", rows.min(axis=1), np.minimum)
        self._keep("high", rows.max(axis=1), np.maximum)
        self._keep("signal", np.square(rows).sum(axis=1), np.add)
        self._keep("noise", np.square(errors).sum(axis=1), np.add)
        self._keep("shift", errors.sum(axis=1), np.add)
        self._keep("truth", truth.sum(axis=1), np.add)
        self._keep("squares", np.square(truth).sum(axis=1), np.add)
        self._keep("product", (truth * errors).sum(axis=1), np.add)

    def _keep(self, key: str, row: _Row, join: np.ufunc) -> None:
        self._rows[key] = join(self._rows[key], row) if key in self._rows else row

    def finish(self) -> Figures:
        """The figures of everything that was added.

        Raises:
            DataError: nothing was.
        """
        if not self._values:
            raise DataError(
                f"no value of {self._name!r} was seen",
                why="the data has no samples, or the tensor is empty",
                remedy="give samples with --data",
            )
        count = self._total.elements
        low, high = float(self._rows["low"].min()), float(self._rows["high"].max())
        return Figures(
            total=self._total.finish(self._step),
            own=self._own.finish(self._step),
            channels=self._channels(),
            low=low,
            high=high,
            clipped_low=self._below / count,
            clipped_high=self._above / count,
            used=_used(low, high, self._limits),
            edge_low=self._least / count,
            edge_high=self._most / count,
            elements=count,
            clip_noise=self._lost / self._total.truth if self._total.truth else 0.0,
        )

    def _channels(self) -> ChannelStats:
        many = self._values
        gain, offset, residual = self._lines()

        def row(key: str, divisor: int = 1) -> tuple[float, ...]:
            return tuple(float(value) / divisor for value in self._rows[key])

        return ChannelStats(
            axis=self._axis,
            low=row("low"),
            high=row("high"),
            signal=row("signal", many),
            noise=row("noise", many),
            mean_error=row("shift", many),
            gain=tuple(float(value) for value in gain),
            offset=tuple(float(value) for value in offset),
            residual=tuple(float(value) for value in residual),
        )

    def _lines(self) -> tuple[_Row, _Row, _Row]:
        """Gain, offset and mean square residual of each channel, from sums: own error over expected value."""
        many = self._values
        mean, shift = self._rows["truth"] / many, self._rows["shift"] / many
        spread = self._rows["squares"] / many - mean**2
        joint = self._rows["product"] / many - mean * shift
        varies = spread > 1e-12 * np.maximum(mean**2, 1e-30)  # below, sums of float64 hold no digits of it
        slope = np.where(varies, joint / np.where(varies, spread, 1.0), 0.0)
        residual = self._rows["noise"] / many - shift**2 - slope * joint
        return slope + 1.0, shift - slope * mean, np.maximum(residual, 0.0)


def sqnr_db(signal: float, noise: float) -> float:
    """10 log10(signal / noise) of two powers; inf without noise, -inf with noise and no signal."""
    if noise == 0.0:
        return math.inf
    if signal == 0.0:
        return -math.inf
    return 10.0 * math.log10(signal / noise)


def limits(params: QuantParams) -> tuple[float, float]:
    """The least and the largest real number that the integers of a per-tensor scale stand for."""
    kind, scale, zero = np.iinfo(params.dtype), params.scale[0], params.zero_point[0]
    return scale * (int(kind.min) - zero), scale * (int(kind.max) - zero)


def _used(low: float, high: float, held: tuple[float, float] | None) -> float:
    """Share of ``held`` that the interval from ``low`` to ``high`` covers; 0 belongs to every range."""
    if held is None:
        return 1.0
    covered = min(max(high, 0.0), held[1]) - max(min(low, 0.0), held[0])
    return max(0.0, covered / (held[1] - held[0]))
