"""Two data sets -> the finding that they share samples, out of the cache the second time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit import dataset
from edgekit.dataset import Dataset
from edgekit.pipeline.cache import Cache
from edgekit.pipeline.ranges import shared_samples
from edgekit.spec import TensorSpec

INPUTS = (TensorSpec("x", "float32", ("n", 3)),)
ROWS = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)


def rows(start: int, stop: int) -> Dataset:
    arrays = {"x": ROWS[start:stop], "labels": np.arange(stop - start)}
    return dataset.load_object(arrays, inputs=INPUTS)


def test_shared_samples_are_found_whatever_their_labels(tmp_path: Path) -> None:
    (finding,) = shared_samples(rows(0, 20), rows(15, 40), cache=Cache(tmp_path))
    assert finding.startswith("data-overlap: 5 of 25 evaluation samples")


def test_disjoint_sets_have_no_finding(tmp_path: Path) -> None:
    assert shared_samples(rows(0, 20), rows(20, 40), cache=Cache(tmp_path)) == ()


def test_the_answer_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = shared_samples(rows(0, 20), rows(15, 40), cache=Cache(tmp_path))
    monkeypatch.setattr("edgekit.pipeline.ranges.sample_hashes", lambda samples: pytest.fail("read again"))
    assert shared_samples(rows(0, 20), rows(15, 40), cache=Cache(tmp_path)) == first
