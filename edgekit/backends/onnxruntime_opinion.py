"""ONNX file --the specification's checker, then ONNX Runtime--> who refuses it and why, or "".

Called in a worker (``worker.call_in_worker``): either may die of a hostile file, and that is an answer too.
"""

from __future__ import annotations

from pathlib import Path

from edgekit.ir.complaint import complaint_of_file
from edgekit.settings import silence_native_libraries


def opinion(path: str) -> str:
    """The first refusal, beginning with who refuses."""
    silence_native_libraries()
    found = complaint_of_file(Path(path))
    if found:
        return f"the ONNX checker says: {found}"
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # its refusal is raised; what it logs beside that is no news
    try:
        onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001  (pybind gives a class of its own for each status)
        return f"ONNX Runtime says: {(str(error).strip() or type(error).__name__).splitlines()[0]}"
    return ""
