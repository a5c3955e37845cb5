"""Looking at an artifact, batch by batch -> Evidence: every kernel's end, the inputs, the outputs.

for each batch: Layer.add(r, c, e) at every end      ->  KernelEvidence
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from edgekit.ir.graph import is_float32
from edgekit.pipeline.debug.asked import asked_in_integers
from edgekit.pipeline.debug.looking import End, Looking
from edgekit.spec import Array, Progress, QuantParams
from edgekit.validation import segments
from edgekit.validation.diagnose.evidence import Difference, Evidence, InputEvidence
from edgekit.validation.drift import DriftTally
from edgekit.validation.layers import Figures, KernelEvidence, Layer, limits
from edgekit.validation.segments import Segment


def gathered(looking: Looking, *, progress: Progress) -> Evidence:
    """Run all batches and count.

    Raises:
        DataError: no samples, or values that are not finite.
    """
    pieces = {piece.name: piece for piece in segments.segments(looking.reference, _names(looking))}
    layers = {
        end.name: Layer(end.name, params=_per_tensor(end), axis=pieces[end.name].axis) for end in looking.ends
    }
    inputs = {value.name or "": _Input() for value in looking.reference.graph.inputs if is_float32(value)}
    rounded = {name: _params_of_input(looking, name) for name in inputs}
    artifact = looking.artifact
    outputs = DriftTally(
        tuple(spec.reference.name for spec in artifact.outputs), output_steps=artifact.output_steps
    )
    for seen in looking.batches():
        for name, layer in layers.items():
            layer.add(seen.reference[name], seen.candidate[name], expected=seen.expected[name])
        for name, each in inputs.items():
            each.add(seen.feeds[name], rounded[name])
        outputs.add(seen.truth, seen.outputs)
        progress.advance(looking.batch)
    figures = {name: layer.finish() for name, layer in layers.items()}
    fed = {name: each.finish(name, rounded[name]) for name, each in inputs.items()}
    kernels = tuple(_kernel(end, pieces[end.name], figures[end.name]) for end in looking.ends)
    return Evidence(
        runtime=artifact.backend,
        precision=artifact.precision.value,
        samples=looking.count,
        kernels=kernels,
        inputs=tuple(fed.values()),
        outputs=outputs.finish().outputs,
        unmatched=looking.unmatched,
        differences=tuple(_differences(looking.ends, pieces)),
        eligible=asked_in_integers(artifact, looking.reference, kernels),
    )


def _names(looking: Looking) -> list[str]:
    return [end.name for end in looking.ends]


def _per_tensor(end: End) -> QuantParams | None:
    """Its scale, where it is one for the whole tensor: steps and limits are those of all channels then."""
    params = None if end.tap is None else end.tap.params
    return params if params is not None and len(params.scale) == 1 else None


def _kernel(end: End, piece: Segment, figures: Figures) -> KernelEvidence:
    tap = end.tap
    weight = piece.weight
    if weight is not None:
        weight = replace(weight, params=None if tap is None else tap.weight)
    return KernelEvidence(
        name=end.name,
        node=piece.nodes[-1].name if piece.nodes else "",
        op_type="Input" if piece.head is None else piece.head.op_type,
        inputs=piece.inputs,
        segment=piece.nodes,
        kernel="" if tap is None else tap.kernel,
        integer=tap is not None and tap.integer,
        params=None if tap is None else tap.params,
        weight=weight,
        figures=figures,
        disturbed=tap is not None and tap.disturbed,
    )


@dataclass
class _Input:
    """What is kept of one input of the model."""

    shape: tuple[int, ...] = ()
    count: int = 0
    low: npt.NDArray[np.float64] | None = None
    high: npt.NDArray[np.float64] | None = None
    total: npt.NDArray[np.float64] | None = None
    squares: npt.NDArray[np.float64] | None = None
    outside: int = 0
    elements: int = 0

    def add(self, array: Array, params: QuantParams | None) -> None:
        """One batch: (batch, ...)."""
        self.shape = array.shape[1:]
        rows = self._rows(array)
        self.count += rows.shape[1]
        self.low = rows.min(axis=1) if self.low is None else np.minimum(self.low, rows.min(axis=1))
        self.high = rows.max(axis=1) if self.high is None else np.maximum(self.high, rows.max(axis=1))
        self.total = rows.sum(axis=1) + (0.0 if self.total is None else self.total)
        self.squares = np.square(rows).sum(axis=1) + (0.0 if self.squares is None else self.squares)
        self.elements += array.size
        if params is not None and len(params.scale) == 1:
            low, high = limits(params)
            half = params.scale[0] / 2  # what rounds to the last integer is not clipped
            self.outside += int(np.count_nonzero((rows < low - half) | (rows > high + half)))

    @property
    def axis(self) -> int | None:
        """Of the channels: an image or a sequence has them second, a row of numbers last."""
        return 1 if self.shape else None

    def _rows(self, array: Array) -> npt.NDArray[np.float64]:
        wide = array.astype(np.float64)
        if self.axis is None or wide.ndim < 2:
            return wide.reshape(1, -1)
        return np.moveaxis(wide, self.axis, 0).reshape(wide.shape[self.axis], -1)

    def finish(self, name: str, params: QuantParams | None) -> InputEvidence:
        """The figures of everything that was added."""
        assert self.low is not None  # noqa: S101  a model without batches was refused
        assert self.high is not None  # noqa: S101
        assert self.total is not None  # noqa: S101
        assert self.squares is not None  # noqa: S101
        mean = self.total / self.count
        spread = np.sqrt(np.maximum(self.squares / self.count - np.square(mean), 0.0))
        return InputEvidence(
            name=name,
            shape=self.shape,
            axis=self.axis,
            low=tuple(map(float, self.low)),
            high=tuple(map(float, self.high)),
            mean=tuple(map(float, mean)),
            deviation=tuple(map(float, spread)),
            params=params,
            clipped=self.outside / self.elements,
        )


def _params_of_input(looking: Looking, name: str) -> QuantParams | None:
    """Where the artifact rounds its input: as a kernel, or because it takes integers."""
    for end in looking.ends:
        if end.name == name and end.tap is not None and end.tap.params is not None:
            return end.tap.params
    bound = (binding for binding in looking.artifact.inputs if binding.reference.name == name)
    return next((binding.quant for binding in bound), None)


def _differences(ends: tuple[End, ...], pieces: Mapping[str, Segment]) -> list[Difference]:
    """Attributes that both sides state, otherwise."""
    found = []
    for end in ends:
        head = pieces[end.name].head
        if head is None or end.tap is None:
            continue
        for name, value in end.tap.attributes.items():
            if name in head.attributes and head.attributes[name] != value:
                found.append(Difference(head.name, name, head.attributes[name], value))
    return found
