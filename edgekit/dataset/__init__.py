"""A recipe's or a flag's data source -> Dataset: a restartable stream of input arrays, with labels.

    npz | npy | folder of images | shipped set | file.py:callable --sources--> Dataset --check--> batches
    CalibrationDataReader | nncf.Dataset | TFLite generator | arrays --importers, sources--> Dataset

Nothing here holds more than one batch of what a file or a callable can stream, unless asked to (``held``).
"""

from edgekit.dataset.check import check
from edgekit.dataset.held import HELD_BYTES
from edgekit.dataset.sources import DataSource, load, load_object, shipped_names
from edgekit.dataset.stream import Dataset

__all__ = ["HELD_BYTES", "DataSource", "Dataset", "check", "load", "load_object", "shipped_names"]
