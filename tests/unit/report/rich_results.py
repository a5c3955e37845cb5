"""Results in which every part of a report has something to show, with names as long as real ones get."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from edgekit.pipeline.result import (
    RESULTS,
    AccuracyRow,
    CalibrationRow,
    DriftRow,
    FlipPairRow,
    FlipRow,
    FlipsRow,
    GroupRow,
    KernelRow,
    LayerRow,
    PairRow,
    ProfileRow,
    RoofRow,
    TargetRow,
)
from edgekit.pipeline.thumbnail import thumbnail

FOLDER = Path(__file__).parents[2] / "golden" / "report"
LONG = "features/stage_4/block_2/expand/a_name_without_any_place_to_break_it_conv2d"
ACCURACY = AccuracyRow("top1", 0.9, 0.92, 2.0, 0.5, 3.5, 900)
DRIFT = (DriftRow("logits", 0.1, 0.99, 30.0, 2.0, 3, 0.001, 900),)
LIMITS = {"max_drop_pp": 1.0, "max_size_bytes": 100_000.0, "max_latency_ms": 9000.0, "never_slower": 1.05}
STEPS: Any = (
    ("torch", "ONNX float", "export"),
    ("ONNX float", "onnxruntime-cpu fp32", "runtime"),
    ("onnxruntime-cpu fp32", "onnxruntime-cpu w8a8", "quantization"),
    ("ONNX float", "onnxruntime-cpu w8a8", "whole"),
)


def golden(name: str) -> Any:
    kind = "release" if name.startswith("release") else name
    adapter: TypeAdapter[object] = TypeAdapter(RESULTS[kind])
    return adapter.validate_python(json.loads((FOLDER / f"{name}.json").read_text("utf-8")))


def flips() -> FlipsRow:
    picture = thumbnail(np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8))
    shown = (FlipRow(616, "cat", "cat", LONG, picture), FlipRow(1112, "dog", "cat", "dog", picture))
    pairs = (FlipPairRow("cat", LONG, 7), FlipPairRow("cat", "dog", 1))
    return FlipsRow(900, 8, lost=7, gained=1, pairs=pairs, shown=(*shown, FlipRow(3, "ox", "dog", "cat")))


def groups() -> tuple[GroupRow, ...]:
    bad = GroupRow("class", LONG, 90, 0.5, 0.9, 40.0, 20.0, 60.0, stands_out=True)
    return bad, GroupRow("light", "night", 300, 0.9, 0.9, 0.0, -3.0, 3.0)


def release() -> Any:
    """A release with flips, groups, limits, a front, a matrix and calibration."""
    found = golden("release_passing")

    def filled(row: TargetRow) -> TargetRow:
        candidates = tuple(
            replace(each, flips=flips(), groups=groups(), beaten_by="" if each.shipped else "w8a8")
            for each in row.candidates
        )
        return replace(row, candidates=candidates, limits=LIMITS)

    return replace(
        found,
        targets=tuple(map(filled, found.targets)),
        matrix=tuple(PairRow(first, second, step, ACCURACY, DRIFT) for first, second, step in STEPS),
        calibration=CalibrationRow("digits:train", "minmax", 256, 31, False, ("one class has no sample",)),
    )


def validate() -> Any:
    """Two artifacts, one with a long name."""
    found = golden("validate")
    row = replace(found.artifacts[0], flips=flips(), groups=groups())
    pairs = tuple(PairRow(first, second, step, ACCURACY, DRIFT) for first, second, step in STEPS)
    return replace(found, artifacts=(row, replace(row, artifact=f"dist/{LONG}.tflite")), matrix=pairs)


def debug() -> Any:
    """Forty layers, exact and unmeasured ones among them."""
    found = golden("debug")
    first, *rest = found.rows
    layers = tuple(
        LayerRow(
            name=f"{LONG}_{index}",
            node="n",
            op_type="Conv",
            kernel="CONV_2D (xnnpack)",
            integer=index % 3 > 0,
            own_sqnr_db=float("inf") if index == 5 else 30.0 + index,
            own_steps=0.3,
            total_sqnr_db=25.0,
            clipped=0.0,
            used=0.8,
            damage_sqnr_db=None if index == 7 else 20.0 + index,
            flips=0.01,
            drop_pp=None if index % 2 else 1.5,
            causes=("range-clipped", "outlier-channel") if index < 2 else (),
        )
        for index in range(40)
    )
    return replace(found, rows=(replace(first, layers=layers), *rest))


def bench() -> Any:
    """Thirty kernels, one without counts and one fallen back; an artifact that could not be profiled."""
    bounds: Any = ("compute", "memory", "overhead")
    kernels = tuple(
        KernelRow(
            source=(f"{LONG}_{index}", "quantizer"),
            operator="Convolution",
            kernel="brgconv_avx512_amx_1x1_I8",
            device="cpu",
            dtype="int8" if index % 2 else "float32",
            us=10.0 * (index + 1),
            share=(index + 1) / 465,
            calls=1,
            macs=None if index == 3 else 1_000_000 * (index + 1),
            operations=None if index == 3 else 2_000_000 * (index + 1),
            read_bytes=100_000,
            weight_bytes=1000,
            written_bytes=50_000,
            gops=None if index == 3 else 3.0 * 1.2**index,
            gbs=5.0,
            intensity=None if index == 3 else 0.2 * 1.3**index,
            fraction=None if index == 3 else 0.5,
            bound="" if index == 3 else bounds[index % 3],
            fallback="outside the delegate" if index == 5 else "",
        )
        for index in range(30)
    )
    found = golden("bench")
    row = ProfileRow("q.onnx", "OpenVINO's PERF_COUNT", 0.96, 1.02, 4700.0, 200, kernels, ("a note",))
    absent = ProfileRow(
        f"{LONG}.tflite",
        *("", None, None, None, 0, ()),
        reason="LiteRT's profiler cannot be used here: no libLiteRt.so",
        remedy="install it",
    )
    how = {"int8": "openvino 2026.4.1, brgemm_avx512_amx_I8", "bandwidth": "NumPy copies and reads"}
    roof = RoofRow(1, {"float32": 100.0, "int8": 2000.0}, ((1 << 16, 90.0), (1 << 30, 11.0)), how)
    return replace(found, profiles=(row, absent), roof=roof)


RICH = {"rich bench": bench, "rich release": release, "rich validate": validate, "rich debug": debug}
