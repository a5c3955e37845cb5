"""Process that may import TensorFlow -> the same, with the library of Triton loaded already.

CUDA builds of PyTorch bring Triton, and ``torch.export`` imports it. Its library crashes the process
(segmentation fault) when it is loaded after TensorFlow's: both hold an LLVM. The other order is fine. Seen
with triton 3.7.1, tensorflow-cpu 2.21.0, torch 2.13.0+cu130; ``import tensorflow, triton`` is all it takes.
Builds of PyTorch for the CPU have no Triton, and then nothing happens here.
"""

from __future__ import annotations

import importlib
import sys


def load_triton_first() -> None:
    """Call before anything that may import TensorFlow; a tenth of a second where Triton is installed."""
    if "tensorflow" in sys.modules or "triton" in sys.modules:
        return
    try:
        importlib.import_module("triton")
    except ImportError:  # not installed, or not for this platform: then nothing loads it later either
        return
