"""One second of sound -> power spectra (1, 98, 129): the data of spoken_digits.

    wave (8000,) --Hann windows of 25 ms every 10 ms, transform of 256 points--> |X|^2

Energies as they come, without scale or logarithm: what follows is inside the model. The clips are those of
../sound_clips.py.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[1]))  # what several models share lies one folder up

from sound_clips import LENGTH, RATE, clips, placed

WINDOW, STEP, POINTS = 200, 80, 256  # 25 ms, 10 ms, size of the transform
BINS = POINTS // 2 + 1
BANDS = 40
LOWEST, HIGHEST = 20.0, 4000.0  # Hz that the bands cover
BATCH = 50
CALIBRATION = 300  # training clips that ranges are learned from


def spectra(clip: np.ndarray) -> np.ndarray:
    """A clip (8000,) in -1..1 -> energies (1, 98, 129) float32."""
    starts = np.arange(0, LENGTH - WINDOW + 1, STEP)
    frames = clip[starts[:, None] + np.arange(WINDOW)] * np.hanning(WINDOW)
    return (np.abs(np.fft.rfft(frames, POINTS)) ** 2)[None].astype(np.float32)


def mel_bands() -> np.ndarray:
    """Triangular filters (BINS, BANDS) float32, equally wide in mel = 1127 ln(1 + f / 700)."""
    edges = np.linspace(*(1127 * np.log1p(np.array([LOWEST, HIGHEST]) / 700)), BANDS + 2)
    low, middle, high = (700 * np.expm1(edges[i : i + BANDS] / 1127) for i in range(3))
    f = np.fft.rfftfreq(POINTS, 1 / RATE)[:, None]
    return np.maximum(0, np.minimum((f - low) / (middle - low), (high - f) / (high - middle))).astype("f4")


def calibration() -> Iterator[dict[str, np.ndarray]]:
    """Some training clips, in the middle of their second."""
    waves, labels = clips("train")
    chosen = np.random.default_rng(0).permutation(len(waves))[:CALIBRATION]
    yield from _batches([waves[index] for index in chosen], labels[chosen])


def evaluation() -> Iterator[dict[str, np.ndarray]]:
    """Every test clip, in the middle of its second, with its class."""
    yield from _batches(*clips("test"))


def _batches(waves: list[np.ndarray], labels: np.ndarray) -> Iterator[dict[str, np.ndarray]]:
    for first in range(0, len(waves), BATCH):
        part = waves[first : first + BATCH]
        audio = np.stack([spectra(placed(samples, 0.5)) for samples in part])
        yield {"spectra": audio, "labels": labels[first : first + BATCH]}
