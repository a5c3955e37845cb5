"""A wrong epsilon: of LayerNormalization in the graph, or of a BatchNormalization before it was folded.

The candidate is made of the wrong float graph, calibrated as such: that is what a converter with another
default
(Keras 1e-3, PyTorch 1e-5, BERT 1e-12) gives. Variances that are large hide it; the smallest of 1e-3, 1e-2,
1e-1 and 1 that does damage is taken.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from benchmarks.faults.case import Case, Rng, shuffled
from benchmarks.faults.subjects import Subject
from edgekit.frontends.call_source import call_source
from edgekit.frontends.torch import load_module
from edgekit.ir.graph import is_onnx
from edgekit.passes import canonicalize
from edgekit.quantization.apply import apply

EPSILONS = (1e-3, 1e-2, 1e-1, 1.0)
_NORMS = ("LayerNormalization", "InstanceNormalization", "GroupNormalization", "BatchNormalization")


def epsilon(subject: Subject, rng: Rng) -> Iterator[Case]:
    """One normalization, of the canonical graph where it has some, else of the exported one."""
    names = [node.name or "" for node in subject.model.graph if is_onnx(node, *_NORMS)]
    for name in shuffled(rng, names):
        for value in EPSILONS:
            clone = subject.model.clone()
            node = next(each for each in clone.graph if each.name == name)
            node.attributes["epsilon"] = ir.AttrFloat32("epsilon", value)
            yield _case(subject, clone, f"{name}, epsilon {value:g}")
    if not names:
        yield from _folded(subject, rng)


def _folded(subject: Subject, rng: Rng) -> Iterator[Case]:
    """Of the PyTorch module that the recipe names: another epsilon, then exported as ever."""
    source = subject.request.source
    names = [
        name
        for name, module in call_source(source, base=subject.request.base).named_modules()
        if _is_norm(module)
    ]
    for name in shuffled(rng, names):
        for value in EPSILONS:
            module = call_source(source, base=subject.request.base)
            dict(module.named_modules())[name].eps = value
            changed = canonicalize(load_module(module, subject.request).model)
            yield _case(subject, changed, f"{name} (folded), epsilon {value:g}")


def _is_norm(module: object) -> bool:
    return type(module).__name__.startswith("BatchNorm")


def _case(subject: Subject, changed: ir.Model, site: str) -> Case:
    candidate = apply(changed, subject.recalibrated(changed).plan())
    return Case("wrong-epsilon", subject.name, site, subject.model, candidate, subject.feeds)
