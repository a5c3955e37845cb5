"""One second of sound -> 49 x 10 cepstral coefficients: the data of ds_cnn, spoken digits or made sounds.

    wave (8000,) --windows of 40 ms every 20 ms--> power spectrum --40 mel bands, log--> cosine transform
                                                                                        --> (49, 10)

The coefficients are those of the keyword spotting model of MLPerf Tiny, at half its sampling rate. The clips
are those of ../sound_clips.py.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[1]))  # what several models share lies one folder up

from sound_clips import LENGTH, RATE, clips, placed

WINDOW, STEP, POINTS = 320, 160, 512  # 40 ms, 20 ms, size of the transform
BANDS, COEFFICIENTS = 40, 10
LOWEST, HIGHEST = 60.0, 3800.0  # Hz that the bands cover
FLOOR = 1e-6  # added to a band's energy before the logarithm
BATCH = 50
CALIBRATION = 300  # training clips that ranges are learned from


def features(clip: np.ndarray) -> np.ndarray:
    """A clip (8000,) -> (49, 10) float32."""
    starts = np.arange(0, LENGTH - WINDOW + 1, STEP)
    frames = clip[starts[:, None] + np.arange(WINDOW)] * np.hanning(WINDOW)
    energy = np.abs(np.fft.rfft(frames, POINTS)) ** 2 @ _mel_bands()
    return (np.log(energy + FLOOR) @ _cosines()).astype(np.float32)


def _mel_bands() -> np.ndarray:
    """Triangular filters (points / 2 + 1, BANDS), equally wide in mel = 1127 ln(1 + f / 700)."""
    edges = np.linspace(*(1127 * np.log1p(np.array([LOWEST, HIGHEST]) / 700)), BANDS + 2)
    low, middle, high = (700 * np.expm1(edges[i : i + BANDS] / 1127) for i in range(3))
    f = np.fft.rfftfreq(POINTS, 1 / RATE)[:, None]
    return np.maximum(0, np.minimum((f - low) / (middle - low), (high - f) / (high - middle)))


def _cosines() -> np.ndarray:
    """The first rows of the orthonormal cosine transform (BANDS, COEFFICIENTS)."""
    k, n = np.arange(COEFFICIENTS), np.arange(BANDS)[:, None]
    table = np.cos(np.pi * k * (2 * n + 1) / (2 * BANDS)) * np.sqrt(2 / BANDS)
    table[:, 0] /= np.sqrt(2)
    return table


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
        audio = np.stack([features(placed(samples, 0.5)) for samples in part])
        yield {"audio": audio, "labels": labels[first : first + BATCH]}
