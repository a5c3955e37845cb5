"""Case -> whether its fault does damage: what is left of the outputs, against a healthy candidate.

    harmed    the worst output keeps less than 20 dB, and 6 dB less than that of the healthy candidate

Computed with ONNX Runtime in this process, candidate and reference on the same samples.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from benchmarks.faults.case import Case
from benchmarks.faults.in_process import InProcess
from benchmarks.faults.subjects import Subject
from edgekit.backends.worker_process import EngineError
from edgekit.spec import Array, RunOptions
from edgekit.validation.layers import sqnr_db

LEFT_DB, LESS_DB = 20.0, 6.0


def does_damage(case: Case, subject: Subject) -> bool:
    """Whether the fault is one that somebody would look for."""
    try:
        left = outputs_db(case.reference, case.candidate, case.feeds)
    except EngineError:  # ONNX Runtime refuses the graph: no candidate, so no fault
        return False
    return left < LEFT_DB and left < _healthy(subject) - LESS_DB


@functools.cache
def _healthy(subject: Subject) -> float:
    return outputs_db(subject.model, subject.candidate(), subject.feeds)


def outputs_db(reference: ir.Model, candidate: ir.Model, feeds: Sequence[Mapping[str, Array]]) -> float:
    """Signal to noise of the worst float output."""
    truth, seen = _run(reference, feeds), _run(candidate, feeds)
    worst = math.inf
    for name, array in truth.items():
        if array.dtype == np.float32:
            r, c = array.astype(np.float64).ravel(), seen[name].astype(np.float64).ravel()
            worst = min(worst, sqnr_db(float(r @ r), float((c - r) @ (c - r))))
    return worst


def _run(model: ir.Model, feeds: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    with InProcess(model, RunOptions()) as session:
        found = [session.run(batch) for batch in feeds]
        return {spec.name: np.concatenate([rows[spec.name] for rows in found]) for spec in session.outputs}
