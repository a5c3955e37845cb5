"""Sounds of at most about a second with their classes: the clips of ds_cnn and spoken_digits.

    EDGEKIT_DATA/fsdd      600 training and 300 test recordings of the ten English digits, 8 kHz
    without it             "sounds": ten kinds of tones, chirps and noises, drawn anew from a seed

Recordings: Free Spoken Digit Dataset, https://github.com/Jakobovski/free-spoken-digit-dataset, CC BY-SA 4.0.
"""

from __future__ import annotations

import wave
from collections.abc import Callable, Iterator

import numpy as np

from edgekit import settings

RATE = 8000  # samples per second
LENGTH = RATE  # samples of a clip: one second
PLACES = (0.0, 0.2, 0.35, 0.5, 0.65, 0.8, 1.0)  # where a clip that is held out begins in its free time
SOUNDS = {"train": (600, 0), "test": (1000, 1)}  # generated clips of a split, and their seed


def data_set() -> str:
    """ "fsdd" where the recordings are there, else "sounds"."""
    folder = settings.data_dir()
    return "fsdd" if folder is not None and (folder / "fsdd").is_dir() else "sounds"


def clips(split: str) -> tuple[list[np.ndarray], np.ndarray]:
    """Waves in -1..1, of their own lengths, and classes (n,) of "train" or "test"."""
    folder = settings.data_dir()
    if folder is None or data_set() == "sounds":
        count, seed = SOUNDS[split]
        return sounds(count, seed=seed)
    paths = sorted((folder / "fsdd" / split).glob("*.wav"))
    waves = []
    for path in paths:
        with wave.open(str(path), "rb") as file:
            samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        waves.append(samples.astype(np.float64) / 32768)
    return waves, np.array([int(path.name.split("_")[0]) for path in paths])


def placed(samples: np.ndarray, start: float) -> np.ndarray:
    """A clip of LENGTH samples; ``start`` in 0..1 says where in the free (or surplus) time it begins."""
    free = LENGTH - len(samples)
    if free < 0:
        first = int(-free * start)
        return samples[first : first + LENGTH]
    first = int(free * start)
    return np.pad(samples, (first, free - first))


def sounds(count: int, *, seed: int) -> tuple[list[np.ndarray], np.ndarray]:
    """``count`` noisy sounds of 0.3 to 0.9 seconds, and which of the ten kinds each is."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, count)
    waves = []
    for label in labels:
        seconds = np.arange(int(RATE * rng.uniform(0.3, 0.9))) / RATE
        loud = rng.uniform(0.1, 0.6)
        sound = loud * _sound(int(label), seconds, rng)
        fade = np.minimum(1, np.minimum(seconds, seconds[::-1]) / 0.02)
        waves.append(sound * fade + rng.normal(0, 0.01, len(sound)))
    return waves, labels


def _sound(kind: int, t: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One of ten kinds over the times ``t`` in seconds; pitch and speed are drawn."""
    base, speed = rng.uniform(400, 900), rng.uniform(6, 12)
    part = t / t[-1]  # 0..1
    pitch = {
        0: np.full(len(t), base),  # steady
        1: base * (1 + 1.5 * part),  # rising
        2: base * (2.5 - 1.5 * part),  # falling
        3: base * (1 + 1.5 * np.minimum(part, 1 - part) * 2),  # up and down
        4: base * (1 + 0.25 * np.sin(2 * np.pi * speed * t)),  # wavering
        5: base * (1 + 0.5 * (part > 0.5)),  # a step
    }.get(kind, np.full(len(t), base))
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    if kind <= 5:
        return np.sin(phase)
    if kind == 6:  # trembling
        return np.sin(phase) * (0.5 + 0.5 * np.sin(2 * np.pi * speed * t))
    if kind == 7:  # a chord of overtones
        return sum(np.sin(h * phase) / h for h in range(1, 5)) / 2
    if kind == 8:  # noise
        return rng.normal(0, 0.4, len(t))
    return ((t * speed) % 1 < 0.02) * rng.uniform(0.7, 1.0, len(t))  # clicks


def power_spectra(clip: np.ndarray, *, window: int, step: int, points: int) -> np.ndarray:
    """A clip (LENGTH,) -> |X|^2 (frames, points / 2 + 1) of Hann windows of ``window`` samples, float64."""
    starts = np.arange(0, LENGTH - window + 1, step)
    frames = clip[starts[:, None] + np.arange(window)] * np.hanning(window)
    return np.abs(np.fft.rfft(frames, points)) ** 2


def mel_bands(*, points: int, bands: int, lowest: float, highest: float) -> np.ndarray:
    """Triangular filters (points / 2 + 1, bands), Hz to Hz, equally wide in mel = 1127 ln(1 + f / 700)."""
    edges = np.linspace(*(1127 * np.log1p(np.array([lowest, highest]) / 700)), bands + 2)
    low, middle, high = (700 * np.expm1(edges[i : i + bands] / 1127) for i in range(3))
    f = np.fft.rfftfreq(points, 1 / RATE)[:, None]
    return np.maximum(0, np.minimum((f - low) / (middle - low), (high - f) / (high - middle)))


def calibration_clips(count: int) -> tuple[list[np.ndarray], np.ndarray]:
    """``count`` training clips and their classes, drawn with seed 0."""
    waves, labels = clips("train")
    chosen = np.random.default_rng(0).permutation(len(waves))[:count]
    return [waves[index] for index in chosen], labels[chosen]


def held_out_clips(count: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Training clips that ``calibration_clips(count)`` leaves, each at all PLACES; and their classes."""
    waves, labels = clips("train")
    left = np.random.default_rng(0).permutation(len(waves))[count:]
    moved = [placed(waves[index], start) for index in left for start in PLACES]
    return moved, np.repeat(labels[left], len(PLACES))


def batches(
    waves: list[np.ndarray],
    labels: np.ndarray,
    *,
    name: str,
    features: Callable[[np.ndarray], np.ndarray],
    size: int,
) -> Iterator[dict[str, np.ndarray]]:
    """Batches of ``features`` of each clip, in the middle of its second, under ``name``, with "labels"."""
    for first in range(0, len(waves), size):
        part = waves[first : first + size]
        inputs = np.stack([features(placed(samples, 0.5)) for samples in part])
        yield {name: inputs, "labels": labels[first : first + size]}
