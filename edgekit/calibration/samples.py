"""Samples -> 8-byte hashes: repetitions inside a set, and samples that two sets share.

Memory is bounded: after REMEMBERED_SAMPLES a sample is compared with those remembered, and forgotten.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from edgekit.calibration.finding import Finding
from edgekit.spec import Array, Feeds

REMEMBERED_SAMPLES = 65_536  # 8 bytes each


@dataclass
class SampleLog:
    """Remembers samples by an 8-byte hash, to find repetitions. Bounded."""

    seen: set[bytes] = field(default_factory=set)
    duplicates: int = 0
    first_duplicate: int = -1

    def add(self, feeds: Feeds, *, start: int, count: int) -> None:
        """Look at ``count`` samples: ``feeds`` are (count, ...) arrays, ``start`` is the first index."""
        for index in range(count):
            key = sample_hash({name: array[index] for name, array in feeds.items()})
            if key in self.seen:
                self.duplicates += 1
                self.first_duplicate = self.first_duplicate if self.first_duplicate >= 0 else start + index
            elif len(self.seen) < REMEMBERED_SAMPLES:
                self.seen.add(key)


def sample_hash(sample: Mapping[str, Array]) -> bytes:
    """8 bytes over the values of one sample, inputs in the order of their names."""
    sha = hashlib.sha256()  # processors have instructions for it: 3 times as fast as blake2b here
    for _, array in sorted(sample.items()):
        sha.update(np.ascontiguousarray(array).tobytes())
    return sha.digest()[:8]


def sample_hashes(samples: Iterable[Mapping[str, Array]]) -> frozenset[bytes]:
    """Hashes of the first REMEMBERED_SAMPLES different samples."""
    found: set[bytes] = set()
    for sample in samples:
        if len(found) == REMEMBERED_SAMPLES:
            break
        found.add(sample_hash(sample))
    return frozenset(found)


def overlap(calibration: frozenset[bytes], evaluation: frozenset[bytes]) -> Finding | None:
    """The finding that calibration and evaluation data share samples; None where they do not.

    Args:
        calibration: ``sample_hashes`` of what ranges are learned from.
        evaluation: of what the result is judged on, after the same pre-processing.
    """
    shared = len(calibration & evaluation)
    if not shared:
        return None
    return Finding(
        "data-overlap",
        "warning",
        f"{shared} of {len(evaluation)} evaluation samples are calibration samples too",
        "take them from different splits: a model judged on what it was tuned on looks better than it is",
    )
