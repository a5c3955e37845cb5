"""What `edgekit bench --profile` found: every kernel of every artifact, and the machine's roof."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class KernelRow:
    """One kernel as a runtime ran it; None where the runtime or the file does not say.

    Attributes:
        source: the model's nodes that it stands for, in the words of the file.
        operator: its type, in the runtime's words.
        kernel: which implementation.
        dtype: element type that it computes in.
        us: self time of one inference: the mean of the middle half of the samples.
        share: of the sum of all kernels.
        calls: in one inference.
        macs: multiply-accumulates of one inference.
        operations: two for each MAC (``pipeline.file_costs``).
        read_bytes: activations that it reads.
        weight_bytes: constants that it reads.
        written_bytes: what it writes.
        gops: billions of operations per second that it achieves.
        gbs: billions of bytes per second.
        intensity: operations per byte.
        fraction: of the roof.
        bound: what holds it (``measure.roofline``); "" where that is not known.
        fallback: why it does not run as the artifact is meant to; "" where it does.
    """

    source: tuple[str, ...]
    operator: str
    kernel: str
    device: str
    dtype: str
    us: float
    share: float
    calls: int
    macs: int | None
    operations: int | None
    read_bytes: int | None
    weight_bytes: int | None
    written_bytes: int | None
    gops: float | None
    gbs: float | None
    intensity: float | None
    fraction: float | None
    bound: Literal["compute", "memory", "overhead", ""]
    fallback: str = ""


@dataclass(frozen=True)
class ProfileRow:
    """One artifact's profile.

    Attributes:
        clock: whose times they are.
        inside: sum of the kernels' times / time of the inferences that were profiled.
        slowdown: time of the inferences that were profiled / time of those that were not.
        latency_us: of an inference that was not profiled: the mean of the middle half.
        runs: inferences that were profiled.
        kernels: in the order of execution.
        notes: what the reader should know.
        reason: why there is no profile; "" where there is one.
        remedy: what to do about it.
    """

    artifact: str
    clock: str
    inside: float | None
    slowdown: float | None
    latency_us: float | None
    runs: int
    kernels: tuple[KernelRow, ...]
    notes: tuple[str, ...] = ()
    reason: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class RoofRow:
    """What the machine does at best, measured.

    Attributes:
        threads: that it was measured with.
        gops: billions of operations per second by element type.
        bandwidth: (working set in bytes, billions of bytes per second).
        how: what was measured, by type and for "bandwidth".
    """

    threads: int
    gops: Mapping[str, float]
    bandwidth: tuple[tuple[int, float], ...]
    how: Mapping[str, str] = field(default_factory=dict)
