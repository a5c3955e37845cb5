"""Sample -> a small PNG as a data URI, where the sample is an image; "" where it is not.

    (H, W), (H, W, C), (C, H, W), C in {1, 3, 4} --mean over blocks--> at most 64 pixels a side --> PNG

PNG (Portable Network Graphics) Specification, third edition, W3C 2025: sections 5 (chunks), 9 (filter 0 only)
and 11.2.1 (IHDR). What is taken for an image:

    I1  uint8 is what it says; a fourth channel (alpha) is left out
    I2  numbers within 0 to 1 are scaled by 255; those within 0 to 255 that reach above 128 are
        taken as they are
    I3  other numbers (normalized, signed) are stretched from their smallest to their largest
    I4  a constant sample is grey; one with NaN or infinity is none
    I5  an image has two axes of at least ``_LEAST`` values: what is smaller is a row of features
"""

from __future__ import annotations

import base64
import struct
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

_LARGEST = 64  # pixels a side: enough to recognise what is on it, and at most 12 kB before compression
_LEAST = 8  # the smallest images that people look at (the digits of scikit-learn)
_CHANNELS = (1, 3, 4)
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _RGB = 0, 2  # colour types of IHDR


def thumbnail(sample: npt.NDArray[Any]) -> str:
    """The picture; ``sample`` has no batch axis, before or after pre-processing."""
    image = _channels_last(np.asarray(sample))
    if image is None or not np.isfinite(image).all():  # I4
        return ""
    return f"data:image/png;base64,{base64.b64encode(_png(_bytes(_smaller(image)))).decode()}"


def _channels_last(sample: npt.NDArray[Any]) -> npt.NDArray[Any] | None:
    """(H, W, 1 or 3), or None where the sample is no image (I1, I5)."""
    if sample.dtype.kind not in "uif":
        return None
    if sample.ndim == 2:
        sample = sample[:, :, None]
    if sample.ndim != 3:
        return None
    if sample.shape[2] not in _CHANNELS and sample.shape[0] in _CHANNELS:
        sample = np.moveaxis(sample, 0, -1)
    if sample.shape[2] not in _CHANNELS or min(sample.shape[:2]) < _LEAST:
        return None
    return sample[:, :, :3]


def _smaller(image: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Means over square blocks, until no side is longer than ``_LARGEST``; whole pixels keep their type."""
    factor = -(-max(image.shape[:2]) // _LARGEST)
    if factor == 1:
        return image
    height, width = (max(1, size // factor) for size in image.shape[:2])
    cut = image[: height * factor, : width * factor]
    blocks = cut.reshape(height, min(factor, cut.shape[0]), width, min(factor, cut.shape[1]), -1)
    means = blocks.mean(axis=(1, 3), dtype=np.float64)
    whole: npt.NDArray[Any] = np.rint(means).astype(image.dtype) if image.dtype.kind in "ui" else means
    return whole


def _bytes(image: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    if image.dtype == np.uint8:  # I1
        return image
    values = image.astype(np.float64)
    low, high = float(values.min()), float(values.max())
    if low == high:  # I4
        return np.full(image.shape, 128, np.uint8)
    if low >= 0 and high <= 1:  # I2
        values *= 255
    elif not (low >= 0 and 128 < high <= 255):
        values = (values - low) * (255 / (high - low))  # I3
    return np.rint(values).astype(np.uint8)


def _png(image: npt.NDArray[np.uint8]) -> bytes:
    """(H, W, 1 or 3) as a file; each row starts with its filter, 0 = none."""
    height, width, channels = image.shape
    color = _GREY if channels == 1 else _RGB
    rows = np.zeros((height, 1 + width * channels), np.uint8)
    rows[:, 1:] = image.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, color, 0, 0, 0)
    data = zlib.compress(rows.tobytes(), 9)
    return _SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
