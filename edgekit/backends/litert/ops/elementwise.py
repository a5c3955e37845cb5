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
from dataclasses import replace

import numpy as np

from edgekit.backends.litert.constants import Reals
from edgekit.backends.litert.integer import FIXED_INT16
from edgekit.backends.litert.operands import Clamp, Operand
from edgekit.backends.litert.ops.terms import Terms, exceeds, static
from edgekit.backends.litert.parameters import constant
from edgekit.backends.litert.refusal import FloatOnlyError
from edgekit.backends.litert.step import FUSED_ACTIVATIONS, Step
from edgekit.spec import QuantParams

LOGISTIC_INT8 = QuantParams("int8", (1 / 256,), (-128,))  # quantization_spec: LOGISTIC, output 0
TANH_INT8 = QuantParams("int8", (1 / 128,), (0,))  # quantization_spec: TANH, output 0
CASTABLE = frozenset({"float32", "int8", "uint8", "int32", "int64", "bool"})
SIXTH_STEP = 1e-7  # one step of float32 around 1/6 is 1.5e-8; exporters round 1/6 to 7 digits
LARGEST_EXPONENT = 63  # of an integer: beyond, every base but 0, 1 and -1 overflows int64

Lowering = Callable[[Step], None]


def _scalar(step: Step, value: float) -> int:
    return step.constant("scalar", np.asarray([value], np.float32))


def _on(step: Step, code: str, *inputs: int) -> int:
    """An operator on the way, of the shape of its first input."""
    return step.emit(code, inputs, step.shape(inputs[0]))


def unary(code: str, *, fixed: QuantParams | None = None) -> Lowering:
    """One input, one builtin; ``fixed``: the scale that it prescribes for int8."""

    def lowering(step: Step) -> None:
        wide = fixed is not None and step.out.dtype == "int16"
        step.result(code, [step.x(0)], fixed=FIXED_INT16 if wide else fixed)

    return lowering


def binary(code: str) -> Lowering:
    """Two inputs with broadcasting, one builtin."""
    return lambda step: _broadcasting(step, code, [step.broadcast(0), step.broadcast(1)])


def _broadcasting(step: Step, code: str, inputs: list[int]) -> None:
    """The result of ``code``; by merged axes where the kernel has too few."""
    if exceeds(code, [step.shape(x) for x in inputs]) and not step.unit.is_integer:
        t = Terms(step)
        t.finish(t.broadcasting(code, inputs, dtype=step.out.dtype))
        return
    step.result(code, inputs)


def variadic(code: str) -> Lowering:
    """One or more inputs: a chain of a binary builtin."""

    def lowering(step: Step) -> None:
        count = len(step.unit.inputs)
        if count == 1:
            step.copy(step.x(0))
            return
        tensor = step.broadcast(0)
        for index in range(1, count - 1):
            tensor = Terms(step).binary(code, tensor, step.broadcast(index))
        _broadcasting(step, code, [tensor, step.broadcast(count - 1)])

    return lowering


def lower_mean(step: Step) -> None:
    """Mean of several tensors."""
    count = len(step.unit.inputs)
    tensor = step.broadcast(0)
    for index in range(1, count):
        tensor = Terms(step).add(tensor, step.broadcast(index))
    step.result("MUL", [tensor, _scalar(step, 1.0 / count)])


def lower_relu(step: Step) -> None:
    """Relu: the builtin also rescales int8."""
    step.result("RELU", [step.x(0)])


def lower_clip(step: Step) -> None:
    """Clip: a ReLU builtin where there is one, else MAXIMUM and MINIMUM; bounds may be computed."""
    if any(step.has(index) and step.operand(index).runtime for index in (1, 2)):
        _clip_computed(step)
        return
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


def _clip_computed(step: Step) -> None:
    t, x = Terms(step), step.x(0)
    for index, code in ((1, "MAXIMUM"), (2, "MINIMUM")):
        if step.has(index):
            x = t.binary(code, x, t.reshape(step.x(index), ()))
    t.finish(x)


def _bound(step: Step, value: float) -> int:
    return step.constant("bound", step.element(value).reshape(1), quant=step.out.quant)


def lower_leaky_relu(step: Step) -> None:
    """LeakyRelu."""
    step.result("LEAKY_RELU", [step.x(0)], options={"alpha": float(step.attribute("alpha", 0.01))})


def lower_prelu(step: Step) -> None:
    """PRelu: the slope broadcasts towards x."""
    t, x = Terms(step), step.x(0)
    if t.rank(x) > 4:
        t.finish(t.add(t.unary("RELU", x), t.mul(t.minimum(x, t.const(0.0)), step.broadcast(1))))
        return
    step.result("PRELU", [x, step.broadcast(1)])


def lower_gelu(step: Step) -> None:
    """Gelu, by erf or by its tanh approximation."""
    step.result("GELU", [step.x(0)], options={"approximate": step.attribute("approximate", "none") == "tanh"})


def lower_hard_sigmoid(step: Step) -> None:
    """HardSigmoid."""
    alpha, beta = float(step.attribute("alpha", 0.2)), float(step.attribute("beta", 0.5))
    if abs(alpha - 1 / 6) < SIXTH_STEP and beta == 0.5:  # relu6(x + 3) / 6: what MobileNet v3 has
        x = step.x(0)
        options = {"fusedActivationFunction": "RELU6"}
        shifted = step.emit("ADD", [x, _scalar(step, 3.0)], step.shape(x), options=options)
        step.result("MUL", [shifted, _scalar(step, 1 / 6)])
        return
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
    t, x = Terms(step), step.x(0)
    above = t.compare("GREATER", x, t.const(float(step.attribute("alpha", 1.0))))
    t.finish(t.select(above, x, t.const(0.0)))


