"""A session's facts -> whether its GPU is a driver that computes on the processor, and what follows.

S1 numerics hold there: SwiftShader and llvmpipe compute what a GPU's shaders say
S2 times say how fast the processor is at playing a GPU: they are marked, gate nothing and choose nothing
"""

from __future__ import annotations

from collections.abc import Mapping

from edgekit.errors import InputError
from edgekit.spec import SOFTWARE


def caveat(device: str) -> str:
    """S2 in words, for what ran on ``device``; "" on a real GPU."""
    if not device:
        return ""
    return f"run on {device}, which computes on the processor: numerics hold, and latency means nothing"


def caveats(facts: Mapping[str, str]) -> tuple[str, ...]:
    """The same as a row has it."""
    said = caveat(facts.get(SOFTWARE, ""))
    return (said,) if said else ()


def check_gate(name: str, facts: Mapping[str, str]) -> None:
    """Refuse to judge latencies.

    Raises:
        InputError: the session of artifact ``name`` runs on such a driver.
    """
    device = facts.get(SOFTWARE, "")
    if device:
        raise InputError(
            f"{name} runs on {device}, and no verdict about speed is possible there",
            why="that driver computes on the processor: its times are not those of any GPU",
            remedy="leave --baseline out to see that it runs, or measure on a machine with a GPU",
            more="docs/gpu.md",
        )
