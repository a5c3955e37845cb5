"""Evidence by hand: a kernel of which one thing is said, everything else healthy."""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.spec import QuantParams
from edgekit.validation.diagnose.evidence import Evidence, InputEvidence, Trial
from edgekit.validation.drift import OutputDrift
from edgekit.validation.layers import (
    ChannelStats,
    ErrorStats,
    Figures,
    KernelEvidence,
    NodeFact,
    WeightEvidence,
)

HEALTHY_DB = 38.0
UNIT = QuantParams("uint8", (1 / 255,), (0,))  # holds 0 to 1


def error(sqnr_db: float) -> ErrorStats:
    return ErrorStats(sqnr_db, 1.0, 0.0, None, 0.0, 1.0)


def kernel(
    name: str = "y",
    *,
    own_db: float = HEALTHY_DB,
    op_types: Sequence[str] = ("Conv", "Relu"),
    inputs: Sequence[str] = ("x",),
    params: QuantParams | None = UNIT,
    spans: Sequence[float] = (1.0, 1.0, 0.9, 0.8),
    used: float = 1.0,
    clip_noise: float = 0.0,
    high: float = 1.0,
    weight: WeightEvidence | None = None,
    integer: bool = True,
) -> KernelEvidence:
    """Channels reach ``spans``; their power is that of a uniform distribution."""
    many = len(spans)
    channels = ChannelStats(
        axis=1,
        low=(0.0,) * many,
        high=tuple(spans),
        signal=tuple(span * span / 3 for span in spans),
        noise=(0.0,) * many,
        mean_error=(0.0,) * many,
    )
    figures = Figures(
        total=error(own_db),
        own=error(own_db),
        channels=channels,
        low=0.0,
        high=high,
        clipped_low=0.0,
        clipped_high=0.1 if clip_noise else 0.0,
        used=used,
        edge_low=0.0,
        edge_high=0.0,
        elements=1000,
        clip_noise=clip_noise,
    )
    nodes = []
    source = tuple(inputs)
    for number, op_type in enumerate(op_types):
        out = name if number == len(op_types) - 1 else f"{name}_{number}"
        nodes.append(NodeFact(f"{name}_node_{number}", op_type, source, (out,)))
        source = (out,)
    return KernelEvidence(
        name=name,
        node=nodes[-1].name if nodes else "",
        op_type=op_types[0] if op_types else "Input",
        inputs=tuple(inputs),
        segment=tuple(nodes),
        kernel="QLinearConv" if integer else "Conv",
        integer=integer,
        params=params,
        weight=weight,
        figures=figures,
    )


def weight(
    *, depthwise: bool = False, scales: int = 4, input_peak: Sequence[float] = (1.0,) * 4, low: float = 1.0
) -> WeightEvidence:
    """Of four output channels; the first reaches 1.0, the others ``low``."""
    highs = (1.0, low, low, low)
    params = QuantParams("int8", (1 / 127,) * scales, (0,) * scales, None if scales == 1 else 0)
    return WeightEvidence(
        "w", (4, 1 if depthwise else 4, 3, 3), 0, (0.0,) * 4, highs, depthwise, params, tuple(input_peak)
    )


def trial(change: str, sqnr_db: float, *, name: str = "y", value: str = "") -> Trial:
    return Trial(name, change, f"{change} changed", error(sqnr_db), value)


def evidence(
    *kernels: KernelEvidence,
    trials: Sequence[Trial] = (),
    outputs_db: float = 10.0,
    fed: Sequence[str] = ("image",),
    eligible: Sequence[str] = (),
    precision: str = "w8a8",
) -> Evidence:
    drift = OutputDrift("scores", 0.0, 0.0, None, None, None, None, 1.0, outputs_db, None, 1)
    inputs = tuple(InputEvidence(name, (3,), None, (0.0,), (1.0,), (0.5,), (0.3,)) for name in fed)
    return Evidence(
        runtime="onnxruntime",
        precision=precision,
        samples=8,
        kernels=kernels,
        inputs=inputs,
        outputs=(drift,),
        trials=tuple(trials),
        eligible=frozenset(eligible),
    )
