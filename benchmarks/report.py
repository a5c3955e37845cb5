"""Suite name x figures -> benchmarks/results/<suite>.json and one line per bar on stdout."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from edgekit.pipeline.doctor import machine_row

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Bar:
    """One thing that must hold.

    Attributes:
        name: what is measured.
        measured: the figure.
        limit: what it must not pass.
        at_most: whether ``limit`` is an upper bound.
    """

    name: str
    measured: float
    limit: float
    at_most: bool = True

    @property
    def held(self) -> bool:
        """Whether the bar is met."""
        return self.measured <= self.limit if self.at_most else self.measured >= self.limit


@dataclass(frozen=True)
class Report:
    """All bars of a suite, and the raw figures behind them."""

    suite: str
    bars: tuple[Bar, ...]
    raw: Mapping[str, object]

    def write(self) -> Path:
        """Store the report with the machine that measured it."""
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"{self.suite}.json"
        document = {
            "suite": self.suite,
            "bars": [{**asdict(bar), "held": bar.held} for bar in self.bars],
            "raw": dict(self.raw),
            "machine": dict(machine_row().facts),
        }
        path.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")
        return path
