"""Tests of one process import PyTorch and TensorFlow in any order: see ``frontends.triton_first``."""

from __future__ import annotations

from edgekit.frontends.triton_first import load_triton_first

load_triton_first()
