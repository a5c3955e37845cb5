"""A .tflite file -> what LiteRT executes: its operators, and which of them the delegate takes.

Runs inside a worker.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgekit.backends.litert.delegated import DELEGATE, parts
from edgekit.backends.litert.engine import open_interpreter
from edgekit.spec import RunOptions


def operators(path: str, threads: int, settings: list[list[str]]) -> list[dict[str, Any]]:
    """The file's operators in order: "name", "outputs" (indices of tensors) and "delegated".

    Args:
        path: of the file.
        threads: as it is run.
        settings: (name, value) pairs, as it is run.
    """
    options = RunOptions(threads, "cpu", tuple((name, value) for name, value in settings))
    interpreter, _ = open_interpreter(Path(path), options)
    listed = interpreter._get_ops_details()
    real = [each for each in listed if each["op_name"] != DELEGATE]
    taken = set().union(*parts(listed))
    return [
        {
            "name": str(each["op_name"]),
            "outputs": [int(tensor) for tensor in each["outputs"]],
            "delegated": number in taken,
        }
        for number, each in enumerate(real)
    ]
