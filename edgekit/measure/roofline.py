"""Work and time of a kernel x what the machine can do at best -> how near it comes, and what holds it.

    floor time = max(operations / peak(type), bytes / bandwidth(bytes))        fraction = floor time / time

    compute bound    operations / peak is the larger of the two
    memory bound     bytes / bandwidth is
    overhead bound   the kernel takes more than ten times the floor: neither explains it (dispatch, a layout
                     change inside, a slow implementation)

The bandwidth is a curve over the size of the working set, because what fits a cache moves faster than memory:
with the bandwidth of main memory alone, half of the kernels of a small network would be "above the roof".

Source: S. Williams, A. Waterman, D. Patterson, "Roofline", CACM 52(4), 2009; A. Ilic, F. Pratas, L. Sousa,
"Cache-aware Roofline model", IEEE CAL 13(1), 2014.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Bound = Literal["compute", "memory", "overhead", ""]

OVERHEAD = 0.1  # fraction of the roof below which neither roof explains a kernel's time
CLOCK_US = 10.0  # below it a clock of whole microseconds is wrong by more than a tenth: no rate is stated
ABOVE = 1.1  # times the roof from which a figure cannot be right: rates here repeat within 10 per cent


@dataclass(frozen=True)
class Roof:
    """What the machine does at best.

    Attributes:
        gops: billions of operations per second by element type; a multiplication and an addition are two.
        bandwidth: (working set in bytes, billions of bytes per second), by size.
        threads: that it was measured with.
        how: by type, and for "bandwidth", what was measured.
    """

    gops: Mapping[str, float]
    bandwidth: tuple[tuple[int, float], ...]
    threads: int
    how: Mapping[str, str] = field(default_factory=dict)

    def gbs(self, size_bytes: int) -> float | None:
        """Bandwidth for a working set: that of the largest measured one that is no larger, or faster.

        The curve is taken as falling: a larger set cannot move faster than a smaller one that was measured.
        """
        if not self.bandwidth:
            return None
        smaller = [rate for size, rate in self.bandwidth if size <= size_bytes]
        larger = [rate for size, rate in self.bandwidth if size >= size_bytes]
        if not smaller:
            return max(larger)
        return max([smaller[-1], *larger])


@dataclass(frozen=True, slots=True)
class Standing:
    """One kernel under the roof; None where something is not known.

    Attributes:
        gops: operations per second, in billions.
        gbs: bytes per second, in billions.
        intensity: operations per byte.
        fraction: of the roof.
        bound: what holds it.
    """

    gops: float | None
    gbs: float | None
    intensity: float | None
    fraction: float | None
    bound: Bound


def standing(
    *, us: float, operations: int | None, moved_bytes: int | None, dtype: str, roof: Roof
) -> Standing:
    """Where a kernel of ``us`` microseconds stands.

    Args:
        us: of one inference.
        operations: in one inference; a MAC is two.
        moved_bytes: likewise.
        dtype: that it computes in; where the roof does not know it, computing is taken as free.
        roof: of this machine.
    """
    if us < CLOCK_US:
        return Standing(None, None, _intensity(operations, moved_bytes), None, "")
    gops = None if operations is None else operations / us / 1e3
    gbs = None if moved_bytes is None else moved_bytes / us / 1e3
    peak, rate = roof.gops.get(dtype or "float32"), roof.gbs(moved_bytes or 0)
    computing = operations / peak / 1e3 if operations and peak else 0.0
    moving = moved_bytes / rate / 1e3 if moved_bytes and rate else 0.0
    floor = max(computing, moving)
    if operations is None or moved_bytes is None or not floor:
        return Standing(gops, gbs, _intensity(operations, moved_bytes), None, "")
    fraction = floor / us
    bound: Bound = "overhead" if fraction < OVERHEAD else "compute" if computing >= moving else "memory"
    return Standing(gops, gbs, _intensity(operations, moved_bytes), fraction, bound)


def central(samples: Sequence[float]) -> float:
    """Mean of the middle half: as firm as a median, and finer than a clock that counts whole microseconds."""
    ordered = sorted(samples)
    cut = len(ordered) // 4
    middle = ordered[cut : len(ordered) - cut]
    return sum(middle) / len(middle) if middle else 0.0


def _intensity(operations: int | None, moved_bytes: int | None) -> float | None:
    return operations / moved_bytes if operations is not None and moved_bytes else None
