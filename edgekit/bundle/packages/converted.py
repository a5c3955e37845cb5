"""A float model in the form of another runtime: what the pipeline hands to a package besides the bundle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgekit.spec import Array


@dataclass(frozen=True)
class Converted:
    """A .mlpackage of the bundle's float model.

    Attributes:
        files: of the .mlpackage, by relative path.
        precision: "fp16", "fp32" or "int8".
        features: name in the model -> name in Core ML.
        outputs: (samples, ...) by name: what the float model gives for the golden samples.
        weights: how many constants of the float model are in it, "9 of 9".
        ran: where it ran; "" = it was converted and not run.
        drift: largest difference from the float model there, as a part of the output's range.
        tools: name -> version.
    """

    files: Mapping[str, bytes]
    precision: str
    features: Mapping[str, str]
    outputs: Mapping[str, Array]
    weights: str
    ran: str
    drift: float | None
    tools: Mapping[str, str]

    @property
    def status(self) -> str:
        """In words, for edgekit-package.json and the README."""
        tools = ", ".join(f"{name} {version}" for name, version in sorted(self.tools.items()))
        held = f"{self.precision}; constants of the float model in it: {self.weights}; {tools}"
        if not self.ran:
            return f"converted, not run here ({held})"
        return f"run on {self.ran}: {self.drift:.2g} of the range from the float model ({held})"
