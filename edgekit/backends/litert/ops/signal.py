"""DFT, STFT and window functions -> products with constant cosines and sines, and constants.

    X[k] = sum_n x[n] e^(-+ 2 pi i k n / N)        real = x_r C +- x_i S,  imaginary = x_i C -+ x_r S

N is dft_length: the signal is cut or padded with zeros to it. A one-sided transform keeps N // 2 + 1 bins.

Source: ONNX DFT-20, STFT-17, HannWindow-17, HammingWindow-17, BlackmanWindow-17.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgekit.backends.litert.constants import Reals
from edgekit.backends.litert.ops.terms import Terms, static
from edgekit.backends.litert.parameters import integers
from edgekit.backends.litert.step import Step

# ONNX: a0 - a1 cos(2 pi n / size) + a2 cos(4 pi n / size)
WINDOWS = {
    "BlackmanWindow": (0.42, 0.5, 0.08),
    "HammingWindow": (25 / 46, 21 / 46, 0.0),
    "HannWindow": (0.5, 0.5, 0.0),
}


def _waves(length: int, bins: int) -> tuple[Reals, Reals]:
    """Cosines and sines, (bins, length)."""
    angle = 2 * np.pi * np.outer(np.arange(bins), np.arange(length)) / length
    return np.cos(angle), np.sin(angle)


def _transformed(t: Terms, parts: list[int], length: int, bins: int, *, inverse: bool) -> tuple[int, int]:
    """Real and imaginary part of the transform along the last axis of ``parts`` (real, or both)."""
    cosines, sines = _waves(length, bins)
    if inverse:
        cosines, sines = cosines / length, -sines / length
    c, s = cosines.astype(np.float32), sines.astype(np.float32)
    real, imaginary = t.dense(parts[0], c), t.dense(parts[0], -s)
    if len(parts) > 1:
        real = t.add(real, t.dense(parts[1], s))
        imaginary = t.add(imaginary, t.dense(parts[1], c))
    return real, imaginary


def lower_dft(step: Step) -> None:
    """DFT along one axis of a real (size 1 at the end) or complex (size 2) signal."""
    t, x = Terms(step), step.x(0)
    shape = step.operand(0).shape
    axis = integers(step.unit, 2, "axis")
    place = (axis[0] if axis else int(step.attribute("axis", -2))) % len(shape)
    (have, components) = static((shape[place], shape[-1]), "DFT")
    said = integers(step.unit, 1, "dft_length")
    (bins,) = static(step.out.shape[place : place + 1], "DFT")
    onesided, inverse = bool(step.attribute("onesided", 0)), bool(step.attribute("inverse", 0))
    if onesided and inverse:
        _inverse_of_half(t, x, place, bins)
        return
    length = said[0] if said else have
    x = t.slice(x, place, 0, min(have, length))
    x = t.pad(x, [(0, max(length - have, 0) if i == place else 0) for i in range(len(shape))])
    parts = [t.to_last(t.take(x, len(shape) - 1, k), place) for k in range(components)]
    found = _transformed(t, parts, length, bins, inverse=inverse)
    both = [t.from_last(part, place) for part in found]
    t.finish(t.concat([t.reshape(part, (*t.shape(part), 1)) for part in both], len(shape) - 1))


def _inverse_of_half(t: Terms, x: int, place: int, length: int) -> None:
    """The real signal of ``length`` whose transform has these first bins; the others are their conjugates."""
    last = t.rank(x) - 1
    bins = length // 2 + 1
    (have,) = static(t.shape(x)[place : place + 1], "DFT")
    x = t.slice(x, place, 0, min(have, bins))
    x = t.pad(x, [(0, max(bins - have, 0) if i == place else 0) for i in range(last + 1)])
    twice = np.where((np.arange(bins) == 0) | (2 * np.arange(bins) == length), 1.0, 2.0) / length
    cosines, sines = ((wave.T * twice).astype(np.float32) for wave in _waves(length, bins))
    real, imaginary = (t.to_last(t.take(x, last, k), place) for k in (0, 1))
    found = t.from_last(t.sub(t.dense(real, cosines), t.dense(imaginary, sines)), place)
    t.finish(t.reshape(found, (*t.shape(found), 1)))


def lower_stft(step: Step) -> None:
    """STFT of a real signal (batch, length, 1): frames by GATHER, times the window, transformed."""
    t = Terms(step)
    shape = static(step.operand(0).shape, "STFT")
    frames, bins = static(step.out.shape[1:3], "STFT")
    hop = integers(step.unit, 1, "frame_step")
    said = integers(step.unit, 3, "frame_length")
    window = step.operand(2) if step.has(2) else None
    size = said[0] if said else window.shape[0] if window is not None else shape[1]
    if not isinstance(size, int) or not hop:
        raise step.refusal("dynamic-size", "STFT with frames of unknown length", "make frame_length constant")
    expected = size // 2 + 1 if step.attribute("onesided", 1) else size
    if bins != expected:  # onnx 1.23 infers both sides where onesided is left to its default
        raise step.refusal(
            "output-size",
            f"{bins} bins are declared where the operator gives {expected}",
            "state the attribute onesided, and infer shapes again",
        )
    places = np.arange(frames)[:, None] * hop[0] + np.arange(size)[None, :]
    components = shape[2] if len(shape) > 2 else 1
    signal = t.reshape(step.x(0), (*shape[:2], components))
    parts = []
    for k in range(components):
        cut = t.rows(t.take(signal, 2, k), places, 1)
        parts.append(t.mul(cut, step.x(2)) if window is not None else cut)
    real, imaginary = _transformed(t, parts, size, bins, inverse=False)
    t.finish(t.concat([t.reshape(part, (*t.shape(part), 1)) for part in (real, imaginary)], 3))


def lower_window(step: Step) -> None:
    """HannWindow, HammingWindow, BlackmanWindow of the size that was inferred: a constant."""
    t = Terms(step)
    (size,) = static(step.out.shape, step.unit.op)
    a, b, c = WINDOWS[step.unit.op]
    period = size if step.attribute("periodic", 1) else max(size - 1, 1)
    angle = 2 * np.pi * np.arange(size) / period
    t.finish(t.const(a - b * np.cos(angle) + c * np.cos(2 * angle), step.out.dtype))


LOWERINGS: dict[str, Callable[[Step], None]] = {
    "DFT": lower_dft,
    "STFT": lower_stft,
    **dict.fromkeys(WINDOWS, lower_window),
}
