"""Transformations <-> the text in a file's metadata that names them: how a release's source came about.

`edgekit prune` writes a float model like any other; that it is a pruned one, and of what, is said in the
file. What is said counts only if its last output is the graph in the file: metadata that outlived another
change is a note, not a fact.
"""

from __future__ import annotations

import json

import onnx_ir as ir
from pydantic import TypeAdapter, ValidationError

from edgekit.bundle.facts import Transformation
from edgekit.pipeline.metadata_keys import LINEAGE_KEY

_STEPS: TypeAdapter[tuple[Transformation, ...]] = TypeAdapter(tuple[Transformation, ...])


def is_about(text: str, graph: str) -> bool:
    """Whether ``text`` is a lineage whose last output has this ``ir.digest``."""
    try:
        found = steps(text)
    except ValidationError:
        return False
    return bool(found) and found[-1].outputs[-1].digest == f"graph:{graph}"


def steps(text: str) -> tuple[Transformation, ...]:
    """The transformations in ``text``; none in "".

    Raises:
        ValidationError: it is no such text.
    """
    return _STEPS.validate_json(text) if text else ()


def with_lineage(model: ir.Model, before: str, step: Transformation) -> ir.Model:
    """A clone of ``model`` that says how it came about: what was said of its source, and ``step``."""
    found = (*steps(before), step)
    said = model.clone()
    value = [each.model_dump(mode="json", exclude_defaults=True) for each in found]
    said.metadata_props[LINEAGE_KEY] = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return said
