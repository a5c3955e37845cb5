"""Finding: something worth knowing about the data, as a value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """Something worth knowing about the calibration data.

    Attributes:
        code: stable name; documentation and filters use it.
        severity: "warning" where quality is at stake, "info" otherwise.
        text: what was seen, with names and numbers.
        remedy: what to do about it.
    """

    code: str
    severity: Literal["warning", "info"]
    text: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.code}: {self.text} ({self.remedy})"
