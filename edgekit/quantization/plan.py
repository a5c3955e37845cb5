"""QuantPlan: which operators are quantized, with which scales. Data between ``place`` and ``apply``.

    digest = sha256(operators, scales, zero points in uint8 form)

The digest names the numerics: ONNX Runtime's uint8 form and LiteRT's int8 form of the same scales are one
plan. It does not contain the target's name, nor why the rest stays float.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from edgekit.errors import InputError
from edgekit.ir.digest import digest_of_json
from edgekit.quantization.arithmetic import normalized
from edgekit.spec import QuantParams, Rejection, from_json, to_json


@dataclass(frozen=True)
class QuantWeight:
    """A constant operand that becomes integer.

    Attributes:
        name: of the float initializer.
        params: symmetric; per channel along ``params.axis``.
        block: 0, or how many values along ``params.axis`` share one of ``params.scale``, which is then
            flattened (C order) from the shape of the weight with that axis divided by ``block``.
        stored: "", or "uint8" for the integers + 128 with zero point 128: the same numbers for another
            kernel (``quantization.saturation``), so the digest does not contain it.
        rounding: "" = to the nearest integer; else up or down as learned (``arithmetic.quantize_as``).
    """

    name: str
    params: QuantParams
    block: int = 0
    stored: Literal["", "uint8"] = ""
    rounding: str = ""


@dataclass(frozen=True)
class QuantOperator:
    """One kernel of the runtime.

    Attributes:
        name: of the head node.
        pattern: operators in the kernel, "Conv+Relu".
        nodes: names of its nodes, the head first.
        inputs: names of the activations that it reads as integers.
        output: name of its last value. It is written as integers where the plan has a scale for it, else as
            floats: no kernel reads it.
        weight: its constant operand.
        bias: its bias, int32 with scale input * weight; the name is that of the float initializer.
        activation: "" where the inputs have fixed scales; else the scheme in the words of the targets:
            "float", or "dynamic:..." for scales that are found in each inference.
        correction: added to the bias before it is quantized, in real units per output channel; () = nothing.
            A ``bias`` whose name the model does not have stands for zeros.
    """

    name: str
    pattern: str
    nodes: tuple[str, ...]
    inputs: tuple[str, ...]
    output: str
    weight: QuantWeight | None = None
    bias: QuantWeight | None = None
    activation: str = ""
    correction: tuple[float, ...] = ()


@dataclass(frozen=True)
class QuantPlan:
    """What is quantized, and how.

    Attributes:
        model_digest: of the float model that the plan is for.
        operators: in order of computation.
        activations: parameters by value name, for every value that is integer somewhere.
        left_float: operators on floats that stay float, each with the reason.
    """

    model_digest: str
    operators: tuple[QuantOperator, ...]
    activations: Mapping[str, QuantParams]
    left_float: tuple[Rejection, ...] = ()

    @property
    def digest(self) -> str:
        """Hex SHA-256 of the numerics, the same for the uint8 and the int8 form."""
        return digest_of_json(
            {
                "model": self.model_digest,
                "operators": to_json_of_operators(self.operators),
                "activations": {
                    name: _exact(normalized(params)) for name, params in sorted(self.activations.items())
                },
            }
        )

    def to_json(self) -> dict[str, Any]:
        """JSON-ready form, with its digest."""
        document: dict[str, Any] = to_json(self)
        return {**document, "digest": self.digest}


def plan_from_json(document: Mapping[str, Any]) -> QuantPlan:
    """The inverse of ``QuantPlan.to_json``.

    Raises:
        InputError: it is not one, or its digest is not that of its content.
    """
    from pydantic import ValidationError

    content = {key: value for key, value in document.items() if key != "digest"}
    try:
        plan = from_json(QuantPlan, content)
    except ValidationError as error:
        raise InputError(
            "this is not a quantization plan",
            why=str(error).splitlines()[0],
            remedy="use the plan that `edgekit quantize` wrote, unchanged",
        ) from error
    if document.get("digest", plan.digest) != plan.digest:
        raise InputError(
            "the quantization plan was changed: its digest is another one",
            why=f"content {plan.digest[:12]}, written {str(document['digest'])[:12]}",
            remedy="use the plan that `edgekit quantize` wrote, unchanged",
        )
    return plan


def to_json_of_operators(operators: tuple[QuantOperator, ...]) -> list[Any]:
    """Operators with their scales as exact hexadecimal floats."""
    return [
        {
            "name": operator.name,
            "pattern": operator.pattern,
            "nodes": operator.nodes,
            "inputs": operator.inputs,
            "output": operator.output,
            "weight": _exact_weight(operator.weight),
            "bias": _exact_weight(operator.bias),
        }
        | ({"activation": operator.activation} if operator.activation else {})
        | ({"correction": [each.hex() for each in operator.correction]} if operator.correction else {})
        for operator in operators
    ]


def _exact_weight(weight: QuantWeight | None) -> Any:
    if weight is None:
        return None
    extras = [*([weight.block] if weight.block else []), *([weight.rounding] if weight.rounding else [])]
    return [weight.name, _exact(weight.params), *extras]


def _exact(params: QuantParams) -> Any:
    scales = [float(scale).hex() for scale in params.scale]
    return [params.dtype, scales, list(params.zero_point), params.axis]
