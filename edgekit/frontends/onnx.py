"""ONNX file -> float ONNX model: read, held against the declared inputs, dynamic axes fixed or named.

There is no framework to compare with: the file is its own reference.
"""

from __future__ import annotations

from edgekit.errors import ExportError
from edgekit.frontends.request import Loaded, SourceRequest
from edgekit.frontends.shapes import agree, set_input_shapes, with_dynamic
from edgekit.ir import io


def load_onnx(request: SourceRequest) -> Loaded:
    """Read an ``.onnx`` file.

    Raises:
        ModelFileError: see ``ir.io.load``.
        ExportError, UnknownNameError: weights are given besides, or the declared inputs do not fit.
    """
    if request.weights is not None:
        raise ExportError(
            f"{request.source} has its weights inside, and {request.weights.name} is given besides",
            why="one of the two would be ignored",
            remedy="remove --weights",
        )
    model = io.load(request.base / request.source)
    known, _ = io.specs(model)
    specs = agree(known, request.inputs, source=request.source, rename=False)
    for spec in with_dynamic(specs, request.dynamic, source=request.source):
        have = next(each for each in known if each.name == spec.name)
        for axis, (old, new) in enumerate(zip(have.shape, spec.shape, strict=True)):
            if isinstance(old, int) and old != new:
                raise ExportError(
                    f"axis {axis} of input {spec.name!r} of {request.source} is fixed at {old}, "
                    f"and is to be dynamic as {new!r}",
                    why="the graph may rely on that size; a name alone does not change it",
                    remedy="export the model again with a dynamic axis",
                )
    specs = with_dynamic(specs, request.dynamic, source=request.source)
    return Loaded(model if specs == known else set_input_shapes(model, specs), None, "onnx")
