"""Elementwise operators -> one builtin each, or an exact decomposition.

    HardSigmoid = min(max(alpha x + beta, 0), 1)        Reciprocal = 1 / x          Softsign = x / (1 + |x|)
    Elu(alpha) = relu(x) + alpha elu(min(x, 0))         Celu(alpha) = relu(x) + alpha elu(min(x, 0) / alpha)
    Selu = gamma (relu(x) + alpha elu(min(x, 0)))       Softplus = relu(x) + log(1 + exp(-|x|))
    Mish = x tanh(softplus(x))                          Swish = x sigmoid(alpha x)
    ThresholdedRelu = x where x > alpha, else 0         Tan = sin / cos

LOGISTIC and TANH in int8 have fixed output scales (TFLite quantization specification).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgekit.backends.litert.operands import Clamp
from edgekit.backends.litert.parameters import constant
from edgekit.backends.litert.refusal import FloatOnlyError
from edgekit.backends.litert.step import FUSED_ACTIVATIONS, Step
from edgekit.spec import Array, QuantParams

LOGISTIC_INT8 = QuantParams("int8", (1 / 256,), (-128,))  # quantization_spec: LOGISTIC, output 0
TANH_INT8 = QuantParams("int8", (1 / 128,), (0,))  # quantization_spec: TANH, output 0
CASTABLE = frozenset({"float32", "int32", "int64", "bool"})

Lowering = Callable[[Step], None]


def _scalar(step: Step, value: float) -> int:
    return step.constant("scalar", np.asarray([value], np.float32))


def _on(step: Step, code: str, *inputs: int) -> int:
    """An operator on the way, of the shape of its first input."""
    return step.emit(code, inputs, step.shape(inputs[0]))


def unary(code: str, *, fixed: QuantParams | None = None) -> Lowering:
    """One input, one builtin."""
    return lambda step: step.result(code, [step.x(0)], fixed=fixed)


def binary(code: str) -> Lowering:
    """Two inputs with broadcasting, one builtin."""
    return lambda step: step.result(code, [step.broadcast(0), step.broadcast(1)])


def variadic(code: str) -> Lowering:
    """One or more inputs: a chain of a binary builtin."""

    def lowering(step: Step) -> None:
        count = len(step.unit.inputs)
        if count == 1:
            step.copy(step.x(0))
            return
        tensor = step.broadcast(0)
        for index in range(1, count - 1):
            tensor = step.emit(
                code, [tensor, step.broadcast(index)], _spread(step, tensor, step.broadcast(index))
            )
        step.result(code, [tensor, step.broadcast(count - 1)])

    return lowering


def _spread(step: Step, a: int, b: int) -> tuple[int | str | None, ...]:
    """Shape of two tensors broadcast against each other."""
    x, y = step.shape(a), step.shape(b)
    rank = max(len(x), len(y))
    x, y = (1,) * (rank - len(x)) + x, (1,) * (rank - len(y)) + y
    return tuple(q if p == 1 else p for p, q in zip(x, y, strict=True))


def lower_mean(step: Step) -> None:
    """Mean of several tensors."""
    count = len(step.unit.inputs)
    tensor = step.broadcast(0)
    for index in range(1, count):
        tensor = step.emit(
            "ADD", [tensor, step.broadcast(index)], _spread(step, tensor, step.broadcast(index))
        )
    step.result("MUL", [tensor, _scalar(step, 1.0 / count)])


def lower_relu(step: Step) -> None:
    """Relu: the builtin also rescales int8."""
    step.result("RELU", [step.x(0)])


def lower_clip(step: Step) -> None:
    """Clip with constant bounds: a ReLU builtin where there is one, else MAXIMUM and MINIMUM."""
    bounds = [constant(step.unit, index, name) for index, name in ((1, "min"), (2, "max"))]
    low = float(bounds[0].reshape(())) if bounds[0] is not None else -np.inf
    high = float(bounds[1].reshape(())) if bounds[1] is not None else np.inf
    x = step.x(0)
    code = FUSED_ACTIVATIONS.get(Clamp(low, high), "") if step.out.dtype in {"float32", "int8"} else ""
    if code in {"RELU", "RELU6"} and (step.out.dtype == "float32" or step.unit.is_integer):
        step.result(code, [x])
        return
    if step.unit.is_integer:
        x = step.requantized(x, step.out.quant)
    parts = [(op, value) for op, value in (("MAXIMUM", low), ("MINIMUM", high)) if abs(value) != np.inf]
    if not parts:
        step.copy(x)
        return
    for op, value in parts[:-1]:
        x = _on(step, op, x, _bound(step, value))
    step.result(parts[-1][0], [x, _bound(step, parts[-1][1])])


def _bound(step: Step, value: float) -> int:
    return step.constant("bound", step.element(value).reshape(1), quant=step.out.quant)


def lower_leaky_relu(step: Step) -> None:
    """LeakyRelu."""
    step.result("LEAKY_RELU", [step.x(0)], options={"alpha": float(step.attribute("alpha", 0.01))})


def lower_prelu(step: Step) -> None:
    """PRelu: the slope broadcasts towards x."""
    step.result("PRELU", [step.x(0), step.broadcast(1)])


def lower_gelu(step: Step) -> None:
    """Gelu, by erf or by its tanh approximation."""
    step.result("GELU", [step.x(0)], options={"approximate": step.attribute("approximate", "none") == "tanh"})


def lower_hard_sigmoid(step: Step) -> None:
    """HardSigmoid."""
    alpha, beta = float(step.attribute("alpha", 0.2)), float(step.attribute("beta", 0.5))
    scaled = _on(step, "MUL", step.x(0), _scalar(step, alpha))
    shifted = step.emit(
        "ADD", [scaled, _scalar(step, beta)], step.shape(scaled), options={"fusedActivationFunction": "RELU"}
    )
    step.result("MINIMUM", [shifted, _scalar(step, 1.0)])


def lower_reciprocal(step: Step) -> None:
    """Reciprocal."""
    step.result("DIV", [_scalar(step, 1.0), step.x(0)])


def lower_softsign(step: Step) -> None:
    """Softsign."""
    x = step.x(0)
    step.result("DIV", [x, _on(step, "ADD", _on(step, "ABS", x), _scalar(step, 1.0))])


def _softplus(step: Step, x: int) -> tuple[int, int]:
    decay = _on(step, "EXP", _on(step, "NEG", _on(step, "ABS", x)))
    return _on(step, "RELU", x), _on(step, "LOG", _on(step, "ADD", decay, _scalar(step, 1.0)))


def lower_softplus(step: Step) -> None:
    """Softplus, without overflow."""
    step.result("ADD", list(_softplus(step, step.x(0))))


def lower_mish(step: Step) -> None:
    """Mish."""
    x = step.x(0)
    positive, rest = _softplus(step, x)
    step.result("MUL", [x, _on(step, "TANH", _on(step, "ADD", positive, rest))])


def lower_swish(step: Step) -> None:
    """Swish."""
    x, alpha = step.x(0), float(step.attribute("alpha", 1.0))
    inner = x if alpha == 1.0 else _on(step, "MUL", x, _scalar(step, alpha))
    step.result("MUL", [x, _on(step, "LOGISTIC", inner)])


def _elu(step: Step, x: int, *, alpha: float, inside: float = 1.0) -> tuple[int, int]:
    """relu(x) and alpha * elu(min(x, 0) * inside)."""
    negative = _on(step, "MINIMUM", x, _scalar(step, 0.0))
    if inside != 1.0:
        negative = _on(step, "MUL", negative, _scalar(step, inside))
    return _on(step, "RELU", x), _on(step, "MUL", _on(step, "ELU", negative), _scalar(step, alpha))


def lower_elu(step: Step) -> None:
    """Elu."""
    alpha = float(step.attribute("alpha", 1.0))
    if alpha == 1.0:
        step.result("ELU", [step.x(0)])
        return
    step.result("ADD", list(_elu(step, step.x(0), alpha=alpha)))


def lower_celu(step: Step) -> None:
    """Celu."""
    alpha = float(step.attribute("alpha", 1.0))
    step.result("ADD", list(_elu(step, step.x(0), alpha=alpha, inside=1.0 / alpha)))


def lower_selu(step: Step) -> None:
    """Selu; the defaults are those of ONNX."""
    alpha = float(step.attribute("alpha", 1.67326319217681884765625))
    gamma = float(step.attribute("gamma", 1.05070102214813232421875))
    positive, negative = _elu(step, step.x(0), alpha=alpha)
    step.result("MUL", [_on(step, "ADD", positive, negative), _scalar(step, gamma)])


def lower_thresholded_relu(step: Step) -> None:
    """ThresholdedRelu."""
    x = step.x(0)
    above = step.emit(
        "GREATER", [x, _scalar(step, float(step.attribute("alpha", 1.0)))], step.shape(x), dtype="bool"
    )
    step.result("SELECT_V2", [above, x, _scalar(step, 0.0)])


def lower_tan(step: Step) -> None:
    """Tan."""
    x = step.x(0)
    step.result("DIV", [_on(step, "SIN", x), _on(step, "COS", x)])


def lower_pow(step: Step) -> None:
    """Pow: SQUARE for a constant 2, POW otherwise; the types must agree."""
    exponent = step.operand(1)
    if step.operand(0).dtype != exponent.dtype and exponent.const is None:
        raise step.refusal(
            "mixed-types", "base and exponent have different types", "cast the exponent to float32"
        )
    if exponent.const is not None:
        power = exponent.const.astype(np.float32)
        if power.size == 1 and power.reshape(()) == 2.0 and step.operand(0).shape == step.out.shape:
            step.result("SQUARE", [step.x(0)])
            return
        data: Array = (
            power.reshape(-1)
            if power.size == 1
            else step.label.store(power)
            if power.ndim == step.out.rank
            else power
        )
        if power.size != 1 and power.ndim != step.out.rank and not step.label.is_identity:
            raise step.refusal(
                "layout", "a constant exponent of lower rank", "expand the exponent to full rank"
            )
        step.result("POW", [step.broadcast(0), step.constant(exponent.key, data)])
        return
    step.result("POW", [step.broadcast(0), step.broadcast(1)])


def lower_mod(step: Step) -> None:
    """Mod: FLOOR_MOD has the sign of the divisor, as ONNX wants with fmod = 0."""
    if step.attribute("fmod", 0):
        raise step.refusal("fmod", "Mod with fmod = 1", "LiteRT's FLOOR_MOD has the sign of the divisor")
    step.result("FLOOR_MOD", [step.broadcast(0), step.broadcast(1)])


def lower_cast(step: Step) -> None:
    """Cast among float32, int32, int64 and bool."""
    x = step.operand(0)
    if x.dtype == step.out.dtype:
        step.copy(step.x(0))
        return
    if not {x.dtype, step.out.dtype} <= CASTABLE:
        raise step.refusal(
            "cast-type",
            f"a cast from {x.dtype} to {step.out.dtype}",
            f"cast among {', '.join(sorted(CASTABLE))}",
        )
    step.result("CAST", [step.x(0)], options={"inDataType": x.dtype, "outDataType": step.out.dtype})


def lower_where(step: Step) -> None:
    """Where."""
    step.result("SELECT_V2", [step.broadcast(0), step.broadcast(1), step.broadcast(2)])


def lower_xor(step: Step) -> None:
    """Xor of booleans is NOT_EQUAL."""
    step.result("NOT_EQUAL", [step.broadcast(0), step.broadcast(1)])


def lower_identity(step: Step) -> None:
    """Identity, and Dropout when not training."""
    if len(step.unit.outputs) > 1:
        raise step.refusal(
            "mask", f"{step.unit.op} with a mask output", "export the model in evaluation mode"
        )
    step.copy(step.x(0))


def lower_hard_swish(step: Step) -> None:
    """HardSwish."""
    if step.unit.is_integer and step.out.quant is None:
        raise FloatOnlyError("its output is not quantized")
    step.result("HARD_SWISH", [step.x(0)])


LOWERINGS: dict[str, Lowering] = {
    "Abs": unary("ABS"),
    "Add": binary("ADD"),
    "And": binary("LOGICAL_AND"),
    "Cast": lower_cast,
    "Ceil": unary("CEIL"),
    "Celu": lower_celu,
    "Clip": lower_clip,
    "Cos": unary("COS"),
    "Div": binary("DIV"),
    "Dropout": lower_identity,
    "Elu": lower_elu,
    "Equal": binary("EQUAL"),
    "Exp": unary("EXP"),
    "Floor": unary("FLOOR"),
    "Gelu": lower_gelu,
    "Greater": binary("GREATER"),
    "GreaterOrEqual": binary("GREATER_EQUAL"),
    "HardSigmoid": lower_hard_sigmoid,
    "HardSwish": lower_hard_swish,
    "Identity": lower_identity,
    "LeakyRelu": lower_leaky_relu,
    "Less": binary("LESS"),
    "LessOrEqual": binary("LESS_EQUAL"),
    "Log": unary("LOG"),
    "Max": variadic("MAXIMUM"),
    "Mean": lower_mean,
    "Min": variadic("MINIMUM"),
    "Mish": lower_mish,
    "Mod": lower_mod,
    "Mul": binary("MUL"),
    "Neg": unary("NEG"),
    "Not": unary("LOGICAL_NOT"),
    "Or": binary("LOGICAL_OR"),
    "PRelu": lower_prelu,
    "Pow": lower_pow,
    "Reciprocal": lower_reciprocal,
    "Relu": lower_relu,
    "Round": unary("ROUND"),
    "Selu": lower_selu,
    "Sigmoid": unary("LOGISTIC", fixed=LOGISTIC_INT8),
    "Sign": unary("SIGN"),
    "Sin": unary("SIN"),
    "Softplus": lower_softplus,
    "Softsign": lower_softsign,
    "Sqrt": unary("SQRT"),
    "Sub": binary("SUB"),
    "Sum": variadic("ADD"),
    "Swish": lower_swish,
    "Tan": lower_tan,
    "Tanh": unary("TANH", fixed=TANH_INT8),
    "ThresholdedRelu": lower_thresholded_relu,
    "Where": lower_where,
    "Xor": lower_xor,
}
