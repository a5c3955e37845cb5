"""QuantizeLinear, DequantizeLinear that no int8 kernel took -> QUANTIZE, DEQUANTIZE.

    q = clip(round(x / scale) + zero_point, -128, 127)        x = scale * (q - zero_point)

Per tensor only, with constant parameters; a QUANTIZE of an integer tensor requantizes it.
"""

from __future__ import annotations

from edgekit.backends.litert.step import Step

SUPPORTED = frozenset({"int8", "uint8"})


def lower_quantize(step: Step) -> None:
    """QuantizeLinear of a float or an integer tensor."""
    quant = step.out.quant
    if step.unit.operand(0) is None or quant is None:
        raise step.refusal(
            "constant-scale",
            "its scale or zero point is computed at run time",
            "quantize with constant scales",
        )
    if quant.axis is not None or quant.dtype not in SUPPORTED:
        raise step.refusal(
            "activation-type",
            f"activations in {quant.dtype}, {'per channel' if quant.axis is not None else 'per tensor'}",
            "quantize activations to int8 or uint8, per tensor",
        )
    step.result("QUANTIZE", [step.x(0)])


def lower_dequantize(step: Step) -> None:
    """DequantizeLinear of a quantized tensor."""
    x = step.operand(0)
    if x.quant is None or x.dtype not in SUPPORTED:
        raise step.refusal(
            "constant-scale",
            "its scale or zero point is not constant, or it is not int8 or uint8 per tensor",
            "quantize activations to int8 or uint8 per tensor, with constant scales",
        )
    tensor = step.x(0)
    if step.builder.tensors[tensor].quant is None:
        raise step.refusal(
            "integer-input",
            f"it reads {x.key!r}, an integer tensor of the model that no QuantizeLinear made",
            "give the model float inputs followed by QuantizeLinear",
        )
    step.result("DEQUANTIZE", [tensor])


LOWERINGS = {"DequantizeLinear": lower_dequantize, "QuantizeLinear": lower_quantize}
