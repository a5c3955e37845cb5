"""Damaged ``.tflite`` files, cut or changed anywhere: an EdgekitError, or a model; nothing else."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from edgekit.errors import EdgekitError
from tests.parity.test_litert_int8 import CASES, _model
from tests.unit.frontends.tflite_files import loaded, written

ROUNDS = 120


def test_damage_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    built, _ = _model(next(case for case in CASES if case.id == "residual"))
    healthy = written(built, tmp_path).read_bytes()
    rng = np.random.default_rng(0)
    path, seen = tmp_path / "damaged.tflite", Counter[str]()
    remedies: set[str] = set()
    for turn in range(ROUNDS):
        content = bytearray(healthy)
        if turn % 4 == 0:
            content = content[: int(rng.integers(0, len(content)))]
        else:
            for _ in range(int(rng.integers(1, 6))):
                content[int(rng.integers(0, len(content)))] = int(rng.integers(0, 256))
        path.write_bytes(bytes(content))
        try:
            loaded(path)
            seen["read"] += 1
        except EdgekitError as error:
            remedies.add(error.remedy)
            seen["refused"] += 1
    assert all(remedies)
    # Most bytes of a small file are structure: the test is void if nothing was hit, or everything.
    assert seen["refused"] > ROUNDS // 2
    assert seen["read"] > 0
