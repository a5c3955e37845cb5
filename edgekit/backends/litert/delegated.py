"""What a LiteRT interpreter lists -> the operators of the file that its delegate takes, part by part.

    delegate: tensors in -> tensors out      =>  every operator between them is the delegate's

The file's operators come first and one DELEGATE for each part of the graph that XNNPACK took
(tflite/core/subgraph.cc, ReplaceNodeSubsetsWithDelegateKernels).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

DELEGATE = "DELEGATE"


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
