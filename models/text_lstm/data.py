"""Sentences -> tokens (batch, 40) int32, padded on the left, and labels: see models/sentences.py.

SST-2 where EDGEKIT_DATA has it, else sentences of Python's own docstrings.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[1]))

import sentences  # shared with text_attention

HERE = Path(__file__).resolve().parent
BATCH = 100


@functools.cache
def load(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Tokens (n, 40) int32 and labels (n,) int64 of the split "train" or "test"."""
    texts, labels = sentences.load(split)
    # on the left: the last step of the recurrence is then the last word, and no mask is needed
    return sentences.tokens(texts, HERE / "vocabulary.txt", pad="left"), labels


def _batches(split: str, count: int | None = None) -> Iterator[dict[str, np.ndarray]]:
    tokens, labels = (array[:count] for array in load(split))
    for start in range(0, len(tokens), BATCH):
        yield {"tokens": tokens[start : start + BATCH], "labels": labels[start : start + BATCH]}


def calibration() -> Iterator[dict[str, np.ndarray]]:
    return _batches("train", 300)


def evaluation() -> Iterator[dict[str, np.ndarray]]:
    return _batches("test")
