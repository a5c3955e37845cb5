"""What is asked of a front end, and what it hands back: SourceRequest -> Loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import onnx_ir as ir

from edgekit.errors import DataError
from edgekit.spec import Array, Feeds, Runner, TensorSpec

OPSET = 21  # the first opset whose QuantizeLinear has blocked scales; canonical for edgekit


@dataclass(frozen=True)
class SourceRequest:
    """Where a model comes from and how it is to be exported.

    Attributes:
        source: ``file.py:callable``, ``package.module:callable``, .pt2, TorchScript .pt, .keras, .h5, .onnx
            or the folder of a SavedModel.
        base: folder that relative paths start from.
        weights: checkpoint for what the callable returns: .pt, .pth, .safetensors, .weights.h5.
        inputs: names, element types and shapes; a str in a shape is a dynamic axis of that name. Needed for
            PyTorch callables without ``example_inputs()`` and for TorchScript; elsewhere read from the source
            and checked against this.
        dynamic: axes to make dynamic besides those, by input name: axis -> name.
        opset: operator set of the exported model.
        trust_source: allow formats that run code on loading.
        layers_apart: the exporter folds no layer into another (torch alone): pruning names them.
    """

    source: str
    base: Path
    weights: Path | None = None
    inputs: tuple[TensorSpec, ...] = ()
    dynamic: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    opset: int = OPSET
    trust_source: bool = False
    layers_apart: bool = False


@dataclass(frozen=True)
class Loaded:
    """A source as ONNX, beside what it was.

    Attributes:
        model: float model; names of values and nodes are the same in every process.
        reference: the framework's own forward pass, with the names of ``model``; None for ONNX sources.
        framework: "torch", "keras", "tflite" or "onnx".
        notes: what the user should know, for example why an axis is not dynamic.
        output_steps: of a quantized source, the quantization step of each output that has one, by name.
    """

    model: ir.Model
    reference: Runner | None
    framework: str
    notes: tuple[str, ...] = ()
    output_steps: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class FunctionRunner:
    """A Runner around a function of this process.

    Attributes:
        inputs: what ``function`` takes, in its order.
        outputs: what it gives.
        function: arrays in the order of ``inputs`` -> arrays by output name, owned by the caller.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    function: Callable[[tuple[Array, ...]], dict[str, Array]]

    def run(self, feeds: Feeds) -> dict[str, Array]:
        """Compute all outputs.

        Raises:
            DataError: the names of ``feeds`` are not those of the inputs.
        """
        names = tuple(spec.name for spec in self.inputs)
        if set(feeds) != set(names):
            raise DataError(
                f"the model takes {', '.join(names)}, and was given {', '.join(sorted(feeds)) or 'nothing'}",
                why="arrays are matched to inputs by name",
                remedy="name the arrays as the inputs are named",
            )
        return self.function(tuple(feeds[name] for name in names))
