"""scikit-learn's bundled digits -> (1797, 8, 8, 1) uint8 images and (1797,) int64 labels.

Source: https://archive.ics.uci.edu/dataset/80, as sklearn/datasets/data/digits.csv.gz (64 pixels, 1 label).
The file is read directly: importing scikit-learn takes a second, the file a hundredth of that.
"""

from __future__ import annotations

import gzip
import importlib.util
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgekit.errors import missing_extra


def load() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Images (1797, 8, 8, 1), values 0 to 16, and labels (1797,).

    Raises:
        MissingBackendError: scikit-learn is not installed.
    """
    found = importlib.util.find_spec("sklearn")
    if found is None or found.origin is None:
        raise missing_extra("scikit-learn", "data", needed_for="the data set 'digits'")
    path = Path(found.origin).parent / "datasets" / "data" / "digits.csv.gz"
    with gzip.open(path, "rt", encoding="ascii") as lines:
        table = np.loadtxt(lines, delimiter=",", dtype=np.float64)
    images = table[:, :-1].astype(np.uint8).reshape(-1, 8, 8, 1)
    return images, table[:, -1].astype(np.int64)
