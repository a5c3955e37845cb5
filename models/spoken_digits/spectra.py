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

import sound_clips
from sound_clips import batches, calibration_clips, clips, held_out_clips, power_spectra

WINDOW, STEP, POINTS = 200, 80, 256  # 25 ms, 10 ms, size of the transform
BANDS = 40
LOWEST, HIGHEST = 20.0, 4000.0  # Hz that the bands cover
BATCH = 50
CALIBRATION = 300  # training clips that ranges are learned from


def spectra(clip: np.ndarray) -> np.ndarray:
    """A clip (8000,) in -1..1 -> energies (1, 98, 129) float32."""
    return power_spectra(clip, window=WINDOW, step=STEP, points=POINTS)[None].astype(np.float32)


def mel_bands() -> np.ndarray:
    """The filters of the model's first layer, (129, BANDS) float32."""
    return sound_clips.mel_bands(points=POINTS, bands=BANDS, lowest=LOWEST, highest=HIGHEST).astype("f4")


def calibration() -> Iterator[dict[str, np.ndarray]]:
    """Some training clips, in the middle of their second."""
    yield from batches(*calibration_clips(CALIBRATION), name="spectra", features=spectra, size=BATCH)


def held_out() -> Iterator[dict[str, np.ndarray]]:
    """Training clips that no range was learned from, moved: for who has chosen on the evaluation's."""
    yield from batches(*held_out_clips(CALIBRATION), name="spectra", features=spectra, size=BATCH)


def evaluation() -> Iterator[dict[str, np.ndarray]]:
    """Every test clip, in the middle of its second, with its class."""
    yield from batches(*clips("test"), name="spectra", features=spectra, size=BATCH)
