"""First batch x the model's first layer -> what is odd about scale and layout of the data.

    response = (first layer's weights) * (patches of the data) + bias, per output channel

| code | when |
|---|---|
| raw-bytes | values are whole numbers up to 255, and the first layer answers 10 times as strongly as usual |
| tiny-input | values lie inside [0, 1] or so, and the first layer hardly answers: bias drowns the data |
| swapped-layout | colour channels are interleaved in memory where the model wants planes, or the reverse |
| unused-input | no output depends on the input |

A trained layer answers its data with a spread near 1, because normalization (folded into it now) made it so.
The limits are far from that on purpose: a hint that is wrong is worse than none. Layout is judged by
smoothness down the image: one row below lies ``width`` values on in planes, ``channels * width`` on where
interleaved. (Not along a row: of a grey photograph the colours of one pixel are alike too.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgekit.calibration.finding import Finding
from edgekit.ir.graph import constant, ints_attribute, is_onnx
from edgekit.spec import Array, Feeds

LOOKED = 4  # samples: one photograph may be dark, and a layout shows in a few
PATCHES = 512  # of those; a spread is known to 3 % from as many
_STRONG = 10.0  # spread of the first layer's answers: right data gives 0.1 to 1.1, bytes 15 and more
_WEAK = 0.02  # 255 times too small a scale gives 0.004
_BYTE = 255.0
_MARGIN = 2.0  # how much smoother the other layout has to be: wrong photographs at 3 and more, right below 1
_COLOURS = (3, 4)

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class _First:
    """The first weighted layer behind an input.

    Attributes:
        weight: (outputs, inputs, *kernel) or (outputs, features).
        bias: (outputs,).
        channel_axis: of the model's input, its colours: 1 or -1; None where it is no image.
    """

    weight: Floats
    bias: Floats
    channel_axis: int | None


class InputLook:
    """Looks at the first samples only."""

    def __init__(self, model: ir.Model) -> None:
        self._first = {
            value.name: first
            for value in model.graph.inputs
            if value.name and (first := _first_layer(value)) is not None
        }
        self._kept: list[dict[str, Array]] = []

    def look(self, feeds: Feeds) -> None:
        """Keep the batch while there are fewer than LOOKED samples."""
        if sum(len(next(iter(kept.values()))) for kept in self._kept if kept) < LOOKED and self._first:
            self._kept.append({name: feeds[name].copy() for name in self._first})

    def findings(self) -> tuple[Finding, ...]:
        """What is odd about the samples, compared with the layers that read them."""
        if not self._kept:
            return ()
        seen = {name: np.concatenate([kept[name] for kept in self._kept]) for name in self._first}
        return tuple(
            finding
            for name, first in self._first.items()
            for finding in (_scale(name, first, seen[name]), _layout(name, first, seen[name]))
            if finding is not None
        )


def unused_inputs(model: ir.Model) -> tuple[Finding, ...]:
    """Inputs that no output depends on."""
    needed: set[int] = set()
    waiting: list[ir.Value] = list(model.graph.outputs)
    while waiting:
        value = waiting.pop()
        if id(value) in needed:
            continue
        needed.add(id(value))
        node = value.producer()
        if node is not None:
            waiting.extend(item for item in node.inputs if item is not None)
            waiting.extend(_captured(node))
    return tuple(
        Finding(
            "unused-input",
            "warning",
            f"no output depends on input {value.name!r}: its data changes nothing",
            "check that the model was exported whole; otherwise remove the input",
        )
        for value in model.graph.inputs
        if id(value) not in needed
    )


def _captured(node: ir.Node) -> list[ir.Value]:
    """What the bodies of a control flow operator read."""
    bodies = []
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            bodies.append(attribute.as_graph())
        elif attribute.type == ir.AttributeType.GRAPHS:
            bodies.extend(attribute.as_graphs())
    read: list[ir.Value] = []
    for body in bodies:
        read.extend(body.outputs)
        for each in ir.traversal.RecursiveGraphIterator(body):
            read.extend(item for item in each.inputs if item is not None)
    return read


def _first_layer(value: ir.Value) -> _First | None:
    """The one weighted operator behind ``value``, straight or behind an NHWC -> NCHW transposition."""
    channel_axis = 1
    node = _only_reader(value)
    if node is not None and is_onnx(node, "Transpose"):
        if ints_attribute(node, "perm", ()) != (0, 3, 1, 2):
            return None
        channel_axis = -1
        node = _only_reader(node.outputs[0])
    if node is None or not is_onnx(node, "Conv", "Gemm", "MatMul"):
        return None
    weight = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    bias = constant(node.inputs[2]) if len(node.inputs) > 2 else None
    if weight is None or weight.dtype != np.float32:
        return None
    if is_onnx(node, "Conv"):
        if weight.ndim != 4:
            return None
        image: int | None = channel_axis
    else:
        transposed = is_onnx(node, "Gemm") and bool(_transposed(node))
        if weight.ndim != 2:
            return None
        weight, image = (weight if transposed else weight.T), None
    found = np.zeros(len(weight)) if bias is None else np.asarray(bias, np.float64).reshape(-1)
    return _First(np.asarray(weight, np.float64), found, image)


def _transposed(node: ir.Node) -> int:
    attribute = node.attributes.get("transB")
    return 0 if attribute is None else attribute.as_int()


def _only_reader(value: ir.Value) -> ir.Node | None:
    uses = tuple(value.uses())
    return uses[0].node if len(uses) == 1 and uses[0].idx == 0 else None


def _scale(name: str, first: _First, array: Array) -> Finding | None:
    answers = _answers(first, array)
    if answers is None:
        return None
    low, high = float(array.min()), float(array.max())
    spread = float(np.median(answers.std(axis=0)))
    whole = bool((np.rint(array) == array).all())
    if whole and low >= 0 and 2 < high <= _BYTE and spread > _STRONG:
        return Finding(
            "raw-bytes",
            "warning",
            f"input {name!r} holds whole numbers from {low:g} to {high:g}, and the first layer answers with "
            f"a spread of {spread:.3g} where about 1 is usual: bytes that were not scaled",
            "scale the data as in training (preprocess: scale by 1/255, then normalize)",
        )
    if low >= -1.5 and high <= 1.5 and high > low and spread < _WEAK and spread < _WEAK * _size(first.bias):
        return Finding(
            "tiny-input",
            "warning",
            f"input {name!r} lies between {low:.3g} and {high:.3g}, and the first layer answers with a "
            f"spread of {spread:.3g} beside a bias of {_size(first.bias):.3g}: it hardly sees the data",
            "feed the scale of training; a model that takes 0 to 255 must not get 0 to 1",
        )
    return None


def _size(bias: Floats) -> float:
    return float(np.median(np.abs(bias))) if bias.size else 0.0


def _answers(first: _First, array: Array) -> Floats | None:
    """(patches, outputs) of the first layer on patches of the batch, drawn with a fixed seed."""
    rng = np.random.default_rng(0)
    if first.channel_axis is None:
        features = array.reshape(-1, array.shape[-1]).astype(np.float64)
        if features.shape[1] != first.weight.shape[1]:
            return None
        return np.asarray(features[:PATCHES] @ first.weight.T + first.bias, np.float64)
    images = array if first.channel_axis == 1 else np.moveaxis(array, -1, 1)
    outputs, channels, height, width = first.weight.shape
    if images.ndim != 4 or images.shape[2] < height or images.shape[3] < width:
        return None
    if images.shape[1] != channels:  # groups
        return None
    sample = rng.integers(0, len(images), PATCHES)
    top = rng.integers(0, images.shape[2] - height + 1, PATCHES)
    left = rng.integers(0, images.shape[3] - width + 1, PATCHES)
    patches = np.stack(
        [images[s, :, t : t + height, x : x + width] for s, t, x in zip(sample, top, left, strict=True)]
    )
    flat = patches.reshape(PATCHES, -1).astype(np.float64)
    return np.asarray(flat @ first.weight.reshape(outputs, -1).T + first.bias, np.float64)


def _layout(name: str, first: _First, array: Array) -> Finding | None:
    if first.channel_axis is None or array.ndim != 4:
        return None
    colours = array.shape[first.channel_axis]
    if colours not in _COLOURS:
        return None
    planes_wanted = first.channel_axis == 1
    width = array.shape[3] if planes_wanted else array.shape[2]
    flat = np.ascontiguousarray(array).reshape(len(array), -1).astype(np.float64)
    if flat.shape[1] <= colours * width:  # a single row
        return None
    in_planes = float(np.abs(flat[:, width:] - flat[:, :-width]).mean())
    interleaved = float(np.abs(flat[:, colours * width :] - flat[:, : -colours * width]).mean())
    smooth, rough = (in_planes, interleaved) if planes_wanted else (interleaved, in_planes)
    if rough <= 0 or smooth < _MARGIN * rough:
        return None
    wanted, found = ("planes", "interleaved") if planes_wanted else ("interleaved", "in planes")
    return Finding(
        "swapped-layout",
        "warning",
        f"the {colours} channels of input {name!r} look {found} in memory and the model wants them "
        f"{'in ' if planes_wanted else ''}{wanted}: one row below differs by {rough:.3g} if they are {found} "
        f"and by {smooth:.3g} as the model reads them",
        "transpose the data, do not reshape it (preprocess: layout)",
    )
