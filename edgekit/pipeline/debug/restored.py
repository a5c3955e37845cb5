"""Float model x what an artifact holds -> the float model that the artifact was made from.

    restoration multiplies channels by 2**k, and the weights behind by 2**-k: the same function, other values

Without knowing, every such value would look wrong. The exponents are read off the values and proved by what
comes behind:

    k[c] = round(log2(rms of c / rms of r))   for values whose channels can be scaled (``restore.channels``)

J1 a value is taken as scaled where what reads it then computes what the artifact does, with an error that is
   GAIN smaller. A fault that makes a channel twice as large stays one: what reads it sees the double.

Source: ``quantization.restore.equalize``, whose factors are powers of two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from edgekit.backends.onnxruntime import open_model
from edgekit.quantization.restore.channels import scalable
from edgekit.quantization.restore.equalize import rescaled
from edgekit.spec import Array, RunOptions
from edgekit.validation import segments

GAIN = 0.25  # of the error's power: 6 dB; noise of rounding changes by less than 1 dB
_NEAR = 0.3  # of an exponent: quantization noise moves the ratio of a channel by less
_SMALL = 0.02  # of the largest channel's rms: below, a channel is mostly rounding and says nothing

Arrays = Mapping[str, Array]


def as_restored(
    model: ir.Model, feeds: Arrays, candidate: Arrays, ends: Sequence[str]
) -> tuple[ir.Model, tuple[str, ...]]:
    """The model with scaled channels, where the artifact has them; ``model`` itself where it has none.

    Args:
        model: canonical float model; untouched.
        feeds: one batch.
        candidate: what the artifact holds at ``ends`` for it.
        ends: names of values.

    Returns:
        The model, and a sentence if it is another one.
    """
    places = {between.value.name or "": between for between in scalable(model)}
    seen = {name: between.seen.name or "" for name, between in places.items()}
    watched = {name: place for name, place in seen.items() if place in candidate}
    if not watched:
        return model, ()
    with open_model(segments.exposed(model, ends), RunOptions()) as session:
        truth = session.run(feeds)
    exponents: dict[str, tuple[int, ...]] = {}
    for name, place in watched.items():
        found = _exponents(truth[place], candidate[place], places[name].axis)
        if found is not None:
            exponents[name] = found
    if not exponents:
        return model, ()
    plain = _own_errors(model, feeds, candidate, ends)
    scaled = _own_errors(rescaled(model, exponents), feeds, candidate, ends)
    proved = {
        name: exponent
        for name, exponent in exponents.items()
        if _is_proved(_readers(model, watched[name], ends, plain, scaled), plain, scaled)
    }
    if not proved:
        return model, ()
    said = f"values whose channels restoration scaled in the artifact, and here alike: {len(proved)}"
    return rescaled(model, proved), (said,)


def _exponents(truth: Array, candidate: Array, axis: int) -> tuple[int, ...] | None:
    """One for each channel; None where nothing is scaled, or by something else than powers of two."""
    others = tuple(each for each in range(truth.ndim) if each != axis)
    r, c = (np.sqrt(np.mean(np.square(each.astype(np.float64)), axis=others)) for each in (truth, candidate))
    alive = (r > 0) & (c > _SMALL * c.max(initial=0.0))
    if not alive.any():
        return None
    ratio = np.zeros(len(r))
    ratio[alive] = np.log2(c[alive] / r[alive])
    whole = np.rint(ratio)
    if not whole.any() or np.mean(np.abs(ratio - whole)[alive] < _NEAR) < 0.9:
        return None
    return tuple(int(each) for each in whole)


def _own_errors(model: ir.Model, feeds: Arrays, candidate: Arrays, ends: Sequence[str]) -> dict[str, float]:
    """Mean square of c - e by end."""
    with open_model(segments.cut(model, ends), RunOptions()) as session:
        expected = session.run(segments.fed(session.inputs, feeds, candidate))
    return {
        name: float(
            np.mean(np.square(candidate[name].astype(np.float64) - expected[name].astype(np.float64)))
        )
        for name in ends
        if name in expected
    }


def _readers(
    model: ir.Model,
    place: str,
    ends: Sequence[str],
    plain: Mapping[str, float],
    scaled: Mapping[str, float],
) -> list[str]:
    """Ends that compute from ``place``.

    One that moves or averages values is as near either way and proves nothing: its readers do.
    """
    pieces = segments.segments(model, ends)
    found: list[str] = []
    waiting = [place]
    while waiting:
        source = waiting.pop()
        for piece in pieces:
            if source in piece.inputs:
                same = plain[piece.name] == scaled[piece.name]
                (waiting if same else found).append(piece.name)
    return found


def _is_proved(readers: Sequence[str], plain: Mapping[str, float], scaled: Mapping[str, float]) -> bool:
    return bool(readers) and all(scaled[name] <= GAIN * plain[name] for name in readers)
