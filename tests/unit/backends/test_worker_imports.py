"""A worker imports what its engine needs: every session pays for it."""

from __future__ import annotations

import subprocess
import sys

import pytest

# 40 ms and more each, and no engine computes with them
UNUSED = {"pydantic", "onnx", "onnx_ir", "sympy", "importlib.metadata", "importlib.resources", "rich"}
ENGINES = ("onnxruntime_engine", "openvino_engine", "litert.engine", "litert.gpu_engine")


@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_brings_no_library_that_it_does_not_compute_with(engine: str) -> None:
    code = f"import sys, edgekit.backends.worker_main\nimport edgekit.backends.{engine}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert UNUSED.isdisjoint(done.stdout.split())
