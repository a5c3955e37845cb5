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

from sound_clips import batches, calibration_clips, clips, mel_bands, power_spectra

WINDOW, STEP, POINTS = 320, 160, 512  # 40 ms, 20 ms, size of the transform
BANDS, COEFFICIENTS = 40, 10
LOWEST, HIGHEST = 60.0, 3800.0  # Hz that the bands cover
FLOOR = 1e-6  # added to a band's energy before the logarithm
BATCH = 50
CALIBRATION = 300  # training clips that ranges are learned from


def features(clip: np.ndarray) -> np.ndarray:
    """A clip (8000,) -> (49, 10) float32."""
    bands = mel_bands(points=POINTS, bands=BANDS, lowest=LOWEST, highest=HIGHEST)
    energy = power_spectra(clip, window=WINDOW, step=STEP, points=POINTS) @ bands
    return (np.log(energy + FLOOR) @ _cosines()).astype(np.float32)


def _cosines() -> np.ndarray:
    """The first rows of the orthonormal cosine transform (BANDS, COEFFICIENTS)."""
    k, n = np.arange(COEFFICIENTS), np.arange(BANDS)[:, None]
    table = np.cos(np.pi * k * (2 * n + 1) / (2 * BANDS)) * np.sqrt(2 / BANDS)
    table[:, 0] /= np.sqrt(2)
    return table


def calibration() -> Iterator[dict[str, np.ndarray]]:
    """Some training clips, in the middle of their second."""
    yield from batches(*calibration_clips(CALIBRATION), name="audio", features=features, size=BATCH)


def evaluation() -> Iterator[dict[str, np.ndarray]]:
    """Every test clip, in the middle of its second, with its class."""
    yield from batches(*clips("test"), name="audio", features=features, size=BATCH)
