"""Evidence -> causes, the likeliest first.

    rank    by score: severity of what the cause explains, times how sure the rule is

The table is all there is. Each rule is a pure function of the evidence, and says nothing where it sees
nothing. Of one cause at one place the best explanation is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from edgekit.validation.diagnose.causes.constant_pad import constant_pad
from edgekit.validation.diagnose.causes.float_fallback import float_fallback
from edgekit.validation.diagnose.causes.outlier_channel import outlier_channel
from edgekit.validation.diagnose.causes.padding_mode import padding_mode
from edgekit.validation.diagnose.causes.per_tensor_depthwise import per_tensor_depthwise
from edgekit.validation.diagnose.causes.range_clipped import range_clipped
from edgekit.validation.diagnose.causes.range_too_wide import range_too_wide
from edgekit.validation.diagnose.causes.resize_mode import resize_mode
from edgekit.validation.diagnose.causes.saturation import saturation
from edgekit.validation.diagnose.causes.shared_concat_scale import shared_concat_scale
from edgekit.validation.diagnose.causes.swapped_input import swapped_layout, swapped_normalization
from edgekit.validation.diagnose.causes.unfused_activation import unfused_activation
from edgekit.validation.diagnose.causes.wrong_epsilon import wrong_epsilon
from edgekit.validation.diagnose.evidence import Cause, Evidence

RULES: dict[str, Callable[[Evidence], Iterable[Cause]]] = {
    "outlier-channel": outlier_channel,
    "range-clipped": range_clipped,
    "range-too-wide": range_too_wide,
    "shared-concat-scale": shared_concat_scale,
    "per-tensor-depthwise": per_tensor_depthwise,
    "constant-pad": constant_pad,
    "padding-mode": padding_mode,
    "saturation": saturation,
    "wrong-epsilon": wrong_epsilon,
    "swapped-layout": swapped_layout,
    "swapped-normalization": swapped_normalization,
    "resize-mode": resize_mode,
    "unfused-activation": unfused_activation,
    "float-fallback": float_fallback,
}


def diagnose(evidence: Evidence) -> tuple[Cause, ...]:
    """All causes that the evidence shows, the likeliest first; of equal scores, in the order of the table."""
    best: dict[tuple[str, str], Cause] = {}
    for rule in RULES.values():
        for cause in rule(evidence):
            key = (cause.name, cause.where)
            if key not in best or cause.score > best[key].score:
                best[key] = cause
    return tuple(sorted(best.values(), key=lambda cause: -cause.score))
