"""Restoration: what was decided from data, as numbers that a lock can hold.

    first release              restored = choose.restored(model, choose.steps_of("auto"), work=Work(...))
                               restored.model, .ranges, .plan, .restoration (for the lock), .sqnr_db
    one that follows its lock  model = choose.replay(model, restoration)
                               plan  = choose.applied(place(model, ...), restoration)      any target's plan

Exponents are integers and corrections float64, whose text in JSON is exact: the same restoration gives the
same bytes everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Rounding:
    """How the integers of one weight are rounded.

    Attributes:
        bits: base64 of zlib of the packed bits (C order): 1 = up from the floor.
        scales: digest of the scales that it was learned for; with others it says nothing.
    """

    bits: str
    scales: str


@dataclass(frozen=True)
class Restoration:
    """Everything data-dependent that was decided; ``spec.to_json`` and ``spec.from_json`` apply.

    Attributes:
        exponents: value name -> one exponent per channel: the value is multiplied by 2 ** exponent.
        corrections: operator name -> what is added to its bias, in real units, per output channel.
        roundings: operator name -> the rounding of its weight.
        notes: what was done, with figures before and after, for the report.
    """

    exponents: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    corrections: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    roundings: Mapping[str, Rounding] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
