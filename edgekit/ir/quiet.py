"""Log records of onnxscript and onnx_ir below ERROR -> nowhere, while they work.

They are notes for the authors of those packages ("Skipping constant folding for op ..."); without a logging
configuration Python prints them on the user's terminal.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

PACKAGES = ("onnxscript", "onnx_ir")


@contextmanager
def quiet() -> Iterator[None]:
    """Raise the level of both packages to ERROR, and put back what was."""
    loggers = [logging.getLogger(name) for name in PACKAGES]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
