"""Float model x peaks per channel -> the same function with channels of like size (cross-layer equalization).

    W1[c] * 2**k[c],  b1[c] * 2**k[c],  W2[:, c] * 2**-k[c]          k integer: results are equal bit for bit

An activation has one scale for all channels, a weight one for each output channel. So small channels of an
activation are raised towards the largest, as far as the columns of the weights that read them allow: theirs
grow apart. The exponents minimise this model of the quantization noise at the readers' outputs, over a family
(E1), and no scaling is one of its members (E2):

    noise = sum over o of  [ step_x^2 * sum_c W2[o,c]^2  +  step_w[o]^2 * sum_c mean(x[c]^2) ] / signal[o]

E1: k[c] = round(b * log2(largest peak / peak[c]) - g * log2(largest column / column[c])) for some b, g.
E2: nothing is done for less than a gain of GAIN in the noise.
E3: a channel that is always zero, or whose columns are, is left alone.
E4: where a factor would leave the normal float32 numbers, the value is left alone: 2**-k would not undo it.
E5: a weight that other operators read too is copied first.
E6: without peaks of the data they are estimated from the weights: norm of W1[c] plus |b1[c]|.
E7: what is scaled of a large model lies in a temporary file: several forms of it are looked at side by side,
    and half of all weights stand behind a normalization.

Source: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction" (2019), section
4.1; Xiao et al., "SmoothQuant" (2022), equation 4, of which g = b = 1/2 is the case alpha = 1/2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgekit.errors import InputError
from edgekit.ir.graph import add_initializer, constant, int_attribute, is_onnx
from edgekit.ir.set_aside import set_aside
from edgekit.quantization.restore.channels import Between, Integers, Reader, columns, head_axis, scalable
from edgekit.spec import Array

Floats = npt.NDArray[np.float64]
Exponents = Mapping[str, tuple[int, ...]]
Behind = Literal["any", "layers", "norms"]

FAMILY = ((0.25, 0.0), (0.5, 0.0), (0.75, 0.0), (1.0, 0.0), (0.5, 0.25), (0.25, 0.25), (0.5, 0.5))  # (b, g)
LARGEST = 12  # 4096 times: beyond, a channel is noise beside the others and not worth a factor
GAIN = 0.9  # of the noise that may be left for a change to be made; the model of it is no better than this
CREST = 4.0  # peak over root mean square that is assumed of an activation


def watched_channels(model: ir.Model) -> dict[str, int]:
    """Value name -> channel axis: the values whose peaks ``exponents`` wants."""
    return {between.seen.name or "": between.axis for between in scalable(model)}


def exponents(
    model: ir.Model, peaks: Mapping[str, Array] | None = None, *, behind: Behind = "any"
) -> dict[str, tuple[int, ...]]:
    """By value name, the exponent of each channel; values where nothing is gained are absent.

    Args:
        model: canonical float model; untouched.
        peaks: value name -> (channels,) largest absolute values (``watched_channels``); None: E6.
        behind: "layers" for cross-layer equalization alone, "norms" for SmoothQuant's migration alone.
    """
    found = {}
    for between in scalable(model):
        peak = _peaks(between, peaks)
        if peak is None or behind == ("layers" if between.is_norm else "norms"):
            continue
        best = _best(between, peak)
        if best is not None and _is_exact(between, best):
            found[between.value.name or ""] = tuple(int(each) for each in best)
    return found


def rescaled(model: ir.Model, exponents_of: Exponents) -> ir.Model:
    """``model`` with the channels of the named values multiplied by powers of two; the same function.

    Raises:
        InputError: a value cannot be scaled: the exponents are of another model.
    """
    result = model.clone()
    known = {between.value.name: between for between in scalable(result)}
    for name, powers in exponents_of.items():
        between = known.get(name)
        if between is None or len(powers) != between.channels:
            raise InputError(
                f"the channels of {name!r} cannot be scaled in this model",
                why="the restoration was decided for another model",
                remedy="decide it anew: `edgekit release --update`",
            )
        for node, index, array, power in _scaled(between, np.asarray(powers, np.int64)):
            _write(result, node, index, np.ldexp(array, power))
    return result


def _peaks(between: Between, peaks: Mapping[str, Array] | None) -> Floats | None:
    if peaks is not None:
        found = peaks.get(between.seen.name or "")
        return None if found is None else np.asarray(found, np.float64)
    head = between.head
    if not is_onnx(head, "Conv", "Gemm", "MatMul"):
        return None
    weight = constant(head.inputs[1])
    if weight is None:
        return None
    rows = np.moveaxis(weight.astype(np.float64), head_axis(head), 0).reshape(between.channels, -1)
    bias = constant(head.inputs[2]) if len(head.inputs) > 2 else None
    offset = np.zeros(between.channels) if bias is None else np.abs(bias.astype(np.float64).ravel())
    return np.asarray(np.sqrt((rows**2).sum(axis=1)) + offset)  # E6


def _best(between: Between, peak: Floats) -> Integers | None:
    """E1 to E3."""
    sizes = [_column_sizes(reader) for reader in between.readers]
    column = np.maximum.reduce(
        [
            _channel_column(reader, size[0], between.channels)
            for reader, size in zip(between.readers, sizes, strict=True)
        ]
    )
    alive = (peak > 0) & (column > 0)
    if not alive.any():
        return None
    room = np.where(alive, np.log2(peak.max() / np.where(alive, peak, 1.0)), 0.0)
    width = np.where(alive, np.log2(column.max() / np.where(alive, column, 1.0)), 0.0)
    plain = np.zeros(between.channels, np.int64)
    start = _noise(between, sizes, peak, plain)
    best, least = None, GAIN * start
    for part, other in FAMILY:
        wanted = np.clip(np.rint(part * room - other * width), -LARGEST, LARGEST).astype(np.int64)
        powers = np.where(alive, wanted, 0)
        noise = _noise(between, sizes, peak, powers)
        if powers.any() and noise < least:
            best, least = powers, noise
    return best


def _column_sizes(reader: Reader) -> tuple[Floats, Floats, int]:
    """(rows, columns of a group) largest and summed squared weight over the kernel, and the kernel's size."""
    weight = constant(reader.node.inputs[1])
    if weight is None:
        raise TypeError(f"{reader.node.name} has no constant weight")
    exact = weight.astype(np.float64)
    if not is_onnx(reader.node, "Conv"):
        matrix = exact if _is_transposed(reader.node) else exact.T
        parts = matrix.reshape(matrix.shape[0], -1, reader.repeat)
        return np.abs(parts).max(axis=2), (parts**2).sum(axis=2), reader.repeat
    flat = exact.reshape(*exact.shape[:2], -1)
    return np.abs(flat).max(axis=2), (flat**2).sum(axis=2), flat.shape[2]


