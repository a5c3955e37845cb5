"""What calibration saw of its data -> findings: a code, a sentence, a remedy.

| code | severity | when |
|---|---|---|
| too-few-samples | warning | fewer than 16 samples: rare but normal values are missing from the ranges |
| duplicate-samples | warning | the same sample more than once: it counts, but shows nothing new |
| constant-input | warning | an input has one value in all samples: the data or the pre-processing is broken |
| dead-activation | info | a tensor has one value on all data: part of the network never reacts |

A finding is advice: nothing fails because of one. What cannot be used at all is a DataError.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from edgekit.spec import Array, Feeds, Range

FEW_SAMPLES = 16  # below, one sample moves a minimum or maximum visibly; peers recommend 100 to 300
REMEMBERED_SAMPLES = 65_536  # 8 bytes each: memory stays bounded, later repetitions go unnoticed


@dataclass(frozen=True)
class Finding:
    """Something worth knowing about the calibration data.

    Attributes:
        code: stable name; documentation and filters use it.
        severity: "warning" where quality is at stake, "info" otherwise.
        text: what was seen, with names and numbers.
        remedy: what to do about it.
    """

    code: str
    severity: Literal["warning", "info"]
    text: str
    remedy: str


@dataclass
class SampleLog:
    """Remembers samples by an 8-byte hash, to find repetitions. Bounded."""

    seen: set[bytes] = field(default_factory=set)
    duplicates: int = 0
    first_duplicate: int = -1

    def add(self, feeds: Feeds, *, start: int, count: int) -> None:
        """Look at ``count`` samples: ``feeds`` are (count, ...) arrays, ``start`` is the first index."""
        for index in range(count):
            key = _sample_hash([np.asarray(array[index]) for _, array in sorted(feeds.items())])
            if key in self.seen:
                self.duplicates += 1
                self.first_duplicate = self.first_duplicate if self.first_duplicate >= 0 else start + index
            elif len(self.seen) < REMEMBERED_SAMPLES:
                self.seen.add(key)


def _sample_hash(arrays: Iterable[Array]) -> bytes:
    sha = hashlib.blake2b(digest_size=8)
    for array in arrays:
        sha.update(np.ascontiguousarray(array).tobytes())
    return sha.digest()


def findings(
    *, samples: int, log: SampleLog, inputs: Mapping[str, Range], activations: Mapping[str, Range]
) -> tuple[Finding, ...]:
    """All findings, in the order of the table.

    Args:
        samples: how many samples were seen.
        log: their repetitions.
        inputs: exact extrema of each input.
        activations: exact extrema of each float value between nodes.
    """
    found = []
    if samples < FEW_SAMPLES:
        found.append(
            Finding(
                "too-few-samples",
                "warning",
                f"{samples} calibration samples",
                f"use at least {FEW_SAMPLES}, better 100 to 300, drawn like the data of production",
            )
        )
    if log.duplicates:
        found.append(
            Finding(
                "duplicate-samples",
                "warning",
                f"{log.duplicates} of {samples} samples repeat an earlier one (first: sample "
                f"{log.first_duplicate})",
                "remove repetitions, or check how the samples are drawn",
            )
        )
    found.extend(
        Finding(
            "constant-input",
            "warning",
            f"input {name!r} is {extent.low:g} in every sample",
            "check the data file and the pre-processing: this input carries nothing",
        )
        for name, extent in inputs.items()
        if extent.low == extent.high
    )
    dead = sorted(name for name, extent in activations.items() if extent.low == extent.high)
    if dead:
        shown = ", ".join(repr(name) for name in dead[:3]) + (", ..." if len(dead) > 3 else "")
        found.append(
            Finding(
                "dead-activation",
                "info",
                f"{len(dead)} value(s) never change on the calibration data: {shown}",
                "check that the data covers what the model is for",
            )
        )
    return tuple(found)
