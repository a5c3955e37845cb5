"""Log records of onnxscript and onnx_ir below ERROR -> nowhere, while they work.

They are notes for the authors of those packages ("Skipping constant folding for op ..."); without a logging
configuration Python prints them on the user's terminal. Several threads may be inside: the first one in
raises the level, and the last one out puts it back.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

PACKAGES = ("onnxscript", "onnx_ir")
_lock = threading.Lock()
_inside = 0
_before: dict[str, int] = {}


@contextmanager
def quiet() -> Iterator[None]:
    """Raise the level of both packages to ERROR, and put back what was."""
    global _inside
    with _lock:
        _inside += 1
        if _inside == 1:
            for name in PACKAGES:
                _before[name] = logging.getLogger(name).level
                logging.getLogger(name).setLevel(logging.ERROR)
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                for name, level in _before.items():
                    logging.getLogger(name).setLevel(level)