def lower_pow(step: Step) -> None:
    """Pow: SQUARE for a constant 2, products for integers with constant exponents, POW otherwise."""
    base, exponent = step.operand(0), step.operand(1)
    if exponent.const is not None:
        power = exponent.const.astype(np.float64)
        if base.dtype != "float32":
            _integer_power(step, power)
            return
        if power.size == 1 and power.reshape(()) == 2.0 and base.shape == step.out.shape:
            step.result("SQUARE", [step.x(0)])
            return
        operand = Operand(exponent.key, exponent.shape, "float32", None, power.astype(np.float32))
        step = step.of(replace(step.unit, inputs=(base, operand)))
        _broadcasting(step, "POW", [step.broadcast(0), step.broadcast(1)])
        return
    if base.dtype != "float32":
        raise step.refusal(
            "integer-power",
            f"a power of {base.dtype} with a computed exponent, which may be negative",
            "make the exponent a constant, or cast the base to float32",
        )
    t = Terms(step)
    t.finish(t.binary("POW", step.broadcast(0), t.cast(step.broadcast(1), "float32")))


def _integer_power(step: Step, power: Reals) -> None:
    """x^n by squaring: the product of x^(2^k) over the bits k of n; n may differ by element."""
    exponents = power.astype(np.int64)
    if np.any(exponents != power) or np.any(exponents < 0) or np.any(exponents > LARGEST_EXPONENT):
        raise step.refusal(
            "integer-power",
            f"an integer to a power that is no integer from 0 to {LARGEST_EXPONENT}",
            "cast the base to float32",
        )
    t, x = Terms(step), step.broadcast(0)
    stored = step.label.store(exponents.reshape((1,) * (step.out.rank - exponents.ndim) + exponents.shape))
    result = t.like(1, x)
    for bit in range(int(exponents.max(initial=0)).bit_length()):
        chosen = np.right_shift(stored, bit) % 2
        if chosen.all():
            result = t.mul(x, result)
        elif chosen.any():
            result = t.mul(result, t.select(t.const(chosen, "bool"), x, t.like(1, x)))
        x = t.mul(x, x)
    t.finish(t.expand(result, step.label.shape(step.out.shape)))


def lower_mod(step: Step) -> None:
    """Mod: FLOOR_MOD has the sign of the divisor; with fmod = 1 that of the dividend, on absolute values."""
    if not step.attribute("fmod", 0):
        _broadcasting(step, "FLOOR_MOD", [step.broadcast(0), step.broadcast(1)])
        return
    t = Terms(step)
    a, b = step.broadcast(0), step.broadcast(1)
    sizes = [t.maximum(x, t.unary("NEG", x)) for x in (a, b)]
    rest = t.binary("FLOOR_MOD", *sizes)
    t.finish(t.select(t.compare("LESS", a, t.like(0, a)), t.unary("NEG", rest), rest))


def lower_shrink(step: Step) -> None:
    """Shrink: towards zero by ``bias`` outside of [-lambd, lambd], 0 inside."""
    t, x = Terms(step), step.x(0)
    lambd, bias = float(step.attribute("lambd", 0.5)), float(step.attribute("bias", 0.0))
    above = t.select(t.compare("GREATER", x, t.like(lambd, x)), t.shift(x, -bias), t.like(0, x))
    t.finish(t.select(t.compare("LESS", x, t.like(-lambd, x)), t.shift(x, bias), above))


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
    _broadcasting(step, "SELECT_V2", [step.broadcast(0), step.broadcast(1), step.broadcast(2)])


def lower_xor(step: Step) -> None:
    """Xor of booleans is NOT_EQUAL."""
    _broadcasting(step, "NOT_EQUAL", [step.broadcast(0), step.broadcast(1)])


def lower_identity(step: Step) -> None:
    """Identity."""
    step.copy(step.x(0))


def lower_dropout(step: Step) -> None:
    """Dropout when not training: the data, and a mask that keeps all."""
    training = constant(step.unit, 2, "training_mode")
    ratio = constant(step.unit, 1, "ratio")
    if training is not None and bool(training.reshape(())) and (ratio is None or float(ratio.reshape(()))):
        raise step.refusal("training", "training_mode = 1", "export the model in evaluation mode")
    step.copy(step.x(0))
    if len(step.unit.outputs) > 1 and step.unit.outputs[1].key:
        mask = static(step.ports.outputs[1].shape(step.unit.outputs[1].shape), "Dropout")
        t = Terms(step)
        t.finish(t.const(np.ones(mask), "bool"), index=1)


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
    "Dropout": lower_dropout,
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
    "Shrink": lower_shrink,
    "Sigmoid": unary("LOGISTIC", fixed=LOGISTIC_INT8),
    "Sign": unary("SIGN"),
    "Sin": unary("SIN"),
    "Softplus": lower_softplus,
    "Softsign": lower_softsign,
    "Sqrt": unary("SQRT"),
    "Sub": binary("SUB"),
    "Sum": variadic("ADD"),
    "Swish": lower_swish,
    "Tanh": unary("TANH", fixed=TANH_INT8),
    "ThresholdedRelu": lower_thresholded_relu,
    "Where": lower_where,
    "Xor": lower_xor,
}
