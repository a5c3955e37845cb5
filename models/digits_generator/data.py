"""Seeded latent vectors (batch, 16) and, as labels, the images that the float model draws from them.

A generator has no labels of its own: its task is to draw what the float model draws. The images are computed
in float64 and rounded to float32, so they are the same on every machine; see the recipe for the budget.
"""

from __future__ import annotations

import functools
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

HERE = Path(__file__).parent
BATCH = 64
CALIBRATION = 256
EVALUATION = 512
CALIBRATION_SEED = 1
EVALUATION_SEED = 2


@functools.cache
def model() -> Any:
    """The float model of ``model.py`` in float64."""
    return runpy.run_path(str(HERE / "model.py"))["build"]().double()


def latents(count: int, *, seed: int) -> npt.NDArray[np.float32]:
    """(count, 16) from the standard normal distribution, as training draws them."""
    return np.random.default_rng(seed).standard_normal((count, 16)).astype(np.float32)


def calibration() -> Iterator[dict[str, npt.NDArray[np.float32]]]:
    """Latent vectors only."""
    vectors = latents(CALIBRATION, seed=CALIBRATION_SEED)
    for start in range(0, CALIBRATION, BATCH):
        yield {"latent": vectors[start : start + BATCH]}


def evaluation() -> Iterator[dict[str, npt.NDArray[np.float32]]]:
    """Other latent vectors, and the float model's images (batch, 1, 28, 28) as labels."""
    vectors = latents(EVALUATION, seed=EVALUATION_SEED)
    for start in range(0, EVALUATION, BATCH):
        batch = vectors[start : start + BATCH]
        with torch.no_grad():
            images = model()(torch.from_numpy(batch).double())["image"]
        yield {"latent": batch, "labels": images.numpy().astype(np.float32)}
