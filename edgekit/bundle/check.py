"""What one look at a bundle found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

CheckStatus = Literal["pass", "fail", "not_run"]


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: "archive", "manifest", "evidence", "file", "attestation", "checksums", "signature", "root",
            "golden" or "placement".
        subject: path of the file, or name of the target.
        status: outcome.
        detail: the difference, or why it was not run; "" where it passed.
    """

    name: str
    subject: str
    status: CheckStatus
    detail: str = ""