def _is_transposed(node: ir.Node) -> bool:
    return is_onnx(node, "Gemm") and bool(int_attribute(node, "transB", 0))


def _spread(reader: Reader, per_channel: Floats, rows: int) -> Floats:
    """(channels,) -> (rows, columns of a group), or (1, columns) where there are no groups."""
    groups = int_attribute(reader.node, "group", 1) if is_onnx(reader.node, "Conv") else 1
    if groups == 1:
        return per_channel[None, :]
    return np.repeat(per_channel.reshape(groups, -1), rows // groups, axis=0)


def _channel_column(reader: Reader, largest: Floats, channels: int) -> Floats:
    """(channels,) largest weight of each column, relative to that of its row: rows have their own scales."""
    row = largest.max(axis=1, keepdims=True)
    relative = largest / np.where(row > 0, row, 1.0)
    groups = channels // largest.shape[1]
    return np.asarray(relative.reshape(groups, -1, largest.shape[1]).max(axis=1).ravel())


def _noise(
    between: Between, sizes: list[tuple[Floats, Floats, int]], peak: Floats, powers: Integers
) -> float:
    """The noise of the module's docstring, summed over readers."""
    factor = np.exp2(powers.astype(np.float64))
    step = (peak * factor).max() / 255
    power = (peak / CREST) ** 2
    total = 0.0
    for reader, (largest, squares, kernel) in zip(between.readers, sizes, strict=True):
        rows = len(largest)
        scale, mean = _spread(reader, factor, rows), _spread(reader, power, rows)
        signal = (squares * mean).sum(axis=1)
        step_weight = (largest / scale).max(axis=1) / 127
        of_input = step**2 * (squares / scale**2).sum(axis=1)
        of_weight = step_weight**2 * kernel * (mean * scale**2).sum(axis=-1)
        used = signal > 0
        noise = of_input + np.broadcast_to(of_weight, of_input.shape)
        total += float((noise[used] / signal[used]).sum())
    return total


def _is_exact(between: Between, powers: Integers) -> bool:
    """E4."""
    for _, _, array, exponent in _scaled(between, powers):
        with np.errstate(over="ignore", under="ignore"):
            there = np.ldexp(array, exponent)
            back = np.ldexp(there, -exponent)
        small = (there != 0) & (np.abs(there) < np.finfo(np.float32).tiny)
        if not np.array_equal(back, array) or small.any():
            return False
    return True


_Scaled = tuple[ir.Node, int, Array, Integers]


def _scaled(between: Between, powers: Integers) -> list[_Scaled]:
    """(node, input, array, exponents that broadcast against it) of everything that is multiplied."""
    found: list[_Scaled] = []
    head = between.head
    for index in between.constants:
        array = constant(head.inputs[index])
        if array is not None:
            axis = head_axis(head) if index == 1 and array.ndim > 1 else array.ndim - 1
            shape = [-1 if each == axis else 1 for each in range(array.ndim)]
            found.append((head, index, array, powers.reshape(shape)))
    for reader in between.readers:
        array = constant(reader.node.inputs[1])
        if array is not None:
            found.append((reader.node, 1, array, -columns(reader, powers, shape=array.shape)))
    return found


def _write(model: ir.Model, node: ir.Node, index: int, array: Array) -> None:
    """E5: a constant of ``node`` alone keeps its name. E7."""
    source, graph = node.inputs[index], model.graph
    if source is None:
        return
    stored = set_aside(array.astype(np.float32, copy=False), of=model)
    if len(tuple(source.uses())) == 1 and source.name in graph.initializers:
        source.const_value = ir.tensor(stored, name=source.name)
    else:
        node.replace_input_with(index, add_initializer(graph, f"{source.name}_scaled", stored))
