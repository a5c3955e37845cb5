"""scikit-learn's breast cancer data -> features (batch, 30) in their own units, and labels: 1 = benign."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np
from sklearn.datasets import load_breast_cancer

TRAINING = 228  # of 569 samples; 341 test, because few samples make wide intervals
SEED = 0
BATCH = 100


@functools.cache
def load(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Features (n, 30) float32 and labels (n,) int64 of the split "train" or "test"."""
    features, labels = load_breast_cancer(return_X_y=True)
    order = np.random.default_rng(SEED).permutation(len(features))
    order = order[:TRAINING] if split == "train" else order[TRAINING:]
    return features[order].astype(np.float32), labels[order].astype(np.int64)


def _batches(split: str) -> Iterator[dict[str, np.ndarray]]:
    features, labels = load(split)
    for start in range(0, len(features), BATCH):
        yield {"features": features[start : start + BATCH], "labels": labels[start : start + BATCH]}


def calibration() -> Iterator[dict[str, np.ndarray]]:
    return _batches("train")


def evaluation() -> Iterator[dict[str, np.ndarray]]:
    return _batches("test")
