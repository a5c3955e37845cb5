"""One fault in one model: a float reference, a candidate with the fault, the cause that is to be named."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from benchmarks.faults.subjects import Subject
from edgekit.spec import Array

Rng = np.random.Generator


@dataclass(frozen=True, eq=False)
class Case:
    """What `edgekit debug` is given, and what it should say.

    Attributes:
        kind: name of the cause.
        subject: name of the model.
        site: where the fault was put, and how large it is.
        reference: float.
        candidate: QDQ, or float where that is what is converted.
        feeds: samples.
        harmless: whether no number is wrong by it (float fallback).
    """

    kind: str
    subject: str
    site: str
    reference: ir.Model
    candidate: ir.Model
    feeds: tuple[Mapping[str, Array], ...]
    harmless: bool = False
    kept: Mapping[str, str] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """For tables."""
        return f"{self.kind} | {self.subject} | {self.site}"


Maker = Callable[[Subject, Rng], Iterator[Case]]
"""Subject and generator -> cases at one site after the other; who calls takes those that do damage."""


def shuffled(rng: Rng, items: list[str]) -> list[str]:
    """The same items in a drawn order."""
    return [items[int(index)] for index in rng.permutation(len(items))]
