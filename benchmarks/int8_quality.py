"""int8 of both demo models on three CPU runtimes: loss against float, agreement with each other, speed."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path

import edgekit
from benchmarks.report import Bar, Report
from edgekit.pipeline.result import CandidateRow

ROOT = Path(__file__).parents[1]
MODELS = ("digits_cnn", "digits_keras")
RUNTIMES = ("onnxruntime-cpu", "openvino-cpu", "litert-cpu")


def run() -> Report:
    """Measure with an empty cache."""
    bars: list[Bar] = []
    raw: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as folder:
        for model in MODELS:
            result = edgekit.release(
                ROOT / "models" / model / "edgekit.toml",
                out=Path(folder) / "dist",
                targets=RUNTIMES,
                cache_dir=Path(folder) / "cache",
                update=True,
                dry_run=True,
            )
            rows = {
                row.target: row
                for target in result.targets
                for row in target.candidates
                if row.role == "candidate"
            }
            for target, row in rows.items():
                assert row.accuracy is not None
                bars.append(Bar(f"{model} {target}: points lost by int8", row.accuracy.drop_pp, 1.0))
                raw[f"{model} {target}"] = _figures(row)
            agreements = {(a.first, a.second): a.agreement for a in result.agreement}
            for first, second in itertools.combinations(rows, 2):
                if rows[first].plan_digest != rows[second].plan_digest:
                    continue
                name = f"{model} {first} and {second}: share of equal labels"
                bars.append(Bar(name, agreements.get((first, second), 0.0), 0.99, at_most=False))
    return Report("int8_quality", tuple(bars), raw)


def _figures(row: CandidateRow) -> dict[str, object]:
    assert row.accuracy is not None
    return {
        "drop_pp": [row.accuracy.drop_pp, row.accuracy.drop_low_pp, row.accuracy.drop_high_pp],
        "size_bytes": row.size_bytes,
        "latency_ratio": [row.ratio.value, row.ratio.low, row.ratio.high] if row.ratio else None,
        "plan": row.plan_digest,
        "ran_on": row.ran_on,
    }
