"""A .tflite file -> what LiteRT executes: its operators, and which of them the delegate takes.

    delegate: tensors in -> tensors out      =>  every operator between them is the delegate's

Runs inside a worker. The interpreter lists the file's operators first and one DELEGATE for each part of the
graph that XNNPACK took (tflite/core/subgraph.cc, ReplaceNodeSubsetsWithDelegateKernels).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekit.backends.litert.engine import open_interpreter
from edgekit.spec import RunOptions

DELEGATE = "DELEGATE"


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


def parts(listed: Sequence[Mapping[str, Any]]) -> list[set[int]]:
    """For each part of the graph that the delegate took, the places of its operators in the file.

    Args:
        listed: what the interpreter lists, the delegate's nodes included.
    """
    real = [each for each in listed if each["op_name"] != DELEGATE]
    makers = {int(tensor): number for number, each in enumerate(real) for tensor in each["outputs"]}
    return [
        _between(real, makers, set(map(int, part["inputs"])), list(map(int, part["outputs"])))
        for part in listed
        if part["op_name"] == DELEGATE
    ]


def _between(
    real: Sequence[Mapping[str, Any]], makers: dict[int, int], inputs: set[int], outputs: list[int]
) -> set[int]:
    """Operators on the way from ``inputs`` to ``outputs``."""
    found: set[int] = set()
    waiting = list(outputs)
    while waiting:
        tensor = waiting.pop()
        number = makers.get(tensor)
        if number is None or number in found or tensor in inputs:
            continue
        found.add(number)
        waiting.extend(int(each) for each in real[number]["inputs"])
    return found
