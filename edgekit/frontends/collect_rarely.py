"""Import and trace of a framework -> the same, with fewer walks of Python's garbage collector.

torch and TensorFlow make millions of objects that stay, and the collector walks all of them again and again:
15 to 20 % of the processor time of ``import keras`` and of ``torch.onnx.export``, for nothing to collect.

Source: https://docs.python.org/3/library/gc.html (set_threshold); measured by benchmarks/export_cost.py.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

# New objects between two walks. Not "never": a user's builder may train, and drop tensors in cycles.
OBJECTS = 500_000


@contextlib.contextmanager
def collect_rarely() -> Iterator[None]:
    """Raise the collector's first threshold inside the block; off stays off, higher stays higher."""
    first, second, third = before = gc.get_threshold()
    if first:
        gc.set_threshold(max(first, OBJECTS), second, third)
    try:
        yield
    finally:
        gc.set_threshold(*before)
